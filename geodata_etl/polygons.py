"""Rasters in, changes out: polygons of connected changed pixels with what is known about each.

Everything streams over strips of whole rows, so memory grows with the number of changes and not
with the scene. A change is a connected component of the whole raster, so that no polygon ever
breaks at the border of a tile, a block or a strip.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from pyproj import Geod, Transformer
from rasterio.features import shapes
from shapely.geometry import MultiPolygon, Polygon, shape
from shapely.geometry.base import BaseGeometry

from geodata_etl.bands import PROBABILITY_MAX, Cover
from geodata_etl.cog import gdal_env
from geodata_etl.components import (
    Changed,
    Components,
    component_strips,
    find_components,
    strip_windows,
)
from geodata_etl.zonal import Levels, Surroundings

STRIP_ROWS: Final = 128
"""Rows read at a time. A quarter of a COG's internal tile: GDAL's cache holds a whole row of tiles,
so that each is decoded once, and the working arrays stay small."""
CACHE_BYTES: Final = 64 << 20
"""GDAL's block cache: two rows of tiles of the four rasters (46 MiB for 10980 px)."""


@dataclass(frozen=True)
class Change:
    """One polygon of changed ground."""

    id: str
    """SHA-256 (first 16 hex digits) of CRS, geometry and classes: the same change, the same id."""
    geometry: Polygon | MultiPolygon
    """Outline along pixel edges, UTM metres; a MultiPolygon where parts touch at corners only."""
    epsg: int
    """EPSG code of `geometry`."""
    from_class: Cover
    """Commonest class before (of the commonest pair of classes over the changed pixels)."""
    to_class: Cover
    """Commonest class after."""
    area_m2: float
    """Geodesic area on WGS 84, square metres."""
    pixels: int
    """Changed pixels."""
    mean_probability: float
    """Mean probability of change over the pixels, 0..1."""
    max_probability: float
    """Highest probability of change, 0..1."""
    observed_fraction: float
    """Share of observed pixels among the change's own and those up to 3 px (30 m) around it.

    Under 1 the change is cut by what was not seen (a cloud, a shadow, the edge of the grid) and
    may be larger than its polygon.
    """
    before_date: date | None = None
    """Date of the baseline; the caller knows it (see `dated`)."""
    after_date: date | None = None
    """Date of the scene."""


def find_changes(
    change_tif: Path | str,
    observed_tif: Path | str,
    before_class_tif: Path | str,
    after_class_tif: Path | str,
    *,
    threshold: int,
    min_area_px: int,
    connectivity: int = 8,
    strip_rows: int = STRIP_ROWS,
) -> list[Change]:
    """The changes of a run, ordered by their first pixel from the top left.

    The rasters are those of `mosaic_blocks`, on one grid in UTM. A pixel is changed where its level
    is at least `threshold` (1..254, probability x 254); a change is a group of at least
    `min_area_px` changed pixels that touch by an edge (`connectivity` 4) or also by a corner (8).
    The result does not depend on `strip_rows`, the number of rows that are read at a time.
    """
    if not 1 <= threshold <= PROBABILITY_MAX:
        raise ValueError(f"threshold {threshold}: give a level from 1 to {PROBABILITY_MAX}")
    if connectivity not in (4, 8):
        raise ValueError(f"connectivity {connectivity}: give 4 or 8")
    with ExitStack() as stack:
        stack.enter_context(gdal_env(GDAL_CACHEMAX=CACHE_BYTES))
        paths = (change_tif, observed_tif, before_class_tif, after_class_tif)
        rasters = [stack.enter_context(rasterio.open(path)) for path in paths]
        _require_one_grid(rasters)
        changed = Changed(rasters[0], threshold, connectivity, strip_rows)
        components = find_components(changed, min_area_px=min_area_px)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="groundshift-"))
        return _changes(changed, components, rasters, Path(folder))


def dated(changes: Sequence[Change], *, before: date, after: date) -> list[Change]:
    """The changes with the dates of the scenes that were compared."""
    return [replace(change, before_date=before, after_date=after) for change in changes]


