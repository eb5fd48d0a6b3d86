"""What the API reads of scenes, runs, sites and gaps, and the counts of the data dashboard."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, func, or_, select

from geodata_etl.grid import CORE_PX, Extent, Tile
from groundshift.ledger import runs, scenes, tables
from groundshift.ledger.runs import Run
from groundshift.ledger.scenes import Scene

Place = tuple[datetime, str]
"""Where a page ended, in the order of (time, id)."""


_LATEST: Final = 100
"""Runs whose models say how traffic is shared now."""


def scene_page(
    connection: Connection,
    tenant: str,
    *,
    limit: int,
    after: Place | None = None,
    outcome: str | None = None,
    site_id: str | None = None,
    scene_id: str | None = None,
) -> tuple[int, list[Row[Any]]]:
    """(How many there are, some of them), newest acquisition first, with the zone of the site."""
    c = tables.scenes.c
    where = [c.tenant == tenant]
    where += [c.outcome == outcome] if outcome else []
    where += [c.site_id == site_id] if site_id else []
    where += [c.id == scene_id] if scene_id else []
    total = connection.execute(select(func.count()).select_from(tables.scenes).where(*where))
    query = select(tables.scenes, tables.sites.c.epsg).join(tables.sites).where(*where)
    if after is not None:
        query = query.where(_beyond(c.acquired, c.id, after))
    query = query.order_by(c.acquired.desc(), c.id).limit(limit)
    return int(total.scalar_one()), list(connection.execute(query))


def scene_of(connection: Connection, tenant: str, scene_id: str) -> Scene:
    """One scene of a tenant. Raises NotFound, whether it is another's or nobody's."""
    found = scenes.get(connection, scene_id)
    return found if found.tenant == tenant else scenes.find((), scene_id)


def run_of(connection: Connection, tenant: str, run_id: str) -> Run:
    """One run of a tenant. Raises NotFound, whether it is another's or nobody's."""
    found = runs.get(connection, run_id)
    if found.tenant != tenant:
        raise runs.unknown(run_id)
    return found


def run_page(
    connection: Connection,
    tenant: str,
    *,
    limit: int,
    after: Place | None = None,
    current: bool | None = None,
    site_id: str | None = None,
) -> tuple[int, list[Row[Any]]]:
    """(How many there are, some of them), newest first, with the acquisition of the scene."""
    c = tables.runs.c
    where = [c.tenant == tenant]
    where += [c.current == current] if current is not None else []
    where += [c.site_id == site_id] if site_id else []
    total = connection.execute(select(func.count()).select_from(tables.runs).where(*where))
    scene = tables.scenes
    joined = select(tables.runs, scene.c.acquired).join(scene, scene.c.id == c.scene_id)
    query = joined.where(*where)
    if after is not None:
        query = query.where(_beyond(c.created, c.id, after))
    return int(total.scalar_one()), list(
        connection.execute(query.order_by(c.created.desc(), c.id).limit(limit))
    )


def _beyond(time: Any, key: Any, after: Place) -> Any:
    at, last = after
    return or_(time < at, and_(time == at, key > last))


def run_shares(connection: Connection, scene_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The summary of the current run of each scene, by scene."""
    c = tables.runs.c
    query = select(c.scene_id, c.summary).where(c.current, c.scene_id.in_(scene_ids))
    return {row.scene_id: row.summary for row in connection.execute(query)}


def current_runs(connection: Connection, scene_ids: Sequence[str]) -> dict[str, str]:
    """The finished current run of each scene that compares it, by scene."""
    c = tables.runs.c
    query = select(c.scene_id, c.id).where(
        c.current, c.state == "done", c.kind == "change", c.scene_id.in_(scene_ids)
    )
    return {row.scene_id: row.id for row in connection.execute(query)}


def outcomes_over_time(connection: Connection, tenant: str) -> list[dict[str, Any]]:
    """How many arrivals ended how, by month: of acquisition, or of arrival for what was refused."""
    c = tables.arrivals.c
    query = select(c.created, c.state, c.reason).where(
        c.tenant == tenant, c.state.in_(("refused", "failed"))
    )
    counts = Counter(
        (f"{r.created:%Y-%m}", r.state, r.reason or "") for r in connection.execute(query)
    )
    refused = [
        {"month": month, "outcome": state, "reason": reason or None, "scenes": number}
        for (month, state, reason), number in sorted(counts.items())
    ]
    return [*scenes_by_month(connection, tenant), *refused]


def unread(connection: Connection, tenant: str) -> list[Row[Any]]:
    """Arrivals that never became a scene, in the order of arrival."""
    table = tables.arrivals
    states = table.c.state.in_(("refused", "failed", "arrived"))
    query = select(table).where(table.c.tenant == tenant, states).order_by(table.c.seq)
    return list(connection.execute(query))


def feed_page(
    connection: Connection, tenant: str, *, after: int, limit: int, words: Sequence[str] = ()
) -> list[Row[Any]]:
    """A tenant's part of the feed, in order, from the number after `after`."""
    table = tables.feed
    query = select(table).where(table.c.tenant == tenant, table.c.seq > after)
    if words:
        query = query.where(table.c.type.in_(words))
    return list(connection.execute(query.order_by(table.c.seq).limit(limit)))


