"""Rivers with their banks, roads and lanes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely import LineString
from shapely.geometry.base import BaseGeometry

from geodata_etl.simulate.materials import Material
from geodata_etl.simulate.noise import Waves, waves
from geodata_etl.simulate.towns import Town

Ids = NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class River:
    """A river and the trees along it, in pixels (x right, y down)."""

    bank: BaseGeometry
    water: BaseGeometry
    trees: Waves
    """Gaps in the trees."""
    number: int


def draw_rivers(rng: np.random.Generator, shape: tuple[int, int]) -> list[River]:
    """None to some rivers, brook to stream."""
    rivers = []
    for _ in range(rng.poisson(0.5 + shape[0] / 1800)):
        line = _winding(rng, shape)
        width = float(np.exp(rng.uniform(np.log(1.0), np.log(11.0))))
        bank = line.buffer(width + rng.uniform(1.0, 4.0))
        trees = waves(rng, shape, wavelength=25, beta=2.5)
        rivers.append(River(bank, line.buffer(width), trees, int(rng.integers(99))))
    return rivers


def draw_roads(
    rng: np.random.Generator, towns: Sequence[Town], shape: tuple[int, int]
) -> list[BaseGeometry]:
    """A road from each town to the nearest one drawn before, some out of the site, and lanes."""
    roads: list[BaseGeometry] = []
    places = [np.array((town.col, town.row)) for town in towns]
    for number, place in enumerate(places):
        others = places[:number] or [rng.uniform(0, 1, 2) * shape[::-1]]
        nearest = min(others, key=lambda other: float(np.linalg.norm(other - place)))
        roads.append(_bent(rng, place, nearest).buffer(rng.uniform(0.5, 1.1)))
    for _ in range(1 + shape[0] // 1500):
        ends = (rng.uniform(-0.2, 1.2, 2) * shape[::-1] for _ in range(2))
        roads.append(_bent(rng, *ends).buffer(rng.uniform(0.8, 1.9)))
    for _ in range(1 + shape[0] * shape[1] // 400_000):
        start = rng.uniform(0, 1, 2) * shape[::-1]
        roads.append(_bent(rng, start, start + rng.uniform(-300, 300, 2)).buffer(0.42))
    return roads


def lay_rivers(rivers: Sequence[River], ids: Ids, rows: slice, k: int) -> None:
    """Draw rivers into a strip of the id map, `k` ids per material."""
    for river in rivers:
        bank = _strip([river.bank], ids, rows)
        if not bank.any():
            continue
        land = ids // k != Material.WATER
        bank &= land & (river.trees.strip(rows) > -0.3)
        ids[bank] = int(Material.BROADLEAF) * k + river.number
        ids[land & _strip([river.water], ids, rows)] = int(Material.RIVER) * k + river.number


def lay_roads(roads: Sequence[BaseGeometry], ids: Ids, rows: slice, k: int) -> None:
    """Draw roads into a strip of the id map; they bridge rivers, not lakes."""
    ids[_strip(roads, ids, rows) & (ids // k != Material.WATER)] = int(Material.ASPHALT) * k + 3


def _strip(shapes: Sequence[BaseGeometry], ids: Ids, rows: slice) -> NDArray[np.bool_]:
    """Where shapes lie in a strip of the map."""
    burnt = rasterize(
        shapes,
        out_shape=ids.shape,
        transform=Affine.translation(0, rows.start),
        fill=0,
        default_value=1,
        dtype=np.uint8,
    )
    return np.asarray(burnt, dtype=bool)


def _winding(rng: np.random.Generator, shape: tuple[int, int]) -> LineString:
    """A line across the site that bends at all scales, as rivers do."""
    along = np.linspace(-0.05, 1.05, max(24, shape[0] // 5))
    across = np.full(along.size, rng.uniform(0.1, 0.9))
    for wave in (1.1, 2.7, 6.1, 13.0, 29.0):
        phase, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.0)
        across += 0.12 * size * np.sin(2 * np.pi * wave * along + phase) / wave**1.15
    points = np.stack([across * shape[1], along * shape[0]], axis=-1)
    return LineString(points if rng.random() < 0.5 else points[:, ::-1])


def _bent(
    rng: np.random.Generator, start: NDArray[np.float64], end: NDArray[np.float64]
) -> LineString:
    """A line between two places with a few gentle bends."""
    share = np.linspace(0, 1, 25)
    way = end - start
    bends = sum(
        rng.normal(0, 0.06 / wave) * np.sin(np.pi * wave * share + rng.uniform(0, 2 * np.pi))
        for wave in (1, 2, 4, 7)
    )
    aside = np.array([-way[1], way[0]]) * (bends * np.sin(np.pi * share))[:, None]
    return LineString(start + way * share[:, None] + aside)
