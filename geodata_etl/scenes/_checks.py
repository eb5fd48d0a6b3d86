"""The geometry of a scene's files: what can be put on the analysis grid, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Geod, Transformer
from rasterio.crs import CRS
from rasterio.errors import CRSError
from shapely.geometry.base import BaseGeometry

from geodata_etl.errors import Refusal, SceneRefused
from geodata_etl.grid import PIXEL_M
from geodata_etl.hrefs import Access
from geodata_etl.scenes._model import SceneFile
from geodata_etl.scenes._offers import Placed
from geodata_etl.scenes._raster import Facts

MIN_GSD_M: Final = 8.0
MAX_GSD_M: Final = 30.0
_GSD_TOLERANCE: Final = 1.05
"""Pixels in degrees are never exactly 30 m."""
MIN_EDGE_PX: Final = 32
"""Least edge of usable ground, pixels of the grid: what the smallest model input holds."""


def scene_file(facts: Facts, placed: Placed) -> SceneFile:
    """A file's georeference, checked against what the item says. Raises SceneRefused."""
    crs = _crs(facts, placed)
    transform = facts.transform or placed.transform
    if transform is None:
        raise SceneRefused(
            Refusal.NO_CRS, f"{facts.href!r} has no geotransform: {_GEOREFERENCE_CURE}"
        )
    _agrees(facts, placed, transform)
    if transform.b or transform.d:
        raise SceneRefused(
            Refusal.ROTATED,
            f"{facts.href!r} has a rotated transform {tuple(transform)[:6]}: warp it to a "
            "north-up grid first (gdalwarp)",
        )
    gsd = _gsd(facts, crs, transform)
    _checked_size(facts, gsd)
    return SceneFile(
        path=facts.path,
        href=facts.href,
        crs=_code(crs),
        transform=transform,
        shape=facts.shape,
        gsd_m=gsd,
        placed=facts.transform is not None,
    )


_GEOREFERENCE_CURE: Final = (
    "write its georeference (gdal_edit.py -a_srs, -a_ullr), or give an item with proj:code and "
    "proj:transform"
)


def _crs(facts: Facts, placed: Placed) -> CRS:
    try:
        said = CRS.from_user_input(placed.crs) if placed.crs else None
    except CRSError as error:
        raise SceneRefused(
            Refusal.NO_CRS, f"the item's proj:code {placed.crs!r} is no known CRS: correct it"
        ) from error
    crs = facts.crs or said
    if not crs:
        raise SceneRefused(Refusal.NO_CRS, f"{facts.href!r} has no CRS: {_GEOREFERENCE_CURE}")
    if said and crs != said:
        raise SceneRefused(
            Refusal.CONTRADICTION,
            f"{facts.href!r} is in {_code(crs)}, the item says {placed.crs}: correct one of them",
        )
    return crs


def _agrees(facts: Facts, placed: Placed, transform: Affine) -> None:
    if placed.shape and placed.shape != facts.shape:
        raise SceneRefused(
            Refusal.CONTRADICTION,
            f"{facts.href!r} has {facts.shape} rows and columns, the item says {placed.shape}: "
            "the file or the item is another one",
        )
    pixel = math.sqrt(abs(transform.determinant))
    if placed.transform and not np.allclose(
        tuple(placed.transform)[:6], tuple(transform)[:6], rtol=0, atol=0.01 * pixel
    ):
        raise SceneRefused(
            Refusal.CONTRADICTION,
            f"{facts.href!r} has the transform {tuple(transform)[:6]}, the item says "
            f"{tuple(placed.transform)[:6]}: correct one of them",
        )


def _checked_size(facts: Facts, gsd: float) -> None:
    if gsd > MAX_GSD_M * _GSD_TOLERANCE:
        raise SceneRefused(
            Refusal.TOO_COARSE,
            f"{facts.href!r} has pixels of {gsd:.1f} m; {MIN_GSD_M:g} to {MAX_GSD_M:g} m are "
            "accepted: use a finer product",
        )
    if gsd < MIN_GSD_M / _GSD_TOLERANCE:
        raise SceneRefused(
            Refusal.TOO_FINE,
            f"{facts.href!r} has pixels of {gsd:.1f} m; {MIN_GSD_M:g} to {MAX_GSD_M:g} m are "
            "accepted: average it to 10 m first (gdalwarp -tr 10 10 -r average)",
        )
    edge = min(facts.shape) * gsd / PIXEL_M
    if edge < MIN_EDGE_PX:
        raise SceneRefused(
            Refusal.TOO_SMALL,
            f"{facts.href!r} has {facts.shape[0]} x {facts.shape[1]} pixels, less than "
            f"{MIN_EDGE_PX * PIXEL_M} m of ground: give a larger crop",
        )


