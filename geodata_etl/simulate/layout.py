"""The land that stays: parcels, woods, rivers, lakes, roads and towns as a map of object ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely import LineString
from shapely.geometry.base import BaseGeometry

from geodata_etl.simulate.cells import cells
from geodata_etl.simulate.climate import Climate
from geodata_etl.simulate.materials import Material
from geodata_etl.simulate.noise import Float, enlarge, fractal, generator, hashed, uniform
from geodata_etl.simulate.towns import Town, build_town, draw_towns

Ids = NDArray[np.uint16]
_SLOPE_STEP = 4


@dataclass(frozen=True)
class Land:
    """The static land of a site, on its padded grid."""

    ids: Ids
    """Object id per pixel [rows, cols]."""
    slope: Float
    """Height differences to the north-west, coarse [rows / 4, cols / 4], for the sun's shading."""
    relief: float
    """Strength of that shading."""


def build_land(*, seed: int, climate: Climate, shape: tuple[int, int], per_material: int) -> Land:
    """Lay out a site."""
    rng = generator(seed, "land")
    terrain = fractal(rng, shape, wavelength=420, beta=4.2, step=_SLOPE_STEP)
    parcels, edges = _parcels(rng, climate, shape)
    ids = _fields(seed, climate, parcels, per_material)
    path = climate.ground[-1][0] if rng.random() < 0.5 else Material.SHRUB
    ids[edges] = object_id(path, 7, per_material)
    _woods(rng, climate, ids, parcels, terrain, per_material)
    _waters(rng, ids, terrain, per_material)
    towns = draw_towns(rng, climate, shape)
    for town in towns:
        build_town(rng, ids, town, per_material)
    _roads(rng, ids, towns, per_material)
    coarse = terrain[::_SLOPE_STEP, ::_SLOPE_STEP]
    slope = np.zeros_like(coarse)
    slope[1:, 1:] = coarse[1:, 1:] - coarse[:-1, :-1]
    spread = max(float(slope.std()), 1e-6)
    relief = float(rng.choice([0.0, 0.02, 0.05, 0.09]))
    return Land(ids, np.asarray(slope / spread, np.float32), relief)


def object_id(material: Material, number: NDArray[np.integer] | int, per_material: int) -> Ids:
    """The id of the `number`-th object of a material."""
    return np.asarray(
        int(material) * per_material + np.asarray(number) % per_material, dtype=np.uint16
    )


