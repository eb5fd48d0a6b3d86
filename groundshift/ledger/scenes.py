"""Sites and the scenes that lie on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select
from sqlalchemy.sql import ColumnElement

from geodata_etl.grid import Extent
from groundshift.errors import NotFound
from groundshift.ledger import tables
from groundshift.ledger.database import Tx


@dataclass(frozen=True)
class Site:
    """A stored area of interest."""

    site_id: str
    tenant: str
    name: str
    geometry: str
    """Polygon, GeoJSON, EPSG:4326."""
    epsg: int
    """UTM zone of its centroid."""
    extent: Extent
    """Lattice pixels that cover the polygon."""
    reference_scene_id: str | None = None
    """What every other scene of the site is aligned to."""


@dataclass(frozen=True)
class Scene:
    """A scene on one site's grid."""

    scene_id: str
    arrival_id: str | None
    stac_id: str
    tenant: str
    site_id: str
    acquired: datetime
    sensor: str
    digest: str
    extent: Extent
    valid_fraction: float
    shift_yx: tuple[float, float]
    """Pixels of 10 m by which its content was moved, rows southwards and columns eastwards."""
    shift_spread: float
    """Disagreement of the windows that measured it, pixels."""
    shift_state: str
    """reference, measured or unmeasured."""
    outcome: str = "ready"
    reason: str | None = None
    message: str | None = None

    @property
    def order(self) -> tuple[datetime, str]:
        """A site's scenes are ordered by acquisition, then id."""
        return self.acquired, self.scene_id


def add_site(tx: Tx, site: Site) -> None:
    """Store a site unless it stands."""
    row = {
        "id": site.site_id,
        "tenant": site.tenant,
        "name": site.name,
        "geometry": site.geometry,
        "epsg": site.epsg,
        **_extent_row(site.extent),
        "reference_scene_id": site.reference_scene_id,
        "created": tx.now,
        "actor": tx.actor,
    }
    tx.insert_new(tables.sites, row)


def set_reference(tx: Tx, site_id: str, scene_id: str) -> None:
    """Make a scene the site's alignment reference, where it has none yet."""
    table = tables.sites
    free = table.c.reference_scene_id.is_(None)
    tx.execute(
        table.update().where(table.c.id == site_id, free).values(reference_scene_id=scene_id)
    )


def site(connection: Connection, site_id: str) -> Site:
    """One site. Raises NotFound."""
    found = _sites(connection, tables.sites.c.id == site_id)
    if not found:
        raise NotFound(f"there is no site {site_id!r}: `groundshift status` lists those there are")
    return found[0]


def sites_of(connection: Connection, tenant: str) -> list[Site]:
    """A tenant's sites, by id."""
    return _sites(connection, tables.sites.c.tenant == tenant)


def _sites(connection: Connection, where: ColumnElement[bool]) -> list[Site]:
    query = select(tables.sites).where(where).order_by(tables.sites.c.id)
    return [
        Site(r.id, r.tenant, r.name, r.geometry, r.epsg, _extent(r), r.reference_scene_id)
        for r in connection.execute(query)
    ]


def add_scene(tx: Tx, scene: Scene) -> bool:
    """Store a scene unless it stands; whether it is new."""
    row = {
        "id": scene.scene_id,
        "arrival_id": scene.arrival_id,
        "stac_id": scene.stac_id,
        "tenant": scene.tenant,
        "site_id": scene.site_id,
        "acquired": scene.acquired,
        "sensor": scene.sensor,
        "digest": scene.digest,
        **_extent_row(scene.extent),
        "valid_fraction": scene.valid_fraction,
        "shift_y": scene.shift_yx[0],
        "shift_x": scene.shift_yx[1],
        "shift_spread": scene.shift_spread,
        "shift_state": scene.shift_state,
        "outcome": scene.outcome,
        "reason": scene.reason,
        "message": scene.message,
        "created": tx.now,
        "actor": tx.actor,
    }
    return tx.insert_new(tables.scenes, row)


def of_site(connection: Connection, site_id: str) -> list[Scene]:
    """A site's scenes in their order."""
    return _scenes(connection, tables.scenes.c.site_id == site_id)


def get(connection: Connection, scene_id: str) -> Scene:
    """One scene. Raises NotFound."""
    return find(_scenes(connection, tables.scenes.c.id == scene_id), scene_id)


def all_of(connection: Connection, tenant: str) -> list[Scene]:
    """A tenant's scenes in the order of acquisition."""
    return _scenes(connection, tables.scenes.c.tenant == tenant)


def find(known: Iterable[Scene], scene_id: str) -> Scene:
    """The scene of that id among `known`. Raises NotFound."""
    for scene in known:
        if scene.scene_id == scene_id:
            return scene
    raise NotFound(f"there is no scene {scene_id!r}: `groundshift status` lists those there are")


def set_outcome(
    tx: Tx, scene_id: str, outcome: str, *, reason: str | None = None, message: str | None = None
) -> None:
    """Say how a scene ended, or that it is ``ready`` again."""
    table = tables.scenes
    values = {"outcome": outcome, "reason": reason, "message": message}
    tx.execute(table.update().where(table.c.id == scene_id).values(**values))


def _scenes(connection: Connection, where: ColumnElement[bool]) -> list[Scene]:
    table = tables.scenes
    query = select(table).where(where).order_by(table.c.acquired, table.c.id)
    return [_scene(row) for row in connection.execute(query)]


def _scene(r: Row[Any]) -> Scene:
    return Scene(
        scene_id=r.id,
        arrival_id=r.arrival_id,
        stac_id=r.stac_id,
        tenant=r.tenant,
        site_id=r.site_id,
        acquired=r.acquired,
        sensor=r.sensor,
        digest=r.digest,
        extent=_extent(r),
        valid_fraction=r.valid_fraction,
        shift_yx=(r.shift_y, r.shift_x),
        shift_spread=r.shift_spread,
        shift_state=r.shift_state,
        outcome=r.outcome,
        reason=r.reason,
        message=r.message,
    )


def _extent(row: Row[Any]) -> Extent:
    return Extent(row.top, row.left, row.bottom, row.right)


def _extent_row(extent: Extent) -> dict[str, int]:
    return {
        "top": extent.top,
        "left": extent.left,
        "bottom": extent.bottom,
        "right": extent.right,
    }


def by_id(known: Sequence[Scene]) -> dict[str, Scene]:
    """Scenes by id."""
    return {scene.scene_id: scene for scene in known}
