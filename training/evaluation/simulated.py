"""Samples out of the simulator, from seeds that no training ever draws."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from geodata_etl.bands import NODATA, Cloud
from geodata_etl.simulate import CLIMATES, SimulatedScene, Site, sample_pair
from training.corpus import HELD_OUT_SEED
from training.dataset import Sample
from training.sources import OWN

_LOOK: Final = 100_000
"""Seeds between two looks."""


def held_out(count: int, *, size: int = 256, look: int = 0) -> Iterator[Sample]:
    """`count` pairs of sites, drawn as training draws them but with every biome in turn.

    Always the same ones, and others for another `look`.

    Pixels that are clear at both dates count.
    """
    biomes, first = list(CLIMATES), HELD_OUT_SEED + _LOOK * look
    for seed in range(first, first + count):
        biome = biomes[seed % len(biomes)]
        drawn = sample_pair(np.random.default_rng(seed), size, climate=biome)
        clear = (drawn.before.cloud == Cloud.CLEAR) & (drawn.after.cloud == Cloud.CLEAR)
        yield pair_sample(seed, drawn.site, drawn.before, drawn.after, counts=clear)


def pair_sample(
    seed: int,
    site: Site,
    before: SimulatedScene,
    after: SimulatedScene,
    *,
    counts: NDArray[np.bool_],
) -> Sample:
    """Two scenes of one simulated site with their truth; `counts` [H,W] is what may count.

    `seed` names the site: see `training.sources.Simulator`.
    """
    seen = (before.reflectance.min(0) != NODATA) & (after.reflectance.min(0) != NODATA)
    return Sample(
        name=f"seed-{seed}",
        site=f"simulator/{seed}",
        sensor=f"simulator/{after.sensor}",
        dates=(_day(before.acquired), _day(after.acquired)),
        licence=OWN,
        lineage=f"scene simulator, seed {seed}, {after.cloud.shape[0]} px",
        before=before.reflectance,
        after=after.reflectance,
        ignore=~(seen & counts),
        change=site.change_mask(before.acquired, after.acquired) > 0,
        covers=(before.cover, after.cover),
        clouds=(before.cloud, after.cloud),
        traits={
            "biome": site.climate.name,
            "level": "L1C" if after.toa else "L2A",
        },
    )


def _day(moment: datetime) -> date:
    return moment.date()
