"""What the API reads of alerts: filtered, page by page, with what their runs and reviews say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from operator import eq, ge, le
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, Row, Select, and_, exists, func, or_, select
from sqlalchemy.sql import ColumnElement

from groundshift.alerts import alert_id_of
from groundshift.errors import NotFound
from groundshift.ledger import locks, reviews, tables
from groundshift.ledger.locks import Lock
from groundshift.ledger.reviews import Review

Bbox = tuple[float, float, float, float]
"""West, south, east, north, degrees; west > east: over the antimeridian."""


@dataclass(frozen=True)
class AlertFilter:
    """Which alerts are wanted; what is not given filters nothing."""

    ids: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    from_class: str | None = None
    to_class: str | None = None
    min_probability: float | None = None
    min_area_m2: float | None = None
    since: datetime | None = None
    """Of the last scene that shows the alert."""
    until: datetime | None = None
    bbox: Bbox | None = None
    reviewed: bool | None = None
    site_id: str | None = None
    area: BaseGeometry | None = None
    """EPSG:4326: what touches it is wanted."""


@dataclass(frozen=True)
class AlertView:
    """An alert with what a reader wants to know beside it."""

    row: Row[Any]
    """Of the table of alerts."""
    run_id: str | None
    """The latest current run that found it."""
    first_run_id: str | None
    """The run that raised it."""
    before_scene_id: str | None
    after_scene_id: str | None
    observed_fraction: float | None
    model_set: Sequence[Mapping[str, str]] = ()
    reviews: Sequence[Review] = field(default=())
    """The latest one of each reviewer, oldest first."""
    lock: Lock | None = None


def page(
    connection: Connection,
    tenant: str,
    wanted: AlertFilter,
    *,
    limit: int,
    after: tuple[datetime, str] | None = None,
    now: datetime,
    outlined: bool = True,
) -> tuple[int, list[AlertView]]:
    """(How many there are, some of them), last seen first; `after` is the last one of a page.

    Not `outlined`: the rows have no geometry, which is most of what would be read.
    """
    where, query_of = _where(tenant, wanted), partial(_page, limit=limit, after=after)
    if wanted.area is None:
        count = select(func.count()).select_from(tables.alerts).where(*where)
        matched, query = int(connection.execute(count).scalar_one()), query_of(where)
    else:
        found = inside(connection, tenant, wanted.area, where)
        ids = [id_ for id_ in connection.scalars(_ids(where, after)) if id_ in found][:limit]
        matched, query = len(found), query_of([tables.alerts.c.id.in_(ids)])
    if not outlined:
        query = query.with_only_columns(*(c for c in tables.alerts.c if c.name != "geometry"))
    return matched, views(connection, query, now=now)


def inside(
    connection: Connection,
    tenant: str,
    area: BaseGeometry,
    where: Sequence[ColumnElement[bool]] = (),
) -> set[str]:
    """The ids of a tenant's alerts that touch an area (EPSG:4326).

    Bounds settle most of them; outlines are read of those on the area's edge alone.
    """
    c = tables.alerts.c
    query = select(c.id, c.west, c.south, c.east, c.north)
    rows = connection.execute(query.where(c.tenant == tenant, within(area.bounds), *where)).all()
    ids = np.array([row.id for row in rows], object)
    bounds = np.array([row[1:] for row in rows], np.float64).reshape(-1, 4)
    boxes = shapely.box(*bounds.T)
    shapely.prepare(area)
    whole = shapely.contains(area, boxes)
    edge = ids[shapely.intersects(area, boxes) & ~whole]
    shapes = outlines(connection, edge)
    touching = {i for i in edge if area.intersects(shapely.from_geojson(shapes[i]))}
    return {*ids[whole], *touching}


def one(connection: Connection, tenant: str, alert_id: str, *, now: datetime) -> AlertView:
    """One alert of a tenant. Raises NotFound."""
    table = tables.alerts
    query = select(table).where(table.c.tenant == tenant, table.c.id == alert_id)
    found = views(connection, query, now=now)
    if not found:
        raise NotFound(f"there is no alert {alert_id!r:.80}: GET /api/alerts lists those there are")
    return found[0]


def offset_page(
    connection: Connection, tenant: str, wanted: AlertFilter, *, limit: int, offset: int
) -> tuple[int, list[Row[Any]]]:
    """(How many there are, some of them) by offset, for readers that page so."""
    where = _where(tenant, wanted)
    table = tables.alerts
    matched = connection.execute(select(func.count()).select_from(table).where(*where))
    query = select(table).where(*where).order_by(table.c.last_seen.desc(), table.c.id)
    rows = connection.execute(query.limit(limit).offset(offset))
    return int(matched.scalar_one()), list(rows)


def open_rows(connection: Connection, tenant: str, *, site_id: str | None = None) -> list[Row[Any]]:
    """What the review queue ranks: a tenant's alerts that were not withdrawn, without outlines."""
    c = tables.alerts.c
    kind = ("id", "version", "site_id", "state", "from_class", "to_class")
    size = ("area_m2", "probability", "supports", "west", "south", "east", "north")
    query = select(*(c[name] for name in (*kind, *size)))
    where = [c.tenant == tenant, c.state != "withdrawn"]
    where += [c.site_id == site_id] if site_id else []
    return list(connection.execute(query.where(*where)))


