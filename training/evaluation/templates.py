"""Template (metamorphic) tests: what must hold for any model, without a label.

Each test makes a pair of which it is known how the answer must change, and measures by how much the
models break that. A test passes where the measure is at most its tolerance. The tolerances say what
a user may expect of any model; they were not fitted to one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from geodata_etl.bands import NOT_OBSERVED
from geodata_etl.grid import CORE_PX, Tile
from geodata_etl.simulate import ChangeCounts
from groundshift.settings import Settings
from training.evaluation.bench import (
    Bench,
    cloud_bank,
    gained,
    ground,
    open_bench,
    open_places,
    paste_roof,
)
from training.evaluation.slices import component_sizes

_SIZE: Final = 224
"""Edge of a site for the classifier alone."""
_CASES: Final = 4
_CHANGES: Final = ChangeCounts(building=3, felling=1, flood=1, mine=1)
_ABSOLUTE: Final = 0.05
"""Sentinel-2 L1C absolute radiometric uncertainty, required: 5 % (ESA, Sentinel-2 MSI data quality
requirements; the goal is 3 %)."""
_BETWEEN_BANDS: Final = 0.03
"""Required uncertainty between bands, 3 % (the same)."""
_MAPPED_PX: Final = int(Settings.model_fields["min_area_px"].default)
"""The platform reports no smaller change: its default mapping unit."""
_ROOF_PX: Final = (6, 9, 12)
"""Edges of pasted buildings: 60, 90 and 120 m."""


@dataclass(frozen=True)
class Template:
    """One row of the table below."""

    name: str
    holds: str
    """What must hold."""
    measures: str
    """What the measured number is."""
    tolerance: float
    run: Callable[[Bench], float]


@dataclass(frozen=True)
class Result:
    """How one template test went."""

    name: str
    holds: str
    measures: str
    measured: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the measure is within the tolerance."""
        return self.measured <= self.tolerance


def run(store: Path) -> tuple[Result, ...]:
    """Every template test on the model set in `store`."""
    with open_bench(store) as bench:
        return tuple(
            Result(t.name, t.holds, t.measures, float(t.run(bench)), t.tolerance) for t in TEMPLATES
        )


def as_record(results: tuple[Result, ...]) -> dict[str, Any]:
    """What ``metamorphic`` of model.json holds: by test its measure, tolerance and verdict."""
    return {
        r.name: {"measured": round(r.measured, 6), "tolerance": r.tolerance, "passed": r.passed}
        for r in results
    }


def write(store: Path) -> Mapping[str, Any]:
    """Run the tests and put the results into the model.json of all three models.

    The artifact and its digest stay as they are.
    """
    record = as_record(run(store))
    for path in sorted(store.glob("*/model.json")):
        model = json.loads(path.read_text("utf-8"))
        model["metamorphic"] = record
        path.write_text(json.dumps(model, indent=2) + "\n", encoding="utf-8")
    return record


def _identical(bench: Bench) -> float:
    """Over all kinds of ground, in patches that the platform would report."""
    called = []
    for number in range(2 * _CASES):
        same = ground(number, size=_SIZE).before.reflectance
        found = bench.called(same, same)
        called.append(found & (component_sizes(found) >= _MAPPED_PX))
    return float(np.mean(called))


def _swapped_mask(bench: Bench) -> float:
    both = either = 0
    for number in range(_CASES):
        g = ground(number, size=_SIZE, changes=_CHANGES)
        there = bench.called(g.before.reflectance, g.after.reflectance)
        back = bench.called(g.after.reflectance, g.before.reflectance)
        both, either = both + int((there & back).sum()), either + int((there | back).sum())
    return 1 - both / max(1, either)


def _swapped_classes(bench: Bench) -> float:
    g = ground(0, size=CORE_PX, changes=_CHANGES)
    there = bench.compare(g.before.reflectance, g.after.reflectance)
    back = bench.compare(g.after.reflectance, g.before.reflectance)
    differ = (there.before_class != back.after_class) | (there.after_class != back.before_class)
    return float(differ.mean())


def _flips(bench: Bench, gains: Callable[[np.random.Generator], tuple[Any, Any]]) -> float:
    """Share of pixels whose answer turns when the dates are multiplied."""
    flipped = []
    for number in range(_CASES):
        g = ground(number, size=_SIZE, changes=_CHANGES)
        before, after = g.before.reflectance, g.after.reflectance
        one, two = gains(g.rng)
        flipped.append(
            bench.called(before, after) != bench.called(gained(before, one), gained(after, two))
        )
    return float(np.mean(flipped))


