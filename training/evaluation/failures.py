"""Known failure modes as named sets: each shows one thing that is no change and looks like one.

Every set is made from held-out simulator sites, so that its truth is exact: one date as it is, the
other with the nuisance alone. Real changes lie in the same pairs, so that a model that goes silent
under the nuisance loses as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from geodata_etl.bands import REFLECTANCE_SCALE, Cloud, Cover
from geodata_etl.simulate import ChangeCounts, SimulatedScene, Site, SiteSpec, simulate_site
from training.corpus import HELD_OUT_SEED
from training.dataset import Sample
from training.evaluation.simulated import pair_sample

Bool = NDArray[np.bool_]
Float = NDArray[np.float32]
SIZE_PX: Final = 192
"""Edge of a site: a few fields, a village, some changes."""
_FIRST_SEED: Final = HELD_OUT_SEED + 500_000
"""Sites of the sets; `simulated.held_out` stays below."""
_LOOK: Final = 100_000
"""Seeds between two looks at a set: room for all modes."""
_CHANGES: Final = ChangeCounts(building=2, felling=1, mine=1)
_SUMMER: Final = date(2023, 6, 20)
_TRIES: Final = 40
_EDGE_PX: Final = 8
"""A cloud's edge is what lies within so many pixels of thick cloud."""
_WATER_PX: Final = 600
"""Least water of a site that shows turbidity, pixels."""


@dataclass(frozen=True)
class Draw:
    """One site with two clear dates to start from."""

    site: Site
    rng: np.random.Generator
    days: tuple[date, date]

    def scene(
        self,
        which: int,
        *,
        cloud: float = 0.0,
        shift: tuple[float, float] = (0.0, 0.0),
        haze: float = 1.0,
        later: int = 0,
    ) -> SimulatedScene:
        """The site on one of the two days (or `later` days after it), aligned and clear."""
        day = self.days[which] + timedelta(days=later)
        return self.site.scene(day, cloud_fraction=cloud, shift=shift, haze=haze)


Made = tuple[SimulatedScene, SimulatedScene, Bool]
"""Both scenes and the pixels [H,W] that count."""


@dataclass(frozen=True)
class FailureMode:
    """One row of the table below."""

    name: str
    shows: str
    """What looks like change and is none, in one sentence."""
    make: Callable[[Draw], Made | None]
    """None where the site does not show it: the next one is drawn."""
    climates: tuple[str, ...]
    days: tuple[date, date] = (_SUMMER, _SUMMER + timedelta(days=365))
    hiding_is_right: bool = False
    """The nuisance veils the ground: "not observed" is a right answer there, so that the set is
    judged by its false alarms and not by the changes found."""


def samples(
    mode: FailureMode, count: int, *, size: int = SIZE_PX, look: int = 0
) -> Iterator[Sample]:
    """`count` samples of a set, one per site; always the same ones, and others for another `look`.

    Raises RuntimeError where the simulator makes no such site in a fair number of tries.
    """
    number, seeds = 0, _seeds(mode, count * _TRIES, look)
    for sample in islice(filter(None, (_sample(mode, seed, size) for seed in seeds)), count):
        number += 1
        yield sample
    if number < count:
        raise RuntimeError(f"{mode.name}: {number} of {count} sites in {len(seeds)} tries")


def _sample(mode: FailureMode, seed: int, size: int) -> Sample | None:
    draw = _draw(mode, seed, size)
    made = mode.make(draw)
    if made is None:
        return None
    sample = pair_sample(seed, draw.site, *made[:2], counts=made[2])
    return replace(sample, lineage=f"{sample.lineage}; {mode.name}: {mode.shows}")


def _seeds(mode: FailureMode, most: int, look: int) -> range:
    first = _FIRST_SEED + 10_000 * [one.name for one in MODES].index(mode.name) + _LOOK * look
    return range(first, first + most)


