"""The kinds of landscape that sites are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from geodata_etl.simulate.materials import Material


@dataclass(frozen=True)
class Climate:
    """What grows, how the year runs and what the soil looks like."""

    name: str
    latitude: float
    """Degrees; fixes the sun's height."""
    crops: tuple[float, ...]
    """Share of each of `materials.CROPS`; sums to 1."""
    ground: tuple[tuple[Material, float], ...]
    """Materials of parcels and their shares."""
    wood: tuple[Material, ...]
    """Materials of woods."""
    wood_share: tuple[float, float]
    """Least and most share of the land under woods."""
    soil: tuple[float, float, float, float, float, float]
    """Factor on the soil spectrum per band."""
    drought: float
    """0 green summer .. 1 yellow summer."""
    evergreen: float
    """Least green share of broadleaved trees."""
    parcel_px: tuple[float, float]
    """Least and most width of a parcel."""
    season_days: int = 0
    """Offset of the growing year: 183 in the south."""


_LOW, _HIGH = Material.MEADOW, Material.CROPLAND
TEMPERATE: Final = Climate(
    name="temperate",
    latitude=48.5,
    crops=(0.34, 0.20, 0.14, 0.12, 0.14, 0.06),
    ground=((_HIGH, 0.74), (_LOW, 0.2), (Material.SHRUB, 0.06)),
    wood=(Material.BROADLEAF, Material.BROADLEAF, Material.CONIFER),
    wood_share=(0.08, 0.4),
    soil=(1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    drought=0.3,
    evergreen=0.0,
    parcel_px=(9.0, 26.0),
)
UPLAND: Final = Climate(
    name="upland",
    latitude=50.0,
    crops=(0.2, 0.1, 0.05, 0.05, 0.55, 0.05),
    ground=((_HIGH, 0.3), (_LOW, 0.55), (Material.SHRUB, 0.15)),
    wood=(Material.CONIFER, Material.CONIFER, Material.BROADLEAF),
    wood_share=(0.35, 0.7),
    soil=(0.75, 0.75, 0.72, 0.78, 0.85, 0.85),
    drought=0.15,
    evergreen=0.0,
    parcel_px=(6.0, 14.0),
)
MEDITERRANEAN: Final = Climate(
    name="mediterranean",
    latitude=41.0,
    crops=(0.4, 0.12, 0.05, 0.08, 0.1, 0.25),
    ground=((_HIGH, 0.58), (Material.SHRUB, 0.2), (_LOW, 0.1), (Material.SOIL, 0.12)),
    wood=(Material.CONIFER, Material.SHRUB, Material.BROADLEAF),
    wood_share=(0.1, 0.35),
    soil=(1.15, 1.25, 1.32, 1.25, 1.15, 1.1),
    drought=0.9,
    evergreen=0.75,
    parcel_px=(5.0, 14.0),
)
TROPICAL: Final = Climate(
    name="tropical",
    latitude=-12.0,
    crops=(0.15, 0.3, 0.05, 0.2, 0.15, 0.15),
    ground=((_HIGH, 0.35), (_LOW, 0.35), (Material.SHRUB, 0.25), (Material.SOIL, 0.05)),
    wood=(Material.BROADLEAF, Material.BROADLEAF, Material.SHRUB),
    wood_share=(0.25, 0.6),
    soil=(0.7, 0.85, 1.25, 1.15, 1.0, 0.95),
    drought=0.6,
    evergreen=0.9,
    parcel_px=(8.0, 30.0),
    season_days=183,
)
DESERT: Final = Climate(
    name="desert",
    latitude=27.0,
    crops=(0.1, 0.1, 0.0, 0.3, 0.3, 0.2),
    ground=((Material.SAND, 0.5), (Material.ROCK, 0.28), (Material.SOIL, 0.14), (_HIGH, 0.08)),
    wood=(Material.SHRUB,),
    wood_share=(0.01, 0.06),
    soil=(1.5, 1.6, 1.7, 1.55, 1.4, 1.4),
    drought=0.8,
    evergreen=0.85,
    parcel_px=(12.0, 60.0),
)
CLIMATES: Final = {c.name: c for c in (TEMPERATE, UPLAND, MEDITERRANEAN, TROPICAL, DESERT)}
