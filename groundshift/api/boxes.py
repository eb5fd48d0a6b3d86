"""Boxes in degrees."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final

from pyproj import Transformer

from geodata_etl.grid import PIXEL_M, Extent, Tile
from groundshift.errors import BadRequest
from groundshift.ledger.alert_views import Bbox


def read_bbox(text: str) -> Bbox:
    """``west,south,east,north``, degrees; west > east: over the antimeridian. Raises BadRequest."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise BadRequest(f"bbox {text!r:.80}: write west,south,east,north in degrees")
    west, south, east, north = numbers
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        raise BadRequest(
            f"bbox {text!r:.80} leaves the globe or stands on its head: "
            "longitudes are -180 to 180, latitudes -90 to 90, south before north"
        )
    return west, south, east, north


_DEGREES: Final = 7
"""Decimals: about 1 cm."""


@lru_cache(maxsize=4096)
def footprint(epsg: int, extent: Extent) -> dict[str, Any]:
    """The outline of a raster on the lattice, as a GeoJSON polygon, EPSG:4326."""
    west, east = extent.left * PIXEL_M, extent.right * PIXEL_M
    north, south = -extent.top * PIXEL_M, -extent.bottom * PIXEL_M
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    to_degrees = Transformer.from_crs(epsg, 4326, always_xy=True)
    ring = [[round(value, _DEGREES) for value in to_degrees.transform(*xy)] for xy in corners]
    return {"type": "Polygon", "coordinates": [ring]}


@lru_cache(maxsize=4096)
def tile_box(name: str) -> Bbox:
    """The bounds of the core of a tile ``EPSG/row_col``, degrees."""
    epsg, tile = name.split("/")
    row, col = map(int, tile.split("_"))
    lons, lats = zip(*footprint(int(epsg), Tile(row, col).core)["coordinates"][0], strict=True)
    return min(lons), min(lats), max(lons), max(lats)


def overlap(one: Bbox, other: Bbox) -> bool:
    """Whether two boxes that do not cross the antimeridian share ground."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
