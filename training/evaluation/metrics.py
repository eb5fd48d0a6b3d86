"""Numbers out of histograms: exact, because a level is one of 255."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from geodata_etl.bands import PROBABILITY_MAX
from training.evaluation.counts import LEVELS, Counts, Histogram, Outcome

BUDGET: Final = 0.01
"""The analysts' review budget: the share of the observed ground that they look at, 1 %.

A convention of this project and no measurement: 1 km2 out of 100 km2. Growing cities change on 1 to
4 % of their ground in two years (the labels of OSCD), so that the budget is spent on change where
the ranking is perfect; where less than 1 % changed, the rate over the budget is the most that
precision can be.
"""
BINS: Final = 15
"""Bins of equal width in the reliability diagram (Guo et al. 2017, On Calibration of Modern Neural
Networks, use 15)."""


@dataclass(frozen=True)
class Bin:
    """Pixels whose probability lies in one stretch."""

    low: float
    high: float
    pixels: int
    confidence: float
    """Mean probability; the middle of the bin where it is empty."""
    changed: float
    """Share that changed; 0 where the bin is empty."""


def f1(outcome: Outcome) -> float | None:
    """Harmonic mean of precision and recall; None where nothing changed and nothing was called."""
    return _share(2 * outcome.hits, 2 * outcome.hits + outcome.false_alarms + outcome.misses)


def iou(outcome: Outcome) -> float | None:
    """Intersection over union of called and changed; None where both are empty."""
    return _share(outcome.hits, outcome.hits + outcome.false_alarms + outcome.misses)


def precision(outcome: Outcome) -> float | None:
    """Share of what was called that changed; None where nothing was called."""
    return _share(outcome.hits, outcome.hits + outcome.false_alarms)


def recall(outcome: Outcome) -> float | None:
    """Share of what changed that was called; None where nothing changed."""
    return _share(outcome.hits, outcome.hits + outcome.misses)


def false_share(outcome: Outcome) -> float | None:
    """Share of unchanged ground that was called changed; None where all of it changed."""
    return _share(outcome.false_alarms, outcome.false_alarms + outcome.rejections)


def area_bias(outcome: Outcome) -> float | None:
    """(called area - changed area) / changed area; None where nothing changed.

    0 is an unbiased map, 1 one that reports twice the area, -0.5 one that reports half of it.
    """
    changed = outcome.hits + outcome.misses
    return None if not changed else (outcome.false_alarms - outcome.misses) / changed


def auroc(histogram: Histogram) -> float | None:
    """Chance that a changed pixel has a higher level than an unchanged one; ties count half.

    None where there is only one kind.
    """
    unchanged, changed = histogram.astype(np.float64)
    pairs = unchanged.sum() * changed.sum()
    below = np.cumsum(unchanged) - unchanged
    return float((changed * (below + unchanged / 2)).sum() / pairs) if pairs else None


def average_precision(histogram: Histogram) -> float | None:
    """Mean precision over the changed pixels, from the highest level down; None without change."""
    unchanged, changed = (np.cumsum(side[::-1]) for side in histogram.astype(np.float64))
    if not changed[-1]:
        return None
    ratio = np.divide(
        changed, changed + unchanged, where=(changed + unchanged) > 0, out=0 * changed
    )
    return float((np.diff(changed, prepend=0) * ratio).sum() / changed[-1])


def at_budget(histogram: Histogram, budget: float = BUDGET) -> dict[str, float | None]:
    """Precision and recall when `budget` of the observed area is reviewed, most probable first.

    Ground is area: pixels of 100 m2. The level that the budget cuts through is taken in part, its
    pixels in the order of nobody's choice, so that precision does not jump. ``level`` is where the
    cut lies: the threshold that spends the budget.
    """
    unchanged, changed = (side[::-1].astype(np.float64) for side in histogram)
    spent = np.cumsum(unchanged + changed)
    area = budget * spent[-1]
    if not area:
        return {"precision": None, "recall": None, "level": None}
    before = spent - (unchanged + changed)
    taken = np.clip((area - before) / np.maximum(unchanged + changed, 1), 0, 1)
    hits = float((taken * changed).sum())
    return {
        "precision": hits / area,
        "recall": _share(hits, float(changed.sum())),
        "level": float(LEVELS - 1 - int(np.searchsorted(spent, area))),
    }


def reliability(histogram: Histogram, bins: int = BINS) -> tuple[Bin, ...]:
    """The reliability diagram: what was promised and what came, in bins of equal width."""
    probability = np.arange(LEVELS) / PROBABILITY_MAX
    of = np.minimum((probability * bins).astype(int), bins - 1)
    pixels = np.bincount(of, histogram.sum(axis=0), bins)
    promised = np.bincount(of, histogram.sum(axis=0) * probability, bins)
    changed = np.bincount(of, histogram[1], bins)
    return tuple(
        Bin(
            low=n / bins,
            high=(n + 1) / bins,
            pixels=int(pixels[n]),
            confidence=float(promised[n] / pixels[n]) if pixels[n] else (n + 0.5) / bins,
            changed=float(changed[n] / pixels[n]) if pixels[n] else 0.0,
        )
        for n in range(bins)
    )


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Expected calibration error: mean |promised - came| over the pixels (ECE); None without any.

    Nearly all ground is surely unchanged, so it is small for any model: read it beside the diagram.
    """
    total = sum(one.pixels for one in bins)
    gaps = sum(one.pixels * abs(one.confidence - one.changed) for one in bins)
    return gaps / total if total else None


def describe(counts: Counts, threshold: int) -> dict[str, Any]:
    """Every number of a slice: of what the platform shows, and of the classifier alone.

    A slice that holds only changed pixels has a recall, one that holds none has a share of false
    alarms; what needs both is None there.
    """
    views = {
        "platform": (counts.platform(threshold), counts.shown),
        "classifier": (counts.classifier(threshold), counts.everything),
    }
    unchanged, changed = (int(n) for n in counts.pixels.sum(axis=(0, 2)))
    both = bool(unchanged and changed)
    return {
        "pixels": unchanged + changed,
        "changed_pixels": changed,
        "shown_share": rounded(counts.shown_share),
        **{name: _numbers(*view, both=both) for name, view in views.items()},
    }


def _numbers(outcome: Outcome, histogram: Histogram, *, both: bool) -> dict[str, Any]:
    found = {"recall": rounded(recall(outcome)), "false_share": rounded(false_share(outcome), 6)}
    reviewed = at_budget(histogram)
    needs_both = {
        "f1": f1(outcome),
        "iou": iou(outcome),
        "precision": precision(outcome),
        "area_bias": area_bias(outcome),
        "auroc": auroc(histogram),
        "average_precision": average_precision(histogram),
        "budget_precision": reviewed["precision"],
        "budget_recall": reviewed["recall"],
        "ece": calibration_error(reliability(histogram)),
    }
    return found | {key: rounded(value) if both else None for key, value in needs_both.items()}


def rounded(value: float | None, digits: int = 4) -> float | None:
    """For reports."""
    return None if value is None else round(float(value), digits)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
