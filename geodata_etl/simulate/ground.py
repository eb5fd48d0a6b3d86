"""The objects of a site on one day: a spectrum and a class for every object id.

An object id is ``material x per_material + number``; every field, wood, roof has a number, so that
a pixel's spectrum is one table look-up and a whole scene costs six of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from geodata_etl.bands import Cover
from geodata_etl.simulate import materials as m
from geodata_etl.simulate.climate import Climate
from geodata_etl.simulate.materials import Calendar, Material
from geodata_etl.simulate.noise import Float, generator, uniform

RECOVERY_DAYS: Final = 500.0
"""After this long a felled or burnt place has greened over."""

_MOVING: Final = (Material.CROPLAND, Material.WATER, Material.RIVER, Material.FLOOD)


@dataclass(frozen=True)
class Palette:
    """Tables over object ids on one day."""

    spectra: Float
    """Surface reflectance [6, ids]."""
    cover: NDArray[np.uint8]
    """`Cover` [ids]."""
    fine: Float
    """Relative pixel texture [ids]."""
    coarse: Float
    """Relative texture over tens of metres [ids]."""
    height: Float
    """Strength of the shadow cast [ids]."""
    green: Float
    """Share of green leaves [ids]."""
    moving: Float
    """1 where the coarse texture differs from day to day [ids]."""


def palette(
    *, seed: int, climate: Climate, per_material: int, day: datetime, since_days: Float
) -> Palette:
    """The tables of a day. `since_days` [ids] is how long ago an event made the object."""
    ids = np.arange(len(Material) * per_material, dtype=np.int64)
    material = ids // per_material
    green, dry = _leaf_state(seed, climate, ids, material, day, since_days)
    spectra = _mix(climate, material, green, dry, since_days)
    spectra *= _variation(seed, material, ids.size)
    cover = m.COVER[material].copy()
    fields = np.isin(material, (Material.CROPLAND, Material.CLEARED))
    cover[fields] = np.where(green[fields] >= m.GREEN_LIMIT, Cover.LOW_VEGETATION, Cover.BARE)
    return Palette(
        spectra=spectra,
        cover=cover,
        fine=m.FINE[material],
        coarse=m.COARSE[material],
        height=m.HEIGHT[material],
        green=green,
        moving=np.isin(material, _MOVING).astype(np.float32),
    )


def _variation(seed: int, material: NDArray[np.int64], count: int) -> Float:
    """Each object's own tone: brightness common to all bands, and a little colour."""
    rng = generator(seed, "objects")
    tone = rng.standard_normal(count, dtype=np.float32) * m.BRIGHTNESS[material]
    tint = rng.standard_normal((6, count), dtype=np.float32) * (0.3 * m.BRIGHTNESS[material])
    return np.asarray(np.exp(tone + tint), np.float32)


def _leaf_state(
    seed: int,
    climate: Climate,
    ids: NDArray[np.int64],
    material: NDArray[np.int64],
    day: datetime,
    since_days: Float,
) -> tuple[Float, Float]:
    """Green and dry share [ids] on a day; what is neither shows soil (or branches)."""
    green = np.zeros(ids.size, np.float32)
    dry = np.zeros(ids.size, np.float32)
    lead = (uniform(ids, seed, 11) - 0.5) * 24  # days that a field runs ahead of its neighbours
    doy = (day.timetuple().tm_yday + climate.season_days + lead) % 366
    fields = material == Material.CROPLAND
    green[fields], dry[fields] = _crops(seed, climate, ids[fields], doy[fields], day.year)
    for kinds, calendar in (
        ((Material.BROADLEAF, Material.PARK_TREE), m.LEAF),
        ((Material.MEADOW, Material.GARDEN, Material.SHRUB), m.GRASS),
    ):
        chosen = np.isin(material, kinds)
        green[chosen], dry[chosen] = _shares(calendar, doy[chosen])
    green[material == Material.CONIFER] = 1.0
    _dry_out(climate, material, green, dry, doy)
    back = material == Material.CLEARED
    season, _ = _shares(m.GRASS, doy[back])
    green[back] = np.clip(since_days[back] / RECOVERY_DAYS, 0.02, 0.9) * season
    dry[back] = 0.35
    return green, np.minimum(dry, 1 - green)


def _crops(
    seed: int, climate: Climate, ids: NDArray[np.int64], doy: Float, year: int
) -> tuple[Float, Float]:
    """Each field's crop of this year (rotation: the draw changes with the harvest year)."""
    harvest = year + (doy > 250)
    pick = np.searchsorted(np.cumsum(climate.crops)[:-1], uniform(ids, harvest, seed, 12))
    green, dry = np.zeros(ids.size, np.float32), np.zeros(ids.size, np.float32)
    for number, calendar in enumerate(m.CROPS):
        chosen = pick == number
        green[chosen], dry[chosen] = _shares(calendar, doy[chosen])
    return green * (0.75 + 0.25 * uniform(ids, harvest, seed, 13)), dry


def _dry_out(
    climate: Climate, material: NDArray[np.int64], green: Float, dry: Float, doy: Float
) -> None:
    """Summer drought turns grass and shrubs yellow; evergreen climates keep their leaves."""
    heat = np.exp(-(((doy - 215) / 55) ** 2)).astype(np.float32) * climate.drought
    grass = np.isin(material, (Material.MEADOW, Material.GARDEN, Material.SHRUB))
    lost = np.where(grass, green * heat * 0.6, 0)
    green -= lost
    dry += lost
    leafy = np.isin(material, (Material.BROADLEAF, Material.PARK_TREE))
    green[leafy] = np.maximum(green[leafy], climate.evergreen)


def _shares(calendar: Calendar, doy: Float) -> tuple[Float, Float]:
    return (
        np.interp(doy, calendar.days, calendar.green).astype(np.float32),
        np.interp(doy, calendar.days, calendar.dry).astype(np.float32),
    )


def _mix(
    climate: Climate,
    material: NDArray[np.int64],
    green: Float,
    dry: Float,
    since_days: Float,
) -> Float:
    spectra: Float = m.SPECTRA[:, material].copy()
    soil = m.SPECTRA[:, Material.SOIL] * np.asarray(climate.soil, np.float32)
    leafy = np.isin(material, (Material.BROADLEAF, Material.PARK_TREE))
    low = np.isin(material, (Material.CROPLAND, Material.MEADOW, Material.SHRUB, Material.GARDEN))
    low |= material == Material.CLEARED
    spectra[:, leafy] = spectra[:, leafy] * green[leafy] + np.outer(m.LEAFLESS, 1 - green[leafy])
    rest = 1 - green - dry
    spectra[:, low] = (
        spectra[:, low] * green[low] + np.outer(m.DRY, dry[low]) + np.outer(soil, rest[low])
    )
    bare = np.isin(material, (Material.SOIL, Material.MINE))
    spectra[:, bare] *= np.asarray(climate.soil, np.float32)[:, None]
    _fade(material, spectra, soil, since_days)
    return spectra


def _fade(material: NDArray[np.int64], spectra: Float, soil: Float, since_days: Float) -> None:
    """Ash washes off: a burnt place drifts half-way to soil and sparse grass."""
    burnt = material == Material.BURNT
    share = 0.45 * np.clip(since_days[burnt] / RECOVERY_DAYS, 0, 1)
    spectra[:, burnt] = spectra[:, burnt] * (1 - share) + np.outer(soil * 0.7, share)
