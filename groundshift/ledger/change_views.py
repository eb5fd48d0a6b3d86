"""What the API reads of changes: those of current runs, in degrees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, Row, Select, func, select

from geodata_etl.polygons import to_lonlat
from groundshift.errors import NotFound
from groundshift.ledger import tables
from groundshift.ledger.alert_views import Bbox


@dataclass(frozen=True)
class ChangeFilter:
    """Which changes are wanted; what is not given filters nothing."""

    run_id: str | None = None
    site_id: str | None = None
    from_class: str | None = None
    to_class: str | None = None
    since: datetime | None = None
    """Of the scene that shows it."""
    until: datetime | None = None
    bbox: Bbox | None = None


@dataclass(frozen=True)
class ChangeView:
    """A change with its outline in degrees."""

    row: Row[Any]
    """Of the table of changes, with the site."""
    shape: BaseGeometry
    """EPSG:4326."""

    @property
    def change_id(self) -> str:
        """Unique among all runs."""
        return f"{self.row.run_id}.{self.row.id}"

    @property
    def geometry(self) -> dict[str, Any]:
        """GeoJSON."""
        told: dict[str, Any] = mapping(self.shape)
        return told


def page(
    connection: Connection, tenant: str, wanted: ChangeFilter, *, limit: int, offset: int
) -> tuple[int, list[ChangeView]]:
    """(How many there are, some of them), the latest scene's first, in the order of the run."""
    query = _query(tenant, wanted)
    if wanted.bbox is None:
        total = connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
        return int(total), _views(connection.execute(_ordered(query).limit(limit).offset(offset)))
    rows = connection.execute(_ordered(query))
    within = [one for one in _views(rows) if _overlaps(one.shape.bounds, wanted.bbox)]
    return len(within), within[offset : offset + limit]


def one(connection: Connection, tenant: str, change_id: str) -> ChangeView:
    """One change of a tenant's current runs. Raises NotFound."""
    run_id, _, name = change_id.partition(".")
    query = _query(tenant, ChangeFilter(run_id=run_id)).where(tables.changes.c.id == name)
    found = _views(connection.execute(query))
    if not found:
        raise NotFound(f"there is no change {change_id!r:.120} of a current run")
    return found[0]


def _query(tenant: str, wanted: ChangeFilter) -> Select[Any]:
    change, run, site = tables.changes.c, tables.runs, tables.sites
    query = (
        select(tables.changes, run.c.site_id, site.c.epsg)
        .join(run, run.c.id == change.run_id)
        .join(site, site.c.id == run.c.site_id)
        .where(run.c.tenant == tenant, run.c.current)
    )
    equal = {
        change.run_id: wanted.run_id,
        run.c.site_id: wanted.site_id,
        change.from_class: wanted.from_class,
        change.to_class: wanted.to_class,
    }
    for column, value in equal.items():
        query = query if value is None else query.where(column == value)
    query = query if wanted.since is None else query.where(change.after >= wanted.since)
    return query if wanted.until is None else query.where(change.after <= wanted.until)


def _ordered(query: Select[Any]) -> Select[Any]:
    change = tables.changes.c
    return query.order_by(change.after.desc(), change.run_id, change.seq)


def _views(rows: Any) -> list[ChangeView]:
    return list(_placed(list(rows)))


def _placed(rows: Sequence[Row[Any]]) -> Iterator[ChangeView]:
    """The rows in their order, projected zone by zone."""
    shapes = shapely.from_wkb([row.geometry for row in rows])
    placed: dict[int, BaseGeometry] = {}
    for epsg in {row.epsg for row in rows}:
        here = [index for index, row in enumerate(rows) if row.epsg == epsg]
        lonlat = shapely.set_precision(to_lonlat([shapes[i] for i in here], epsg), 1e-7)
        placed |= dict(zip(here, lonlat, strict=True))
    return (ChangeView(row, placed[index]) for index, row in enumerate(rows))


def _overlaps(bounds: Bbox, box: Bbox) -> bool:
    west, south, east, north = box
    if bounds[1] > north or bounds[3] < south:
        return False
    if west <= east:
        return bounds[0] <= east and bounds[2] >= west
    return bounds[0] <= east or bounds[2] >= west
