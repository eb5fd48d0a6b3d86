"""Bands, classes and pixel contracts shared by every raster of the platform."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

BANDS: Final = ("blue", "green", "red", "nir", "swir16", "swir22")
"""The analysis bands, in the order of every stack (STAC eo common names)."""

CLOUD_BANDS: Final = BANDS[:4]
"""The bands the cloud mask takes: every optical sensor has them."""

REFLECTANCE_SCALE: Final = 10_000
"""Stored value = reflectance x 10000, uint16, clipped to 1..65535."""

NODATA: Final = 0
"""Nodata of reflectance rasters: no valid pixel is ever stored as 0."""

NOT_OBSERVED: Final = 255
"""Nodata of uint8 rasters (probabilities and classes)."""

PROBABILITY_MAX: Final = 254
"""Stored probability = round(p x 254)."""


class Cloud(IntEnum):
    """Classes of the cloud mask."""

    CLEAR = 0
    CLOUD = 1
    THIN = 2
    SHADOW = 3


class Cover(IntEnum):
    """Land-cover classes of the segmenter, in the order of its probability planes."""

    WATER = 0
    TREE = 1
    LOW_VEGETATION = 2
    """Grass, crops in leaf, shrubs."""
    BARE = 3
    """Soil, fallow fields, rock, sand, earthworks."""
    BUILT = 4
    BURNT = 5

    @property
    def label(self) -> str:
        """The name that people and files see, e.g. ``low_vegetation``."""
        return self.name.lower()
