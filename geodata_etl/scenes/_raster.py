"""One raster file's metadata, read without decoding a pixel."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError

from geodata_etl.cog import gdal_env
from geodata_etl.errors import Refusal, SceneRefused
from geodata_etl.hrefs import Access

_MAGIC: Final = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",  # BigTIFF
    b"MM\0+": "GTiff",
    b"\0\0\0\x0c": "JP2OpenJPEG",
}
"""First bytes and the only GDAL drivers that open a scene: a VRT or a remote protocol could reach
other files."""


@dataclass(frozen=True)
class Facts:
    """What a file says about itself."""

    path: Path
    """Resolved local file."""
    href: str
    """As the source named it."""
    crs: CRS | None
    transform: Affine | None
    """Pixel (column, row) to CRS units; None where the file has no georeference."""
    shape: tuple[int, int]
    """(rows, columns)."""
    dtypes: tuple[str, ...]
    nodata: tuple[float | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    descriptions: tuple[str | None, ...]
    tags: dict[str, str]
    pixel_interleaved: bool
    """Whether a block holds all bands, so that reading one decodes all."""
    block: tuple[int, int]
    """(rows, columns) of an internal block or strip."""

    @property
    def count(self) -> int:
        """Number of bands."""
        return len(self.dtypes)

    def decoded_bytes(self, indexes: set[int]) -> int:
        """Bytes that GDAL decodes to read these (one-based) bands once."""
        return math.prod(self.shape) * self._pixel_bytes(indexes)

    def block_bytes(self, indexes: set[int]) -> int:
        """Bytes that one block decodes to."""
        return math.prod(self.block) * self._pixel_bytes(indexes)

    def _pixel_bytes(self, indexes: set[int]) -> int:
        every = range(1, self.count + 1)
        used = every if self.pixel_interleaved else indexes
        return sum(_itemsize(self.dtypes[index - 1]) for index in used)


def open_raster(path: Path, *, placed: bool = True, mode: str = "r") -> Any:
    """A rasterio dataset, opened by an allowed driver only; call within `cog.gdal_env`.

    `placed`: whether the file is known to hold its own georeference. Only where it is not, the
    process-wide warning filter is touched, which threads should not do. `mode` is always "r": file
    managers pass it.

    Raises RasterioError where the file is none that the drivers can read.
    """
    with path.open("rb") as stream:
        head = stream.read(4)
    if head not in _MAGIC:
        raise RasterioIOError(f"it begins with {head!r}")
    if placed:
        return rasterio.open(path, mode, driver=_MAGIC[head])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # becomes NO_CRS, with a cure
        return rasterio.open(path, mode, driver=_MAGIC[head])


def unreadable(href: str, error: Exception) -> SceneRefused:
    """The refusal for a file that GDAL cannot open or decode."""
    return SceneRefused(
        Refusal.UNREADABLE,
        f"{href!r} cannot be read as GeoTIFF or JPEG 2000 ({error}): the file is truncated or is "
        "no raster; fetch it again",
    )


def inspect(href: str, *, access: Access, base: str | Path | None = None) -> Facts:
    """The facts of the file that `href` names. Raises SceneRefused."""
    path = access.resolve(href, base)
    if path.is_dir():
        raise SceneRefused(Refusal.UNREADABLE, f"{href!r} is a folder: name the file in it")
    with gdal_env():
        try:
            with open_raster(path, placed=False) as file:
                facts = _facts(file, path, href)
        except RasterioError as error:
            raise unreadable(href, error) from error
    return facts


def _facts(file: Any, path: Path, href: str) -> Facts:
    identity = file.transform == Affine.identity()
    return Facts(
        path=path,
        href=href,
        crs=file.crs,
        transform=None if identity else file.transform,
        shape=(file.height, file.width),
        dtypes=tuple(file.dtypes),
        nodata=tuple(file.nodatavals),
        scales=tuple(file.scales),
        offsets=tuple(file.offsets),
        descriptions=tuple(file.descriptions),
        tags=_text(file.tags),
        pixel_interleaved=file.driver == "GTiff" and file.profile.get("interleave") == "pixel",
        block=file.block_shapes[0],
    )


def _text(read: Callable[[], dict[str, str]]) -> dict[str, str]:
    return {str(key): str(value) for key, value in read().items()}


def _itemsize(dtype: str) -> int:
    try:
        return np.dtype(dtype).itemsize
    except TypeError:  # complex_int16 is GDAL's own; the dtype check refuses it with its name
        return 8
