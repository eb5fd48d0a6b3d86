"""Areas: polygons that people of a tenant drew on the map, to look at what lies inside."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select
from sqlalchemy.sql import ColumnElement

from groundshift.errors import Conflict, NotFound
from groundshift.ledger import tables
from groundshift.ledger.database import Tx


@dataclass(frozen=True)
class Area:
    """A saved polygon."""

    area_id: str
    tenant: str
    name: str
    """One of its tenant."""
    geometry: str
    """Polygon or MultiPolygon, GeoJSON, EPSG:4326."""
    created: datetime
    updated: datetime
    actor: str
    """Who drew it."""


def add(tx: Tx, *, tenant: str, name: str, geometry: str, actor: str) -> Area:
    """Save a polygon. Raises Conflict where the tenant has an area of that name."""
    _check_name(tx, tenant, name)
    area = Area(secrets.token_hex(8), tenant, name, geometry, tx.now, tx.now, actor)
    row = dict(vars(area))
    tx.execute(tables.areas.insert().values(id=row.pop("area_id"), **row))
    return area


def change(tx: Tx, area: Area, *, name: str | None = None, geometry: str | None = None) -> Area:
    """Rename an area or draw it anew. Raises Conflict where the name is taken."""
    if name is not None and name != area.name:
        _check_name(tx, area.tenant, name)
    values = {"name": name or area.name, "geometry": geometry or area.geometry, "updated": tx.now}
    tx.execute(tables.areas.update().where(tables.areas.c.id == area.area_id).values(**values))
    return get(tx.connection, area.tenant, area.area_id)


def delete(tx: Tx, area: Area) -> None:
    """Forget an area; alerts and scenes stay."""
    tx.execute(tables.areas.delete().where(tables.areas.c.id == area.area_id))


def of_tenant(connection: Connection, tenant: str) -> list[Area]:
    """A tenant's areas by name."""
    return _read(connection, tables.areas.c.tenant == tenant)


def get(connection: Connection, tenant: str, area_id: str) -> Area:
    """One area of a tenant. Raises NotFound."""
    c = tables.areas.c
    found = _read(connection, (c.tenant == tenant) & (c.id == area_id))
    if not found:
        raise NotFound(f"there is no area {area_id!r:.80}: GET /api/areas lists those there are")
    return found[0]


def _check_name(tx: Tx, tenant: str, name: str) -> None:
    c = tables.areas.c
    if _read(tx.connection, (c.tenant == tenant) & (c.name == name)):
        raise Conflict(f"there is an area {name!r:.80} already: choose another name")


def _read(connection: Connection, where: ColumnElement[bool]) -> list[Area]:
    table = tables.areas
    query = select(table).where(where).order_by(table.c.name, table.c.id)
    return [_area(row) for row in connection.execute(query)]


def _area(row: Row[Any]) -> Area:
    named = dict(row._mapping)
    return Area(area_id=named.pop("id"), **named)
