"""What is known about each component: probabilities, classes, and how much around it was seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy.ndimage import find_objects, maximum_filter

from geodata_etl.bands import Cover
from geodata_etl.errors import GroundshiftError

SURROUNDINGS_PX: Final = 3
"""How far around a change ground must be seen for the change to be known whole, pixels (30 m)."""
CLASS_CHANGED_SHARE: Final = 0.25
"""From this share of pixels with two different classes on, a change is named after those."""

_CLASSES: Final = len(Cover)


class UnclassedChange(GroundshiftError):
    """Changed pixels without a class on either date: the rasters do not belong together."""


@dataclass(frozen=True)
class Levels:
    """Change levels and classes of the components 1..n, gathered strip by strip."""

    total: NDArray[np.int64]
    """Sum of the change levels."""
    highest: NDArray[np.int64]
    """Highest change level."""
    pairs: NDArray[np.int64]
    """Pixels by class before and after, shape [n, 6, 6]."""

    @classmethod
    def none_yet(cls, count: int) -> Levels:
        """For `count` components, nothing gathered."""
        zeros = np.zeros(count, np.int64)
        return cls(zeros, zeros.copy(), np.zeros((count, _CLASSES, _CLASSES), np.int64))

    def add(
        self,
        ids: NDArray[np.int32],
        levels: NDArray[np.uint8],
        before: NDArray[np.uint8],
        after: NDArray[np.uint8],
    ) -> None:
        """Gather one strip: four arrays of one shape; `ids` is 0 where there is no component."""
        inside = ids > 0
        at, level = ids[inside] - 1, levels[inside].astype(np.int64)
        np.add.at(self.total, at, level)
        np.maximum.at(self.highest, at, level)
        from_class, to_class = before[inside], after[inside]
        classed = (from_class < _CLASSES) & (to_class < _CLASSES)
        np.add.at(self.pairs, (at[classed], from_class[classed], to_class[classed]), 1)

    def transition(self, component: int) -> tuple[Cover, Cover]:
        """(from, to) of a component: the commonest pair of classes over its pixels.

        Where at least a quarter of the pixels changed class, only those are asked: an edge of
        pixels that kept theirs must not name the change. Ties go to the lower class codes.
        """
        pairs = self.pairs[component - 1]
        if not pairs.any():
            raise UnclassedChange(
                f"component {component} has no pixel with a class on both dates: "
                "give the class rasters of the same run"
            )
        moved = pairs * (1 - np.eye(_CLASSES, dtype=np.int64))
        asked = moved if moved.sum() >= CLASS_CHANGED_SHARE * pairs.sum() else pairs
        before, after = np.unravel_index(int(asked.argmax()), asked.shape)
        return Cover(int(before)), Cover(int(after))


@dataclass(frozen=True)
class Surroundings:
    """Pixels of each component and up to 3 px around it: how many there are, how many were seen.

    Ground beyond the edge of the raster counts as not seen.
    """

    area: NDArray[np.int64]
    seen: NDArray[np.int64]

    @classmethod
    def none_yet(cls, count: int) -> Surroundings:
        """For `count` components, nothing gathered."""
        return cls(np.zeros(count, np.int64), np.zeros(count, np.int64))

    def add(self, ids_raster: Any, observed_raster: Any, window: Window) -> None:
        """Gather one strip of whole rows of two open rasters of one grid."""
        near = SURROUNDINGS_PX
        top, bottom = window.row_off, window.row_off + window.height
        top = top - near if top == 0 else top
        bottom = bottom + near if bottom == ids_raster.height else bottom
        ids = _read_rows(ids_raster, top - near, bottom + near, margin=2 * near)
        observed = _read_rows(observed_raster, top, bottom, margin=near)
        self._gather(ids, observed)

    def _gather(self, ids: NDArray[np.int32], observed: NDArray[np.uint8]) -> None:
        """`ids` reaches 3 px further than `observed` on every side."""
        near = SURROUNDINGS_PX
        present = np.unique(ids[ids > 0])
        compact = np.where(ids > 0, np.searchsorted(present, ids) + 1, 0)
        for number, box in enumerate(find_objects(compact), start=1):
            rows, cols = (slice(max(s.start - near, 0), s.stop + near) for s in box)
            zone = (compact[rows, cols] == number).astype(np.uint8)
            zone = maximum_filter(zone, size=2 * near + 1, mode="constant")
            zone, seen = _common(zone, rows.start - near, cols.start - near, observed)
            self.area[present[number - 1] - 1] += np.count_nonzero(zone)
            self.seen[present[number - 1] - 1] += np.count_nonzero(zone & seen)

    def observed_fraction(self, component: int) -> float:
        """Share of the component's surroundings that was observed, 0..1."""
        return float(self.seen[component - 1] / self.area[component - 1])


def _common(
    zone: NDArray[np.uint8], top: int, left: int, observed: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Crop both to what they share; the corner of `zone` lies at (top, left) of `observed`."""
    zone = zone[max(-top, 0) :, max(-left, 0) :]
    top, left = max(top, 0), max(left, 0)
    seen = observed[top : top + zone.shape[0], left : left + zone.shape[1]]
    return zone[: seen.shape[0], : seen.shape[1]], seen


def _read_rows(raster: Any, top: int, bottom: int, *, margin: int) -> NDArray[Any]:
    """Rows [top, bottom) with `margin` columns more on both sides; 0 outside the raster."""
    rows = np.zeros((bottom - top, raster.width + 2 * margin), raster.dtypes[0])
    first, last = max(top, 0), min(bottom, raster.height)
    inside = raster.read(1, window=Window(0, first, raster.width, last - first))
    rows[first - top : last - top, margin : margin + raster.width] = inside
    return rows
