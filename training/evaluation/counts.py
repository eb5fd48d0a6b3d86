"""The core record: how many pixels had which level, by truth and by whether they were shown.

A level is uint8, so 255 bins hold every threshold, ranking and calibration exactly, however many
pixels there were. Records add up: over samples, sites and machines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from geodata_etl.bands import NOT_OBSERVED

LEVELS: Final = 255
"""Levels 0..254 = probability x 254."""

Bool = NDArray[np.bool_]
UInt8 = NDArray[np.uint8]
Histogram = NDArray[np.int64]
"""[2, 255]: pixels that did not change and that did, by level."""


@dataclass(frozen=True)
class Outcome:
    """What a decision came to, in pixels."""

    hits: int
    false_alarms: int
    misses: int
    rejections: int
    """Rightly called unchanged, or not shown and unchanged."""

    @property
    def row(self) -> tuple[int, int, int, int]:
        """(hits, false alarms, misses, rejections)."""
        return self.hits, self.false_alarms, self.misses, self.rejections

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(*(a + b for a, b in zip(self.row, other.row, strict=True)))


@dataclass(frozen=True, eq=False)
class Counts:
    """Pixels by [shown or hidden by the cloud mask][unchanged or changed][level]."""

    pixels: NDArray[np.int64]
    """[2, 2, 255]."""

    @classmethod
    def empty(cls) -> Counts:
        """No pixel yet."""
        return cls(np.zeros((2, 2, LEVELS), np.int64))

    @classmethod
    def of(cls, level: UInt8, *, change: Bool, hidden: Bool, valid: Bool) -> Counts:
        """Count the pixels of one sample, all [H,W].

        Where the classifier had no data (level 255) nothing is counted, whatever `valid` says.
        """
        counted = valid & (level != NOT_OBSERVED)
        cell = (hidden[counted] * 2 + change[counted]) * LEVELS + level[counted]
        return cls(np.bincount(cell, minlength=4 * LEVELS).reshape(2, 2, LEVELS).astype(np.int64))

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.pixels + other.pixels)

    @property
    def shown(self) -> Histogram:
        """[2, 255] of what the platform shows: clear at both dates by its own cloud mask."""
        return np.asarray(self.pixels[0])

    @property
    def everything(self) -> Histogram:
        """[2, 255] of the classifier alone, whatever the cloud mask says."""
        return np.asarray(self.pixels.sum(axis=0))

    @property
    def shown_share(self) -> float:
        """Share of the counted pixels that the platform shows; 1 where none was counted."""
        total = int(self.pixels.sum())
        return float(self.pixels[0].sum()) / total if total else 1.0

    def platform(self, threshold: int) -> Outcome:
        """The platform's answer at a level: a change that its cloud mask hides is a miss."""
        hits, false_alarms = self._over(self.shown, threshold)
        unchanged, changed = (int(n) for n in self.pixels.sum(axis=(0, 2)))
        return Outcome(hits, false_alarms, changed - hits, unchanged - false_alarms)

    def classifier(self, threshold: int) -> Outcome:
        """The classifier's answer at a level, over every counted pixel."""
        hits, false_alarms = self._over(self.everything, threshold)
        unchanged, changed = (int(n) for n in self.pixels.sum(axis=(0, 2)))
        return Outcome(hits, false_alarms, changed - hits, unchanged - false_alarms)

    @staticmethod
    def _over(histogram: Histogram, threshold: int) -> tuple[int, int]:
        unchanged, changed = histogram[:, threshold:].sum(axis=1)
        return int(changed), int(unchanged)


@dataclass(frozen=True, eq=False)
class Confusion:
    """Pixels by [true class][predicted class]; adds up as `Counts` does."""

    pixels: NDArray[np.int64]
    """[K, K]."""

    @classmethod
    def of(cls, predicted: UInt8, truth: UInt8, *, valid: Bool, classes: int) -> Confusion:
        """Count one plane [H,W]; pixels of an unknown class (255) do not count."""
        counted = valid & (predicted < classes) & (truth < classes)
        cell = truth[counted].astype(np.int64) * classes + predicted[counted]
        shape = (classes, classes)
        return cls(np.bincount(cell, minlength=classes**2).reshape(shape).astype(np.int64))

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.pixels + other.pixels)

    @property
    def accuracy(self) -> float | None:
        """Share of pixels with the right class; None where there is none."""
        total = int(self.pixels.sum())
        return float(np.trace(self.pixels)) / total if total else None

    def iou(self) -> tuple[float | None, ...]:
        """Intersection over union of each class, None for one that never occurs."""
        right = np.diag(self.pixels)
        union = self.pixels.sum(axis=0) + self.pixels.sum(axis=1) - right
        occurs = self.pixels.sum(axis=1) > 0
        return tuple(
            float(r / u) if there else None
            for r, u, there in zip(right, union, occurs, strict=True)
        )

    def outcome(self) -> Outcome:
        """Right pixels as hits and wrong ones as misses: its recall is the accuracy."""
        right = int(np.trace(self.pixels))
        return Outcome(right, 0, int(self.pixels.sum()) - right, 0)

    def against_first(self) -> Outcome:
        """The first class (clear) against all others together."""
        rejections = int(self.pixels[0, 0])
        false_alarms = int(self.pixels[0, 1:].sum())
        misses = int(self.pixels[1:, 0].sum())
        return Outcome(int(self.pixels[1:, 1:].sum()), false_alarms, misses, rejections)
