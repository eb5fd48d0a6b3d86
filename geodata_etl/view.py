"""Rasters at the size of a picture: decimated reads that need little memory for any scene."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from geodata_etl.bands import BANDS, NODATA, NOT_OBSERVED
from geodata_etl.cog import gdal_env
from geodata_etl.grid import PIXEL_M, Extent, Grid, grid_of_transform

CACHE_BYTES: Final = 64 << 20
"""GDAL's block cache: a picture reads each block once, so that a large one only costs memory."""
_BAND_PX: Final = 1 << 22
"""Pixels read at a time where every pixel of a raster is looked at."""


@dataclass(frozen=True)
class View:
    """A grid seen as a picture of whole cells of `factor` x `factor` pixels, from the top left."""

    grid: Grid
    factor: int
    """Grid pixels per picture pixel, each way."""

    @classmethod
    def fit(cls, grid: Grid, *, longest: int) -> View:
        """The finest view whose longer side has at most `longest` picture pixels."""
        return cls(grid, max(1, -(-max(grid.shape) // longest)))

    @property
    def pixel_m(self) -> int:
        """Edge of a picture pixel, metres."""
        return PIXEL_M * self.factor

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the picture; the last ones may reach beyond the grid."""
        rows, cols = self.grid.shape
        return -(-rows // self.factor), -(-cols // self.factor)

    @property
    def transform(self) -> Affine:
        """Picture pixel (column, row) to UTM metres."""
        left, top = self.grid.bounds[0], self.grid.bounds[3]
        return Affine(self.pixel_m, 0, left, 0, -self.pixel_m, top)

    def to_picture(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """UTM metres, shape [n, 2] (x, y), as picture pixels (column, row) from the top left."""
        left, top = self.grid.bounds[0], self.grid.bounds[3]
        return np.column_stack([points[:, 0] - left, top - points[:, 1]]) / self.pixel_m


def grid_of(path: Path | str) -> Grid:
    """The grid of a raster of the platform."""
    with gdal_env(GDAL_CACHEMAX=CACHE_BYTES), rasterio.open(path) as raster:
        return grid_of_transform(raster.crs.to_epsg(), raster.transform, *raster.shape)


def read_scene(path: Path | str, view: View, *, bands: Sequence[str] = BANDS) -> NDArray[np.uint16]:
    """The stack of a scene, uint16 [6, rows, columns], as the view sees it; 0 = nodata.

    Only `bands` are read, the others are 0.

    It is read from the overview that is next finer than the view; the scene may cover another part
    of the zone than the view.
    """
    with gdal_env(GDAL_CACHEMAX=CACHE_BYTES):
        with rasterio.open(path) as raster:
            level = _level(raster.overviews(1), view.factor)
        options = {} if level is None else {"overview_level": level}
        with rasterio.open(path, **options) as raster, WarpedVRT(raster, **_vrt(view)) as seen:
            stack = np.full((len(BANDS), *view.shape), NODATA, np.uint16)
            places = [BANDS.index(name) for name in bands]
            stack[places] = seen.read([place + 1 for place in places])
            return stack


def read_highest(path: Path | str, view: View) -> NDArray[np.uint8]:
    """The highest change level in each picture pixel, uint8 [rows, columns]; unseen ground is 0.

    Every pixel is looked at, so that no small change is lost.
    """
    cells = _cells(path, view, fill=NOT_OBSERVED)
    bands = [np.where(band == NOT_OBSERVED, 0, band).max(axis=(1, 3)) for band in cells]
    return np.concatenate(bands)


def read_share(path: Path | str, view: View) -> NDArray[np.float32]:
    """The share of observed ground in each picture pixel, float32 [rows, columns], 0..1."""
    cells = _cells(path, view, fill=0)
    return np.concatenate([(band == 1).mean(axis=(1, 3), dtype=np.float32) for band in cells])


def _level(factors: list[int], factor: int) -> int | None:
    """The coarsest overview that is not coarser than the view; None for the raster itself."""
    usable = [index for index, overview in enumerate(factors) if overview <= factor]
    return usable[-1] if usable else None


def _vrt(view: View) -> dict[str, Any]:
    rows, cols = view.shape
    return {
        "crs": view.grid.crs,
        "transform": view.transform,
        "height": rows,
        "width": cols,
        "resampling": Resampling.nearest if view.factor == 1 else Resampling.average,
        "warp_mem_limit": 32,
    }


def _cells(path: Path | str, view: View, *, fill: int) -> Iterator[NDArray[np.uint8]]:
    """Bands of picture rows with all their pixels, shape [rows, factor, columns, factor]."""
    rows, cols = view.shape
    factor, whole = view.factor, view.grid.extent
    step = max(1, _BAND_PX // (factor * factor * cols))
    with gdal_env(GDAL_CACHEMAX=CACHE_BYTES), rasterio.open(path) as raster:
        own = grid_of_transform(raster.crs.to_epsg(), raster.transform, *raster.shape)
        for first in range(0, rows, step):
            height = min(step, rows - first) * factor
            top = whole.top + first * factor
            band = Extent(top, whole.left, top + height, whole.left + cols * factor)
            pixels = np.full((height, cols * factor), fill, np.uint8)
            shared = band & own.extent
            if not shared.empty:
                pixels[shared.slices_in(band)] = raster.read(1, window=shared.window_in(own.extent))
            yield pixels.reshape(-1, factor, cols, factor)
