"""What the ground is made of: spectra, variability, and how each material looks through a year."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from geodata_etl.bands import Cover
from geodata_etl.simulate.noise import Float


class Material(IntEnum):
    """What a pixel is made of; finer than `Cover`."""

    WATER = 0
    RIVER = 1
    CONIFER = 2
    BROADLEAF = 3
    CROPLAND = 4
    MEADOW = 5
    SHRUB = 6
    SOIL = 7
    SAND = 8
    ROCK = 9
    ASPHALT = 10
    CONCRETE = 11
    ROOF_TILE = 12
    ROOF_GREY = 13
    ROOF_WHITE = 14
    ROOF_DARK = 15
    ROOF_BLUE = 16
    GARDEN = 17
    PARK_TREE = 18
    YARD = 19
    BURNT = 20
    CLEARED = 21
    MINE = 22
    FLOOD = 23


BUILT: Final = (
    Material.ASPHALT,
    Material.CONCRETE,
    Material.ROOF_TILE,
    Material.ROOF_GREY,
    Material.ROOF_WHITE,
    Material.ROOF_DARK,
    Material.ROOF_BLUE,
    Material.YARD,
)
ROOFS: Final = BUILT[2:7]
TREES: Final = (Material.CONIFER, Material.BROADLEAF, Material.PARK_TREE)
WATERS: Final = (Material.WATER, Material.RIVER, Material.FLOOD)


@dataclass(frozen=True)
class Look:
    """How one material looks: surface reflectance per band and how it varies."""

    spectrum: tuple[float, float, float, float, float, float]
    """Blue, green, red, nir, swir16, swir22; vegetation in full leaf, everything else bare.
    Starting values: Sentinel-2 surface reflectances of common endmembers, then set by eye and
    histogram against real scenes."""
    brightness: float
    """Spread between objects, sd of the log."""
    fine: float
    """Texture from pixel to pixel, sd relative to the mean."""
    coarse: float
    """Texture over some tens of metres, sd relative to the mean."""
    cover: Cover
    height: float = 0.0
    """Strength of the shadow cast on the neighbour, 0..1."""


LOOKS: Final[dict[Material, Look]] = {
    Material.WATER: Look(
        (0.035, 0.034, 0.022, 0.012, 0.007, 0.005),
        0.12,
        0.015,
        0.05,
        Cover.WATER,
    ),
    Material.RIVER: Look(
        (0.050, 0.066, 0.052, 0.026, 0.011, 0.008),
        0.12,
        0.03,
        0.08,
        Cover.WATER,
    ),
    Material.CONIFER: Look(
        (0.017, 0.030, 0.019, 0.190, 0.085, 0.038),
        0.12,
        0.13,
        0.08,
        Cover.TREE,
        0.8,
    ),
    Material.BROADLEAF: Look(
        (0.022, 0.044, 0.023, 0.330, 0.145, 0.060),
        0.10,
        0.11,
        0.07,
        Cover.TREE,
        0.8,
    ),
    Material.CROPLAND: Look(
        (0.030, 0.060, 0.032, 0.420, 0.185, 0.085),
        0.10,
        0.03,
        0.06,
        Cover.LOW_VEGETATION,
    ),
    Material.MEADOW: Look(
        (0.036, 0.066, 0.046, 0.320, 0.200, 0.105),
        0.12,
        0.05,
        0.08,
        Cover.LOW_VEGETATION,
    ),
    Material.SHRUB: Look(
        (0.030, 0.050, 0.042, 0.240, 0.175, 0.100),
        0.14,
        0.13,
        0.12,
        Cover.LOW_VEGETATION,
    ),
    Material.SOIL: Look(
        (0.072, 0.100, 0.132, 0.190, 0.270, 0.230),
        0.16,
        0.04,
        0.09,
        Cover.BARE,
    ),
    Material.SAND: Look(
        (0.150, 0.210, 0.270, 0.340, 0.430, 0.390),
        0.14,
        0.03,
        0.10,
        Cover.BARE,
    ),
    Material.ROCK: Look(
        (0.115, 0.140, 0.165, 0.205, 0.260, 0.230),
        0.18,
        0.12,
        0.14,
        Cover.BARE,
    ),
    Material.ASPHALT: Look(
        (0.075, 0.082, 0.090, 0.112, 0.128, 0.118),
        0.14,
        0.08,
        0.05,
        Cover.BUILT,
    ),
    Material.CONCRETE: Look(
        (0.145, 0.168, 0.192, 0.230, 0.260, 0.240),
        0.20,
        0.12,
        0.06,
        Cover.BUILT,
    ),
    Material.ROOF_TILE: Look(
        (0.072, 0.096, 0.150, 0.205, 0.245, 0.215),
        0.15,
        0.12,
        0.05,
        Cover.BUILT,
        0.5,
    ),
    Material.ROOF_GREY: Look(
        (0.105, 0.115, 0.127, 0.155, 0.178, 0.165),
        0.22,
        0.12,
        0.05,
        Cover.BUILT,
        0.6,
    ),
    Material.ROOF_WHITE: Look(
        (0.260, 0.285, 0.305, 0.340, 0.340, 0.300),
        0.28,
        0.06,
        0.04,
        Cover.BUILT,
        0.7,
    ),
    Material.ROOF_DARK: Look(
        (0.050, 0.053, 0.058, 0.075, 0.095, 0.095),
        0.25,
        0.10,
        0.05,
        Cover.BUILT,
        0.6,
    ),
    Material.ROOF_BLUE: Look(
        (0.150, 0.140, 0.115, 0.200, 0.220, 0.200),
        0.20,
        0.06,
        0.04,
        Cover.BUILT,
        0.7,
    ),
    Material.GARDEN: Look(
        (0.042, 0.066, 0.056, 0.260, 0.180, 0.105),
        0.18,
        0.16,
        0.10,
        Cover.LOW_VEGETATION,
    ),
    Material.PARK_TREE: Look(
        (0.026, 0.046, 0.030, 0.290, 0.150, 0.072),
        0.12,
        0.15,
        0.08,
        Cover.TREE,
        0.6,
    ),
    Material.YARD: Look(
        (0.105, 0.120, 0.138, 0.180, 0.210, 0.190),
        0.22,
        0.14,
        0.08,
        Cover.BUILT,
    ),
    Material.BURNT: Look(
        (0.034, 0.038, 0.045, 0.080, 0.135, 0.150),
        0.14,
        0.14,
        0.18,
        Cover.BURNT,
    ),
    Material.CLEARED: Look(
        (0.036, 0.062, 0.048, 0.270, 0.190, 0.105),
        0.14,
        0.14,
        0.16,
        Cover.BARE,
    ),
    Material.MINE: Look(
        (0.130, 0.165, 0.200, 0.260, 0.330, 0.290),
        0.18,
        0.10,
        0.22,
        Cover.BARE,
    ),
    Material.FLOOD: Look(
        (0.062, 0.085, 0.085, 0.050, 0.018, 0.012),
        0.12,
        0.05,
        0.14,
        Cover.WATER,
    ),
}


def _column(name: str) -> Float:
    return np.array([getattr(LOOKS[m], name) for m in Material], np.float32)


SPECTRA: Final[Float] = np.array([LOOKS[m].spectrum for m in Material], np.float32).T
"""[6, materials]"""
BRIGHTNESS: Final = _column("brightness")
FINE: Final = _column("fine")
COARSE: Final = _column("coarse")
HEIGHT: Final = _column("height")
COVER: Final = np.array([LOOKS[m].cover for m in Material], np.uint8)

DRY: Final[Float] = np.array((0.075, 0.112, 0.148, 0.270, 0.300, 0.205), np.float32)
"""Ripe grain, stubble, dead grass."""
LEAFLESS: Final[Float] = np.array((0.040, 0.052, 0.060, 0.140, 0.170, 0.110), np.float32)
"""A broadleaved wood in winter: branches and litter."""

GREEN_LIMIT: Final = 0.35
"""A field or a clearing is LOW_VEGETATION from this green share on, BARE below it."""


@dataclass(frozen=True)
class Calendar:
    """Green and dry share of an object through the year (day of year, northern hemisphere)."""

    days: tuple[int, ...]
    green: tuple[float, ...]
    dry: tuple[float, ...]


CROPS: Final = (
    Calendar(  # winter grain: green in spring, ripe in July, stubble, ploughed, sown in October
        (0, 60, 105, 140, 165, 190, 200, 240, 255, 295, 330, 366),
        (0.30, 0.40, 0.80, 0.95, 0.60, 0.08, 0.04, 0.06, 0.00, 0.02, 0.22, 0.30),
        (0.00, 0.00, 0.00, 0.00, 0.35, 0.85, 0.60, 0.45, 0.05, 0.00, 0.00, 0.00),
    ),
    Calendar(  # maize, sunflower: bare until June, green through August, harvested in October
        (0, 100, 140, 165, 190, 235, 265, 285, 320, 366),
        (0.05, 0.10, 0.04, 0.35, 0.88, 0.90, 0.45, 0.05, 0.03, 0.05),
        (0.20, 0.08, 0.00, 0.00, 0.00, 0.05, 0.45, 0.55, 0.30, 0.20),
    ),
    Calendar(  # rapeseed: green in winter, ripe in July, sown in late August
        (0, 70, 100, 150, 175, 195, 215, 245, 280, 366),
        (0.50, 0.60, 0.90, 0.90, 0.45, 0.05, 0.03, 0.05, 0.50, 0.50),
        (0.00, 0.00, 0.00, 0.00, 0.45, 0.60, 0.20, 0.00, 0.00, 0.00),
    ),
    Calendar(  # beet, potatoes: closed from June to October
        (0, 95, 135, 165, 270, 290, 310, 366),
        (0.04, 0.05, 0.10, 0.85, 0.88, 0.30, 0.03, 0.04),
        (0.10, 0.02, 0.00, 0.00, 0.02, 0.10, 0.05, 0.10),
    ),
    Calendar(  # grass ley, clover: green all year, cut three times
        (0, 80, 130, 140, 175, 185, 230, 240, 280, 366),
        (0.55, 0.65, 0.92, 0.60, 0.90, 0.55, 0.88, 0.55, 0.80, 0.55),
        (0.15, 0.10, 0.02, 0.20, 0.04, 0.20, 0.05, 0.20, 0.08, 0.15),
    ),
    Calendar(  # fallow
        (0, 120, 180, 260, 366),
        (0.10, 0.25, 0.18, 0.12, 0.10),
        (0.20, 0.15, 0.40, 0.35, 0.20),
    ),
)
LEAF: Final = Calendar(
    (0, 85, 115, 150, 240, 290, 320, 366),
    (0.10, 0.10, 0.60, 1.00, 0.95, 0.60, 0.15, 0.10),
    (0.00,) * 8,
)
"""Leaves of broadleaved trees."""
GRASS: Final = Calendar(
    (0, 70, 120, 170, 215, 260, 310, 366),
    (0.55, 0.60, 0.95, 0.80, 0.60, 0.70, 0.70, 0.55),
    (0.25, 0.22, 0.03, 0.15, 0.30, 0.20, 0.18, 0.25),
)
