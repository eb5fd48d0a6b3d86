"""Pairs for training: a small site, two dates, everything drawn."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from geodata_etl.simulate.changes import ChangeCounts
from geodata_etl.simulate.site import SimulatedScene, Site, SiteSpec, simulate_site


@dataclass(frozen=True, eq=False)
class SampledPair:
    """Two scenes of one site and where the land really changed."""

    before: SimulatedScene
    after: SimulatedScene
    change: NDArray[np.uint8]
    """[H, W]: 1 where a known change lies between the dates."""
    site: Site


def sample_pair(
    rng: np.random.Generator,
    size_px: int = 256,
    *,
    cloud_fraction: float | None = None,
    change_chance: float = 0.8,
    toa: bool | None = None,
    climate: str | None = None,
) -> SampledPair:
    """Draw a site and two of its scenes, five days to two years apart.

    `cloud_fraction` fixes both dates' clouds (None: drawn, often clear); `change_chance` is the
    share of pairs with known changes between the dates; `toa` None draws the level for the pair.
    """
    first = date(2021, 1, 1) + timedelta(days=int(rng.integers(0, 730)))
    apart = int(np.exp(rng.uniform(np.log(5), np.log(730))))
    changed = rng.random() < change_chance
    spec = SiteSpec(
        seed=int(rng.integers(1 << 62)),
        size_px=size_px,
        climate=climate,
        sensor="landsat" if rng.random() < 0.1 else "sentinel-2",
        toa=bool(rng.random() < 0.6) if toa is None else toa,
        changes=_counts(rng, size_px) if changed else ChangeCounts(),
        start=first,
        days=apart,
    )
    site = simulate_site(spec)
    clouds = [cloud_fraction] * 2 if cloud_fraction is not None else _clouds(rng)
    before = site.scene(first, cloud_fraction=clouds[0])
    after = site.scene(first + timedelta(days=apart), cloud_fraction=clouds[1])
    change = site.change_mask(before.acquired, after.acquired)
    return SampledPair(before, after, change, site)


def _counts(rng: np.random.Generator, size_px: int) -> ChangeCounts:
    unit = (size_px / 256) ** 2
    building, felling, flood, fire, mine = rng.poisson(np.array([2.0, 0.7, 0.3, 0.3, 0.5]) * unit)
    return ChangeCounts(int(building), int(felling), int(flood), int(fire), int(mine))


def _clouds(rng: np.random.Generator) -> list[float]:
    return [0.0 if rng.random() < 0.6 else float(rng.beta(0.8, 1.8)) for _ in range(2)]
