"""The gate: may a challenger take the champion's place?

Three rules, all of which must hold. Sites are drawn with replacement, for both sets alike (a paired
bootstrap), so that an easy site helps neither; (challenger - champion) of every draw makes the
interval.

- **set**: on every set as a whole the interval's lower bound is above minus the margin, which is
  narrower than a slice's: the challenger is shown not to be inferior.
- **slice**: so it is on every slice and in every failure mode that the simulator makes. Few sites
  leave some of them open; then both sets look at further sites, twice as many each time. Worse by
  more than the margin, with an interval that lies below zero, refuses at once; what is still open
  after the last look refuses too. Real places cannot be drawn anew: of their slices one that is
  shown to be inferior refuses, and of what they leave open the finding says so.
- **template**: every template test of `training.evaluation.templates` passes.

A set or slice with fewer sites than the rules ask for is reported and decides nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.evaluation import failures, templates
from training.evaluation.counts import Confusion, Outcome
from training.evaluation.run import Evaluation, Plan, evaluate
from training.evaluation.slices import EVERYTHING, SIMULATED, SLICED, Slice

Rows = NDArray[np.int64]
"""[sites, 4]: hits, false alarms, misses, rejections."""
Quality = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""[draws, 4] to [draws]; more is better."""
HOLDS, FAILS, OPEN, INFORMS = STATUSES = ("holds", "fails", "open", "informs")
_FEW_PX: Final = 50
"""With fewer changed pixels than this a slice counts as one without change."""


@dataclass(frozen=True)
class Rules:
    """What the gate asks for."""

    margin: Mapping[str, float] = field(
        default_factory=lambda: {
            "F1": 0.05,
            "recall": 0.07,
            "quiet": 0.005,
            "cloud F1": 0.04,
            "cover accuracy": 0.04,
        }
    )
    """How much worse a slice may be, by measure."""
    overall: float = 0.6
    """A set as a whole has this share of a slice's margin."""
    min_sites: int = 8
    """A slice with fewer sites decides nothing."""
    looks: int = 2
    """How often the simulator is asked for further sites where a slice of it is open."""
    confidence: float = 0.95
    """One-sided level of each of the interval's bounds."""
    draws: int = 2000
    seed: int = 0