def views(connection: Connection, query: Select[Any], *, now: datetime) -> list[AlertView]:
    """The alerts that a query finds, each with its runs, reviews and lock."""
    rows = connection.execute(query).all()
    ids = [row.id for row in rows]
    look = _Lookup(connection, rows)
    said = latest_reviews(connection, ids)
    held = locks.of_alerts(connection, ids, now=now)
    return [look.view(row, said.get(row.id, ()), held.get(row.id)) for row in rows]


def latest_reviews(
    connection: Connection, alert_ids: Iterable[str]
) -> Mapping[str, Sequence[Review]]:
    """The latest review of each reviewer, by alert."""
    latest: dict[str, dict[str, Review]] = defaultdict(dict)
    for review in reviews.of_alerts(connection, alert_ids):
        latest[review.alert_id].pop(review.reviewer, None)
        latest[review.alert_id][review.reviewer] = review
    return {alert_id: list(by.values()) for alert_id, by in latest.items()}


def outlines(connection: Connection, alert_ids: Iterable[str]) -> Mapping[str, str]:
    """The polygons of some alerts, GeoJSON, by alert."""
    c = tables.alerts.c
    query = select(c.id, c.geometry)
    parts = (connection.execute(query.where(c.id.in_(part))) for part in chunks(set(alert_ids)))
    return {row.id: row.geometry for part in parts for row in part}


class _Lookup:
    """What the runs behind some alerts say of them."""

    def __init__(self, connection: Connection, rows: Sequence[Row[Any]]) -> None:
        named = {run_id for row in rows for run_id in _ends(row.evidence.get("runs", ()))}
        supports = {s for row in rows for s in row.evidence.get("supports", ())[-1:]}
        self._runs = _by_id(connection, tables.runs, named)
        shown = {run.scene_id for run in self._runs.values()} | supports
        scenes = _by_id(connection, tables.scenes, shown)
        self._acquired = {scene_id: scene.acquired for scene_id, scene in scenes.items()}
        self._observed = self._observed_fractions(connection, rows)

    def view(self, row: Row[Any], said: Sequence[Review], lock: Lock | None) -> AlertView:
        """One alert's view."""
        found = [run_id for run_id in row.evidence.get("runs", ()) if run_id in self._runs]
        first = self._runs[found[0]] if found else None
        return AlertView(
            row=row,
            run_id=found[-1] if found else None,
            first_run_id=first.id if first else None,
            before_scene_id=first.baseline[0] if first and first.baseline else None,
            after_scene_id=self._after(row, found),
            observed_fraction=self._observed.get(row.id),
            model_set=first.model_set if first else (),
            reviews=said,
            lock=lock,
        )

    def _after(self, row: Row[Any], found: Sequence[str]) -> str | None:
        """The latest scene that shows the change."""
        shown = [self._runs[run_id].scene_id for run_id in found[-1:]]
        shown += row.evidence.get("supports", ())[-1:]
        known = [scene_id for scene_id in shown if scene_id in self._acquired]
        return max(known, key=lambda scene_id: self._acquired[scene_id], default=None)

    def _observed_fractions(
        self, connection: Connection, rows: Sequence[Row[Any]]
    ) -> dict[str, float]:
        """By alert: its id follows from the scene and the change that began it."""
        first = {runs[0] for row in rows if (runs := row.evidence.get("runs"))} & self._runs.keys()
        change = tables.changes
        query = select(change.c.run_id, change.c.id, change.c.observed_fraction)
        found: dict[str, float] = {}
        for part in chunks(first):
            for r in connection.execute(query.where(change.c.run_id.in_(part))):
                scene_id = self._runs[r.run_id].scene_id
                found[alert_id_of(scene_id, r.id)] = r.observed_fraction
        return found


