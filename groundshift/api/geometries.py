"""Polygons that people send."""

from __future__ import annotations

from typing import Any, Final

import orjson
import shapely
from shapely.errors import ShapelyError

from groundshift.errors import BadRequest

_MOST_POINTS: Final = 5000
_DEGREES: Final = 1e-7
"""Grid of stored coordinates, about 1 cm."""
_KINDS: Final = ("Polygon", "MultiPolygon")


def polygon(geometry: dict[str, Any]) -> str:
    """A GeoJSON Polygon or MultiPolygon, EPSG:4326, as the text that is stored.

    Raises BadRequest for what is none: bent, empty, off the globe, too fine.
    """
    if geometry.get("type") not in _KINDS:
        raise BadRequest(f"geometry type {geometry.get('type')!r:.40}: send a Polygon")
    try:
        shape = shapely.from_geojson(orjson.dumps(geometry))
    except (ShapelyError, orjson.JSONEncodeError) as error:
        raise BadRequest(f"the geometry is no GeoJSON polygon ({error!s:.120})") from error
    if shape.is_empty or shapely.get_num_coordinates(shape) > _MOST_POINTS:
        raise BadRequest(f"a polygon has at least 3 and at most {_MOST_POINTS} points")
    if not shape.is_valid:
        raise BadRequest(f"the polygon is bent ({shapely.is_valid_reason(shape)}): draw it again")
    west, south, east, north = shape.bounds
    if not (west >= -180 and east <= 180 and south >= -90 and north <= 90):
        raise BadRequest("the polygon leaves the globe: longitude, latitude in degrees, EPSG:4326")
    stored = shapely.normalize(shapely.set_precision(shapely.force_2d(shape), _DEGREES))
    if stored.area == 0:
        raise BadRequest("the polygon has no area: draw it larger")
    return str(shapely.to_geojson(stored))