def _brightness(bench: Bench) -> float:
    def both(rng: np.random.Generator) -> tuple[float, float]:
        level = 1 + _ABSOLUTE * float(rng.choice((-1, 1)))
        return level, level

    return _flips(bench, both)


def _gain(bench: Bench) -> float:
    def second(rng: np.random.Generator) -> tuple[float, NDArray[np.float64]]:
        return 1.0, 1 + rng.choice((-1, 1), 6) * _BETWEEN_BANDS

    return _flips(bench, second)


def _building(bench: Bench) -> float:
    placed = missed = 0
    for number in range(2 * _CASES):
        g = ground(number, size=_SIZE)
        edge = _ROOF_PX[number % len(_ROOF_PX)]
        after = g.after.reflectance
        masks: list[NDArray[np.bool_]] = []
        for top, left in open_places(g, edge=edge, count=3):
            mask = np.zeros(after.shape[1:], np.bool_)
            mask[top : top + edge, left : left + edge] = True
            after = paste_roof(g, after, mask)
            masks.append(mask)
        called = bench.called(g.before.reflectance, after)
        placed += len(masks)
        missed += sum(bool(called[mask].mean() < 0.5) for mask in masks)
    return missed / max(1, placed)


def _half_clouded(bench: Bench) -> float:
    """Through the platform's own tile function: cloud mask, buffer, classifier."""
    shown, edge = [], _ROOF_PX[-1]
    for number in range(_CASES):
        g = ground(number, size=CORE_PX)
        for top, left in open_places(g, edge=edge, count=1):
            roof = np.zeros(g.after.cover.shape, np.bool_)
            roof[top : top + edge, left : left + edge] = True
            veil = np.zeros(roof.shape, np.float32)
            veil[:, : left + edge // 2] = 0.97
            opacity = gaussian_filter(veil, 2.0)
            after = cloud_bank(g, opacity, paste_roof(g, g.after.reflectance, roof))
            result = bench.compare(g.before.reflectance, after)
            seen = (result.observed > 0) | (result.change != NOT_OBSERVED)
            shown.append(seen[roof & (opacity > 0.5)])
    return float(np.mean(np.concatenate(shown)))


def _translated(bench: Bench) -> float:
    g = ground(1, size=CORE_PX - 96, changes=_CHANGES)
    moved = [
        np.pad(s.reflectance, ((0, 0), (CORE_PX, 0), (2 * CORE_PX, 0))) for s in (g.before, g.after)
    ]
    here = bench.compare(g.before.reflectance, g.after.reflectance)
    there = bench.compare(moved[0], moved[1], Tile(1, 2))
    planes = ("change", "observed", "before_class", "after_class")
    return float(np.mean([getattr(here, p) != getattr(there, p) for p in planes]))


TEMPLATES: Final = (
    Template(
        "identical dates",
        "the same picture twice shows no change",
        f"share of pixels called changed, in patches of at least {_MAPPED_PX} px",
        0.0,
        _identical,
    ),
    Template(
        "swapped dates, mask",
        "the change mask of (after, before) is that of (before, after)",
        "1 - intersection over union of the two masks",
        0.25,
        _swapped_mask,
    ),
    Template(
        "swapped dates, classes",
        "from and to swap exactly, for each date is classified alone",
        "share of pixels whose classes do not swap",
        0.0,
        _swapped_classes,
    ),
    Template(
        "brightness of both dates",
        "5 % more or less light on both dates (the sensor's absolute tolerance) changes little",
        "share of pixels whose answer turns",
        0.005,
        _brightness,
    ),
    Template(
        "gain of one date",
        "3 % more or less in each band of one date (the tolerance between bands) changes little",
        "share of pixels whose answer turns",
        0.01,
        _gain,
    ),
    Template(
        "pasted building",
        "a roof of 60 to 120 m on open ground that anyone would see is found on half its pixels",
        "share of the buildings that are missed",
        0.15,
        _building,
    ),
    Template(
        "half under cloud",
        "what of a change lies under a thick cloud is not observed, neither changed nor unchanged",
        "share of the change under the cloud that is shown as observed",
        0.02,
        _half_clouded,
    ),
    Template(
        "translated by whole tiles",
        "the same ground one tile further gives the same bits",
        "share of pixels that differ in any plane",
        0.0,
        _translated,
    ),
)
"""The template tests."""
