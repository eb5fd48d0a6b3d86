"""What a dead letter means for the scene behind it: every scene has an outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import select

from groundshift.events import BlockDone, BlockReady, Event, RunDone, SceneArrived, SceneReady
from groundshift.ledger import tables
from groundshift.ledger.arrivals import arrival_id, record_arrival, resolve
from groundshift.ledger.database import Ledger, Tx
from groundshift.ledger.deliveries import DeadLetter, replay

DEAD_LETTER: Final = "dead_letter"
"""The reason of what failed by a dead letter; the message says more."""
_RUN_WORDS: Final = (BlockReady.WORD, BlockDone.WORD, RunDone.WORD)


def mark_failed(tx: Tx, event: Event, message: str) -> None:
    """Note that an event was given up: its arrival, scene or run is failed, with the reason."""
    if event.word == SceneArrived.WORD:
        record_arrival(tx, event)
        resolve(tx, arrival_id(event), state="failed", reason=DEAD_LETTER, message=message)
    elif event.word == SceneReady.WORD:
        _scene(tx, event, before="ready", after="failed", message=message)
    elif event.word in _RUN_WORDS:
        _run(tx, event, before=("planned",), after="failed", message=message)


def mark_replayed(tx: Tx, event: Event) -> None:
    """Take `mark_failed` back: the event is tried again."""
    if event.word == SceneArrived.WORD:
        table = tables.arrivals
        failed = table.c.id == arrival_id(event), table.c.state == "failed"
        again = {"state": "arrived", "reason": None, "message": None, "resolved": None}
        tx.execute(table.update().where(*failed).values(**again, attempt=table.c.attempt + 1))
    elif event.word == SceneReady.WORD:
        _scene(tx, event, before="failed", after="ready")
    elif event.word in _RUN_WORDS:
        _run(tx, event, before=("failed",), after="planned")


def replay_dead(
    ledger: Ledger,
    *,
    seq: int | None = None,
    event_id: str | None = None,
    trigger: str | None = None,
) -> Sequence[DeadLetter]:
    """Try dead letters again, by number, event id or Trigger (none of them: all); which ones."""
    with ledger.transaction() as tx:
        letters = replay(tx, seq=seq, event_id=event_id, trigger=trigger)
        for letter in letters:
            mark_replayed(tx, letter.event)
    ledger.wake()
    return letters


def _scene(tx: Tx, event: Event, *, before: str, after: str, message: str | None = None) -> None:
    table = tables.scenes
    where = table.c.id == event.data["scene_id"], table.c.outcome == before
    tx.execute(table.update().where(*where).values(outcome=after, **_why(message)))


def _run(
    tx: Tx, event: Event, *, before: tuple[str, ...], after: str, message: str | None = None
) -> None:
    runs, scenes = tables.runs, tables.scenes
    this = runs.c.id == event.data["run_id"]
    moved = tx.execute(
        runs.update().where(this, runs.c.state.in_(before)).values(state=after, **_why(message))
    )
    if moved.rowcount:
        was, becomes = ("ready", "failed") if after == "failed" else ("failed", "ready")
        behind = scenes.c.id == select(runs.c.scene_id).where(this).scalar_subquery()
        tx.execute(
            scenes.update()
            .where(behind, scenes.c.outcome == was)
            .values(outcome=becomes, **_why(message))
        )


def _why(message: str | None) -> Mapping[str, Any]:
    return {"reason": DEAD_LETTER if message else None, "message": message}
