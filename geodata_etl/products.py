"""The files of a run beside its rasters: GeoJSON, GeoParquet and the STAC Item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import geopandas
import orjson
import pandas
import pyarrow as pa
import shapely
from shapely.geometry import mapping

from geodata_etl.bands import NOT_OBSERVED, PROBABILITY_MAX, Cover
from geodata_etl.grid import PIXEL_M, Grid
from geodata_etl.palette import COVER_COLOURS, css
from geodata_etl.polygons import Change, to_lonlat
from geodata_etl.stac import (
    extension_uri,
    grid_outline,
    projection_properties,
    validate_item,
)
from geodata_etl.summary import Summary, summarise

_DEGREES: Final = 7
"""Decimals of longitudes and latitudes: about 1 cm."""
_COLUMNS: Final[Mapping[str, Any]] = {
    "id": pa.string(),
    "from_class": pa.string(),
    "to_class": pa.string(),
    "area_m2": pa.float64(),
    "pixels": pa.int64(),
    "mean_probability": pa.float64(),
    "max_probability": pa.float64(),
    "observed_fraction": pa.float64(),
    "before_date": pa.date32(),
    "after_date": pa.date32(),
}
"""Attributes of a change in every vector file; the types hold where there is no change, too."""

_EXTENSIONS: Final = ("projection", "raster", "processing")
_COG: Final = "image/tiff; application=geotiff; profile=cloud-optimized"
_RASTER_TITLES: Final[Mapping[str, str]] = {
    "change": "Probability of change x 254; 255 = not observed",
    "observed": "1 = observed on both dates, 0 = not observed",
    "before_class": "Land cover of the baseline; 255 = not observed",
    "after_class": "Land cover of the scene; 255 = not observed",
}
_FILES: Final[Mapping[str, tuple[str, str, list[str], str]]] = {
    "changes": ("changes.geojson", "application/geo+json", ["data"], "Changes (EPSG:4326)"),
    "changes_parquet": (
        "changes.parquet",
        "application/vnd.apache.parquet",
        ["data"],
        "Changes (UTM)",
    ),
    "quicklook": ("quicklook.png", "image/png", ["overview"], "Before, after and change"),
    "run": ("run.json", "application/json", ["metadata"], "Parameters, models and outcome"),
}


@dataclass(frozen=True)
class RunFacts:
    """What the caller knows of a run: who was compared with whom, and how."""

    run_id: str
    grid: Grid
    before: datetime
    """Acquisition of the newest scene of the baseline, with its time zone."""
    after: datetime
    """Acquisition of the scene, with its time zone."""
    after_scene: str
    """Scene id."""
    before_scenes: tuple[str, ...]
    """Scene ids of the baseline, in order."""
    threshold: float
    """Probability from which a pixel counts as changed, 0..1."""
    min_area_px: int
    """Minimum mapping unit, pixels."""
    models: Mapping[str, str]
    """Digest by name of model."""
    software: str
    """Version of groundshift."""
    derived_from: tuple[str, ...] = ()
    """Addresses of the scenes' STAC Items, where there are any."""


@dataclass(frozen=True)
class Products:
    """What `write_products` left."""

    summary: Summary
    paths: Mapping[str, Path]
    """changes.geojson, changes.parquet and item.json by file name."""


def write_products(folder: Path, *, run: RunFacts, changes: Sequence[Change]) -> Products:
    """Write ``changes.geojson``, ``changes.parquet`` and ``item.json`` into `folder`.

    `folder` holds the rasters of `mosaic_blocks`. The item also names ``quicklook.png`` and
    ``run.json``, which the caller writes. The item is validated offline before it is written.
    """
    summary = summarise(folder / "observed.tif", changes)
    item = run_item(run, summary)
    validate_item(item)
    paths = {name: folder / name for name in ("changes.geojson", "changes.parquet", "item.json")}
    _write_json(paths["changes.geojson"], changes_geojson(changes))
    changes_frame(changes, run.grid.epsg).to_parquet(paths["changes.parquet"], index=False)
    _write_json(paths["item.json"], item)
    return Products(summary, paths)


