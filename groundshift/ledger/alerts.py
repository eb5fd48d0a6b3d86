"""The alerts of a site, and what runs say of their polygons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import shapely
from sqlalchemy import Connection, Row, select

from groundshift.ledger import tables
from groundshift.ledger.database import Tx


def of_site(connection: Connection, site_id: str) -> dict[str, Row[Any]]:
    """A site's alerts by id, withdrawn ones included."""
    table = tables.alerts
    query = select(table).where(table.c.site_id == site_id).order_by(table.c.id)
    return {row.id: row for row in connection.execute(query)}


def of_tenant(connection: Connection, tenant: str) -> list[Row[Any]]:
    """A tenant's alerts, oldest first."""
    table = tables.alerts
    query = select(table).where(table.c.tenant == tenant).order_by(table.c.first_seen, table.c.id)
    return list(connection.execute(query))


def store(tx: Tx, row: Mapping[str, Any]) -> None:
    """Write an alert, new or changed."""
    table = tables.alerts
    placed = {**row, **bounds_row(row["geometry"])}
    fresh = {**placed, "created": tx.now, "updated": tx.now, "actor": tx.actor}
    if not tx.insert_new(table, fresh):
        tx.execute(table.update().where(table.c.id == row["id"]).values(**placed, updated=tx.now))


def bounds_row(geometry: str) -> dict[str, float]:
    """The columns that `bbox` filters look at, of a GeoJSON geometry."""
    bounds = shapely.from_geojson(geometry).bounds
    return dict(zip(("west", "south", "east", "north"), bounds, strict=True))


def observations(connection: Connection, run_ids: Iterable[str]) -> dict[tuple[str, str], Any]:
    """What is known of polygons in these runs: value by (geometry digest, run id)."""
    table = tables.observations
    found: dict[tuple[str, str], Any] = {}
    for run_id in run_ids:
        query = select(table).where(table.c.run_id == run_id)
        found.update({(r.geometry_digest, r.run_id): r.value for r in connection.execute(query)})
    return found


def add_observations(tx: Tx, values: Mapping[tuple[str, str], Any]) -> None:
    """Keep what runs say of polygons."""
    for (digest, run_id), value in values.items():
        row = {"geometry_digest": digest, "run_id": run_id, "value": value}
        tx.insert_new(tables.observations, row)
