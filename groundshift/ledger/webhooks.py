"""Webhooks: who wants the feed pushed, and how far each has got.

A webhook follows the feed by number, one delivery after the other: what was not accepted is sent
again, and nothing behind it before. So none is lost, and a copy has the id of the first.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, select
from sqlalchemy.sql import ColumnElement

from groundshift.errors import NotFound
from groundshift.ledger import catalogue, tables
from groundshift.ledger.database import Tx

WORDS: Final = ("alert.raised", "alert.updated", "alert.withdrawn")
"""What the feed says."""
ACTIVE, PAUSED = "active", "paused"
_FIRST_WAIT_S: Final = 2.0
_LONGEST_WAIT_S: Final = 3600.0
_MOST_FAILURES: Final = 40
"""In a row, about a day and a half of them; then a person must look."""


@dataclass(frozen=True)
class Webhook:
    """Who wants the feed pushed."""

    webhook_id: str
    tenant: str
    url: str
    secret: str = field(repr=False)
    types: Sequence[str]
    """Words of the feed that it wants; empty: all."""
    state: str
    seq: int
    """Number of the feed up to which it has everything it wants."""
    failures: int
    """In a row."""
    next_at: datetime
    status: int | None
    """HTTP status of the last answer."""
    reason: str | None
    """Why the last delivery failed."""
    created: datetime
    actor: str


def add(tx: Tx, *, tenant: str, actor: str, url: str, types: Sequence[str]) -> Webhook:
    """A new webhook, from the feed's next entry on."""
    webhook = Webhook(
        webhook_id=secrets.token_hex(8),
        tenant=tenant,
        url=url,
        secret=secrets.token_urlsafe(32),
        types=list(types),
        state=ACTIVE,
        seq=catalogue.feed_head(tx.connection),
        failures=0,
        next_at=tx.now,
        status=None,
        reason=None,
        created=tx.now,
        actor=actor,
    )
    row = dict(vars(webhook))
    tx.execute(tables.webhooks.insert().values(id=row.pop("webhook_id"), **row))
    return webhook


def of_tenant(connection: Connection, tenant: str) -> list[Webhook]:
    """A tenant's webhooks, oldest first."""
    return _read(connection, tables.webhooks.c.tenant == tenant)


def get(connection: Connection, tenant: str, webhook_id: str) -> Webhook:
    """One webhook of a tenant. Raises NotFound."""
    c = tables.webhooks.c
    found = _read(connection, (c.tenant == tenant) & (c.id == webhook_id))
    if not found:
        raise NotFound(f"there is no webhook {webhook_id!r:.80}: GET /api/webhooks lists them")
    return found[0]


def current(connection: Connection, webhook_id: str) -> Webhook | None:
    """A webhook as it stands now; None where it was removed or paused."""
    c = tables.webhooks.c
    found = _read(connection, (c.id == webhook_id) & (c.state == ACTIVE))
    return found[0] if found else None


def delete(tx: Tx, webhook_id: str) -> None:
    """Remove a webhook; a delivery under way may still arrive."""
    table = tables.webhooks
    tx.execute(table.delete().where(table.c.id == webhook_id))


def due(connection: Connection, *, now: datetime) -> list[Webhook]:
    """Active webhooks that may be tried now."""
    c = tables.webhooks.c
    return _read(connection, (c.state == ACTIVE) & (c.next_at <= now))


def delivered(tx: Tx, webhook_id: str, *, seq: int, status: int) -> None:
    """Note that everything up to a number arrived; it never goes back."""
    table = tables.webhooks
    here = (table.c.id == webhook_id) & (table.c.seq < seq)
    good = {"seq": seq, "failures": 0, "next_at": tx.now, "status": status, "reason": None}
    tx.execute(table.update().where(here).values(**good))


def passed(tx: Tx, webhook_id: str, *, seq: int) -> None:
    """Note that nothing up to a number is wanted."""
    table = tables.webhooks
    here = (table.c.id == webhook_id) & (table.c.seq < seq)
    tx.execute(table.update().where(here).values(seq=seq))


def failed(tx: Tx, webhook: Webhook, *, status: int | None, reason: str) -> None:
    """Note a failure and when to try again: twice as long each time; too many pause it."""
    failures = webhook.failures + 1
    wait = min(_FIRST_WAIT_S * 2 ** min(failures - 1, 20), _LONGEST_WAIT_S)
    values = {
        "failures": failures,
        "next_at": tx.now + timedelta(seconds=wait),
        "status": status,
        "reason": reason[:500],
        "state": PAUSED if failures >= _MOST_FAILURES else ACTIVE,
    }
    table = tables.webhooks
    tx.execute(table.update().where(table.c.id == webhook.webhook_id).values(**values))


def resume(tx: Tx, webhook_id: str) -> None:
    """Try a webhook again now, paused or not."""
    table = tables.webhooks
    values = {"state": ACTIVE, "failures": 0, "next_at": tx.now}
    tx.execute(table.update().where(table.c.id == webhook_id).values(**values))


def _read(connection: Connection, where: ColumnElement[bool]) -> list[Webhook]:
    table = tables.webhooks
    query = select(table).where(where).order_by(table.c.created, table.c.id)
    return [_webhook(row) for row in connection.execute(query)]


def _webhook(row: Row[Any]) -> Webhook:
    named = dict(row._mapping)
    return Webhook(webhook_id=named.pop("id"), **named)
