"""What a scene's pixels look like, and how much of each tile it shows: from the COG's overviews.

Measured once per scene and kept beside its COG, whose content never changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import orjson
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from geodata_etl.bands import BANDS, NODATA
from geodata_etl.cog import gdal_env
from geodata_etl.grid import CORE_PX, Extent, Grid, Tile, grid_of_transform
from groundshift import keys
from groundshift.errors import NotFound
from groundshift.ports import ObjectStore

log = logging.getLogger(__name__)

PERCENTILES: Final = (2, 25, 50, 75, 98)
FORMAT: Final = 1
"""Raised when the figures mean something else: older ones are measured again."""
_LONGEST_PX: Final = 512
"""Of the picture that the figures come from: quick for a whole Sentinel-2 scene."""
_REFLECTANCE: Final = 10_000

Stats = Mapping[str, Any]
"""``bands``: by band, the mean and `PERCENTILES` of its reflectance (0..1) over valid pixels;
``valid``: by tile (``row_col``), the share of its core that the scene shows; ``valid_fraction``.
"""


def of_scene(store: ObjectStore, scene_id: str) -> Stats | None:
    """The figures of a scene; None where its COG is gone."""
    return _kept(store, keys.scene_stats(scene_id), lambda: _scene(store, scene_id))


def of_run(store: ObjectStore, run_id: str) -> Mapping[str, float] | None:
    """By tile, the share of its core that a run saw on both dates; None where it is gone."""
    found = _kept(store, keys.run_stats(run_id), lambda: _run(store, run_id))
    return None if found is None else found["observed"]


def _kept(store: ObjectStore, key: str, measure: Callable[[], Stats]) -> Stats | None:
    try:
        known: Stats = orjson.loads(store.get(key))
        if known.get("format") == FORMAT:
            return known
    except NotFound:
        pass
    try:
        found = {"format": FORMAT, **measure()}
    except (RasterioError, NotFound) as error:
        log.info("%s: %s", key, error)
        return None
    store.put(key, orjson.dumps(found))
    return found


def _scene(store: ObjectStore, scene_id: str) -> Stats:
    pixels, grid, step = _small(store.url(keys.scene_cog(scene_id)))
    valid: NDArray[np.bool_] = (pixels != NODATA).all(axis=0)
    seen = pixels[:, valid] / _REFLECTANCE
    return {
        "bands": {name: _figures(band) for name, band in zip(BANDS, seen, strict=True)},
        "valid": _by_tile(valid, grid.extent, step),
        "valid_fraction": round(float(valid.mean()), 4),
    }


def _run(store: ObjectStore, run_id: str) -> Stats:
    pixels, grid, step = _small(store.url(keys.product(run_id, "observed.tif")))
    return {"observed": _by_tile(pixels[0] == 1, grid.extent, step)}


def _small(url: str) -> tuple[NDArray[Any], Grid, float]:
    """(Pixels, every `step`-th of each axis; the grid of the whole raster; `step`)."""
    with gdal_env(), rasterio.open(url) as raster:
        grid = grid_of_transform(raster.crs.to_epsg(), raster.transform, *raster.shape)
        step = max(1.0, max(raster.shape) / _LONGEST_PX)
        shape = (raster.count, *(max(1, round(side / step)) for side in raster.shape))
        return raster.read(out_shape=shape, resampling=Resampling.nearest), grid, step


def _figures(values: NDArray[Any]) -> Mapping[str, float]:
    if not values.size:
        return {}
    points = np.percentile(values, PERCENTILES)
    named = dict(zip((f"p{p}" for p in PERCENTILES), points.tolist(), strict=True))
    return {name: round(v, 4) for name, v in {"mean": float(values.mean()), **named}.items()}


def _by_tile(shown: NDArray[np.bool_], extent: Extent, step: float) -> Mapping[str, float]:
    """The share of each tile's core that is shown; what lies outside the raster is not."""
    rows = np.arange(shown.shape[0]) * step + extent.top
    cols = np.arange(shown.shape[1]) * step + extent.left
    found: dict[str, float] = {}
    for row in range(extent.top // CORE_PX, -(-extent.bottom // CORE_PX)):
        for col in range(extent.left // CORE_PX, -(-extent.right // CORE_PX)):
            core = Tile(row, col).core
            inside = np.ix_(
                (rows >= core.top) & (rows < core.bottom),
                (cols >= core.left) & (cols < core.right),
            )
            reached = core & extent
            share = shown[inside].mean() if shown[inside].size else 0.0
            within = reached.height * reached.width / CORE_PX**2
            found[f"{row}_{col}"] = round(float(share) * within, 4)
    return found
