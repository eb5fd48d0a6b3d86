"""How much ground of a run changed, did not, and was not seen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio

from geodata_etl.cog import gdal_env
from geodata_etl.components import strip_windows
from geodata_etl.errors import GroundshiftError
from geodata_etl.grid import PIXEL_M
from geodata_etl.polygons import STRIP_ROWS, Change

_PIXEL_KM2: Final = PIXEL_M**2 / 1e6
"""A pixel in UTM; true to 0.2 % within a zone (its scale runs from 0.9996 to 1.001)."""


@dataclass(frozen=True)
class Transition:
    """The changes from one class to another."""

    from_class: str
    to_class: str
    polygons: int
    area_m2: float


@dataclass(frozen=True)
class Summary:
    """The ground of a run, square kilometres; the three add up to the run's grid."""

    changed_km2: float
    """Ground within the changes, so pixels over the threshold in groups that were too small to be
    a change do not count."""
    unchanged_km2: float
    """Observed ground outside the changes."""
    not_observed_km2: float
    """Ground of which one date or both showed nothing: cloud, shadow, nodata."""
    pixels: int
    """Pixels of the grid."""
    polygons: int
    """Changes."""
    by_class: tuple[Transition, ...]
    """Changes by their classes, the largest area first."""

    @property
    def observed_fraction(self) -> float:
        """Share of the grid that was observed, 0..1."""
        seen = self.changed_km2 + self.unchanged_km2
        return seen / (seen + self.not_observed_km2)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"by_class": [asdict(row) for row in self.by_class]}


def summarise(observed_tif: Path | str, changes: Sequence[Change]) -> Summary:
    """Count the ground of a run: `observed_tif` (uint8, 0 / 1) is read strip by strip."""
    observed = pixels = 0
    with gdal_env(), rasterio.open(observed_tif) as raster:
        for window in strip_windows(raster, STRIP_ROWS):
            strip = raster.read(1, window=window)
            observed, pixels = observed + int(np.count_nonzero(strip)), pixels + strip.size
    changed = sum(change.pixels for change in changes)
    if changed > observed:
        raise GroundshiftError(
            f"{changed} changed pixels on {observed} observed ones: "
            "give the changes and rasters of one run"
        )
    return Summary(
        changed_km2=round(changed * _PIXEL_KM2, 4),
        unchanged_km2=round((observed - changed) * _PIXEL_KM2, 4),
        not_observed_km2=round((pixels - observed) * _PIXEL_KM2, 4),
        pixels=pixels,
        polygons=len(changes),
        by_class=_by_class(changes),
    )


def _by_class(changes: Sequence[Change]) -> tuple[Transition, ...]:
    count: Counter[tuple[str, str]] = Counter()
    area: defaultdict[tuple[str, str], float] = defaultdict(float)
    for change in changes:
        key = change.from_class.label, change.to_class.label
        count[key] += 1
        area[key] += change.area_m2
    rows = (Transition(*key, count[key], round(area[key], 1)) for key in count)
    return tuple(sorted(rows, key=lambda row: (-row.area_m2, row.from_class, row.to_class)))