def _parcels(
    rng: np.random.Generator, climate: Climate, shape: tuple[int, int]
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """A number per parcel, and the paths and hedges between parcels.

    Zones with one direction of ploughing each are cut into strips, and those into parcels.
    """
    bend = [fractal(rng, shape, wavelength=160, beta=4.5) * 6 for _ in range(2)]
    rows = np.arange(shape[0], dtype=np.float32)[:, None] + bend[0]
    cols = np.arange(shape[1], dtype=np.float32)[None, :] + bend[1]
    zone, border = cells(rows, cols, size=float(rng.uniform(45, 100)), seed=int(rng.integers(999)))
    angle = (uniform(zone, 1) * 0.35 + rng.uniform()) * np.float32(np.pi)
    low, high = climate.parcel_px
    width = (low + (high - low) * uniform(zone, 2) ** 1.5).astype(np.float32)
    length = width * (1.2 + 3.8 * uniform(zone, 3))
    sine, cosine = np.sin(angle), np.cos(angle)
    across = (rows * cosine - cols * sine) / width
    strip = np.floor(across).astype(np.int32)
    along = (rows * sine + cols * cosine) / length + 1.7 * uniform(zone, strip)
    piece = np.floor(along).astype(np.int32)
    edge = (across - strip) * width < 0.8
    edge |= (along - piece) * length < 0.8
    edge |= border < 1.2
    edge &= uniform(zone, 5) < 0.5  # half of the zones have hedges or paths
    return hashed(zone, strip, piece), edge


def _fields(seed: int, climate: Climate, parcels: NDArray[np.uint32], per_material: int) -> Ids:
    kinds = np.array([kind for kind, _ in climate.ground])
    pick = np.searchsorted(
        np.cumsum([share for _, share in climate.ground])[:-1], uniform(parcels, seed, 1)
    )
    number = (parcels % np.uint32(per_material)).astype(np.int32)
    return np.asarray(kinds[pick] * per_material + number, np.uint16)


def _woods(
    rng: np.random.Generator,
    climate: Climate,
    ids: Ids,
    parcels: NDArray[np.uint32],
    terrain: Float,
    per_material: int,
) -> None:
    """Woods follow the terrain, with edges partly along parcels; stands differ in age and kind."""
    shape = (ids.shape[0], ids.shape[1])
    breadth = float(np.exp(rng.uniform(np.log(70), np.log(350))))
    score = fractal(rng, shape, wavelength=breadth, beta=3.0) + 0.5 * terrain
    score += 0.7 * (uniform(parcels, 2) - 0.5)
    share = rng.uniform(*climate.wood_share)
    wooded = score > np.quantile(score[::8, ::8], 1 - share)
    rows = np.arange(shape[0], dtype=np.float32)[:, None] + 9 * score
    cols = np.arange(shape[1], dtype=np.float32)[None, :] - 9 * score
    stand, _ = cells(rows, cols, size=float(rng.uniform(18, 50)), seed=int(rng.integers(999)))
    number = hashed(stand, 1) % np.uint32(per_material)
    kinds = np.array(climate.wood)[hashed(stand // 3, 3) % np.uint32(len(climate.wood))]
    ids[wooded] = (kinds * per_material + number.astype(np.int64))[wooded].astype(np.uint16)
    hedge = uniform(parcels, 4) < 0.03  # copses: whole parcels under trees
    ids[hedge] = object_id(climate.wood[0], 5, per_material)


def _waters(rng: np.random.Generator, ids: Ids, terrain: Float, per_material: int) -> None:
    shape = (ids.shape[0], ids.shape[1])
    low = fractal(rng, shape, wavelength=60, beta=3.4) + 0.6 * terrain
    lakes = low < np.quantile(low[::8, ::8], rng.choice([0.002, 0.008, 0.02, 0.06]))
    ids[lakes] = object_id(Material.WATER, int(rng.integers(99)), per_material)
    for _ in range(rng.poisson(0.5 + shape[0] / 1800)):
        line = _winding(rng, shape, swing=0.12)
        width = float(np.exp(rng.uniform(np.log(1.0), np.log(11.0))))
        bank = _mask(line.buffer(width + rng.uniform(1.0, 4.0)), shape)
        bank &= fractal(rng, shape, wavelength=25, beta=2.0, step=2) > -0.3
        ids[bank] = object_id(Material.BROADLEAF, int(rng.integers(99)), per_material)
        water = _mask(line.buffer(width), shape)
        ids[water] = object_id(Material.RIVER, int(rng.integers(99)), per_material)


def _winding(rng: np.random.Generator, shape: tuple[int, int], *, swing: float) -> LineString:
    """A line across the site that bends at all scales, as rivers do."""
    along = np.linspace(-0.05, 1.05, max(24, shape[0] // 5))
    across = np.full(along.size, rng.uniform(0.1, 0.9))
    for wave in (1.1, 2.7, 6.1, 13.0, 29.0):
        phase, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.0)
        across += swing * size * np.sin(2 * np.pi * wave * along + phase) / wave**1.15
    points = np.stack([across * shape[1], along * shape[0]], axis=-1)
    return LineString(points if rng.random() < 0.5 else points[:, ::-1])


def _mask(geometry: BaseGeometry, shape: tuple[int, int]) -> NDArray[np.bool_]:
    burnt = rasterize([geometry], out_shape=shape, fill=0, default_value=1, dtype=np.uint8)
    return np.asarray(burnt, dtype=bool)


def _roads(rng: np.random.Generator, ids: Ids, towns: list[Town], per_material: int) -> None:
    """Roads from town to town and out of the site; lanes between fields."""
    shape = (ids.shape[0], ids.shape[1])
    roads = []
    for town, other in zip(towns, towns[1:] + towns[:1], strict=True):
        end = (other.col, other.row) if other is not town else rng.uniform(0, shape[0], 2)
        roads.append(_bent(rng, (town.col, town.row), end).buffer(rng.uniform(0.6, 1.6)))
    lanes = [
        _bent(rng, rng.uniform(0, max(shape), 2), rng.uniform(0, max(shape), 2)).buffer(0.42)
        for _ in range(1 + shape[0] * shape[1] // 250_000)
    ]
    shapes = roads + lanes
    burnt = rasterize(shapes, out_shape=shape, fill=0, default_value=1, dtype=np.uint8)
    ids[burnt == 1] = object_id(Material.ASPHALT, int(rng.integers(99)), per_material)


def _bent(rng: np.random.Generator, start: object, end: object) -> LineString:
    a, b = np.asarray(start, float), np.asarray(end, float)
    share = np.linspace(0, 1, 12)[:, None]
    reach = np.linalg.norm(b - a)
    bends = np.cumsum(rng.normal(0, 0.02, 12))
    normal = np.array([-(b - a)[1], (b - a)[0]]) / max(reach, 1)
    hump = (bends * np.sin(np.pi * share[:, 0]) * reach)[:, None]
    return LineString(a + (b - a) * share + hump * normal)


def shading(land: Land, shape: tuple[int, int], rows: slice) -> Float:
    """The slope of a strip of rows, interpolated to pixels [rows, cols]."""
    return enlarge(land.slope, shape, step=_SLOPE_STEP, rows=rows)