def chunks(ids: Iterable[str], size: int = 5000) -> Iterable[list[str]]:
    """Ids in parts that one statement can take."""
    every = sorted(ids)
    return (every[i : i + size] for i in range(0, len(every), size))


def _by_id(connection: Connection, table: Any, ids: Iterable[str]) -> dict[str, Row[Any]]:
    found: dict[str, Row[Any]] = {}
    for part in chunks(set(ids)):
        query = select(table).where(table.c.id.in_(part))
        found.update({row.id: row for row in connection.execute(query)})
    return found


def _ends(ids: Sequence[str]) -> set[str]:
    return {*ids[:1], *ids[-1:]}


def _page(
    where: Sequence[ColumnElement[bool]], *, limit: int, after: tuple[datetime, str] | None
) -> Select[Any]:
    return _ordered(select(tables.alerts).where(*where), after).limit(limit)


def _ids(where: Sequence[ColumnElement[bool]], after: tuple[datetime, str] | None) -> Select[Any]:
    return _ordered(select(tables.alerts.c.id).where(*where), after)


def _ordered(query: Select[Any], after: tuple[datetime, str] | None) -> Select[Any]:
    table = tables.alerts
    if after is not None:
        seen, alert_id = after
        same = and_(table.c.last_seen == seen, table.c.id > alert_id)
        query = query.where(or_(table.c.last_seen < seen, same))
    return query.order_by(table.c.last_seen.desc(), table.c.id)


def _where(tenant: str, wanted: AlertFilter) -> list[ColumnElement[bool]]:
    c = tables.alerts.c
    given: list[tuple[Any, Callable[[Any, Any], Any], ColumnElement[Any]]] = [
        (wanted.from_class, eq, c.from_class),
        (wanted.to_class, eq, c.to_class),
        (wanted.min_probability, ge, c.probability),
        (wanted.min_area_m2, ge, c.area_m2),
        (wanted.since, ge, c.last_seen),
        (wanted.until, le, c.last_seen),
        (wanted.site_id, eq, c.site_id),
    ]
    where = [c.tenant == tenant]
    where += [compare(column, value) for value, compare, column in given if value is not None]
    where += [c.id.in_(wanted.ids)] if wanted.ids else []
    where += [c.state.in_(wanted.states)] if wanted.states else []
    if wanted.bbox is not None:
        where.append(within(wanted.bbox))
    if wanted.reviewed is not None:
        some = exists().where(tables.reviews.c.alert_id == c.id)
        where.append(some if wanted.reviewed else ~some)
    return where


def within(bbox: Bbox) -> ColumnElement[bool]:
    """Bounds that overlap the box."""
    c = tables.alerts.c
    west, south, east, north = bbox
    beside = and_ if west <= east else or_
    return and_(c.south <= north, c.north >= south, beside(c.west <= east, c.east >= west))
