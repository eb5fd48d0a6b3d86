"""Reading parts of the rasters that ingest wrote, by lattice extent."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import rasterio
from numpy.typing import NDArray

from geodata_etl.bands import BANDS, NODATA
from geodata_etl.grid import Extent, Grid, Tile, grid_of_transform


def grid_of(url: str) -> Grid:
    """The grid of a raster on the lattice."""
    with rasterio.open(url) as dataset:
        return grid_of_transform(
            dataset.crs.to_epsg(), dataset.transform, dataset.height, dataset.width
        )


def read_extent(url: str, extent: Extent) -> NDArray[np.uint16]:
    """[6, H, W] of a scene COG over any lattice extent; 0 outside the scene."""
    stack = np.full((len(BANDS), extent.height, extent.width), NODATA, np.uint16)
    with rasterio.open(url) as dataset:
        grid = grid_of_transform(
            dataset.crs.to_epsg(), dataset.transform, dataset.height, dataset.width
        )
        shared = extent & grid.extent
        if not shared.empty:
            rows, cols = shared.slices_in(extent)
            stack[:, rows, cols] = dataset.read(window=shared.window_in(grid.extent))
    return stack


class BlockReader:
    """One scene over one block and its halo: decoded once, when the first tile asks for it."""

    def __init__(self, url: str, extent: Extent) -> None:
        self._url = url
        self._extent = extent
        self._lock = threading.Lock()
        self._stack: NDArray[np.uint16] | None = None

    def reader(self, tile: Tile) -> Callable[[], NDArray[np.uint16]]:
        """What reads one of the block's tiles, [6, 512, 512]."""
        return lambda: self._tile(tile)

    def _tile(self, tile: Tile) -> NDArray[np.uint16]:
        with self._lock:
            if self._stack is None:
                self._stack = read_extent(self._url, self._extent)
        rows, cols = tile.extent.slices_in(self._extent)
        return np.ascontiguousarray(self._stack[:, rows, cols])