def _draw(mode: FailureMode, seed: int, size: int) -> Draw:
    rng = np.random.default_rng(seed)
    site = simulate_site(
        SiteSpec(
            seed=seed,
            size_px=size,
            climate=mode.climates[seed % len(mode.climates)],
            toa=bool(seed % 2),
            changes=_CHANGES,
            start=mode.days[0] + timedelta(days=1),
            days=(mode.days[1] - mode.days[0]).days - 2,
        )
    )
    return Draw(site, rng, mode.days)


def _everywhere(scene: SimulatedScene) -> Bool:
    return np.ones(scene.cloud.shape, np.bool_)


def _plain(draw: Draw) -> Made:
    """The dates themselves are the nuisance."""
    before, after = draw.scene(0), draw.scene(1)
    return before, after, _everywhere(after)


def _hazy(draw: Draw) -> Made:
    after = draw.scene(1, haze=float(draw.rng.uniform(2.5, 4.0)))
    return draw.scene(0), after, _everywhere(after)


def _misregistered(draw: Draw) -> Made:
    length, angle = draw.rng.uniform(1.0, 2.0), draw.rng.uniform(0, 2 * np.pi)
    after = draw.scene(1, shift=(float(length * np.sin(angle)), float(length * np.cos(angle))))
    return draw.scene(0), after, _everywhere(after)


def _clouded(draw: Draw, wanted: Callable[[SimulatedScene], bool]) -> SimulatedScene | None:
    """The second date under the first sky of the following days that shows what is wanted."""
    for later in range(_TRIES):
        scene = draw.scene(1, cloud=float(draw.rng.uniform(0.15, 0.7)), later=later)
        if wanted(scene):
            return scene
    return None


def _thin(draw: Draw) -> Made | None:
    def veiled(scene: SimulatedScene) -> bool:
        thick, thin = ((scene.cloud == kind).mean() for kind in (Cloud.CLOUD, Cloud.THIN))
        return bool(thin > 0.25 and thick < 0.1)

    after = _clouded(draw, veiled)
    if after is None:
        return None
    return draw.scene(0), after, after.cloud != Cloud.CLOUD


def _cloud_edge(draw: Draw) -> Made | None:
    def broken(scene: SimulatedScene) -> bool:
        return bool(0.1 < (scene.cloud == Cloud.CLOUD).mean() < 0.4)

    after = _clouded(draw, broken)
    if after is None:
        return None
    thick = after.cloud == Cloud.CLOUD
    near = distance_transform_edt(~thick) <= _EDGE_PX
    return draw.scene(0), after, near & ~thick


def _shadow(draw: Draw) -> Made | None:
    def shaded(scene: SimulatedScene) -> bool:
        return bool((scene.cloud == Cloud.SHADOW).mean() > 0.1)

    after = _clouded(draw, shaded)
    if after is None:
        return None
    return draw.scene(0), after, np.isin(after.cloud, (Cloud.CLEAR, Cloud.SHADOW))


def _turbid(draw: Draw) -> Made | None:
    """Silt in the water after rain: brighter in green and red, a little in near infrared."""
    before, after = draw.scene(0), draw.scene(1)
    water = (before.cover == Cover.WATER) & (after.cover == Cover.WATER)
    if water.sum() < _WATER_PX:
        return None
    silt = np.array([0.03, 0.07, 0.08, 0.03, 0.004, 0.002], np.float32)[:, None, None]
    muddy = _reflectance(after) + silt * draw.rng.uniform(0.6, 1.4) * _patches(draw, water)
    return before, _with(after, muddy), _everywhere(after)


def _bright_soil(draw: Draw) -> Made | None:
    """Soil that has dried: brighter by a third to two thirds, field by field as it was worked."""
    before, after = draw.scene(0), draw.scene(1)
    bare = (after.cover == Cover.BARE) & (before.cover == Cover.BARE)
    if bare.mean() < 0.05:
        return None
    gain = 1 + draw.rng.uniform(0.3, 0.6) * _patches(draw, bare)
    return before, _with(after, _reflectance(after) * gain), _everywhere(after)


