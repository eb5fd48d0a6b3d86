"""Simulated scenes as files: GeoTIFFs with a STAC Item, and the truth beside them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pystac
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes
from rasterio.warp import transform_geom
from shapely.geometry import box, mapping, shape
from shapely.ops import unary_union

from geodata_etl.bands import BANDS, NODATA, NOT_OBSERVED, REFLECTANCE_SCALE, Cloud
from geodata_etl.grid import PIXEL_M, Extent, Grid
from geodata_etl.simulate.changes import Change
from geodata_etl.simulate.render import MARGIN
from geodata_etl.simulate.sensor import SENSORS
from geodata_etl.simulate.site import SimulatedScene, Site

Layout = Literal["item", "stack"]

_EXTENSIONS: Final = [
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
]
_NAMES: Final = {
    "sentinel-2": ("B02", "B03", "B04", "B08", "B11", "B12"),
    "landsat": ("B2", "B3", "B4", "B5", "B6", "B7"),
}
_WAVELENGTHS: Final = (0.49, 0.56, 0.665, 0.842, 1.61, 2.19)
"""Band centres of Sentinel-2 MSI, micrometres."""
_GEOTIFF: Final = "image/tiff; application=geotiff"
_TEN, _TWENTY = range(4), range(4, 6)


def scene_id(scene: SimulatedScene, site: Site) -> str:
    """The STAC id of a scene."""
    return f"sim-{site.spec.seed}-{scene.acquired:%Y%m%dT%H%M%S}"


def write_scene(
    scene: SimulatedScene,
    site: Site,
    folder: Path,
    *,
    layout: Layout = "item",
    dn_offset: int = 0,
) -> Path:
    """Write GeoTIFFs and a STAC Item into `folder`; returns the path of the Item's JSON.

    ``item`` is Sentinel-2's own form: four bands at 10 m, and the two short-wave bands averaged
    to 20 m in a second file. ``stack`` is one file of six bands at 10 m. Nodata 0 is declared.
    `dn_offset` is added to every stored number and declared in the Item, as Sentinel-2 does with
    1000 since processing baseline 04.00. Raises ValueError where ``item`` meets an odd size.
    """
    if layout == "item" and (site.spec.size_px % 2 or site.spec.top % 2 or site.spec.left % 2):
        raise ValueError(
            f"a site of {site.spec.size_px} px at {site.spec.top}, {site.spec.left} has no whole "
            "20 m pixels; use even numbers, or layout='stack'"
        )
    folder.mkdir(parents=True, exist_ok=True)
    name = scene_id(scene, site)
    item = _item(scene, site, name)
    for key, bands, factor in _files(layout):
        data = _averaged(scene.reflectance[bands.start : bands.stop], factor)
        data = np.where(data == NODATA, NODATA, np.minimum(data, 65535 - dn_offset) + dn_offset)
        path = folder / f"{name}_{key}.tif"
        descriptions = [BANDS[band] for band in bands]
        _write(path, data.astype(np.uint16), site.grid, factor, NODATA, descriptions)
        item.add_asset(key, _asset(scene, site.grid, path, bands, factor, dn_offset))
    target = folder / f"{name}.json"
    target.write_text(json.dumps(item.to_dict(include_self_link=False), indent=1) + "\n")
    return target


def write_truth(site: Site, scenes: Sequence[SimulatedScene], folder: Path) -> Path:
    """Write what is true into `folder`; returns the path of ``site.json``.

    Per scene ``ID_cloud.tif`` and ``ID_cover.tif``; per step from one scene to the next, and
    from the first to the last, ``change_ID_ID.tif`` (1 = changed); ``truth.geojson`` holds the
    known changes (WGS 84) with kind, date and classes; ``site.json`` says how all of it was made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ordered = sorted(scenes, key=lambda scene: scene.acquired)
    for scene in ordered:
        name = scene_id(scene, site)
        for kind, truth in (("cloud", scene.cloud), ("cover", scene.cover)):
            _write(folder / f"{name}_{kind}.tif", truth[None], site.grid, 1, NOT_OBSERVED, [kind])
    for before, after in _steps(ordered):
        mask = site.change_mask(before.acquired, after.acquired)
        target = folder / f"change_{scene_id(before, site)}_{scene_id(after, site)}.tif"
        _write(target, mask[None], site.grid, 1, NOT_OBSERVED, ["change"])
    features = [_feature(site, number, change) for number, change in enumerate(site.changes)]
    collection = {"type": "FeatureCollection", "features": features}
    (folder / "truth.geojson").write_text(json.dumps(collection) + "\n")
    target = folder / "site.json"
    target.write_text(json.dumps(_summary(site, ordered), indent=1) + "\n")
    return target


def _files(layout: Layout) -> tuple[tuple[str, range, int], ...]:
    """(asset key, bands, edge of a pixel in 10 m pixels) of each file."""
    if layout == "stack":
        return (("stack", range(6), 1),)
    return (("10m", _TEN, 1), ("20m", _TWENTY, 2))


def _transform(grid: Grid, factor: int) -> Affine:
    """The grid's transform for pixels of `factor` x 10 m."""
    t = grid.transform
    return Affine(t.a * factor, t.b, t.c, t.d, t.e * factor, t.f)