def changes_geojson(changes: Sequence[Change]) -> dict[str, Any]:
    """The changes as an RFC 7946 FeatureCollection: EPSG:4326, counterclockwise shells."""
    features = []
    for change, geometry in zip(changes, _lonlat(changes), strict=True):
        attributes = _attributes(change)
        features.append(
            {
                "type": "Feature",
                "id": attributes.pop("id"),
                "geometry": _rounded(mapping(geometry)),
                "properties": attributes,
            }
        )
    return {"type": "FeatureCollection", "features": features}


def changes_frame(changes: Sequence[Change], epsg: int) -> Any:
    """The changes as a GeoDataFrame in UTM; without any change it still has columns and CRS."""
    rows = [_attributes(change) for change in changes]
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in _COLUMNS.items()}
    table = pa.table(columns).to_pandas(types_mapper=pandas.ArrowDtype)
    geometry = [change.geometry for change in changes]
    return geopandas.GeoDataFrame(table, geometry=geometry, crs=f"EPSG:{epsg}")


def run_item(run: RunFacts, summary: Summary) -> dict[str, Any]:
    """The STAC Item of a run, with assets relative to it."""
    footprint = shapely.orient_polygons(grid_outline(run.grid))
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [extension_uri(name) for name in _EXTENSIONS],
        "id": run.run_id,
        "geometry": _rounded(mapping(footprint)),
        "bbox": [round(degree, _DEGREES) for degree in footprint.bounds],
        "properties": _item_properties(run, summary),
        "links": [
            {"rel": "derived_from", "href": href, "type": "application/geo+json"}
            for href in run.derived_from
        ],
        "assets": {name: _raster_asset(name) for name in _RASTER_TITLES}
        | {
            name: {"href": f"./{file}", "type": kind, "roles": roles, "title": title}
            for name, (file, kind, roles, title) in _FILES.items()
        },
    }


def _item_properties(run: RunFacts, summary: Summary) -> dict[str, Any]:
    return {
        "title": f"Changes from {run.before:%Y-%m-%d} to {run.after:%Y-%m-%d}",
        "datetime": _utc(run.after),
        "start_datetime": _utc(run.before),
        "end_datetime": _utc(run.after),
        "gsd": PIXEL_M,
        **projection_properties(run.grid),
        "processing:lineage": "Cloud mask, land cover and change classifier over two dates",
        "processing:software": {"groundshift": run.software},
        "groundshift:run_id": run.run_id,
        "groundshift:after_scene": run.after_scene,
        "groundshift:before_scenes": list(run.before_scenes),
        "groundshift:threshold": run.threshold,
        "groundshift:min_area_px": run.min_area_px,
        "groundshift:models": dict(run.models),
        **{f"groundshift:{name}": value for name, value in summary.as_dict().items()},
    }


def _raster_asset(name: str) -> dict[str, Any]:
    band: dict[str, Any] = {"data_type": "uint8", "spatial_resolution": PIXEL_M}
    if name != "observed":
        band["nodata"] = NOT_OBSERVED
    if name == "change":
        band["scale"] = 1 / PROBABILITY_MAX
    asset = {
        "href": f"./{name}.tif",
        "type": _COG,
        "roles": ["data-mask"] if name == "observed" else ["data"],
        "title": _RASTER_TITLES[name],
        "raster:bands": [band],
    }
    if name.endswith("_class"):
        asset["groundshift:classes"] = [
            {"value": int(cover), "name": cover.label, "color": css(COVER_COLOURS[cover])}
            for cover in Cover
        ]
    return asset


def _attributes(change: Change) -> dict[str, Any]:
    return {
        "id": change.id,
        "from_class": change.from_class.label,
        "to_class": change.to_class.label,
        "area_m2": round(change.area_m2, 1),
        "pixels": change.pixels,
        "mean_probability": round(change.mean_probability, 4),
        "max_probability": round(change.max_probability, 4),
        "observed_fraction": round(change.observed_fraction, 4),
        "before_date": change.before_date,
        "after_date": change.after_date,
    }


def _lonlat(changes: Sequence[Change]) -> list[Any]:
    if not changes:
        return []
    geometries = to_lonlat([change.geometry for change in changes], changes[0].epsg)
    return [shapely.orient_polygons(geometry) for geometry in geometries]


def _rounded(geometry: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": geometry["type"], "coordinates": _round(geometry["coordinates"])}


def _round(coordinates: Any) -> Any:
    if isinstance(coordinates, float):
        return round(coordinates, _DEGREES)
    return [_round(part) for part in coordinates]


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
