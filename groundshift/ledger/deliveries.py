"""Deliveries: one row per (outbox event, Trigger), from pending to done or dead.

::

    pending -> claimed -> done
       ^          |-----> pending    a retry is due later, or the process died
       |          `-----> dead       the dead letter, with its reason
       `------------------- replay
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, func, select

from groundshift.events import Event
from groundshift.ledger import tables
from groundshift.ledger.database import Tx

OPEN: Final = ("pending", "claimed")
"""States of a delivery that is still to be made."""
_d, _o = tables.deliveries, tables.outbox
_EVENT: Final = (
    _o.c.id,
    _o.c.source,
    _o.c.type,
    _o.c.subject,
    _o.c.time,
    _o.c.data,
    _o.c.extensions,
)

Route = Callable[[Event], Iterable[str]]
"""The names of the Triggers that an event passes."""


@dataclass(frozen=True)
class Delivery:
    """One claimed delivery."""

    seq: int
    """The event's number in the outbox."""
    trigger: str
    event: Event
    attempts: int
    """Attempts that ended before this one."""


@dataclass(frozen=True)
class DeadLetter:
    """A delivery that was given up."""

    seq: int
    trigger: str
    event: Event
    attempts: int
    status: int | None
    """HTTP status of the last answer; None where there was none."""
    reason: str
    at: datetime


def event_of(row: Row[Any]) -> Event:
    """The event of a row that holds the outbox's columns."""
    return Event(
        id=row.id,
        source=row.source,
        type=row.type,
        subject=row.subject,
        time=row.time,
        data=MappingProxyType(row.data),
        extensions=MappingProxyType(row.extensions),
    )


def fan_out(tx: Tx, route: Route, *, limit: int) -> int:
    """Make the delivery rows of up to `limit` unpublished events; how many events were taken."""
    query = select(_o).where(_o.c.published.is_(None)).order_by(_o.c.seq).limit(limit)
    rows = tx.execute(query.with_for_update(skip_locked=True)).all()
    new = [
        {"seq": row.seq, "trigger": name, "state": "pending", "attempts": 0, "losses": 0}
        | {"next_at": tx.now, "updated": tx.now}
        for row in rows
        for name in route(event_of(row))
    ]
    if new:
        tx.execute(_d.insert(), new)
    if rows:
        taken = _o.update().where(_o.c.seq.in_([row.seq for row in rows]))
        tx.execute(taken.values(published=tx.now))
    return len(rows)


def claim(tx: Tx, trigger: str, *, owner: str, lease: timedelta, limit: int) -> Sequence[Delivery]:
    """Claim up to `limit` pending deliveries of a Trigger whose time has come, in outbox order."""
    query = (
        select(_d.c.seq, _d.c.attempts, *_EVENT)
        .join(_o, _o.c.seq == _d.c.seq)
        .where(_d.c.trigger == trigger, _d.c.state == "pending", _d.c.next_at <= tx.now)
        .order_by(_d.c.seq)
        .limit(limit)
        .with_for_update(skip_locked=True, of=_d)
    )
    rows = tx.execute(query).all()
    if rows:
        mine = _d.update().where(_d.c.trigger == trigger, _d.c.seq.in_([row.seq for row in rows]))
        held = {"state": "claimed", "owner": owner, "lease_until": tx.now + lease}
        tx.execute(mine.values(**held, updated=tx.now))
    return [Delivery(row.seq, trigger, event_of(row), row.attempts) for row in rows]


def _settle(tx: Tx, delivery: Delivery, *, owner: str, values: dict[str, Any]) -> bool:
    mine = _d.update().where(
        _d.c.seq == delivery.seq,
        _d.c.trigger == delivery.trigger,
        _d.c.state == "claimed",
        _d.c.owner == owner,
    )
    ended = {"attempts": delivery.attempts + 1, "owner": None, "lease_until": None}
    return tx.execute(mine.values(**ended, **values, updated=tx.now)).rowcount == 1


def finish(tx: Tx, delivery: Delivery, *, owner: str, status: int | None) -> bool:
    """The subscriber took it. False where the claim was lost meanwhile; then nothing changes."""
    return _settle(tx, delivery, owner=owner, values={"state": "done", "status": status})


def postpone(
    tx: Tx, delivery: Delivery, *, owner: str, until: datetime, status: int | None, reason: str
) -> bool:
    """The attempt failed and the next is due at `until`. False where the claim was lost."""
    values = {"state": "pending", "next_at": until, "status": status, "reason": reason}
    return _settle(tx, delivery, owner=owner, values=values)


def bury(tx: Tx, delivery: Delivery, *, owner: str, status: int | None, reason: str) -> bool:
    """Give the delivery up: a dead letter with its reason. False where the claim was lost."""
    values = {"state": "dead", "status": status, "reason": reason}
    return _settle(tx, delivery, owner=owner, values=values)


def release(tx: Tx, *, owner: str | None = None) -> int:
    """Make claims pending again; how many. The attempt is not counted.

    `owner`: its claims, which it gives back itself. None: everybody's, since nobody else is alive;
    each counts as a loss.
    """
    claimed = _d.c.state == "claimed"
    if owner is None:
        return _unclaim(tx, claimed, lost=1)
    return _unclaim(tx, claimed & (_d.c.owner == owner), lost=0)


