"""Open land: fields in zones of one direction of ploughing, woods, lakes and the sea."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geodata_etl.simulate.cells import cells
from geodata_etl.simulate.climate import Climate
from geodata_etl.simulate.materials import Material
from geodata_etl.simulate.noise import Float, Waves, hashed, uniform, waves

Ids = NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class Countryside:
    """What a site's open land follows from; drawn once, then laid strip by strip."""

    climate: Climate
    seed: int
    k: int
    """Ids per material."""
    bend: tuple[Waves, Waves]
    """Bends the edges of fields, pixels / 6."""
    zone_px: float
    heading: float
    """Usual direction of ploughing, turns / 2."""
    path: Material
    wood: Waves
    wood_share: float
    stand_px: float
    lake: Waves
    lake_share: float
    sea: Waves
    sea_share: float


def draw_countryside(
    rng: np.random.Generator, climate: Climate, shape: tuple[int, int], terrain: Waves, k: int
) -> Countryside:
    """Draw the open land of a site; woods and lakes follow the terrain."""
    breadth = float(np.exp(rng.uniform(np.log(70), np.log(350))))
    wood = waves(rng, shape, wavelength=breadth, beta=3.0)
    lake = waves(rng, shape, wavelength=float(rng.uniform(40, 160)), beta=3.6)
    bend = (
        waves(rng, shape, wavelength=160, beta=4.5),
        waves(rng, shape, wavelength=160, beta=4.5),
    )
    return Countryside(
        climate=climate,
        seed=int(rng.integers(1 << 30)),
        k=k,
        bend=bend,
        zone_px=float(rng.uniform(45, 100)),
        heading=float(rng.uniform()),
        path=climate.ground[-1][0] if rng.random() < 0.5 else Material.SHRUB,
        wood=Waves(wood.field + 0.5 * terrain.field, wood.step, shape),
        wood_share=float(rng.uniform(*climate.wood_share)),
        stand_px=float(rng.uniform(18, 50)),
        lake=Waves(lake.field + 0.6 * terrain.field, lake.step, shape),
        lake_share=float(rng.choice([0.001, 0.004, 0.01, 0.03])),
        sea=waves(rng, shape, wavelength=3 * max(shape), beta=3.7),
        sea_share=float(rng.uniform(0.1, 0.5)) if rng.random() < 0.12 else 0.0,
    )


def lay_fields(land: Countryside, rows: slice) -> Ids:
    """Object ids of a strip of rows [rows, cols]."""
    bend_y, bend_x = (6 * wave.strip(rows) for wave in land.bend)
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + bend_y
    x = np.arange(bend_x.shape[1], dtype=np.float32)[None, :] + bend_x
    parcel, edge = _parcels(land, y, x)
    ids = _grown(land, parcel)
    ids[edge] = int(land.path) * land.k + 7
    _woods(land, ids, parcel, y, x, rows)
    wet = land.lake.strip(rows) < land.lake.level(land.lake_share)
    if land.sea_share:
        wet |= land.sea.strip(rows) < land.sea.level(land.sea_share)
    ids[wet] = int(Material.WATER) * land.k + land.seed % land.k
    return ids


def _parcels(land: Countryside, y: Float, x: Float) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """A number per parcel, and the paths and hedges between parcels."""
    zone, border = cells(y, x, size=land.zone_px, seed=land.seed)
    angle = (uniform(zone, 1) * 0.35 + land.heading) * np.float32(np.pi)
    low, high = land.climate.parcel_px
    width = (low + (high - low) * uniform(zone, 2) ** 1.5).astype(np.float32)
    length = width * (1.2 + 3.8 * uniform(zone, 3))
    sine, cosine = np.sin(angle), np.cos(angle)
    across = (y * cosine - x * sine) / width
    strip = np.floor(across).astype(np.int32)
    along = (y * sine + x * cosine) / length + 1.7 * uniform(zone, strip)
    piece = np.floor(along).astype(np.int32)
    edge = (across - strip) * width < 0.8
    edge |= (along - piece) * length < 0.8
    edge |= border < 1.2
    edge &= uniform(zone, 5) < 0.5  # half of the zones have hedges or paths
    return hashed(zone, strip, piece), edge


def _grown(land: Countryside, parcel: NDArray[np.uint32]) -> Ids:
    """What each parcel grows; a few are copses."""
    kinds = np.array([int(kind) for kind, _ in land.climate.ground])
    limits = np.cumsum([share for _, share in land.climate.ground])[:-1]
    kind = kinds[np.searchsorted(limits, uniform(parcel, land.seed, 1))]
    kind[uniform(parcel, 4) < 0.03] = int(land.climate.wood[0])
    return np.asarray(kind * land.k + (parcel % np.uint32(land.k)).astype(np.int64), np.uint16)


def _woods(
    land: Countryside, ids: Ids, parcel: NDArray[np.uint32], y: Float, x: Float, rows: slice
) -> None:
    """Woods, with edges partly along parcels; stands differ in age and kind."""
    score = land.wood.strip(rows)
    wooded = score + 0.7 * (uniform(parcel, 2) - 0.5) > land.wood.level(1 - land.wood_share)
    stand, _ = cells(y + 9 * score, x - 9 * score, size=land.stand_px, seed=land.seed + 1)
    kinds = np.array([int(kind) for kind in land.climate.wood])
    kind = kinds[hashed(stand, 3) % np.uint32(kinds.size)]
    number = (hashed(stand, 1) % np.uint32(land.k)).astype(np.int64)
    ids[wooded] = (kind * land.k + number)[wooded].astype(np.uint16)