def feed_head(connection: Connection) -> int:
    """The last number of the feed; 0 while it is empty."""
    return int(connection.execute(select(func.max(tables.feed.c.seq))).scalar() or 0)


def scenes_by_month(connection: Connection, tenant: str) -> list[dict[str, Any]]:
    """How many scenes ended how, by month of acquisition."""
    c = tables.scenes.c
    query = select(c.acquired, c.outcome, c.reason).where(c.tenant == tenant)
    counts = Counter(
        (f"{r.acquired:%Y-%m}", r.outcome, r.reason or "") for r in connection.execute(query)
    )
    return [
        {"month": month, "outcome": outcome, "reason": reason or None, "scenes": number}
        for (month, outcome, reason), number in sorted(counts.items())
    ]


def tiles_covered(connection: Connection, tenant: str) -> list[dict[str, Any]]:
    """How many scenes reach each tile, and the mean share of valid pixels of those scenes."""
    query = select(tables.scenes, tables.sites.c.epsg).join(tables.sites)
    found: dict[tuple[int, str], list[float]] = defaultdict(list)
    for row in connection.execute(query.where(tables.scenes.c.tenant == tenant)):
        extent = Extent(row.top, row.left, row.bottom, row.right)
        for tile in tiles_of(extent):
            found[row.epsg, str(tile)].append(row.valid_fraction)
    return [
        {
            "epsg": epsg,
            "tile": tile,
            "scenes": len(shares),
            "mean_valid_fraction": round(sum(shares) / len(shares), 4),
        }
        for (epsg, tile), shares in sorted(found.items())
    ]


def tiles_of(extent: Extent) -> Iterable[Tile]:
    """The tiles whose cores touch an extent."""
    rows = range(extent.top // CORE_PX, -(-extent.bottom // CORE_PX))
    cols = range(extent.left // CORE_PX, -(-extent.right // CORE_PX))
    return (Tile(row, col) for row in rows for col in cols)


def alert_counts(connection: Connection, tenant: str) -> list[dict[str, Any]]:
    """How many alerts of each state and class pair there are."""
    c = tables.alerts.c
    query = (
        select(c.state, c.from_class, c.to_class, func.count().label("n"), func.sum(c.area_m2))
        .where(c.tenant == tenant)
        .group_by(c.state, c.from_class, c.to_class)
        .order_by(c.state, c.from_class, c.to_class)
    )
    return [
        {"state": s, "from_class": f, "to_class": t, "alerts": n, "area_m2": round(area, 1)}
        for s, f, t, n, area in connection.execute(query)
    ]


def verdict_counts(connection: Connection, tenant: str) -> list[dict[str, Any]]:
    """How many reviews said what, by model set and reviewer."""
    c = tables.reviews.c
    query = select(c.verdict, c.actor, c.model_set).where(c.tenant == tenant)
    counts = Counter(
        (r.verdict, r.actor, tuple(m["digest"] for m in r.model_set))
        for r in connection.execute(query)
    )
    return [
        {"verdict": verdict, "reviewer": actor, "models": list(models), "reviews": number}
        for (verdict, actor, models), number in sorted(counts.items())
    ]


def run_durations(connection: Connection, tenant: str, *, limit: int = 500) -> list[dict[str, Any]]:
    """How long the latest finished runs took, from plan to products, oldest first."""
    c = tables.runs.c
    query = (
        select(c.id, c.site_id, c.scene_id, c.created, c.finished, c.state)
        .where(c.tenant == tenant, c.finished.is_not(None))
        .order_by(c.finished.desc(), c.id)
        .limit(limit)
    )
    found = [
        {
            "run_id": r.id,
            "site_id": r.site_id,
            "scene_id": r.scene_id,
            "state": r.state,
            "finished": r.finished,
            "seconds": (r.finished - r.created).total_seconds(),
        }
        for r in connection.execute(query)
    ]
    return found[::-1]


def model_sets(connection: Connection, tenant: str) -> list[dict[str, Any]]:
    """The model sets of a tenant's runs, the one that ran last first, with reviews by verdict."""
    c = tables.runs.c
    query = select(c.model_set, c.current, c.created).where(c.tenant == tenant).order_by(c.created)
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    rows = connection.execute(query).all()
    for i, row in enumerate(rows):
        digests = tuple(model["digest"] for model in row.model_set)
        new = {"first_run": row.created, "runs": 0, "current_runs": 0, "traffic": 0.0}
        new["reviews"] = Counter()
        one = found.setdefault(digests, new)
        one["models"] = [{k: m[k] for k in ("name", "digest", "revision")} for m in row.model_set]
        one["last_run"] = row.created
        one["runs"] += 1
        one["current_runs"] += bool(row.current)
        if i >= len(rows) - _LATEST:
            one["traffic"] += 1 / min(len(rows), _LATEST)
    said = tables.reviews.c
    for verdict, models in connection.execute(
        select(said.verdict, said.model_set).where(said.tenant == tenant)
    ):
        judged = found.get(tuple(model["digest"] for model in models))
        if judged is not None:
            judged["reviews"][verdict] += 1
    return sorted(found.values(), key=lambda one: one["last_run"], reverse=True)