def prolong(tx: Tx, *, owner: str, lease: timedelta) -> int:
    """Hold on to an owner's claims for `lease` from now; how many it has."""
    held = _d.update().where(_d.c.state == "claimed", _d.c.owner == owner)
    return tx.execute(held.values(lease_until=tx.now + lease)).rowcount


def release_expired(tx: Tx) -> int:
    """Make the claims of silent owners, whose lease ran out, pending again; how many."""
    return _unclaim(tx, (_d.c.state == "claimed") & (_d.c.lease_until <= tx.now), lost=1)


def _unclaim(tx: Tx, where: ColumnElement[bool], *, lost: int) -> int:
    free = {"state": "pending", "owner": None, "lease_until": None, "updated": tx.now}
    return tx.execute(_d.update().where(where).values(**free, losses=_d.c.losses + lost)).rowcount


def overdue_losses(tx: Tx, *, limit: int) -> Sequence[DeadLetter]:
    """Bury what took the process with it more than `limit` times; the new dead letters."""
    where = and_(_d.c.state == "pending", _d.c.losses > limit)
    letters = _letters(tx.connection, where)
    if letters:
        reason = f"the process died {limit + 1} times while handling it; see its memory and log"
        tx.execute(_d.update().where(where).values(state="dead", reason=reason, updated=tx.now))
        letters = [replace(letter, reason=reason, at=tx.now) for letter in letters]
    return letters


def next_due(connection: Connection, triggers: Iterable[str]) -> datetime | None:
    """When a retry or lease of these Triggers falls due next; None where nothing is open."""
    due = func.min(func.coalesce(_d.c.lease_until, _d.c.next_at), type_=_d.c.next_at.type)
    query = select(due).where(_d.c.state.in_(OPEN), _d.c.trigger.in_(tuple(triggers)))
    return connection.execute(query).scalar()


def unpublished(connection: Connection) -> int:
    """Events that wait in the outbox."""
    query = select(func.count()).select_from(_o).where(_o.c.published.is_(None))
    return connection.execute(query).scalar() or 0


def oldest_open(connection: Connection) -> datetime | None:
    """When the oldest event was said that is not delivered everywhere; None where all are."""
    waits = _o.c.published.is_(None) | _o.c.seq.in_(select(_d.c.seq).where(_d.c.state.in_(OPEN)))
    query = select(func.min(_o.c.created, type_=_o.c.created.type)).where(waits)
    return connection.execute(query).scalar()


def open_deliveries(connection: Connection) -> int:
    """Deliveries still to be made."""
    query = select(func.count()).select_from(_d).where(_d.c.state.in_(OPEN))
    return connection.execute(query).scalar() or 0


def dead(connection: Connection) -> int:
    """Dead letters that nobody has replayed."""
    query = select(func.count()).select_from(_d).where(_d.c.state == "dead")
    return connection.execute(query).scalar() or 0


def _letters(connection: Connection, where: ColumnElement[bool]) -> list[DeadLetter]:
    query = (
        select(_d, *_EVENT)
        .join(_o, _o.c.seq == _d.c.seq)
        .where(where)
        .order_by(_d.c.seq, _d.c.trigger)
    )
    return [
        DeadLetter(r.seq, r.trigger, event_of(r), r.attempts, r.status, r.reason or "", r.updated)
        for r in connection.execute(query)
    ]


def dead_letters(connection: Connection) -> list[DeadLetter]:
    """Every dead letter, in outbox order."""
    return _letters(connection, _d.c.state == "dead")


def record_dead(tx: Tx, event: Event, trigger: str, *, status: int | None, reason: str) -> bool:
    """Note a dead letter that a Broker sent; False where it was noted before.

    It ends a delivery that is open: whoever replayed it waits for the Broker's answer still.
    """
    tx.emit(event)
    ours = (_o.c.source == event.source) & (_o.c.id == event.id)
    seq = tx.execute(select(_o.c.seq).where(ours)).scalar_one()
    tx.execute(_o.update().where(ours, _o.c.published.is_(None)).values(published=tx.now))
    row = {"seq": seq, "trigger": trigger, "state": "dead", "attempts": 1, "losses": 0}
    last = {"status": status, "reason": reason, "next_at": tx.now, "updated": tx.now}
    if tx.insert_new(_d, row | last):
        return True
    again = _d.update().where(_d.c.seq == seq, _d.c.trigger == trigger, _d.c.state != "dead")
    ended = {"state": "dead", "owner": None, "lease_until": None, "attempts": _d.c.attempts + 1}
    return tx.execute(again.values(**ended, **last)).rowcount == 1


def replay(
    tx: Tx, *, seq: int | None = None, event_id: str | None = None, trigger: str | None = None
) -> Sequence[DeadLetter]:
    """Put dead letters back to pending with fresh attempts, by number, event id or Trigger.

    No argument: all of them. Returns what was put back.
    """
    where: ColumnElement[bool] = _d.c.state == "dead"
    if seq is not None:
        where &= _d.c.seq == seq
    if event_id is not None:
        where &= _d.c.seq.in_(select(_o.c.seq).where(_o.c.id == event_id))
    if trigger is not None:
        where &= _d.c.trigger == trigger
    letters = _letters(tx.connection, where)
    fresh = {"state": "pending", "attempts": 0, "losses": 0, "next_at": tx.now}
    tx.execute(_d.update().where(where).values(**fresh, updated=tx.now))
    return letters