@dataclass(frozen=True)
class Finding:
    """One rule on one subject."""

    rule: str
    """``set``, ``slice`` or ``template``."""
    subject: str
    """The set, the slice or the template test."""
    status: str
    """``holds``, ``fails``; ``open`` where the interval leaves a slice undecided, ``informs`` where
    there are too few sites. Only ``fails`` refuses."""
    numbers: Mapping[str, float | int | str]
    sentence: str
    drawn: bool = False
    """The simulator made its sites, and can make more."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says, with every rule that was looked at."""

    accepted: bool
    challenger: Mapping[str, str]
    """Digest by model name."""
    champion: Mapping[str, str]
    """Empty where there was none yet."""
    findings: tuple[Finding, ...]
    rules: Rules

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The findings that refuse the challenger."""
        return tuple(f for f in self.findings if f.status == FAILS)

    @property
    def undecided(self) -> tuple[Finding, ...]:
        """What further sites of the simulator would decide."""
        return tuple(f for f in self.findings if f.status == OPEN and f.drawn)

    def last(self) -> Verdict:
        """After the last look: what is still undecided refuses."""
        closed = tuple(
            replace(f, status=FAILS, sentence=f"{f.sentence}: not shown not to be inferior")
            if f in self.undecided
            else f
            for f in self.findings
        )
        return replace(self, findings=closed, accepted=self.accepted and not self.undecided)

    @property
    def reason(self) -> str:
        """One line: accepted, or the first failed rules."""
        count = Counter(f.status for f in self.findings)
        tally = ", ".join(f"{count[status]} {status}" for status in STATUSES)
        if self.accepted:
            return f"accepted ({tally})"
        first = "; ".join(f"{f.rule} {f.sentence}" for f in self.failed[:3])
        return f"refused ({tally}): {first}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"reason": self.reason, **asdict(self)}


@dataclass(frozen=True)
class Contestant:
    """A model set and what was measured of it."""

    store: Path
    measured: Evaluation


Measure = Callable[[Path, Plan], Evaluation]


def judge(
    challenger: Path,
    champion: Path | None,
    *,
    plan: Plan | None = None,
    rules: Rules | None = None,
) -> Verdict:
    """Evaluate both model sets on the same samples and judge.

    `challenger` and `champion` are model stores (folders with three models each); without a
    champion the template tests alone decide. `plan` says which sets: held-out simulator sites and
    failure modes always, `plan.labels` (held-out verified labels) and `plan.data` (OSCD, under its
    own name) where given. Raises NotFound or Misconfigured where a store holds no whole set.
    """
    plan = plan or Plan()
    new = Contestant(challenger, evaluate(challenger, plan))
    old = None if champion is None else Contestant(champion, evaluate(champion, plan))
    return decide(new, old, templates.run(challenger), plan, rules or Rules())


def decide(
    challenger: Contestant,
    champion: Contestant | None,
    tested: Iterable[templates.Result],
    plan: Plan,
    rules: Rules,
    *,
    measure: Measure = evaluate,
) -> Verdict:
    """Judge what was measured under `plan`; what the simulator leaves open is looked at again."""
    tested = tuple(tested)
    if champion is None:
        return verdict(challenger.measured, None, tested, rules)
    new, old = challenger.measured, champion.measured
    found = verdict(new, old, tested, rules)
    for number in range(1, rules.looks + 1):
        if not found.accepted or not found.undecided:
            return found
        further = plan.further(number)
        new = new.with_more(measure(challenger.store, further))
        old = old.with_more(measure(champion.store, further))
        found = verdict(new, old, tested, rules)
    return found.last()


def verdict(
    challenger: Evaluation,
    champion: Evaluation | None,
    tested: Iterable[templates.Result],
    rules: Rules,
) -> Verdict:
    """Judge what was measured, as far as it goes."""
    slices = () if champion is None else compare(challenger, champion, rules)
    findings = (*template_findings(tested), *slices)
    return Verdict(
        accepted=all(f.status != FAILS for f in findings),
        challenger=challenger.models,
        champion={} if champion is None else champion.models,
        findings=findings,
        rules=rules,
    )


def template_findings(results: Iterable[templates.Result]) -> Iterator[Finding]:
    """One finding per template test."""
    for r in results:
        numbers = {"measured": round(r.measured, 6), "tolerance": r.tolerance}
        sentence = f"{r.name}: {r.measures} is {r.measured:.4g}, tolerance {r.tolerance:g}"
        yield Finding("template", r.name, HOLDS if r.passed else FAILS, numbers, sentence)


def compare(challenger: Evaluation, champion: Evaluation, rules: Rules) -> Iterator[Finding]:
    """One finding per slice: of change as the platform shows it, of the sky, of the land."""
    new, old = challenger, champion
    for key, sites in new.tally.changes.items():
        if key.dimension == "site":
            continue
        other = old.tally.changes.get(key, {})
        ours, theirs = _shared(
            {s: c.platform(new.threshold) for s, c in sites.items()},
            {s: c.platform(old.threshold) for s, c in other.items()},
        )
        yield _finding(key, _measure(key, theirs), ours, theirs, rules)
    for measure, mine, others in (
        ("cloud F1", new.tally.clouds, old.tally.clouds),
        ("cover accuracy", new.tally.covers, old.tally.covers),
    ):
        for key, confusions in mine.items():
            if key.dimension != "site" and (key.set in _VEILED or key.set in SLICED):
                ours, theirs = _shared(
                    {s: _outcome(measure, c) for s, c in confusions.items()},
                    {s: _outcome(measure, c) for s, c in others.get(key, {}).items()},
                )
                yield _finding(key, measure, ours, theirs, rules)


def _outcome(measure: str, confusion: Confusion) -> Outcome:
    return confusion.against_first() if measure == "cloud F1" else confusion.outcome()


def _shared(new: Mapping[str, Outcome], old: Mapping[str, Outcome]) -> tuple[Rows, Rows]:
    """The rows of the sites that both hold, in one order."""
    both = sorted(new.keys() & old.keys())
    return _rows(new[site] for site in both), _rows(old[site] for site in both)


def _rows(outcomes: Iterable[Outcome]) -> Rows:
    return np.array([o.row for o in outcomes], np.int64).reshape(-1, 4)


def _measure(key: Slice, rows: Rows) -> str:
    """By what a slice is judged: its name among `MEASURES`."""
    hits, false_alarms, misses, rejections = rows.sum(axis=0)
    if key.set in _VEILED or hits + misses < _FEW_PX:
        return "quiet"
    return "F1" if false_alarms + rejections else "recall"


_DRAWN: Final = frozenset((SIMULATED, *(mode.name for mode in failures.MODES)))
_VEILED: Final = frozenset(mode.name for mode in failures.MODES if mode.hiding_is_right)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where there is nothing to be wrong about."""
    return np.divide(part, whole, out=np.ones_like(whole), where=whole > 0)


