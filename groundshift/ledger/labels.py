"""Labels: verified tiles, by content. The newest of a run's tile is current; older ones stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from groundshift.errors import NotFound
from groundshift.ledger import tables
from groundshift.ledger.database import Tx


@dataclass(frozen=True)
class Label:
    """A verified tile, as the ledger knows it."""

    version: str
    """Digest over pixels, masks and lineage."""
    tenant: str
    site_id: str
    run_id: str
    """The pair that it shows."""
    tile: str
    reviews: Sequence[str]
    """Ids of the reviews it follows from."""
    counts: Mapping[str, Any]
    """Pixels ``changed``, ``unchanged``, ``ignored``; ``pairs``: changed ones by class pair."""
    licence: str
    current: bool = True
    created: datetime | None = None
    actor: str | None = None


def add(tx: Tx, label: Label, *, actor: str) -> bool:
    """Make a label the current one of its run's tile; whether it was not before."""
    table = tables.labels
    same = (table.c.run_id == label.run_id) & (table.c.tile == label.tile)
    stands = tx.execute(select(table.c.version).where(same, table.c.current)).scalars().all()
    if stands == [label.version]:
        return False
    tx.execute(table.update().where(same).values(current=False))
    row = {
        "version": label.version,
        "tenant": label.tenant,
        "site_id": label.site_id,
        "run_id": label.run_id,
        "tile": label.tile,
        "current": True,
        "reviews": list(label.reviews),
        "counts": dict(label.counts),
        "licence": label.licence,
        "created": tx.now,
        "actor": actor,
    }
    if not tx.insert_new(table, row):  # a verdict was taken back: an older version holds again
        tx.execute(table.update().where(table.c.version == label.version).values(current=True))
    return True


def retire(tx: Tx, run_id: str, tile: str) -> None:
    """Leave a run's tile without a current label: nobody vouches for any of it now."""
    table = tables.labels
    same = (table.c.run_id == run_id) & (table.c.tile == tile)
    tx.execute(table.update().where(same).values(current=False))


def of_tenant(connection: Connection, tenant: str, *, current: bool | None = None) -> list[Label]:
    """A tenant's labels, oldest first."""
    table = tables.labels
    where = [table.c.tenant == tenant]
    where += [table.c.current == current] if current is not None else []
    query = select(table).where(*where).order_by(table.c.created, table.c.version)
    return [_label(row) for row in connection.execute(query)]


def of_tiles(connection: Connection, tenant: str, run_id: str, tiles: Iterable[str]) -> list[Label]:
    """Every version of some tiles of a run, oldest first."""
    table = tables.labels
    there = (table.c.tenant == tenant, table.c.run_id == run_id, table.c.tile.in_(list(tiles)))
    query = select(table).where(*there).order_by(table.c.created, table.c.version)
    return [_label(row) for row in connection.execute(query)]


def before(connection: Connection, label: Label) -> Label | None:
    """The version of the same tile that stood before a label; None for the first one."""
    found = of_tiles(connection, label.tenant, label.run_id, [label.tile])
    at = [one.version for one in found].index(label.version)
    return found[at - 1] if at else None


def standing(connection: Connection) -> dict[str, datetime]:
    """When each current label of any tenant came, by version: what a training learns from."""
    table = tables.labels
    query = select(table.c.version, table.c.created).where(table.c.current)
    return {row.version: row.created for row in connection.execute(query.order_by(table.c.version))}


def get(connection: Connection, tenant: str, version: str) -> Label:
    """One label of a tenant. Raises NotFound."""
    table = tables.labels
    query = select(table).where(table.c.version == version, table.c.tenant == tenant)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"there is no label {version!r:.80}: GET /api/labels lists those there are")
    return _label(row)


def _label(row: Row[Any]) -> Label:
    return Label(**row._mapping)
