"""sweep: a clock ticks -> what is overdue is said again, with the next attempt number.

A net below the Broker's retries, for what neither came through nor became a dead letter: a scene
that was announced and has no outcome, a scene without a run, a block without an artifact, a run
whose blocks are all done, a finished run that track has not seen. What is still on its way, and
what lies among the dead letters, is left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import ColumnElement, exists, func, select

from groundshift.events import (
    BlockDone,
    BlockReady,
    ClockTicked,
    EventData,
    RunDone,
    SceneArrived,
    SceneReady,
    event_type,
)
from groundshift.ledger import Ledger, Tx, tables
from groundshift.ledger.deliveries import OPEN

if TYPE_CHECKING:
    from functions.platform import Platform
    from groundshift.events import Event

log = logging.getLogger(__name__)

SOURCE: Final = "sweep"
TRACK: Final = "track"
_LIMIT: Final = 500
"""Most of a kind in one pass: the next pass takes the rest."""


@dataclass(frozen=True)
class Swept:
    """One thing that was said again."""

    word: str
    subject: str
    attempt: int


@dataclass(frozen=True)
class _Overdue:
    data: EventData
    subject: str
    tenant: str


def sweep(event: Event, platform: Platform) -> None:
    """One pass at a clock's tick; a tick that comes twice finds nothing the second time."""
    ClockTicked.of(event)
    say_again(platform.ledger, after=timedelta(seconds=platform.settings.sweep_after_s))


def say_again(ledger: Ledger, *, after: timedelta) -> list[Swept]:
    """Say again what has waited for longer than `after`; what was said. One pass."""
    with ledger.transaction() as tx:
        before = tx.now - after
        found = [
            *_arrivals(tx, before),
            *_scenes(tx, before),
            *_blocks(tx, before),
            *_runs(tx, before),
            *_tracks(tx, before),
        ]
        return [said for one in found if (said := _say(tx, one, before))]


def _say(tx: Tx, overdue: _Overdue, before: datetime) -> Swept | None:
    """Emit with the next attempt number, unless it was said or is on its way since `before`."""
    o, d = tables.outbox, tables.deliveries
    ours = (o.c.type == event_type(overdue.data.WORD)) & (o.c.subject == overdue.subject)
    pending = exists().where(d.c.seq == o.c.seq, d.c.state.in_((*OPEN, "dead")))
    recent = ours & ((o.c.created > before) | o.c.published.is_(None) | pending)
    if tx.execute(select(o.c.seq).where(recent).limit(1)).first():
        return None
    attempt = 1 + (tx.execute(select(func.count()).where(ours)).scalar() or 0)
    tx.say(
        overdue.data,
        source=SOURCE,
        subject=overdue.subject,
        attempt=attempt,
        tenant=overdue.tenant,
    )
    log.warning("overdue: %s %s, attempt %d", overdue.data.WORD, overdue.subject, attempt)
    return Swept(overdue.data.WORD, overdue.subject, attempt)


def _arrivals(tx: Tx, before: datetime) -> Iterator[_Overdue]:
    t = tables.arrivals
    where = (t.c.state == "arrived") & (t.c.created <= before) & ~_on_its_way(t.c.id)
    for row in tx.execute(select(t).where(where).order_by(t.c.seq).limit(_LIMIT)).all():
        data = SceneArrived.fit({**row.options, "href": row.href, "arrival": row.id})
        yield _Overdue(data, row.id, row.tenant)


def _on_its_way(arrival: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether the announcement itself is still to be delivered, or is a dead letter."""
    o, d = tables.outbox, tables.deliveries
    names_it = o.c.data["arrival"].as_string() == arrival
    open_ = exists().where(d.c.seq == o.c.seq, d.c.state.in_((*OPEN, "dead")))
    return exists().where(
        o.c.type == event_type(SceneArrived.WORD), names_it, o.c.published.is_(None) | open_
    )


def _scenes(tx: Tx, before: datetime) -> Iterator[_Overdue]:
    """Ready scenes that no run is under way for, and none is done."""
    t, r = tables.scenes, tables.runs
    has_run = exists().where(r.c.scene_id == t.c.id, r.c.state.in_(("planned", "done")))
    where = (t.c.outcome == "ready") & (t.c.created <= before) & ~has_run
    for row in tx.execute(select(t).where(where).order_by(t.c.id).limit(_LIMIT)).all():
        yield _Overdue(SceneReady(scene_id=row.id, site_id=row.site_id), row.id, row.tenant)


def _blocks(tx: Tx, before: datetime) -> Iterator[_Overdue]:
    r, b = tables.runs, tables.blocks
    query = (
        select(b.c.run_id, b.c.block, r.c.tenant)
        .join(r, r.c.id == b.c.run_id)
        .where(r.c.state == "planned", r.c.created <= before, b.c.state == "ready")
        .order_by(b.c.run_id, b.c.block)
        .limit(_LIMIT)
    )
    for row in tx.execute(query).all():
        data = BlockReady(run_id=row.run_id, block=row.block)
        yield _Overdue(data, f"{row.run_id}/{row.block}", row.tenant)


def _runs(tx: Tx, before: datetime) -> Iterator[_Overdue]:
    """Planned runs without a missing block: their last block.done came to nothing."""
    r, b = tables.runs, tables.blocks
    missing = exists().where(b.c.run_id == r.c.id, b.c.state != "done")
    last = select(func.max(b.c.finished)).where(b.c.run_id == r.c.id).scalar_subquery()
    one = select(func.min(b.c.block)).where(b.c.run_id == r.c.id).scalar_subquery()
    query = (
        select(r.c.id, r.c.tenant, one.label("block"))
        .where(r.c.state == "planned", ~missing, last <= before)
        .limit(_LIMIT)
    )
    for row in tx.execute(query).all():
        data = BlockDone(run_id=row.id, block=row.block)
        yield _Overdue(data, f"{row.id}/{row.block}", row.tenant)


def _tracks(tx: Tx, before: datetime) -> Iterator[_Overdue]:
    """Current runs none of whose run.done track has handled."""
    r, o, h = tables.runs, tables.outbox, tables.handled
    handled = exists().where(
        o.c.type == event_type(RunDone.WORD),
        o.c.subject == r.c.id,
        h.c.consumer == TRACK,
        h.c.source == o.c.source,
        h.c.event_id == o.c.id,
    )
    where = r.c.current & (r.c.kind == "change") & (r.c.finished <= before) & ~handled
    for row in tx.execute(select(r).where(where).order_by(r.c.id).limit(_LIMIT)).all():
        data = RunDone(run_id=row.id, site_id=row.site_id, scene_id=row.scene_id)
        yield _Overdue(data, row.id, row.tenant)
