"""Which slices a sample's pixels fall into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from geodata_etl.bands import Cloud, Cover
from training.dataset import UNKNOWN, Sample

Bool = NDArray[np.bool_]

SIMULATED: Final = "simulated"
LABELS: Final = "labels"
OSCD: Final = "oscd"
SLOVENIA: Final = "slovenia"
SLOVENIA_WINTER: Final = "slovenia winter"
SLICED: Final = (SIMULATED, LABELS, OSCD)
"""Sets that are taken apart; the others, each about one thing, count as a whole."""
EVERYTHING: Final = "all"
"""The dimension that holds every pixel of a set."""
SIZES: Final = ((10, "under 0.1 ha"), (50, "0.1 to 0.5 ha"), (250, "0.5 to 2.5 ha"))
"""Upper bounds of a change's size, pixels of 100 m2; what is larger is over 2.5 ha."""
LARGEST: Final = "over 2.5 ha"
SEASONS: Final = ((30, "same season"), (90, "a season apart"), (184, "opposite seasons"))
"""Upper bounds of the distance in the year, days."""
SKIES: Final = ((0.001, "clear"), (0.1, "under 10 % cloud"), (0.4, "10 to 40 % cloud"))
"""Upper bounds of the clouds' share of the cloudier date; more is over 40 %."""
CLOUDIEST: Final = "over 40 % cloud"
_ORDER: Final = [
    *(name for _, name in SIZES),
    LARGEST,
    *(name for _, name in SEASONS),
    *(name for _, name in SKIES),
    CLOUDIEST,
]


@dataclass(frozen=True, order=True)
class Slice:
    """One named part of one set."""

    set: str
    """``simulated``, ``oscd``, ``labels``, or a failure-mode set's name."""
    dimension: str
    value: str

    @property
    def rank(self) -> tuple[str, str, int, str]:
        """Sorts slices for a reader: bounds by size, everything else by name."""
        place = _ORDER.index(self.value) if self.value in _ORDER else len(_ORDER)
        return self.set, self.dimension, place, self.value

    def __str__(self) -> str:
        if self.dimension == EVERYTHING:
            return self.set
        return f"{self.set} / {self.dimension}: {self.value}"


def of_sample(sample: Sample) -> Iterator[tuple[str, str]]:
    """(dimension, value) of the slices that hold the whole sample."""
    yield EVERYTHING, ""
    yield "site", sample.site
    yield "sensor", sample.sensor
    yield "season", _below(SEASONS, sample.season_days, SEASONS[-1][1])
    sky = cloud_fraction(sample)
    if sky is not None:
        yield "sky", _below(SKIES, sky, CLOUDIEST)
    for trait in ("biome", "level"):
        if trait in sample.traits:
            yield trait, str(sample.traits[trait])


def of_pixels(sample: Sample) -> Iterator[tuple[str, str, Bool]]:
    """(dimension, value, mask [H,W]) of the slices that hold only some pixels.

    Change size and a class pair hold changed pixels alone, so they have a recall and no F1; a pair
    of equal classes holds unchanged pixels alone, so it has a share of false alarms.
    """
    assert sample.change is not None
    sizes = component_sizes(sample.change)
    lower = 1
    for upper, name in (*SIZES, (sizes.size + 1, LARGEST)):
        mask = (sizes >= lower) & (sizes < upper)
        if mask.any():
            yield "change size", name, mask
        lower = upper
    if sample.covers is not None:
        yield from _pairs(sample, *sample.covers)


def _pairs(
    sample: Sample, before: NDArray[np.uint8], after: NDArray[np.uint8]
) -> Iterator[tuple[str, str, Bool]]:
    assert sample.change is not None
    known = (before != UNKNOWN) & (after != UNKNOWN)
    pair = before.astype(np.int64) * len(Cover) + after
    for number in np.unique(pair[sample.change & known]):
        old, new = (Cover(int(c)) for c in divmod(number, len(Cover)))
        yield "from -> to", f"{old.label} -> {new.label}", sample.change & known & (pair == number)
    for cover in Cover:
        mask = ~sample.change & known & (before == cover) & (after == cover)
        if mask.any():
            yield "unchanged class", cover.label, mask


def component_sizes(change: Bool) -> NDArray[np.int64]:
    """[H,W] size of the 8-connected change that a pixel belongs to, pixels; 0 where unchanged."""
    parts, _ = label(change, structure=np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(sizes[parts], np.int64)


def cloud_fraction(sample: Sample) -> float | None:
    """Share of thick and thin cloud at the cloudier date; None where nobody knows."""
    if "cloud_fraction" in sample.traits:
        return float(sample.traits["cloud_fraction"])
    if sample.clouds is None:
        return None
    shares = [
        float(np.isin(plane, (Cloud.CLOUD, Cloud.THIN))[plane != UNKNOWN].mean())
        for plane in sample.clouds
        if (plane != UNKNOWN).any()
    ]
    return max(shares, default=None)


def _below(bounds: tuple[tuple[float, str], ...], value: float, largest: str) -> str:
    return next((name for upper, name in bounds if value < upper), largest)
