"""Towns: quarters between avenues, each with its own streets, lots, houses, halls and greens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from geodata_etl.simulate.cells import cells
from geodata_etl.simulate.climate import Climate
from geodata_etl.simulate.materials import WATERS, Material
from geodata_etl.simulate.noise import Float, fractal, hashed, uniform

Objects = NDArray[np.int64]
Field = Float | float
"""A number for the whole place, or one per pixel."""
Shares = tuple[tuple[Material, float], ...]

HOUSES: Final[Shares] = (
    (Material.ROOF_TILE, 0.50),
    (Material.ROOF_GREY, 0.28),
    (Material.ROOF_DARK, 0.15),
    (Material.ROOF_WHITE, 0.06),
    (Material.ROOF_BLUE, 0.01),
)
HALLS: Final[Shares] = (
    (Material.ROOF_GREY, 0.40),
    (Material.ROOF_WHITE, 0.24),
    (Material.ROOF_DARK, 0.23),
    (Material.ROOF_BLUE, 0.08),
    (Material.ROOF_TILE, 0.05),
)
YARDS: Final[Shares] = (
    (Material.ASPHALT, 0.40),
    (Material.YARD, 0.25),
    (Material.CONCRETE, 0.15),
    (Material.MEADOW, 0.14),
    (Material.SOIL, 0.06),
)


@dataclass(frozen=True)
class Town:
    """Where a town is and how far it reaches, pixels."""

    row: float
    col: float
    radius: float
    green: float
    """Share of gardens and trees between the houses."""


@dataclass(frozen=True)
class Streets:
    """A street grid: direction, size of blocks and lots in pixels, and how full the lots are."""

    angle: Field
    block_u: Field
    block_v: Field
    lot_u: Field
    lot_v: Field
    house: Field
    green: Field
    roof: Field
    """0..1: which roof is the usual one here."""


def draw_towns(rng: np.random.Generator, climate: Climate, shape: tuple[int, int]) -> list[Town]:
    """Villages, and on two sites of three a town that may fill much of the site."""
    count = 1 + rng.poisson(shape[0] * shape[1] / 90_000)
    reach = np.exp(rng.uniform(np.log(12), np.log(45), count))
    if rng.random() < 0.67:
        reach[0] = min(700.0, shape[0] * float(np.exp(rng.uniform(np.log(0.12), np.log(0.9)))))
    green = 0.12 if climate.name == "desert" else float(rng.uniform(0.25, 0.85))
    rows, cols = rng.uniform(0, shape[0], count), rng.uniform(0, shape[1], count)
    return [Town(*place, green) for place in zip(rows, cols, reach, strict=True)]


def build_town(rng: np.random.Generator, ids: NDArray[np.uint16], town: Town, k: int) -> None:
    """Draw a town into the id map [rows, cols]; `k` is the count of ids per material."""
    reach = 1.7 * town.radius
    top, left = max(0, int(town.row - reach)), max(0, int(town.col - reach))
    window = ids[top : max(top, int(town.row + reach)), left : max(left, int(town.col + reach))]
    if min(window.shape) < 8:
        return
    shape = (window.shape[0], window.shape[1])
    rows = np.arange(shape[0], dtype=np.float32)[:, None] + np.float32(top - town.row)
    cols = np.arange(shape[1], dtype=np.float32)[None, :] + np.float32(left - town.col)
    distance = np.hypot(rows, cols) / np.float32(town.radius)
    ragged = fractal(rng, shape, wavelength=max(20.0, 0.6 * town.radius), beta=2.8)
    inside = distance + 0.26 * ragged < 1
    inside &= ~np.isin(window // k, WATERS)
    bend = 2.5 * fractal(rng, shape, wavelength=80, beta=4.0)
    seed = int(rng.integers(1 << 31))
    drawn = _quarters(seed, rows + bend, cols + bend[::-1, ::-1], distance, town.green, k)
    window[inside] = drawn[inside].astype(np.uint16)


def _quarters(
    seed: int, rows: Float, cols: Float, distance: Float, green: float, k: int
) -> Objects:
    """Every quarter is houses, flats, works or a park; avenues run between them."""
    quarter, border = cells(rows, cols, size=28 + 40 * float(uniform(seed, 1)), seed=seed)
    draw = uniform(quarter, seed, 2)
    central = np.clip(1.1 - distance, 0, 1)
    plan = Streets(
        angle=uniform(quarter, seed, 3) * np.float32(np.pi),
        block_u=5 + 7 * uniform(quarter, seed, 4),
        block_v=8 + 12 * uniform(quarter, seed, 5),
        lot_u=1.3 + 1.5 * uniform(quarter, seed, 6),
        lot_v=1.3 + 1.9 * uniform(quarter, seed, 7),
        house=0.35 + 0.5 * central,
        green=green * (1.3 - 0.8 * central) * (0.6 + 0.8 * uniform(quarter, seed, 8)),
        roof=uniform(quarter, seed, 9),
    )
    drawn = np.where(draw < 0.58, houses(seed, rows, cols, plan, k), 0)
    rest = draw >= 0.58
    drawn[rest] = _halls_or_flats(seed, rows, cols, plan, draw, k)[rest]
    park = draw > 0.94
    lawn = np.where(uniform(quarter, 10) < 0.5, int(Material.MEADOW), int(Material.PARK_TREE))
    drawn[park] = (lawn * k + (quarter % np.uint32(k)).astype(np.int64))[park]
    avenue = border < 0.9 + 1.3 * uniform(seed, 11)
    return np.where(avenue, int(Material.ASPHALT) * k + 2, drawn)


def _halls_or_flats(
    seed: int, rows: Float, cols: Float, plan: Streets, draw: Float, k: int
) -> Objects:
    """Works (large halls) and flats (bars and towers on lawns), as `draw` says."""
    works = draw < 0.76
    large = Streets(
        angle=plan.angle,
        block_u=np.where(works, 1.4, 0.75).astype(np.float32) * plan.block_u,
        block_v=np.where(works, 1.3, 0.55).astype(np.float32) * plan.block_v,
        lot_u=0,
        lot_v=0,
        house=np.where(works, 0.55, 0.38),
        green=np.where(works, 0.1, np.clip(1.2 * np.asarray(plan.green) + 0.15, 0, 0.9)),
        roof=plan.roof,
    )
    return halls(seed, rows, cols, large, k)


def houses(seed: int, rows: Float, cols: Float, plan: Streets, k: int) -> Objects:
    """Object ids of streets and of lots with a house, a yard, a garden or trees."""
    u, v = _turn(rows, cols, plan.angle)
    street = np.minimum(np.mod(u, plan.block_u), np.mod(v, plan.block_v)) < 0.8
    lot = hashed(
        np.floor(u / plan.lot_u).astype(np.int32), np.floor(v / plan.lot_v).astype(np.int32), seed
    )
    house = uniform(lot, 1) < plan.house
    yard = uniform(lot, 2) > plan.green
    number = (lot % np.uint32(k)).astype(np.int64)
    usual = _pick(HOUSES, np.asarray(plan.roof, np.float32))
    roof = np.where(uniform(lot, 3) < 0.7, usual, _pick(HOUSES, uniform(lot, 5)))
    tree = np.where(uniform(lot, 4) < 0.35, int(Material.PARK_TREE), int(Material.GARDEN))
    ground = np.where(yard, int(Material.YARD), tree)
    drawn = np.where(house, roof, ground) * k + number
    return np.where(street, int(Material.ASPHALT) * k + 1, drawn)


def halls(seed: int, rows: Float, cols: Float, plan: Streets, k: int) -> Objects:
    """Object ids of large buildings, one to a block, and of what lies between them."""
    u, v = _turn(rows, cols, plan.angle)
    u, v = u / plan.block_u, v / plan.block_v
    lot = hashed(np.floor(u).astype(np.int32), np.floor(v).astype(np.int32), seed)
    reach = np.asarray(plan.house, np.float32)
    hall = (np.mod(u, 1) < reach + 0.4 * uniform(lot, 5) * reach) & (
        np.mod(v, 1) < reach + 0.6 * uniform(lot, 6) * reach
    )
    hall &= uniform(lot, 9) < 0.85
    number = (lot % np.uint32(k)).astype(np.int64)
    green = uniform(lot, 10) < plan.green
    tree = np.where(uniform(lot, 4) < 0.25, int(Material.PARK_TREE), int(Material.GARDEN))
    ground = np.where(green, tree, _pick(YARDS, uniform(lot, 8)))
    return np.where(hall, _pick(HALLS, uniform(lot, 7)), ground) * k + number


def new_streets(rng: np.random.Generator) -> Streets:
    """The plan of one new estate or works."""
    return Streets(
        angle=float(rng.uniform(0, np.pi)),
        block_u=float(rng.uniform(5, 13)),
        block_v=float(rng.uniform(7, 20)),
        lot_u=float(rng.uniform(1.3, 3.0)),
        lot_v=float(rng.uniform(1.3, 3.4)),
        house=float(rng.uniform(0.5, 0.85)),
        green=float(rng.uniform(0.0, 0.35)),
        roof=float(rng.random()),
    )


def _turn(rows: Float, cols: Float, angle: Field) -> tuple[Float, Float]:
    sine = np.asarray(np.sin(angle), np.float32)
    cosine = np.asarray(np.cos(angle), np.float32)
    return rows * cosine - cols * sine, rows * sine + cols * cosine


def _pick(shares: Shares, draw: Float) -> Objects:
    limits = np.cumsum([share for _, share in shares])[:-1]
    kinds = np.array([int(kind) for kind, _ in shares], np.int64)
    return np.asarray(kinds[np.searchsorted(limits, draw)])
