"""Locks of the review queue: who has an alert in hand, and until when.

Who reviews shares the ground with others and has the alert to themselves; who labels has every tile
to themselves that the alert touches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from groundshift.errors import Conflict
from groundshift.ledger import tables
from groundshift.ledger.database import Tx

_PART: Final = 5000
"""Ids that one statement takes."""


@dataclass(frozen=True)
class Lock:
    """An alert that somebody has in hand."""

    alert_id: str
    owner: str
    until: datetime
    tiles: Sequence[str] = ()
    """``EPSG/row_col`` of each tile that the alert touches."""
    labelling: bool = False
    """Whether its owner has the tiles to themselves."""

    def excludes(self, other: Lock) -> bool:
        """Whether the two cannot be held at once by two people."""
        shared = not set(self.tiles).isdisjoint(other.tiles)
        return self.alert_id == other.alert_id or (shared and (self.labelling or other.labelling))


def take(
    tx: Tx,
    alert_id: str,
    *,
    tenant: str,
    owner: str,
    seconds: float,
    tiles: Sequence[str] = (),
    labelling: bool = False,
) -> Lock:
    """Take or prolong a lock. Raises Conflict while another owner's excludes it."""
    wanted = Lock(alert_id, owner, tx.now + timedelta(seconds=seconds), tuple(tiles), labelling)
    for holder in of_tenant(tx.connection, tenant, now=tx.now).values():
        if holder.owner != owner and holder.excludes(wanted):
            what = "" if holder.alert_id == alert_id else "the same tile with "
            raise _conflict(holder, what)
    table = tables.locks
    row = {**vars(wanted), "tiles": list(tiles)}
    if not tx.insert_new(table, {**row, "tenant": tenant}):
        tx.execute(table.update().where(table.c.alert_id == alert_id).values(**row))
    return wanted


def check_free(tx: Tx, alert_id: str, *, owner: str) -> None:
    """Raises Conflict while another owner has the alert in hand."""
    holder = of_alerts(tx.connection, [alert_id], now=tx.now).get(alert_id)
    if holder is not None and holder.owner != owner:
        raise _conflict(holder, "")


def release(tx: Tx, alert_id: str, *, owner: str) -> None:
    """Give a lock back; nothing happens where another owner has it."""
    table = tables.locks
    tx.execute(table.delete().where(table.c.alert_id == alert_id, table.c.owner == owner))


def of_alerts(
    connection: Connection, alert_ids: Iterable[str], *, now: datetime
) -> dict[str, Lock]:
    """The locks that hold on some alerts, by alert."""
    table, every = tables.locks, sorted(set(alert_ids))
    found: dict[str, Lock] = {}
    for i in range(0, len(every), _PART):
        part = table.c.alert_id.in_(every[i : i + _PART])
        query = select(table).where(part, table.c.until > now)
        found |= {r.alert_id: _lock(r) for r in connection.execute(query)}
    return found


def of_tenant(connection: Connection, tenant: str, *, now: datetime) -> dict[str, Lock]:
    """A tenant's locks that hold, by alert."""
    table = tables.locks
    query = select(table).where(table.c.tenant == tenant, table.c.until > now)
    return {r.alert_id: _lock(r) for r in connection.execute(query)}


def _conflict(holder: Lock, what: str) -> Conflict:
    return Conflict(
        f"{holder.owner} has {what}alert {holder.alert_id!r} in hand until "
        f"{holder.until:%H:%M:%S} UTC: take the next one of the queue"
    )


def _lock(r: Row[Any]) -> Lock:
    return Lock(r.alert_id, r.owner, r.until, tuple(r.tiles or ()), bool(r.labelling))
