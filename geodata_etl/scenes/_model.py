"""The records that the rest of the platform sees of a scene."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from affine import Affine
from shapely.geometry.base import BaseGeometry

from geodata_etl.radiometry import Calibration


@dataclass(frozen=True)
class SceneFile:
    """A raster file of a scene."""

    path: Path
    """Local file; downloads lie in the cache folder."""
    href: str
    """As the source named it."""
    crs: str
    """As ``EPSG:code`` where it has one, else WKT."""
    transform: Affine
    """Pixel (column, row) to CRS units; no rotation."""
    shape: tuple[int, int]
    """(rows, columns)."""
    gsd_m: float
    """Edge of a square of a pixel's area on the ground, metres."""
    placed: bool = True
    """Whether the file holds its own georeference; else the item gave it."""


@dataclass(frozen=True)
class SceneBand:
    """One analysis band and where its pixels are."""

    name: str
    """One of `geodata_etl.bands.BANDS`."""
    source: str
    """What the source calls it, e.g. ``B08``."""
    file: SceneFile
    index: int
    """One-based band number within the file."""
    dtype: str
    calibration: Calibration
    nodata: float | None
    """The stored value of pixels without data (may be NaN); None: every pixel has data."""


@dataclass(frozen=True)
class Scene:
    """One acquisition of one sensor: metadata only, checked, no pixel decoded."""

    id: str
    """The STAC id, or the file's or folder's name."""
    acquired: datetime
    """UTC."""
    platform: str | None
    """e.g. ``sentinel-2a``."""
    level: str | None
    """Processing level, e.g. ``L1C``."""
    footprint: BaseGeometry
    """Outline of the pixels in lon/lat degrees (EPSG:4326)."""
    crs: str
    """CRS of all files."""
    bands: tuple[SceneBand, ...]
    """The six analysis bands, in the order of `BANDS`."""
    source: str
    """The address or path that the scene was opened from."""

    @property
    def files(self) -> tuple[SceneFile, ...]:
        """The files that hold the bands, each once."""
        return tuple(dict.fromkeys(band.file for band in self.bands))

    @property
    def gsd_m(self) -> float:
        """Pixel edge of the finest band, metres."""
        return min(file.gsd_m for file in self.files)
