"""An alert's polygon with what the run saw of it, as a GeoTIFF."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import orjson
import rasterio
from numpy.typing import NDArray
from rasterio.features import geometry_window, rasterize
from rasterio.io import MemoryFile
from rasterio.warp import transform_geom
from rasterio.windows import Window

from geodata_etl.bands import NOT_OBSERVED
from geodata_etl.cog import gdal_env
from groundshift import keys
from groundshift.ports import ObjectStore

_MARGIN_PX: Final = 16


def alert_mask(store: ObjectStore, run_id: str, geometry: str) -> bytes:
    """Three bands on the run's grid around a GeoJSON geometry (EPSG:4326).

    The polygon (1 inside, 0 outside), the probability of change x 254 and observed (1, 0); the
    last two are 255 where the run has nothing.
    """
    with gdal_env(), rasterio.open(store.url(keys.product(run_id, "change.tif"))) as change:
        outline = transform_geom("EPSG:4326", change.crs, orjson.loads(geometry))
        window = geometry_window(change, [outline], pad_x=_MARGIN_PX, pad_y=_MARGIN_PX)
        transform = change.window_transform(window)
        shape = (int(window.height), int(window.width))
        inside = rasterize([outline], out_shape=shape, transform=transform, dtype="uint8")
        level = change.read(1, window=window)
        seen = _read(store.url(keys.product(run_id, "observed.tif")), window)
        return _tiff(np.stack([inside, level, seen]), change.crs, transform)


def _read(url: str, window: Window) -> NDArray[np.uint8]:
    with rasterio.open(url) as raster:
        pixels: NDArray[np.uint8] = raster.read(1, window=window)
    return pixels


def _tiff(bands: NDArray[np.uint8], crs: Any, transform: Any) -> bytes:
    count, height, width = bands.shape
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": count,
        "height": height,
        "width": width,
        "crs": crs,
        "transform": transform,
        "nodata": NOT_OBSERVED,
        "compress": "deflate",
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as raster:
            raster.write(bands)
            for band, name in enumerate(("polygon", "change", "observed"), 1):
                raster.set_band_description(band, name)
        return bytes(memory.read())
