"""STAC Items of ingested scenes, and validation of Items without a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pystac
import shapely
from pyproj import Transformer
from pystac.errors import STACValidationError
from pystac.validation import validate_dict
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from shapely.geometry.base import BaseGeometry

from geodata_etl.bands import BANDS, NODATA, REFLECTANCE_SCALE
from geodata_etl.errors import GroundshiftError
from geodata_etl.grid import PIXEL_M, Grid
from geodata_etl.scenes import Scene

if TYPE_CHECKING:
    from geodata_etl.ingest import BandStatistics, Ingested

_EXTENSIONS: Final = {
    "eo": "1.1.0",
    "processing": "1.0.0",
    "projection": "2.0.0",
    "raster": "1.1.0",
}
"""Versions whose schemas ship in `geodata_etl.schemas`."""


_SIMPLIFY_DEG: Final = 1e-5
"""A tenth of a pixel: outlines come with many points on straight edges."""


class InvalidItem(GroundshiftError):
    """An Item does not fit the schemas that it names, or one of them is not shipped."""


def extension_uri(name: str) -> str:
    """The schema address of a shipped extension: eo, processing, projection or raster.

    An identifier: nothing is fetched from it.
    """
    return f"https://stac-extensions.github.io/{name}/v{_EXTENSIONS[name]}/schema.json"


def grid_outline(grid: Grid) -> BaseGeometry:
    """A grid's outline in lon/lat degrees."""
    edge = max(grid.shape) * PIXEL_M / 20
    box = shapely.segmentize(shapely.box(*grid.bounds), edge)  # its edges bend in lon/lat
    to_lonlat = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    return shapely.transform(box, lambda xy: np.column_stack(to_lonlat.transform(*xy.T)))


def scene_item(
    scene: Scene,
    ingested: Ingested,
    *,
    href: str,
    properties: Mapping[str, Any] | None = None,
) -> pystac.Item:
    """The Item of an ingested scene, with its COG at `href` as the asset ``scene``.

    `properties` are added to the Item's own. What ingest measured stands under ``groundshift:``.
    """
    geometry = (grid_outline(ingested.grid) & scene.footprint).simplify(_SIMPLIFY_DEG)
    item = pystac.Item(
        id=ingested.scene_id,
        geometry=shapely.geometry.mapping(geometry),
        bbox=list(geometry.bounds),
        datetime=scene.acquired,
        properties={
            **_described(scene),
            **projection_properties(ingested.grid),
            **_measured(ingested),
            "groundshift:source": scene.source,
            "groundshift:source_id": scene.id,
            "groundshift:digest": ingested.digest,
            **(properties or {}),
        },
        stac_extensions=[extension_uri(name) for name in _extensions(scene)],
    )
    item.add_asset("scene", _asset(ingested, href))
    return item


def _extensions(scene: Scene) -> list[str]:
    """An extension is named where its fields are: `processing` needs a level."""
    return [name for name in sorted(_EXTENSIONS) if scene.level or name != "processing"]


def projection_properties(grid: Grid) -> dict[str, Any]:
    """A grid as the fields of the projection extension."""
    return {
        "proj:code": grid.crs,
        "proj:shape": list(grid.shape),
        "proj:transform": [float(value) for value in tuple(grid.transform)[:6]],
        "proj:bbox": [float(value) for value in grid.bounds],
    }


def validate_item(item: pystac.Item | Mapping[str, Any]) -> None:
    """Check an Item against the STAC core and every extension it names; nothing is fetched.

    Raises InvalidItem where it does not fit, or names an extension whose schema does not ship.
    """
    document = item.to_dict(include_self_link=False) if isinstance(item, pystac.Item) else item
    validator = JsonSchemaSTACValidator()
    validator.schema_cache.update(_shipped())
    for uri in document.get("stac_extensions", []):
        if uri not in validator.schema_cache:  # pystac would fetch it
            raise InvalidItem(
                f"the schema {uri} does not ship with groundshift: use one of "
                f"{', '.join(map(extension_uri, _EXTENSIONS))}"
            )
    try:
        validate_dict(dict(document), validator=validator)
    except STACValidationError as error:
        raise InvalidItem(f"Item {document.get('id')!r} is not valid: {error}") from error


def _shipped() -> dict[str, dict[str, Any]]:
    folder = resources.files("geodata_etl") / "schemas"
    return {
        extension_uri(name): json.loads((folder / f"{name}-{version}.json").read_bytes())
        for name, version in _EXTENSIONS.items()
    }


def _described(scene: Scene) -> dict[str, Any]:
    told = {"platform": scene.platform, "processing:level": scene.level, "gsd": PIXEL_M}
    return {key: value for key, value in told.items() if value is not None}


def _measured(ingested: Ingested) -> dict[str, Any]:
    measured: dict[str, Any] = {
        "groundshift:valid_fraction": round(ingested.valid_fraction, 6),
        "groundshift:alignment": ingested.alignment,
        "groundshift:shift_dy_px": round(ingested.shift_yx_px[0], 3),
        "groundshift:shift_dx_px": round(ingested.shift_yx_px[1], 3),
    }
    shift = ingested.shift
    if shift is not None:
        measured |= {
            "groundshift:shift_windows": shift.windows,
            "groundshift:shift_agreeing": shift.agreeing,
            "groundshift:shift_spread_px": round(shift.spread_px, 3),
        }
    return measured


def _asset(ingested: Ingested, href: str) -> pystac.Asset:
    return pystac.Asset(
        href=href,
        title="Reflectance x 10000 on the site's grid",
        media_type=pystac.MediaType.COG,
        roles=["data", "reflectance"],
        extra_fields={
            "eo:bands": [{"name": name, "common_name": name} for name in BANDS],
            "raster:bands": [
                _raster_band(band, ingested.valid_fraction) for band in ingested.statistics
            ],
        },
    )


def _raster_band(band: BandStatistics, valid_fraction: float) -> dict[str, Any]:
    return {
        "data_type": "uint16",
        "nodata": NODATA,
        "scale": 1 / REFLECTANCE_SCALE,
        "offset": 0,
        "spatial_resolution": PIXEL_M,
        "statistics": {
            "minimum": band.minimum,
            "maximum": band.maximum,
            "mean": round(band.mean, 3),
            "stddev": round(band.stddev, 3),
            "valid_percent": round(100 * valid_fraction, 4),
        },
    }
