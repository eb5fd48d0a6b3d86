"""Locks of the review queue: who has an alert in hand, and until when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, select

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


def take(tx: Tx, alert_id: str, *, tenant: str, owner: str, seconds: float) -> Lock:
    """Take or prolong a lock. Raises Conflict while another owner's lasts."""
    table, until = tables.locks, tx.now + timedelta(seconds=seconds)
    row = {"alert_id": alert_id, "tenant": tenant, "owner": owner, "until": until}
    if not tx.insert_new(table, row):
        free = (table.c.owner == owner) | (table.c.until <= tx.now)
        update = table.update().where(table.c.alert_id == alert_id, free)
        if not tx.execute(update.values(owner=owner, until=until)).rowcount:
            holder = of_alerts(tx.connection, [alert_id], now=tx.now)[alert_id]
            raise Conflict(
                f"{holder.owner} has alert {alert_id!r} in hand until "
                f"{holder.until:%H:%M:%S} UTC: take the next one of the queue"
            )
    return Lock(alert_id, owner, until)


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
        found |= {r.alert_id: Lock(r.alert_id, r.owner, r.until) for r in connection.execute(query)}
    return found


def of_tenant(connection: Connection, tenant: str, *, now: datetime) -> dict[str, Lock]:
    """A tenant's locks that hold, by alert."""
    table = tables.locks
    query = select(table).where(table.c.tenant == tenant, table.c.until > now)
    return {r.alert_id: Lock(r.alert_id, r.owner, r.until) for r in connection.execute(query)}
