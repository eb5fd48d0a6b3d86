"""Alerts as a pure fold over a site's current runs (DESIGN invariants 8 and 9).

A change that no open alert covers begins an alert. Later scenes are judged inside its polygon by
class: the to-class supports, the from-class contradicts, unseen ground says nothing, and 'unchanged
against the baseline' is neither, because by then the baseline holds the change itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from shapely import STRtree
from shapely.geometry.base import BaseGeometry

_SAME_OVERLAP: Final = 0.3
"""Shared area over the smaller area, from which a change is the alert's own."""
_MIN_OBSERVED: Final = 0.5
"""Share of the polygon that a scene must see to say anything."""
_MAJORITY: Final = 0.5
_CONFIRMED_AT: Final = 2
"""Later scenes in support that confirm an alert."""


class AlertState(StrEnum):
    """How sure an alert is."""

    FIRST = "first"
    PROVISIONAL = "provisional"
    CONFIRMED = "confirmed"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class RunChange:
    """A change as the fold sees it."""

    change_id: str
    geometry: BaseGeometry
    """UTM polygon of the site's zone."""
    from_class: str
    to_class: str
    area_m2: float
    probability: float
    """Mean change probability, 0..1."""


@dataclass(frozen=True)
class TrackedRun:
    """A current run that is done."""

    run_id: str
    scene_id: str
    acquired: datetime
    changes: tuple[RunChange, ...]


@dataclass(frozen=True)
class Evidence:
    """What a later scene shows inside an alert's polygon."""

    observed_fraction: float
    """Share of the polygon's pixels that the scene sees, 0..1."""
    classes: Mapping[str, float]
    """Share of each class among the seen pixels."""


@dataclass(frozen=True)
class Alert:
    """A change followed over time."""

    alert_id: str
    geometry: BaseGeometry
    from_class: str
    to_class: str
    area_m2: float
    probability: float
    first_seen: datetime
    last_seen: datetime
    """Acquisition of the latest scene that raised, matched or supported it."""
    first_run: str
    supports: tuple[str, ...] = ()
    """Ids of the later scenes that show the to-class."""
    contradictions: tuple[str, ...] = ()
    """Ids of the later scenes that show the from-class."""
    runs: tuple[str, ...] = field(default=())
    """Runs that found the change, in order of acquisition."""

    @property
    def state(self) -> AlertState:
        """First, provisional, confirmed, or withdrawn once more scenes contradict than support."""
        if len(self.contradictions) > len(self.supports):
            return AlertState.WITHDRAWN
        if len(self.supports) >= _CONFIRMED_AT:
            return AlertState.CONFIRMED
        return AlertState.PROVISIONAL if self.supports else AlertState.FIRST


EvidenceOf = Callable[[Sequence[Alert], TrackedRun], Sequence[Evidence]]
"""What a run shows inside each of some alerts, in their order."""


def fold(runs: Sequence[TrackedRun], evidence_of: EvidenceOf) -> tuple[Alert, ...]:
    """The alerts of a site, in the order in which they began.

    A pure function of the set of current runs: they are sorted by (acquisition, scene id) here.
    """
    alerts: list[Alert] = []
    for run in sorted(runs, key=lambda r: (r.acquired, r.scene_id)):
        shown = evidence_of(alerts, run)
        alerts = [_judge(alert, run, one) for alert, one in zip(alerts, shown, strict=True)]
        _absorb(alerts, run)
    return tuple(alerts)


def alert_id(change: RunChange, run: TrackedRun) -> str:
    """The identity of the alert that a change begins."""
    return alert_id_of(run.scene_id, change.change_id)


def alert_id_of(scene_id: str, change_id: str) -> str:
    """The identity of the alert that a scene's change begins."""
    return hashlib.sha256(f"{scene_id}/{change_id}".encode()).hexdigest()[:16]


def _judge(alert: Alert, run: TrackedRun, evidence: Evidence) -> Alert:
    """Add what one later scene says."""
    if evidence.observed_fraction < _MIN_OBSERVED or alert.from_class == alert.to_class:
        return alert  # unseen, or a change within one class: the classes cannot tell
    if evidence.classes.get(alert.to_class, 0.0) >= _MAJORITY:
        return replace(alert, supports=(*alert.supports, run.scene_id), last_seen=run.acquired)
    if evidence.classes.get(alert.from_class, 0.0) >= _MAJORITY:
        return replace(alert, contradictions=(*alert.contradictions, run.scene_id))
    return alert


def _absorb(alerts: list[Alert], run: TrackedRun) -> None:
    """Give each change of a run to the alert it overlaps, or begin a new one."""
    tree = STRtree([alert.geometry for alert in alerts])
    known = len(alerts)
    for change in run.changes:
        index = _owner(change, alerts[:known], tree)
        if index is None:
            alerts.append(_begin(change, run))
        else:
            alerts[index] = _extend(alerts[index], change, run)


def _owner(change: RunChange, alerts: Sequence[Alert], tree: STRtree) -> int | None:
    """The open alert of the same to-class that shares most ground with a change."""
    best: tuple[float, int] | None = None
    for index in sorted(int(i) for i in tree.query(change.geometry)):
        alert = alerts[index]
        if alert.to_class != change.to_class or alert.state is AlertState.WITHDRAWN:
            continue
        shared = alert.geometry.intersection(change.geometry).area
        share = shared / min(alert.geometry.area, change.geometry.area)
        if share >= _SAME_OVERLAP and (best is None or share > best[0]):
            best = share, index
    return None if best is None else best[1]


def _begin(change: RunChange, run: TrackedRun) -> Alert:
    return Alert(
        alert_id=alert_id(change, run),
        geometry=change.geometry,
        from_class=change.from_class,
        to_class=change.to_class,
        area_m2=change.area_m2,
        probability=change.probability,
        first_seen=run.acquired,
        last_seen=run.acquired,
        first_run=run.run_id,
        runs=(run.run_id,),
    )


def _extend(alert: Alert, change: RunChange, run: TrackedRun) -> Alert:
    """A later run found the alert's change again: the evidence grows, the geometry stays."""
    if run.run_id in alert.runs:
        return alert
    return replace(
        alert,
        probability=max(alert.probability, change.probability),
        last_seen=run.acquired,
        runs=(*alert.runs, run.run_id),
    )