def _averaged(data: NDArray[np.uint16], factor: int) -> NDArray[np.uint16]:
    """Mean of factor x factor pixels; nodata where any of them is."""
    if factor == 1:
        return data
    count, rows, cols = data.shape
    cells = data.reshape(count, rows // factor, factor, cols // factor, factor)
    mean = np.asarray(np.rint(cells.mean(axis=(2, 4), dtype=np.float32)), np.uint16)
    mean[cells.min(axis=(2, 4)) == NODATA] = NODATA
    return mean


def _write(
    path: Path,
    data: NDArray[np.generic],
    grid: Grid,
    factor: int,
    nodata: int,
    descriptions: Sequence[str],
) -> None:
    profile = {
        "driver": "GTiff",
        "count": data.shape[0],
        "height": data.shape[1],
        "width": data.shape[2],
        "dtype": data.dtype.name,
        "crs": grid.crs,
        "transform": _transform(grid, factor),
        "nodata": nodata,
        "compress": "zstd",
        "zstd_level": 1,
        "predictor": 2,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "interleave": "band",
    }
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(data)
        raster.descriptions = tuple(descriptions)


def _item(scene: SimulatedScene, site: Site, name: str) -> pystac.Item:
    sensor = SENSORS[scene.sensor]
    outline = transform_geom(site.grid.crs, "EPSG:4326", mapping(box(*site.grid.bounds)))
    properties = {
        "platform": sensor.platform,
        "instruments": [sensor.instrument],
        "constellation": sensor.name,
        "processing:level": "L1C" if scene.toa else "L2A",
        "gsd": PIXEL_M,
        "proj:code": site.grid.crs,
        "eo:cloud_cover": round(100 * _cloud_share(scene), 2),
    }
    return pystac.Item(
        id=name,
        geometry=outline,
        bbox=list(shape(outline).bounds),
        datetime=scene.acquired,
        properties=properties,
        stac_extensions=list(_EXTENSIONS),
    )


def _asset(
    scene: SimulatedScene, grid: Grid, path: Path, bands: range, factor: int, dn_offset: int
) -> pystac.Asset:
    names = _NAMES[scene.sensor]
    raster = {
        "data_type": "uint16",
        "nodata": NODATA,
        "scale": 1 / REFLECTANCE_SCALE,
        "offset": -dn_offset / REFLECTANCE_SCALE if dn_offset else 0,
        "spatial_resolution": PIXEL_M * factor,
    }
    fields: dict[str, Any] = {
        "eo:bands": [
            {"name": names[b], "common_name": BANDS[b], "center_wavelength": _WAVELENGTHS[b]}
            for b in bands
        ],
        "raster:bands": [dict(raster) for _ in bands],
        "gsd": PIXEL_M * factor,
        "proj:code": grid.crs,
        "proj:shape": [side // factor for side in grid.shape],
        "proj:transform": list(_transform(grid, factor))[:6],
    }
    return pystac.Asset(f"./{path.name}", media_type=_GEOTIFF, roles=["data"], extra_fields=fields)


def _cloud_share(scene: SimulatedScene) -> float:
    return float(np.isin(scene.cloud, (Cloud.CLOUD, Cloud.THIN)).mean())


def _steps(
    ordered: Sequence[SimulatedScene],
) -> Iterator[tuple[SimulatedScene, SimulatedScene]]:
    yield from pairwise(ordered)
    if len(ordered) > 2:
        yield ordered[0], ordered[-1]


def change_grid(site: Site, change: Change) -> Grid:
    """Where a change's window lies."""
    top = site.spec.top - MARGIN + change.rows.start
    left = site.spec.left - MARGIN + change.cols.start
    rows, cols = change.footprint.shape
    return Grid(site.spec.epsg, Extent(top, left, top + rows, left + cols))


def _feature(site: Site, number: int, change: Change) -> dict[str, Any]:
    grid = change_grid(site, change)
    parts = shapes(
        change.footprint.astype(np.uint8),
        mask=change.footprint,
        connectivity=8,
        transform=grid.transform,
    )
    outline = unary_union([shape(geometry) for geometry, _ in parts])
    before, after = site.covers_of(change)
    pixels = int(change.footprint.sum())
    return {
        "type": "Feature",
        "id": number,
        "geometry": transform_geom(grid.crs, "EPSG:4326", mapping(outline)),
        "properties": {
            "kind": change.kind.value,
            "date": change.date.isoformat(),
            "until": change.until.isoformat() if change.until else None,
            "from_class": before.label,
            "to_class": after.label,
            "pixels": pixels,
            "area_m2": pixels * PIXEL_M**2,
        },
    }


def _summary(site: Site, scenes: Sequence[SimulatedScene]) -> dict[str, Any]:
    spec = dataclasses.asdict(site.spec) | {"start": site.spec.start.isoformat()}
    return {
        "spec": spec,
        "climate": site.climate.name,
        "crs": site.grid.crs,
        "transform": list(site.grid.transform)[:6],
        "shape": list(site.grid.shape),
        "scenes": [
            {
                "id": scene_id(scene, site),
                "acquired": scene.acquired.isoformat(),
                "sensor": scene.sensor,
                "level": "L1C" if scene.toa else "L2A",
                "shift_yx_px": list(scene.shift_yx_px),
                "cloud_share": round(_cloud_share(scene), 4),
            }
            for scene in scenes
        ],
    }
