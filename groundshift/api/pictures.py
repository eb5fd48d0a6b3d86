"""Pictures of the platform's COGs, read through rio-tiler: map tiles and chips, as PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rasterio.coords import disjoint_bounds
from rasterio.crs import CRS
from rasterio.errors import RasterioIOError
from rasterio.warp import transform as transform_points
from rasterio.warp import transform_bounds
from rio_tiler.colormap import cmap
from rio_tiler.errors import TileOutsideBounds
from rio_tiler.io import Reader
from rio_tiler.models import ImageData

from geodata_etl import render
from geodata_etl.bands import BANDS, NODATA
from geodata_etl.cog import gdal_env
from geodata_etl.render import Picture
from groundshift.errors import NotFound
from groundshift.ledger.alert_views import Bbox

TILE_PX: Final = 256
_OUTLINE: Final = (255, 220, 0, 255)
"""Yellow: seen on water, forest, soil and clouds."""
_NEAREST_FROM: Final = 14
"""From this zoom a screen pixel is finer than the ground's 10 m: real pixels, not blurred ones."""
_WGS84: Final = CRS.from_epsg(4326)
_HATCH_PX: Final = 8
"""Distance of stripes; it divides a tile's edge, so that they run on from tile to tile."""


@dataclass(frozen=True)
class Rendering:
    """How the pixels of a raster become colours."""

    bands: tuple[int, ...]
    """One-based bands that are read."""
    paint: Callable[[NDArray[Any], NDArray[np.bool_]], Picture]
    """(bands, rows, columns) and where the raster has data -> RGBA."""
    smooth: bool
    """Whether values between two pixels mean something."""


def _stack(bands: tuple[str, ...], values: NDArray[Any], seen: NDArray[np.bool_]) -> Any:
    stack = np.zeros((len(BANDS), *values.shape[1:]), np.uint16)
    for name, plane in zip(bands, values, strict=True):
        stack[BANDS.index(name)] = np.where(seen, plane, NODATA)
    return stack


def _scene(bands: tuple[str, ...], paint: Callable[[Any], Picture]) -> Rendering:
    places = tuple(BANDS.index(name) + 1 for name in bands)

    def painted(values: NDArray[Any], seen: NDArray[np.bool_]) -> Picture:
        picture = paint(_stack(bands, values, seen))
        picture[~seen] = 0  # `paint` looks at blue, which not every rendering reads
        return picture

    return Rendering(places, painted, smooth=True)


def _false_color(stack: NDArray[np.uint16]) -> Picture:
    return render.false_color(np.where(stack[[2]] > 0, np.maximum(stack, 1), stack))


def _ndvi(stack: NDArray[np.uint16]) -> Picture:
    """Vegetation index from brown (-0.2) over white to blue-green (0.9), readable colour-blind."""
    red, nir = (stack[BANDS.index(name)].astype(np.float32) for name in ("red", "nir"))
    index = (nir - red) / np.maximum(nir + red, 1)
    level = np.clip((index + 0.2) / 1.1 * 255, 0, 255).astype(np.uint8)
    picture: Picture = _ndvi_colours()[level]
    return picture


def _ndvi_colours() -> Picture:
    ramp = cmap.get("brbg")
    return np.array([ramp[level] for level in range(256)], np.uint8)


def _layer(paint: Callable[[NDArray[np.uint8]], Picture]) -> Rendering:
    def painted(values: NDArray[Any], seen: NDArray[np.bool_]) -> Picture:
        picture = paint(values[0].astype(np.uint8))
        picture[~seen] = 0
        return picture

    return Rendering((1,), painted, smooth=False)


def _unseen(observed: NDArray[np.uint8]) -> Picture:
    return render.hatch((observed == 1).astype(np.float32), spacing=_HATCH_PX)


SCENE: Final[Mapping[str, Rendering]] = MappingProxyType(
    {
        "true": _scene(("blue", "green", "red"), render.true_color),
        "false": _scene(("green", "red", "nir"), _false_color),
        "ndvi": _scene(("red", "nir"), _ndvi),
    }
)
"""Renderings of a scene's stack."""

