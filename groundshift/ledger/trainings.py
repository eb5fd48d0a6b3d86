"""Trainings: asked for once per set of labels, one at a time, and every one ends with a reason.

::

    due -> accepted -> running -> registered | refused | failed
     ^         `-----> parked        what it needs is not installed here
     `--- asked for again, where nothing was heard of it

A cluster's Job begins at due: there it is Kubernetes that keeps what was accepted.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Row, func, select

from groundshift.errors import NotFound, NotYet
from groundshift.events import DriftFound, Event, ModelRegistered, RetrainDue, event_type, new_event
from groundshift.ledger import labels, tables
from groundshift.ledger.database import Tx

OPEN: Final = ("due", "accepted", "running")
"""States of a training that is still to be made."""
WAITING: Final = (*OPEN, "parked")
"""States of a training that nothing came of yet."""
ENDED: Final = ("registered", "refused", "failed")
STAGE: Final = "retrain"
"""Who asks for trainings."""
JOB: Final = "training"
"""Who makes them; also the name of the lease that keeps it to one at a time."""

_t = tables.trainings


@dataclass(frozen=True)
class Training:
    """One training, as the ledger knows it."""

    id: str
    """Digest of the labels that it was asked for with."""
    tenant: str
    cause: str
    """labels or drift."""
    labels: int
    new: int
    state: str
    attempt: int
    created: datetime
    updated: datetime
    actor: str
    reason: str | None = None
    message: str | None = None
    set_digest: str | None = None
    version: str | None = None
    report: str | None = None

    @property
    def event(self) -> Event:
        """What asked for it: the same event whoever makes it."""
        data = RetrainDue(training_id=self.id, reason=self.cause, labels=self.labels, new=self.new)
        return new_event(
            data,
            source=STAGE,
            subject=self.id,
            time=self.created,
            attempt=self.attempt,
            tenant=self.tenant,
            actor=self.actor,
        )


@dataclass(frozen=True)
class Labels:
    """The verified tiles that stand."""

    digest: str
    """SHA-256 over their versions."""
    count: int
    new: int
    """How many came after a moment."""


@dataclass(frozen=True)
class Outcome:
    """What came of a training."""

    state: str
    """registered, refused, failed or parked."""
    reason: str
    """A word, e.g. passed, gate, crashed."""
    message: str
    """What happened, and the cure where there is one."""
    set_digest: str | None = None
    version: str | None = None
    """In the registry; only of what was registered."""
    report: str | None = None
    """Key of the gate's report in the object store."""


def owner_here(data_dir: Path) -> str:
    """Who trains in a data folder: one at a time, so whoever comes next takes over from the last.

    On a cluster JobSink's Job has a name of its own, which all of its pods share.
    """
    return os.environ.get("JOB_NAME") or f"{platform.node()}:{data_dir}"


def standing_labels(connection: Connection, *, since: datetime | None) -> Labels:
    """The current labels of every tenant, and how many of them came after `since`."""
    known = labels.standing(connection)
    digest = hashlib.sha256(orjson.dumps(list(known))).hexdigest()
    new = sum(since is None or created > since for created in known.values())
    return Labels(digest, len(known), new)


def drifted(connection: Connection, *, since: datetime | None) -> bool:
    """Whether a drift was found after `since`."""
    table = tables.outbox
    where = [table.c.type == event_type(DriftFound.WORD)]
    where += [table.c.created > since] if since is not None else []
    return connection.execute(select(table.c.seq).where(*where).limit(1)).first() is not None


def latest(connection: Connection) -> Training | None:
    """The training that was asked for last."""
    query = select(_t).order_by(_t.c.created.desc(), _t.c.id).limit(1)
    row = connection.execute(query).one_or_none()
    return _training(row) if row else None


def ask(tx: Tx, known: Labels, *, cause: str) -> bool:
    """Ask for a training with these labels; False where one was asked for before."""
    row = {
        "id": known.digest,
        "tenant": tx.tenant,
        "cause": cause,
        "labels": known.count,
        "new": known.new,
        "state": "due",
        "attempt": 1,
        "created": tx.now,
        "updated": tx.now,
        "actor": tx.actor,
    }
    if not tx.insert_new(_t, row):
        return False
    tx.emit(get(tx.connection, known.digest).event)
    return True


def ask_again(tx: Tx, training: Training) -> None:
    """Ask once more for a training that nothing was heard of."""
    again = {"state": "due", "attempt": training.attempt + 1, "updated": tx.now}
    tx.execute(_t.update().where(_t.c.id == training.id).values(**again))
    tx.emit(get(tx.connection, training.id).event)


def accept(tx: Tx, training_id: str) -> bool:
    """Note that the embedded JobSink has it; False where it had. Raises NotFound."""
    if get(tx.connection, training_id).state != "due":
        return False
    _set(tx, training_id, {"state": "accepted"})
    return True


def start(tx: Tx, training_id: str, *, owner: str, seconds: float) -> Training | None:
    """Take a training in hand for at most `seconds`; None where it has ended already.

    The same `owner` may take it again: it died meanwhile. Raises NotFound, or NotYet while another
    owner trains.
    """
    training = get(tx.connection, training_id)
    if training.state in ENDED:
        return None
    if not tx.take_lease(JOB, owner=owner, seconds=seconds):
        raise NotYet("another training is under way: this one starts when that has ended")
    _set(tx, training_id, {"state": "running", "reason": None, "message": None})
    return get(tx.connection, training_id)


def conclude(tx: Tx, training_id: str, outcome: Outcome, *, owner: str) -> bool:
    """Write what came of a training, and say so where it made a challenger.

    False where it had ended before: then nothing changes.
    """
    tx.release_lease(JOB, owner=owner)
    training = get(tx.connection, training_id)
    if training.state in ENDED:
        return False
    _set(tx, training_id, vars(outcome))
    if outcome.state == "registered":
        data = ModelRegistered(
            set_digest=outcome.set_digest or "",
            version=outcome.version or "",
            training_id=training_id,
            report=outcome.report or "",
        )
        tx.say(data, source=JOB, subject=data.set_digest, tenant=training.tenant)
    return True


def resume(tx: Tx) -> int:
    """Take what was parked in hand again, since what it needs is there now; how many."""
    parked = _t.c.state == "parked"
    again = {"state": "accepted", "reason": None, "message": None, "updated": tx.now}
    return tx.execute(_t.update().where(parked).values(**again)).rowcount


def get(connection: Connection, training_id: str) -> Training:
    """One training. Raises NotFound."""
    row = connection.execute(select(_t).where(_t.c.id == training_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no training {training_id!r:.80}: `groundshift status` lists them")
    return _training(row)


def in_state(connection: Connection, *states: str) -> list[Training]:
    """The trainings in some states, oldest first; without a state all of them."""
    query = select(_t).order_by(_t.c.created, _t.c.id)
    query = query.where(_t.c.state.in_(states)) if states else query
    return [_training(row) for row in connection.execute(query)]


def counts(connection: Connection) -> Mapping[str, int]:
    """How many trainings are in each state."""
    query = select(_t.c.state, func.count()).group_by(_t.c.state).order_by(_t.c.state)
    return MappingProxyType({row[0]: row[1] for row in connection.execute(query)})


def _set(tx: Tx, training_id: str, values: Mapping[str, Any]) -> None:
    tx.execute(_t.update().where(_t.c.id == training_id).values(**values, updated=tx.now))


def _training(row: Row[Any]) -> Training:
    return Training(**row._mapping)
