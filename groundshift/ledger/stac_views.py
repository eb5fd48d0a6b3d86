"""What the STAC API reads: which Items a tenant has, where and when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from pyproj import Transformer
from sqlalchemy import Connection, Select, select

from geodata_etl.grid import PIXEL_M
from groundshift.ledger import tables
from groundshift.ledger.alert_views import Bbox

SCENES: Final = "scenes"
RUNS: Final = "runs"
COLLECTIONS: Final = (SCENES, RUNS)


@dataclass(frozen=True)
class ItemPlace:
    """An Item before its file is read."""

    collection: str
    item_id: str
    at: datetime
    """Acquisition of the scene."""
    bounds: Bbox
    """Degrees."""


@dataclass(frozen=True)
class ItemFilter:
    """Which Items are wanted; what is not given filters nothing."""

    collections: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    bbox: Bbox | None = None


def places(connection: Connection, tenant: str, wanted: ItemFilter) -> list[ItemPlace]:
    """A tenant's Items, the latest first, then by id."""
    found: list[ItemPlace] = []
    for name in wanted.collections or COLLECTIONS:
        if name in COLLECTIONS:
            query = _within(_QUERIES[name](tenant), wanted, name)
            found += [
                ItemPlace(name, r.id, r.acquired, _bounds(r.epsg, r.top, r.left, r.bottom, r.right))
                for r in connection.execute(query)
            ]
    kept = found if wanted.bbox is None else list(_overlapping(found, wanted.bbox))
    return sorted(kept, key=lambda place: (-place.at.timestamp(), place.item_id))


def _scenes(tenant: str) -> Select[tuple[object, ...]]:
    scene, site = tables.scenes.c, tables.sites.c
    extent = (scene.top, scene.left, scene.bottom, scene.right)
    query = select(scene.id, scene.acquired, site.epsg, *extent).join(tables.sites)
    return query.where(scene.tenant == tenant)


def _runs(tenant: str) -> Select[tuple[object, ...]]:
    """Current runs that compared something: those have products."""
    run, scene, site = tables.runs.c, tables.scenes.c, tables.sites.c
    extent = (scene.top, scene.left, scene.bottom, scene.right)
    query = (
        select(run.id, scene.acquired, site.epsg, *extent)
        .select_from(tables.runs)
        .join(tables.scenes, scene.id == run.scene_id)
        .join(tables.sites, site.id == run.site_id)
    )
    return query.where(run.tenant == tenant, run.current, run.kind == "change")


_QUERIES: Final = {SCENES: _scenes, RUNS: _runs}


def _within(
    query: Select[tuple[object, ...]], wanted: ItemFilter, name: str
) -> Select[tuple[object, ...]]:
    key = tables.scenes.c.id if name == SCENES else tables.runs.c.id
    at = tables.scenes.c.acquired
    query = query.where(key.in_(wanted.ids)) if wanted.ids else query
    query = query if wanted.since is None else query.where(at >= wanted.since)
    return query if wanted.until is None else query.where(at <= wanted.until)


def _overlapping(found: Iterable[ItemPlace], box: Bbox) -> Iterable[ItemPlace]:
    west, south, east, north = box
    for place in found:
        left, bottom, right, top = place.bounds
        if bottom > north or top < south:
            continue
        beside = (left <= east, right >= west)
        if all(beside) if west <= east else any(beside):
            yield place


@lru_cache(maxsize=4096)
def _bounds(epsg: int, top: int, left: int, bottom: int, right: int) -> Bbox:
    to_degrees = Transformer.from_crs(epsg, 4326, always_xy=True)
    box = (left * PIXEL_M, -bottom * PIXEL_M, right * PIXEL_M, -top * PIXEL_M)
    west, south, east, north = to_degrees.transform_bounds(*box)
    return west, south, east, north
