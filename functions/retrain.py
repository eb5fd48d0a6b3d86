"""retrain: label.accepted, drift.found, a clock -> retrain.due, where a training is worth it.

What it decides by stands in the ledger, not in the event: so it does not matter how often an event
comes, how late, or in what order. The same labels make one training.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from groundshift.events import ClockTicked
from groundshift.ledger import trainings

if TYPE_CHECKING:
    from functions.platform import Platform
    from groundshift.events import Event
    from groundshift.ledger import Tx
    from groundshift.settings import Settings

log = logging.getLogger(__name__)

LOST: Final = "lost"
"""The reason of a training that nothing was heard of."""


@dataclass(frozen=True)
class Policy:
    """When a training is worth it."""

    min_labels: int
    """Verified tiles since the training before."""
    period: timedelta
    """Least time from one training to the next."""
    deadline: timedelta
    """Age from which a training that says nothing is asked for again."""
    attempts: int
    """How often, until it counts as failed."""

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        """The policy that the settings say."""
        return cls(
            min_labels=settings.retrain_min_labels,
            period=timedelta(seconds=settings.retrain_period_s),
            deadline=timedelta(seconds=settings.retrain_deadline_s),
            attempts=settings.retrain_attempts,
        )


def retrain(event: Event, platform: Platform) -> None:
    """Look at the labels and drifts that stand; a clock's tick also looks after what was lost."""
    policy = Policy.of(platform.settings)
    with platform.ledger.transaction() as tx:
        if event.word == ClockTicked.WORD:
            look_after(tx, policy)
        consider(tx, policy)


def consider(tx: Tx, policy: Policy) -> str | None:
    """Ask for a training if one is due; why it was, None where none is."""
    last = trainings.latest(tx.connection)
    if last is not None and (
        last.state in trainings.WAITING or tx.now - last.created < policy.period
    ):
        return None
    since = None if last is None else last.created
    labels = trainings.standing_labels(tx.connection, since=since)
    cause = "labels" if labels.new >= policy.min_labels else None
    if cause is None and trainings.drifted(tx.connection, since=since):
        cause = "drift"
    if cause is None or not trainings.ask(tx, labels, cause=cause):
        return None
    log.info("a training is due: %s, %d labels, %d new", cause, labels.count, labels.new)
    return cause


def look_after(tx: Tx, policy: Policy) -> None:
    """Ask again for trainings that nothing was heard of for too long; give up in the end."""
    for training in trainings.in_state(tx.connection, *trainings.OPEN):
        if tx.now - training.updated < policy.deadline:
            continue
        if training.attempt < policy.attempts:
            log.warning("training %s: nothing heard, asked for again", training.id)
            trainings.ask_again(tx, training)
            continue
        outcome = trainings.Outcome(
            state="failed",
            reason=LOST,
            message=(
                f"nothing was heard of it after {training.attempt} attempts of "
                f"{policy.deadline.total_seconds():g} s: see the job's log and its memory limit"
            ),
        )
        trainings.conclude(tx, training.id, outcome, owner="")