LAYERS: Final[Mapping[str, Rendering]] = MappingProxyType(
    {
        "change": _layer(render.probability_overlay),
        "observed": _layer(_unseen),
        "before_class": _layer(render.class_colors),
        "after_class": _layer(render.class_colors),
    }
)
"""Renderings of a run's rasters, by their names."""


@contextmanager
def _opened(url: str) -> Iterator[Reader]:
    """A raster of the store. Raises NotFound."""
    with gdal_env():
        try:
            reader = Reader(url)
        except RasterioIOError as error:
            raise NotFound(f"{url.rpartition('/')[2]} is not in the object store") from error
        with reader:
            yield reader


def bounds(url: str) -> Bbox:
    """West, south, east and north of a raster, degrees."""
    with _opened(url) as reader:
        west, south, east, north = reader.get_geographic_bounds(_WGS84)
    return west, south, east, north


def tile(url: str, rendering: Rendering, *, z: int, x: int, y: int) -> bytes:
    """A WebMercator tile as PNG; clear where the raster does not reach."""
    method = "bilinear" if rendering.smooth and z < _NEAREST_FROM else "nearest"
    with _opened(url) as reader:
        try:
            image = reader.tile(
                x, y, z, tilesize=TILE_PX, indexes=rendering.bands, **_resampled(method)
            )
        except TileOutsideBounds:
            return _empty(TILE_PX)
        return _png(rendering.paint(*_arrays(image)))


@dataclass(frozen=True)
class Chip:
    """A picture of some ground in the raster's own projection."""

    picture: Picture
    bounds: tuple[float, float, float, float]
    """Left, bottom, right, top in `crs`."""
    crs: CRS

    def outlined(self, geometry: str) -> Picture:
        """The picture with the outline of a GeoJSON geometry (EPSG:4326) on it."""
        image = Image.fromarray(self.picture, "RGBA")
        pen = ImageDraw.Draw(image)
        shape = shapely.from_geojson(geometry)
        for ring in shapely.get_rings(shape):
            xs, ys = transform_points(_WGS84, self.crs, *shapely.get_coordinates(ring).T)
            pen.line(self._pixels(xs, ys), fill=_OUTLINE, width=2)
        return np.asarray(image)

    def _pixels(self, xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
        rows, cols = self.picture.shape[:2]
        left, bottom, right, top = self.bounds
        across, down = cols / (right - left), rows / (top - bottom)
        return [((x - left) * across, (top - y) * down) for x, y in zip(xs, ys, strict=True)]


def chip(url: str, rendering: Rendering, *, bbox: Bbox, size: int) -> Chip:
    """The ground of a box as a picture whose longer side has `size` pixels.

    Raises NotFound where the raster does not reach.
    """
    with _opened(url) as reader:
        crs = reader.crs
        box = transform_bounds(_WGS84, crs, *bbox)
        if disjoint_bounds(box, reader.bounds):
            raise NotFound("the box lies beside this raster: ask for one inside")
        image = reader.part(
            box,
            bounds_crs=crs,
            dst_crs=crs,
            indexes=rendering.bands,
            **_shape(box, size),
            **_resampled("nearest"),
        )
        return Chip(rendering.paint(*_arrays(image)), box, crs)


def png(picture: Picture) -> bytes:
    """A picture as PNG."""
    return _png(picture)


def _shape(box: Bbox, size: int) -> dict[str, Any]:
    """Rows and columns of square pixels."""
    left, bottom, right, top = box
    pixel = max(right - left, top - bottom) / size
    return {
        "width": max(1, round((right - left) / pixel)),
        "height": max(1, round((top - bottom) / pixel)),
    }


def _resampled(method: str) -> dict[str, Any]:
    return {"resampling_method": method, "reproject_method": method}


def _arrays(image: ImageData) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    return image.data, image.mask > 0


def _empty(size: int) -> bytes:
    return _png(np.zeros((size, size, 4), np.uint8))


def _png(picture: Picture) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture, "RGBA").save(out, "PNG", compress_level=1)
    return out.getvalue()