def _f1(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return _ratio(2 * rows[:, 0], 2 * rows[:, 0] + rows[:, 1] + rows[:, 2])


def _recall(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return _ratio(rows[:, 0], rows[:, 0] + rows[:, 2])


def _quiet(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return _ratio(rows[:, 3], rows[:, 1] + rows[:, 3])


MEASURES: Final[Mapping[str, Quality]] = {
    "F1": _f1,
    "recall": _recall,
    "quiet": _quiet,
    "cloud F1": _f1,
    "cover accuracy": _recall,
}
"""What a slice is judged by; more is better.

``quiet`` is the share of unchanged ground that is not called; ``cloud F1`` holds clear against
everything else; ``cover accuracy`` is the share of clear pixels with the right class.
"""


def _finding(key: Slice, measure: str, new: Rows, old: Rows, rules: Rules) -> Finding:
    quality, sites = MEASURES[measure], len(new)
    whole = key.set in SLICED and key.dimension == EVERYTHING
    margin = rules.margin[measure] * (rules.overall if whole else 1)
    low, high = bootstrap(new, old, quality, rules)
    ours, theirs = (
        float(quality(r.sum(axis=0, keepdims=True).astype(float))[0]) for r in (new, old)
    )
    numbers: dict[str, float | int | str] = {
        "measure": measure,
        "sites": sites,
        "challenger": round(ours, 5),
        "champion": round(theirs, 5),
        "difference": round(ours - theirs, 5),
        "low": round(low, 5),
        "high": round(high, 5),
        "margin": round(margin, 5),
    }
    drawn = key.set in _DRAWN
    status = _status(low, ours - theirs, high, margin)
    if status == OPEN and whole and not drawn:
        status = FAILS
    return Finding(
        rule="set" if whole else "slice",
        subject=str(key),
        status=status if sites >= rules.min_sites else INFORMS,
        numbers=numbers,
        sentence=_sentence(key, numbers),
        drawn=drawn,
    )


def _status(low: float, difference: float, high: float, margin: float) -> str:
    if low >= -margin:
        return HOLDS
    return FAILS if difference < -margin and high < 0 else OPEN


def _sentence(key: Slice, n: Mapping[str, float | int | str]) -> str:
    return (
        f"{key}: {n['measure']} {n['challenger']:.4f} against {n['champion']:.4f} over"
        f" {n['sites']} sites, difference {n['low']:+.4f} to {n['high']:+.4f}, margin"
        f" {n['margin']:.4f}"
    )


def bootstrap(new: Rows, old: Rows, quality: Quality, rules: Rules) -> tuple[float, float]:
    """Lower and upper bound of (new - old): sites drawn with replacement, both sets alike."""
    if not len(new):
        return 0.0, 0.0
    rng = np.random.default_rng(rules.seed)
    drawn = rng.multinomial(len(new), np.full(len(new), 1 / len(new)), rules.draws)
    difference = quality((drawn @ new).astype(float)) - quality((drawn @ old).astype(float))
    low, high = np.quantile(difference, (1 - rules.confidence, rules.confidence))
    return float(low), float(high)
