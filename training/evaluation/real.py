"""Real scenes that measure, where the folder of them is present."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from numpy.typing import NDArray

from geodata_etl.bands import BANDS, NODATA
from training import measure, realdata
from training.dataset import Sample
from training.sources import COPERNICUS

NEIGHBOURS: Final = ("saclay_e",)
"""Cities that adjoin a place whose imagery trained: scores are also given without them."""
SUMMER: Final = measure.CLEAR_DATES
"""Dates of the Slovenian series without a cloud, between which nothing was built."""
WINTER: Final = ("20161212", "20170101", "20170111")
"""Four weeks of it: long shadows, and snow and cloud on the last date; nothing was built."""


def slovenia(data: Path, days: tuple[str, ...]) -> Iterator[Sample]:
    """Pairs of the first of `days` with each later one; nothing changed, one site."""
    stacks = {day: realdata.read_scene(data / "s2_slovenia" / f"{day}_L1C_13b.tif") for day in days}
    first = days[0]
    for day in days[1:]:
        before, after = stacks[first], stacks[day]
        seen = (before.min(0) != NODATA) & (after.min(0) != NODATA)
        yield Sample(
            name=f"slovenia-{first}-{day}",
            site="slovenia",
            sensor="sentinel-2",
            dates=(_date(first), _date(day)),
            licence=COPERNICUS,
            lineage=f"s2_slovenia {first} and {day}",
            before=before,
            after=after,
            ignore=~seen,
            change=np.zeros(seen.shape, np.bool_),
        )


@dataclass(frozen=True)
class Chip:
    """One cloud chip with a person's label."""

    name: str
    image: NDArray[np.uint16]
    """[4,H,W] blue, green, red, nir, reflectance x 10000."""
    cloud: NDArray[np.uint8]
    """[H,W] 0 clear, 1 cloud (veils too), 255 nodata; shadows are not marked."""


def cloud_chips(data: Path) -> Iterator[Chip]:
    """The Sentinel-2 chips with human cloud labels."""
    for path in sorted((data / "s2_cloud_chips").glob("chip_?.tif")):
        with rasterio.open(path) as image:
            bands = image.read().astype(np.uint16)
        with rasterio.open(path.with_name(f"{path.stem}_cloud_label.tif")) as labels:
            yield Chip(path.stem, bands[: len(BANDS)], labels.read(1).astype(np.uint8))


def _date(text: str) -> date:
    return date.fromisoformat(f"{text[:4]}-{text[4:6]}-{text[6:]}")
