"""Simulated pairs as arrays on disk: drawn once, read by every model's training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geodata_etl.bands import Cloud
from geodata_etl.simulate import SampledPair, sample_pair

HELD_OUT_SEED = 1_000_000
"""Seeds from here on are never trained on."""


@dataclass(frozen=True)
class SimPair:
    """One simulated pair with its truth."""

    seed: int
    before: NDArray[np.uint16]
    """[6,H,W] reflectance x 10000, 0 = nodata."""
    after: NDArray[np.uint16]
    before_cloud: NDArray[np.uint8]
    """[H,W] bands.Cloud."""
    after_cloud: NDArray[np.uint8]
    before_cover: NDArray[np.uint8]
    """[H,W] bands.Cover."""
    after_cover: NDArray[np.uint8]
    change: NDArray[np.uint8]
    """[H,W] 1 where the land changed."""

    @property
    def seen(self) -> NDArray[np.bool_]:
        """[H,W] observed at both dates, whatever the sky."""
        seen: NDArray[np.bool_] = (self.before.min(0) > 0) & (self.after.min(0) > 0)
        return seen

    @property
    def lit(self) -> NDArray[np.bool_]:
        """[H,W] observed, and no thick cloud at either date: shadows and veils count."""
        thick = (self.before_cloud == Cloud.CLOUD) | (self.after_cloud == Cloud.CLOUD)
        lit: NDArray[np.bool_] = self.seen & ~thick
        return lit

    @property
    def clear(self) -> NDArray[np.bool_]:
        """[H,W] observed and clear at both dates."""
        clear: NDArray[np.bool_] = self.seen & (self.before_cloud == 0) & (self.after_cloud == 0)
        return clear


_FIELDS = [
    "before",
    "after",
    "before_cloud",
    "after_cloud",
    "before_cover",
    "after_cover",
    "change",
]


def simulate(seed: int, *, size: int = 256, cloud_fraction: float | None = None) -> SimPair:
    """The simulated pair of a seed: always the same bits."""
    drawn: SampledPair = sample_pair(
        np.random.default_rng(seed), size, cloud_fraction=cloud_fraction
    )
    one, two = drawn.before, drawn.after
    return SimPair(
        seed,
        one.reflectance,
        two.reflectance,
        one.cloud,
        two.cloud,
        one.cover,
        two.cover,
        drawn.change,
    )


def load(folder: Path, seeds: range, *, size: int = 256) -> list[SimPair]:
    """The pairs of `seeds`, from the folder where they lie there, else simulated and kept."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_cached(folder / f"{seed}_{size}.npz", seed, size) for seed in seeds]


def _cached(path: Path, seed: int, size: int) -> SimPair:
    if path.exists():
        with np.load(path, allow_pickle=False) as stored:
            return SimPair(seed, *(stored[name] for name in _FIELDS))
    pair = simulate(seed, size=size)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as out:
        np.savez(out, **{name: getattr(pair, name) for name in _FIELDS})
    partial.replace(path)  # an interrupted run leaves no half file
    return pair