def _snowy(draw: Draw) -> Made:
    """Snow on open ground, thin or in patches, roofs and roads cleared in part."""
    before, after = draw.scene(0), draw.scene(1)
    snow = np.array([0.72, 0.74, 0.74, 0.70, 0.13, 0.10], np.float32)[:, None, None]
    holds = np.select(
        [after.cover == Cover.WATER, after.cover == Cover.TREE, after.cover == Cover.BUILT],
        [0.0, 0.25, 0.5],
        1.0,
    ).astype(np.float32)
    depth = np.clip(0.6 + 0.3 * _smooth(draw, holds.shape), 0, 0.97) * gaussian_filter(holds, 0.7)
    white = _reflectance(after) * (1 - depth) + snow * depth
    return before, _with(after, white), _everywhere(after)


def _smooth(draw: Draw, shape: tuple[int, ...]) -> Float:
    """A smooth field of zero mean and unit variance."""
    field = gaussian_filter(draw.rng.standard_normal(shape), 12)
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def _patches(draw: Draw, where: Bool) -> Float:
    """0..1 within `where`, [H,W]: more in some places than in others, soft at the rim."""
    field = np.clip(0.7 + 0.4 * _smooth(draw, where.shape), 0.1, 1.0)
    return np.asarray(field * gaussian_filter(where.astype(np.float32), 0.7), np.float32)


def _reflectance(scene: SimulatedScene) -> Float:
    return scene.reflectance.astype(np.float32) / np.float32(REFLECTANCE_SCALE)


def _with(scene: SimulatedScene, reflectance: Float) -> SimulatedScene:
    seen = scene.reflectance > 0
    stack = np.clip(np.rint(reflectance * REFLECTANCE_SCALE), 1, 65535).astype(np.uint16)
    return replace(scene, reflectance=np.where(seen, stack, 0).astype(np.uint16))


_FARMED: Final = ("temperate", "upland", "mediterranean")
_WINTER: Final = (date(2023, 7, 5), date(2024, 1, 25))

MODES: Final = (
    FailureMode(
        "crop rotation",
        "the same week a year later: other crops on the fields, nothing built",
        _plain,
        ("temperate", "mediterranean"),
        (date(2023, 5, 25), date(2024, 5, 25)),
    ),
    FailureMode(
        "leaf-off",
        "July against January: broadleaf trees bare, fields harvested, the sun low",
        _plain,
        ("temperate", "upland"),
        _WINTER,
    ),
    FailureMode(
        "thin cloud",
        "a veil over at least a quarter of the second date; thick cloud does not count",
        _thin,
        _FARMED,
        hiding_is_right=True,
    ),
    FailureMode(
        "cloud edge",
        f"the {_EDGE_PX} px around thick clouds of the second date, where masks end too early",
        _cloud_edge,
        _FARMED,
        hiding_is_right=True,
    ),
    FailureMode(
        "shadow",
        "cloud shadows on at least a tenth of the second date; clouds do not count",
        _shadow,
        _FARMED,
        hiding_is_right=True,
    ),
    FailureMode("water turbidity", "silt in lakes and rivers at the second date", _turbid, _FARMED),
    FailureMode(
        "misregistration",
        "the second date lies 1 to 2 px off in any direction",
        _misregistered,
        _FARMED,
    ),
    FailureMode(
        "haze",
        "2.5 to 4 times a clear day's aerosol at the second date",
        _hazy,
        _FARMED,
    ),
    FailureMode(
        "bright soil",
        "soil that is bare at both dates has dried and is a third to two thirds brighter",
        _bright_soil,
        ("mediterranean", "desert", "temperate"),
        (date(2023, 9, 25), date(2024, 9, 25)),
    ),
    FailureMode(
        "snow",
        "patchy snow on the second date, in winter, over a site seen in autumn before",
        _snowy,
        ("temperate", "upland"),
        (date(2023, 10, 20), date(2024, 2, 5)),
        hiding_is_right=True,
    ),
)
"""The failure-mode sets."""
