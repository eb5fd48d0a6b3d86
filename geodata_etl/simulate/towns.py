"""Towns: street grids, blocks, lots with houses and gardens, halls and yards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from geodata_etl.simulate.climate import Climate
from geodata_etl.simulate.materials import WATERS, Material
from geodata_etl.simulate.noise import Float, fractal, generator, hashed, uniform

HOUSES: Final = (
    (Material.ROOF_TILE, 0.50),
    (Material.ROOF_GREY, 0.28),
    (Material.ROOF_DARK, 0.14),
    (Material.ROOF_WHITE, 0.06),
    (Material.ROOF_BLUE, 0.02),
)
HALLS: Final = (
    (Material.ROOF_GREY, 0.40),
    (Material.ROOF_WHITE, 0.32),
    (Material.ROOF_DARK, 0.13),
    (Material.ROOF_BLUE, 0.10),
    (Material.ROOF_TILE, 0.05),
)


@dataclass(frozen=True)
class Town:
    """Where a town is and how far it reaches, pixels."""

    row: float
    col: float
    radius: float
    green: float
    """Share of gardens and trees between the houses."""


def draw_towns(
    rng: np.random.Generator, climate: Climate, shape: tuple[int, int]
) -> list[Town]:
    """One main town and villages, more of them on larger sites."""
    area = shape[0] * shape[1]
    count = 1 + rng.poisson(area / 90_000)
    reach = np.exp(rng.uniform(np.log(12), np.log(45), count))
    reach[0] = np.exp(rng.uniform(np.log(25), np.log(max(40.0, min(260.0, shape[0] / 4)))))
    green = 0.15 if climate.name == "desert" else float(rng.uniform(0.3, 0.75))
    rows, cols = rng.uniform(0, shape[0], count), rng.uniform(0, shape[1], count)
    return [Town(*place, green) for place in zip(rows, cols, reach, strict=True)]


def build_town(rng: np.random.Generator, ids: NDArray[np.uint16], town: Town, k: int) -> None:
    """Draw a town into the id map [rows, cols]; `k` is the count of ids per material."""
    top, left = max(0, int(town.row - 1.9 * town.radius)), max(0, int(town.col - 1.9 * town.radius))
    window = ids[
        top : max(top, int(town.row + 1.9 * town.radius)),
        left : max(left, int(town.col + 1.9 * town.radius)),
    ]
    if min(window.shape) < 8:
        return
    rows = np.arange(window.shape[0], dtype=np.float32)[:, None] + (top - town.row)
    cols = np.arange(window.shape[1], dtype=np.float32)[None, :] + (left - town.col)
    shape = (window.shape[0], window.shape[1])
    ragged = fractal(rng, shape, wavelength=0.8 * town.radius, beta=2.6)
    distance = np.hypot(rows, cols) / np.float32(town.radius)
    inside = distance + 0.28 * ragged < 1
    inside &= ~np.isin(window // k, WATERS)
    works = fractal(rng, shape, wavelength=50, beta=3.2) > 1.0 + 0.5 * (distance < 0.35)
    quarter = fractal(rng, shape, wavelength=60, beta=3.0) > 0
    seed = int(rng.integers(1 << 31))
    dense = np.clip(1.15 - distance, 0, 1)
    drawn = np.where(
        works,
        _works(seed, rows, cols, float(rng.uniform(0, np.pi)), k),
        _housing(rng, seed, rows, cols, quarter, town, dense, k),
    )
    parks = fractal(rng, shape, wavelength=35, beta=3.0) > 1.9
    lawn = np.where(ragged > 0, int(Material.PARK_TREE), int(Material.MEADOW)) * k + 3 % k
    window[inside] = np.where(parks, lawn, drawn)[inside].astype(np.uint16)


def _housing(
    rng: np.random.Generator,
    seed: int,
    rows: Float,
    cols: Float,
    quarter: NDArray[np.bool_],
    town: Town,
    dense: Float,
    k: int,
) -> NDArray[np.int64]:
    """Two street grids of different direction, one for each kind of quarter."""
    first = housing_estate(seed, rows, cols, float(rng.uniform(0, np.pi)), town.green, dense, k)
    second = housing_estate(seed + 1, rows, cols, float(rng.uniform(0, np.pi)), town.green, dense, k)
    return np.where(quarter, first, second)


def housing_estate(
    seed: int, rows: Float, cols: Float, angle: float, green: float, dense: Float | float, k: int
) -> NDArray[np.int64]:
    """Object ids of streets, houses, gardens and yards on rotated coordinates (pixels)."""
    rng = generator(seed, "estate")
    u, v = _turn(rows, cols, angle)
    block_u, block_v = rng.uniform(6, 13), rng.uniform(9, 22)
    in_u, in_v = np.mod(u, block_u), np.mod(v, block_v)
    street = (in_u < 0.95) | (in_v < 0.95)
    lot_u, lot_v = rng.uniform(1.6, 3.2), rng.uniform(1.6, 3.6)
    lot = hashed(np.floor(u / lot_u).astype(np.int32), np.floor(v / lot_v).astype(np.int32), seed)
    house = uniform(lot, 1) < 0.35 + 0.5 * dense
    yard = uniform(lot, 2) > green * (1.25 - 0.7 * dense)
    number = (lot % np.uint32(k)).astype(np.int64)
    roof = _pick(HOUSES, uniform(lot, 3)) * k + number
    tree = np.where(uniform(lot, 4) < 0.35, int(Material.PARK_TREE), int(Material.GARDEN))
    open_ground = np.where(yard, int(Material.YARD), tree) * k + number
    built = np.where(house, roof, open_ground)
    return np.where(street, int(Material.ASPHALT) * k + 1 % k, built)


def _works(seed: int, rows: Float, cols: Float, angle: float, k: int) -> NDArray[np.int64]:
    """Halls, hard standings and a few lawns of an industrial quarter."""
    rng = generator(seed, "works")
    u, v = _turn(rows, cols, angle)
    size_u, size_v = rng.uniform(7, 15), rng.uniform(9, 24)
    cell_u, cell_v = np.floor(u / size_u).astype(np.int32), np.floor(v / size_v).astype(np.int32)
    lot = hashed(cell_u, cell_v, seed)
    reach_u, reach_v = 0.35 + 0.5 * uniform(lot, 5), 0.35 + 0.55 * uniform(lot, 6)
    share_u, share_v = np.mod(u, size_u) / size_u, np.mod(v, size_v) / size_v
    hall = (share_u < reach_u) & (share_v < reach_v)
    number = (lot % np.uint32(k)).astype(np.int64)
    roof = _pick(HALLS, uniform(lot, 7)) * k + number
    yards = ((Material.ASPHALT, 0.4), (Material.CONCRETE, 0.25), (Material.YARD, 0.2), (Material.MEADOW, 0.15))
    return np.where(hall, roof, _pick(yards, uniform(lot, 8)) * k + number)


def hall_yard(seed: int, rows: Float, cols: Float, angle: float, k: int) -> NDArray[np.int64]:
    """The same as a change of its own: what a new logistics park looks like."""
    return _works(seed, rows, cols, angle, k)


def _turn(rows: Float, cols: Float, angle: float) -> tuple[Float, Float]:
    sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    bend = gaussian_filter(np.sin(rows / 37.0) * np.cos(cols / 41.0), 1.0) * 2.0
    return rows * cosine - cols * sine + bend, rows * sine + cols * cosine + bend


def _pick(shares: tuple[tuple[Material, float], ...], draw: Float) -> NDArray[np.int64]:
    limits = np.cumsum([share for _, share in shares])[:-1]
    kinds = np.array([int(kind) for kind, _ in shares], np.int64)
    return np.asarray(kinds[np.searchsorted(limits, draw)])
