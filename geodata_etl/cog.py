"""Streaming writer of Cloud Optimized GeoTIFFs: blocks in, one valid COG out, bounded memory."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.shutil import copy as copy_raster
from rasterio.windows import Window

from geodata_etl.grid import Grid

BLOCK_PX: Final = 512
"""Edge of a COG's internal tiles, pixels."""
CACHE_BYTES: Final = 256 << 20
"""GDAL's block cache, bytes: fixed, so that memory does not grow with the machine (its own default
is 5 % of the memory).

Holds two rows of 512 px blocks of a 10980 px wide raster with six uint16 bands (2 x 64 MiB), of the
source and of the target.
"""

_COPY_CACHE_BYTES: Final = 32 << 20
"""The cache while the COG is made from the plain file, which GDAL reads once, in order: more of it
was measured to cost memory and save no time."""

_OVERVIEW_SPOOL: Final = "PACKBITS"
"""Codec of the COG driver's temporary overviews. Its default, ZSTD level 9, was half of a COG's CPU
time; NONE makes GDAL average in another order, which changes pixels."""

Block = tuple[Window, NDArray[Any]]
"""A window of the grid and its pixels, shape [count, rows, columns] (or [rows, columns])."""

Colours = Mapping[int, tuple[int, int, int, int]]
"""Stored value to (red, green, blue, alpha), 0..255."""


@contextmanager
def gdal_env(**options: Any) -> Iterator[None]:
    """The GDAL settings that every raster access of this package runs under."""
    fixed = {
        "GDAL_CACHEMAX": CACHE_BYTES,  # rasterio takes bytes, whatever the size
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no side-car file is ever looked for
        "GDAL_TIFF_INTERNAL_MASK": True,
    }
    with rasterio.Env(**fixed | options):
        yield


def write_cog(
    path: Path,
    blocks: Iterable[Block],
    *,
    grid: Grid,
    dtype: str,
    count: int,
    nodata: float | None,
    band_names: Sequence[str],
    resampling: str = "nearest",
    tags: Mapping[str, str] | None = None,
    scale: float | None = None,
    colours: Colours | None = None,
) -> str:
    """Write a COG (ZSTD, 512 px tiles, overviews) at `path` in one atomic rename.

    `blocks` gives windows of `grid` with arrays [count, rows, columns] (or [rows, columns] where
    count is 1) of `dtype`, in any order; pixels that no block covers are `nodata` (0 where that is
    None). `resampling` ("nearest", "average", "mode") makes the overviews. `scale`, where given, is
    the factor from stored value to unit, kept as a tag of each band. `colours` becomes the colour
    table of a one-band uint8 raster. The same blocks give the same bytes.

    Returns ``sha256:...`` of the file. Whatever `blocks` raises passes through, and nothing is left
    at `path`.
    """
    with cog_writer(
        path,
        grid=grid,
        dtype=dtype,
        count=count,
        nodata=nodata,
        band_names=band_names,
        resampling=resampling,
        tags=tags,
        scale=scale,
        colours=colours,
    ) as write:
        for window, pixels in blocks:
            write(window, pixels)
    return file_digest(path)


@contextmanager
def cog_writer(
    path: Path,
    *,
    grid: Grid,
    dtype: str,
    count: int,
    nodata: float | None,
    band_names: Sequence[str],
    resampling: str = "nearest",
    tags: Mapping[str, str] | None = None,
    scale: float | None = None,
    colours: Colours | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> Iterator[Callable[[Window, NDArray[Any]], None]]:
    """The push form of `write_cog`, for one pass over blocks that feeds several files.

    Yields the function that takes one block; the file stands at `path` once the context ends, and
    nothing does where it ends by an exception. `cache_bytes` is GDAL's block cache meanwhile.
    """
    if len(band_names) != count:
        raise ValueError(f"{len(band_names)} band names for {count} bands: give one name per band")
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = _profile(grid, dtype=dtype, count=count, nodata=nodata)
    with (
        tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as folder,
        gdal_env(GDAL_CACHEMAX=cache_bytes),
    ):
        plain, done = Path(folder, "plain.tif"), Path(folder, "cog.tif")
        with rasterio.open(plain, "w", **profile) as target:
            _describe(target, band_names, tags or {}, scale)
            if colours:
                target.write_colormap(1, dict(colours))

            def write(window: Window, pixels: NDArray[Any]) -> None:
                target.write(_three_axes(pixels, dtype), window=window)

            yield write
        with gdal_env(GDAL_CACHEMAX=_COPY_CACHE_BYTES, COG_TMP_COMPRESSION=_OVERVIEW_SPOOL):
            copy_raster(plain, done, driver="COG", **_cog_options(resampling))
        plain.unlink()
        done.replace(path)


def file_digest(path: Path) -> str:
    """``sha256:...`` of a file's bytes."""
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def _profile(grid: Grid, *, dtype: str, count: int, nodata: float | None) -> dict[str, Any]:
    rows, cols = grid.shape
    return {
        "driver": "GTiff",
        "height": rows,
        "width": cols,
        "count": count,
        "dtype": dtype,
        "nodata": nodata,
        "crs": grid.crs,
        "transform": grid.transform,
        "tiled": True,
        "blockxsize": BLOCK_PX,
        "blockysize": BLOCK_PX,
        "interleave": "band",  # the copy reads band by band: others would be read over and over
        "sparse_ok": True,  # what no block covers reads as nodata
        "bigtiff": "if_safer",
    }


def _cog_options(resampling: str) -> dict[str, Any]:
    resampling = Resampling[resampling].name  # a name that GDAL does not know fails here
    return {
        "compress": "ZSTD",
        "level": 1,
        "predictor": "YES",
        "blocksize": BLOCK_PX,
        "overviews": "IGNORE_EXISTING",
        "overview_resampling": resampling.upper(),
        "overview_compress": "ZSTD",
        "bigtiff": "IF_SAFER",
        "num_threads": 1,  # so that neither the order nor the digest depends on threads
        "statistics": "NO",
    }


def _describe(
    target: Any, band_names: Sequence[str], tags: Mapping[str, str], scale: float | None
) -> None:
    target.descriptions = tuple(band_names)
    target.update_tags(**tags)
    if scale is not None:
        target.scales = (scale,) * len(band_names)
        target.offsets = (0.0,) * len(band_names)


def _three_axes(pixels: NDArray[Any], dtype: str) -> NDArray[Any]:
    array = np.asarray(pixels)
    if array.dtype != np.dtype(dtype):  # a silent cast would wrap
        raise TypeError(f"a block of {array.dtype} for a raster of {dtype}: convert it first")
    return array if array.ndim == 3 else array[np.newaxis]
