"""The land that stays: parcels, woods, rivers, lakes, roads and towns as a map of object ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from geodata_etl.simulate.climate import Climate
from geodata_etl.simulate.fields import draw_countryside, lay_fields
from geodata_etl.simulate.lines import draw_rivers, draw_roads, lay_rivers, lay_roads
from geodata_etl.simulate.noise import Float, enlarge, generator, waves
from geodata_etl.simulate.towns import build_town, draw_towns

_SLOPE_STEP: Final = 4
_STRIP: Final = 512
"""Rows laid at a time: bounds the memory of a site."""


@dataclass(frozen=True, eq=False)
class Land:
    """The static land of a site, on its padded grid."""

    ids: NDArray[np.uint16]
    """Object id per pixel [rows, cols]."""
    slope: Float
    """Height differences to the north-west, coarse [rows / 4, cols / 4], for the sun's shading."""
    relief: float
    """Strength of that shading."""

    def shading(self, rows: slice) -> Float:
        """The slope of a strip of rows at every pixel [rows, cols]."""
        shape = (self.ids.shape[0], self.ids.shape[1])
        return enlarge(self.slope, shape, step=_SLOPE_STEP, rows=rows)


def build_land(*, seed: int, climate: Climate, shape: tuple[int, int], per_material: int) -> Land:
    """Lay out a site."""
    rng = generator(seed, "land")
    terrain = waves(rng, shape, wavelength=420, beta=4.2, step=_SLOPE_STEP)
    country = draw_countryside(rng, climate, shape, terrain, per_material)
    rivers = draw_rivers(rng, shape)
    ids = np.empty(shape, np.uint16)
    for rows in _strips(shape[0]):
        ids[rows] = lay_fields(country, rows)
        lay_rivers(rivers, ids[rows], rows, per_material)
    towns = draw_towns(rng, climate, shape)
    for town in towns:
        build_town(rng, ids, town, per_material)
    roads = draw_roads(rng, towns, shape)
    for rows in _strips(shape[0]):
        lay_roads(roads, ids[rows], rows, per_material)
    return Land(ids, _slope(terrain.field), float(rng.choice([0.0, 0.02, 0.05, 0.09])))


def _strips(height: int) -> Iterator[slice]:
    for start in range(0, height, _STRIP):
        yield slice(start, min(start + _STRIP, height))


def _slope(height: Float) -> Float:
    """Differences to the north-west neighbour, unit sd."""
    slope = np.zeros_like(height)
    slope[1:, 1:] = height[1:, 1:] - height[:-1, :-1]
    return np.asarray(slope / max(float(slope.std()), 1e-6), np.float32)