def check_amount(read: Sequence[tuple[Facts, set[int]]], access: Access) -> None:
    """Refuse what would decode to more than the limits, before anything is decoded."""
    total = sum(facts.decoded_bytes(indexes) for facts, indexes in read)
    block = max(facts.block_bytes(indexes) for facts, indexes in read)
    if total > access.max_decoded_bytes:
        raise SceneRefused(
            Refusal.TOO_LARGE,
            f"the bands of {read[0][0].href!r} decode to {total} bytes, over the limit of "
            f"{access.max_decoded_bytes}: cut the scene to the site, or raise max_scene_bytes",
        )
    if block > access.max_block_bytes:
        raise SceneRefused(
            Refusal.TOO_LARGE,
            f"an internal block of {read[0][0].href!r} decodes to {block} bytes, over the limit of "
            f"{access.max_block_bytes}: rewrite the file with tiles (gdal_translate -of COG)",
        )


def same_crs(files: Sequence[SceneFile]) -> str:
    """The one CRS of all files. Raises SceneRefused(MIXED_CRS)."""
    found = dict.fromkeys(file.crs for file in files)
    if len(found) > 1:
        raise SceneRefused(
            Refusal.MIXED_CRS,
            f"the bands are in {', '.join(found)}: a scene has one CRS; reproject its files to one",
        )
    return files[0].crs


def footprint(files: Sequence[SceneFile]) -> BaseGeometry:
    """The ground that all files cover, lon/lat. Raises SceneRefused."""
    outlines = [_outline(file) for file in files]
    shared = shapely.intersection_all(outlines)
    if shared.is_empty:
        raise SceneRefused(
            Refusal.CONTRADICTION,
            "the bands cover no ground in common: the files belong to different scenes",
        )
    return shared


def _outline(file: SceneFile) -> BaseGeometry:
    rows, cols = file.shape
    box = shapely.box(0, 0, cols, rows)
    ring = shapely.segmentize(box, max(rows, cols) / 20)  # edges bend between CRSs
    points = shapely.get_coordinates(ring)
    lon, lat = _lonlat(file.href, file.crs, file.transform, points)
    if np.ptp(lon) > 180 or np.abs(lon).max() > 180:
        raise SceneRefused(
            Refusal.ANTIMERIDIAN,
            f"{file.href!r} crosses the antimeridian (longitudes {lon.min():.2f} to "
            f"{lon.max():.2f}): cut it at 180 degrees and submit the halves",
        )
    return shapely.Polygon(np.column_stack([lon, lat]))


def _apply(transform: Affine, points: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    cols, rows = points.T
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * cols + b * rows + c, d * cols + e * rows + f


def _gsd(facts: Facts, crs: CRS, transform: Affine) -> float:
    """Square root of the middle pixel's area on the ground, metres."""
    middle = (facts.shape[1] / 2, facts.shape[0] / 2)
    corners = np.add([(0, 0), (1, 0), (1, 1), (0, 1)], middle)
    lon, lat = _lonlat(facts.href, _code(crs), transform, corners)
    return math.sqrt(abs(Geod(ellps="WGS84").polygon_area_perimeter(lon, lat)[0]))


def _lonlat(
    href: str, crs: str, transform: Affine, points: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Longitudes and latitudes of (column, row) points."""
    xs, ys = _apply(transform, points)
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(xs, ys)
    if not np.isfinite([lon, lat]).all() or np.abs(lat).max() > 90:
        raise SceneRefused(
            Refusal.CONTRADICTION,
            f"{href!r} lies outside the area of its CRS {crs}: correct its georeference",
        )
    return lon, lat


def _code(crs: CRS) -> str:
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg else str(crs.to_wkt())