def to_lonlat(geometries: Sequence[BaseGeometry], epsg: int) -> list[BaseGeometry]:
    """Geometries of a UTM zone in longitude and latitude (EPSG:4326), degrees."""
    transformer = Transformer.from_crs(epsg, 4326, always_xy=True)

    def project(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(transformer.transform(points[:, 0], points[:, 1]))

    if not geometries:
        return []
    return list(shapely.transform(np.array(geometries, dtype=object), project))


def geodesic_areas_m2(geometries: Sequence[BaseGeometry], epsg: int) -> list[float]:
    """Areas on the WGS 84 ellipsoid of polygons in UTM, square metres."""
    geod = Geod(ellps="WGS84")
    lonlat = (shapely.orient_polygons(geometry) for geometry in to_lonlat(geometries, epsg))
    return [abs(float(geod.geometry_area_perimeter(geometry)[0])) for geometry in lonlat]


def _changes(
    changed: Changed, components: Components, rasters: Sequence[Any], folder: Path
) -> list[Change]:
    if not len(components.pixels):
        return []
    spools = folder / "components.tif", folder / "mask.tif"
    levels = _gather_levels(changed, components, rasters, spools)
    with rasterio.open(spools[0]) as ids, rasterio.open(spools[1]) as mask:
        around = Surroundings.none_yet(len(components.pixels))
        for window in strip_windows(ids, changed.strip_rows):
            around.add(ids, rasters[1], window)
        outlines = _outlines(ids, mask)
    epsg = rasters[0].crs.to_epsg()
    geometries = [outlines[number] for number in range(1, len(components.pixels) + 1)]
    areas = geodesic_areas_m2(geometries, epsg)
    return [
        _change(number, geometry, epsg, area, components, levels, around)
        for number, (geometry, area) in enumerate(zip(geometries, areas, strict=True), start=1)
    ]


def _gather_levels(
    changed: Changed, components: Components, rasters: Sequence[Any], spools: tuple[Path, Path]
) -> Levels:
    """Gather levels and classes; write component numbers (int32) and their mask (uint8) to files.

    The mask is a file of its own because rasterio takes no other type, and without one GDAL would
    also trace the unchanged ground.
    """
    levels = Levels.none_yet(len(components.pixels))
    profile = _spool_profile(changed.raster)
    with (
        rasterio.open(spools[0], "w", dtype="int32", **profile) as ids_raster,
        rasterio.open(spools[1], "w", dtype="uint8", **profile) as mask_raster,
    ):
        for window, level, ids in component_strips(changed, components):
            ids_raster.write(ids, 1, window=window)
            mask_raster.write((ids > 0).astype(np.uint8), 1, window=window)
            if ids.any():
                before, after = (raster.read(1, window=window) for raster in rasters[2:])
                levels.add(ids, level, before, after)
    return levels


def _spool_profile(raster: Any) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "height": raster.height,
        "width": raster.width,
        "count": 1,
        "crs": raster.crs,
        "transform": raster.transform,
        "blockysize": 1,  # strips of the file are whole rows: any height of write fits them
        "compress": "zstd",
        "zstd_level": 1,
    }


def _outlines(ids: Any, mask: Any) -> dict[int, Polygon | MultiPolygon]:
    """The outline of each component of an open raster; GDAL reads it row by row.

    Polygons are made of pixels that share edges: parts that touch at a corner become members of one
    MultiPolygon. (Traced as one ring, they would touch themselves, which is not valid.)
    """
    traced = shapes(
        rasterio.band(ids, 1),
        mask=rasterio.band(mask, 1),
        connectivity=4,
        transform=ids.transform,
    )
    parts: defaultdict[int, list[BaseGeometry]] = defaultdict(list)
    for outline, number in traced:
        parts[int(number)].append(shape(outline))
    return {number: _one_geometry(found) for number, found in parts.items()}


def _one_geometry(parts: Sequence[BaseGeometry]) -> Polygon | MultiPolygon:
    geometry = parts[0] if len(parts) == 1 else MultiPolygon(cast(Sequence[Polygon], parts))
    if not geometry.is_valid:
        geometry = shapely.make_valid(geometry, method="structure")
    # normalize fixes where rings and parts begin; RFC 7946 wants counterclockwise shells
    return cast(Polygon | MultiPolygon, shapely.orient_polygons(shapely.normalize(geometry)))


def _change(
    number: int,
    geometry: Polygon | MultiPolygon,
    epsg: int,
    area_m2: float,
    components: Components,
    levels: Levels,
    around: Surroundings,
) -> Change:
    from_class, to_class = levels.transition(number)
    pixels = int(components.pixels[number - 1])
    return Change(
        id=_change_id(geometry, epsg, from_class, to_class),
        geometry=geometry,
        epsg=epsg,
        from_class=from_class,
        to_class=to_class,
        area_m2=area_m2,
        pixels=pixels,
        mean_probability=float(levels.total[number - 1] / pixels / PROBABILITY_MAX),
        max_probability=float(levels.highest[number - 1] / PROBABILITY_MAX),
        observed_fraction=around.observed_fraction(number),
    )


def _change_id(geometry: BaseGeometry, epsg: int, from_class: Cover, to_class: Cover) -> str:
    shape_key = shapely.to_wkb(geometry, byte_order=1)
    key = f"{epsg}:{int(from_class)}:{int(to_class)}:".encode() + shape_key
    return hashlib.sha256(key).hexdigest()[:16]


def _require_one_grid(rasters: Sequence[Any]) -> None:
    first = rasters[0]
    for raster in rasters[1:]:
        if (raster.crs, raster.transform, raster.shape) != (
            first.crs,
            first.transform,
            first.shape,
        ):
            raise ValueError(f"{raster.name} and {first.name} lie on different grids: one run each")
