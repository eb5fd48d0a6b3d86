"""What a load test found: from samples to summaries, to a JSON file and back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

KEPT_UP = 0.9
"""Share of the offered rate that must have been answered for a step to count as carried."""


@dataclass(frozen=True)
class Sample:
    """One request."""

    at_s: float
    """When it was answered, from the start of its step."""
    ms: float
    error: str = ""
    """What went wrong; empty: nothing."""


@dataclass(frozen=True)
class Step:
    """One rate, held for some seconds."""

    offered: float
    """Requests per second that the users would send if every answer came at once."""
    answered: float
    """Requests per second that were answered without an error."""
    count: int
    errors: int
    p50_ms: float
    p95_ms: float
    p99_ms: float

    def holds(self, bound_ms: float) -> bool:
        """Whether it was carried: no error, p95 within the bound, the rate kept up."""
        kept_up = self.answered >= KEPT_UP * self.offered
        return self.count > 0 and self.errors == 0 and self.p95_ms <= bound_ms and kept_up


@dataclass(frozen=True)
class Series:
    """A value over time."""

    name: str
    points: tuple[tuple[float, float], ...]
    """(seconds from the start, value)."""

    @property
    def most(self) -> float:
        """The largest value."""
        return max((value for _, value in self.points), default=0.0)


@dataclass(frozen=True)
class Curve:
    """What one address does at growing rates."""

    name: str
    """``intake`` or ``predict``."""
    what: str
    """One line for people."""
    bound_ms: float
    """What p95 must stay within."""
    steps: tuple[Step, ...]
    usage: tuple[Series, ...] = ()
    """Processes or pods meanwhile."""

    @property
    def saturation(self) -> Step | None:
        """The last step before the first one that does not hold; None where the first fails."""
        held = None
        for step in self.steps:
            if not step.holds(self.bound_ms):
                return held
            held = step
        return held

    @property
    def reached(self) -> bool:
        """Whether some step did not hold; else the end of the steps is no limit."""
        return any(not step.holds(self.bound_ms) for step in self.steps)


@dataclass(frozen=True)
class Burst:
    """Many scenes at once."""

    scenes: int
    posted_s: float
    """How long the intake took for all."""
    age: Series
    """Age of the oldest event that was not delivered yet, seconds."""
    outcomes: dict[str, int]
    """Scenes by what became of them."""
    usage: tuple[Series, ...] = ()
    models: str = "the test models, which cost next to nothing: what is measured is the platform"

    @property
    def empty_after_s(self) -> float | None:
        """When the queue was empty for good; None where it never was."""
        after = None
        for at, age in self.age.points:
            after = None if age > 0 else (at if after is None else after)
        return after


@dataclass(frozen=True)
class Result:
    """One run of the load test."""

    target: str
    """``embedded`` or ``cluster``."""
    machine: str
    when: str
    version: str
    curves: tuple[Curve, ...]
    burst: Burst | None = None


def summarise(offered: float, samples: Sequence[Sample], *, seconds: float) -> Step:
    """A step from its samples; percentiles are over those without an error, by nearest rank."""
    good = sorted(sample.ms for sample in samples if not sample.error)
    return Step(
        offered=offered,
        answered=round(len(good) / seconds, 2),
        count=len(samples),
        errors=len(samples) - len(good),
        **{f"p{p}_ms": round(_rank(good, p), 2) for p in (50, 95, 99)},
    )


def _rank(ordered: Sequence[float], percent: int) -> float:
    if not ordered:
        return 0.0
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]


def write(path: Path, result: Result) -> None:
    """As JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(result), indent=1) + "\n", "utf-8")


def read(path: Path) -> Result:
    """What `write` wrote."""
    said: dict[str, Any] = json.loads(path.read_text("utf-8"))
    burst = said.pop("burst")
    curves = tuple(
        Curve(
            **{k: v for k, v in curve.items() if k not in ("steps", "usage")},
            steps=tuple(Step(**step) for step in curve["steps"]),
            usage=_series(curve["usage"]),
        )
        for curve in said.pop("curves")
    )
    return Result(**said, curves=curves, burst=_burst(burst) if burst else None)


def _burst(said: dict[str, Any]) -> Burst:
    (age,) = _series([said.pop("age")])
    return Burst(**{**said, "usage": _series(said["usage"])}, age=age)


def _series(said: Sequence[dict[str, Any]]) -> tuple[Series, ...]:
    return tuple(Series(s["name"], tuple((t, v) for t, v in s["points"])) for s in said)
