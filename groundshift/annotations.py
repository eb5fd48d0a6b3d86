"""Labels as polygons, in and out: GeoJSON (EPSG:4326) and COCO (pixels of verified tiles).

An annotation is what one reviewer says of one alert's ground: it changed, it did not, or it must
not count. Files of either format carry the same annotations, and come back as the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson
import shapely
from affine import Affine
from pyproj.exceptions import ProjError
from shapely.affinity import affine_transform
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from geodata_etl.bands import Cover
from geodata_etl.grid import HALO_PX, TILE_PX, Tile
from geodata_etl.polygons import to_lonlat
from groundshift.errors import BadRequest
from groundshift.labels import label_key, tile_transform, to_utm

KINDS: Final = ("change", "unchanged", "ignore")
CATEGORIES: Final = (*(cover.label for cover in Cover), "unchanged", "ignore")
"""Of COCO, numbered from 1: what the ground turned into, or what else is said of it."""
MOST: Final = 20_000
"""Annotations of one file."""
_KEPT: Final = ("alert_id", "alert_version", "from_class", "to_class", "reviewer", "comment")
_PIXELS: Final = 3
"""Decimals of a pixel: a centimetre."""


_BROKEN: Final = (LookupError, TypeError, ValueError, AttributeError, ShapelyError, ProjError)
"""What documents raise that are something else."""


@dataclass(frozen=True)
class Annotation:
    """A polygon with what is said of its ground."""

    kind: str
    """One of `KINDS`."""
    geometry: BaseGeometry
    """EPSG:4326."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """``alert_id``, ``alert_version``, ``from_class``, ``to_class``, ``reviewer``, ``comment``,
    as far as they are known."""


@dataclass(frozen=True)
class Frame:
    """A verified tile, as an image of COCO."""

    version: str
    tile: Tile
    epsg: int
    licence: str


def to_geojson(annotations: Iterable[Annotation]) -> dict[str, Any]:
    """A FeatureCollection, EPSG:4326."""
    features = [
        {
            "type": "Feature",
            "properties": {"kind": one.kind, **one.about},
            "geometry": orjson.Fragment(shapely.to_geojson(one.geometry)),
        }
        for one in annotations
    ]
    return {"type": "FeatureCollection", "features": features}


def to_coco(annotations: Sequence[Annotation], frames: Sequence[Frame]) -> dict[str, Any]:
    """A COCO document: one image per tile, the annotations cut to the cores of the tiles.

    `segmentation` is a list of outlines without holes, in pixels (x, y) of the 512 px image with
    its halo; where a polygon has holes it is cut into pieces that have none.
    """
    licences = sorted({frame.licence for frame in frames})
    rows: list[dict[str, Any]] = []
    for number, frame in enumerate(frames, 1):
        for one in annotations:
            if record := _coco_annotation(one, frame, number, len(rows) + 1):
                rows.append(record)
    return {
        "info": {"description": "groundshift: verified change", "version": "1"},
        "licenses": [{"id": i, "name": name} for i, name in enumerate(licences, 1)],
        "images": [_image(f, i, licences.index(f.licence) + 1) for i, f in enumerate(frames, 1)],
        "annotations": rows,
        "categories": [{"id": i, "name": name} for i, name in enumerate(CATEGORIES, 1)],
    }


def read(document: Mapping[str, Any]) -> list[Annotation]:
    """The annotations of a GeoJSON or COCO document. Raises BadRequest."""
    try:
        if "annotations" in document:
            found = list(_of_coco(document))
        else:
            features = document.get("features", [document])
            found = [_of_feature(feature) for feature in features]
    except _BROKEN as error:
        raise BadRequest(
            f"the file is neither GeoJSON with polygons nor COCO as groundshift writes it "
            f"({type(error).__name__}: {error!s:.120})"
        ) from error
    if not 0 < len(found) <= MOST:
        raise BadRequest(f"{len(found)} annotations: a file holds 1 to {MOST}, cut it into parts")
    return found


def _image(frame: Frame, number: int, licence: int) -> dict[str, Any]:
    return {
        "id": number,
        "file_name": label_key(frame.version, "after.tif"),
        "before_file_name": label_key(frame.version, "before.tif"),
        "width": TILE_PX,
        "height": TILE_PX,
        "license": licence,
        "version": frame.version,
        "epsg": frame.epsg,
        "tile": str(frame.tile),
    }


def _coco_annotation(
    one: Annotation, frame: Frame, image: int, number: int
) -> dict[str, Any] | None:
    """None where the annotation does not reach the tile."""
    inside = _in_pixels(one.geometry, frame).intersection(_CORE)
    pieces = [piece for part in _polygons(inside) for piece in _without_holes(part)]
    if not pieces:
        return None
    west, north, east, south = inside.bounds
    name = one.kind if one.kind != "change" else str(one.about["to_class"])
    return {
        "id": number,
        "image_id": image,
        "category_id": CATEGORIES.index(name) + 1,
        "segmentation": [_flat(piece) for piece in pieces],
        "area": round(inside.area, _PIXELS),
        "bbox": [round(v, _PIXELS) for v in (west, north, east - west, south - north)],
        "iscrowd": 0,
        "attributes": {"kind": one.kind, **one.about},
    }


_CORE: Final = shapely.box(HALO_PX, HALO_PX, TILE_PX - HALO_PX, TILE_PX - HALO_PX)


def _in_pixels(geometry: BaseGeometry, frame: Frame) -> BaseGeometry:
    there = to_utm(shapely.to_geojson(geometry), epsg=frame.epsg)
    return affine_transform(there, (~tile_transform(frame.tile)).to_shapely())


def _polygons(geometry: BaseGeometry) -> list[shapely.Polygon]:
    parts = shapely.get_parts(geometry)
    return [part for part in parts if part.geom_type == "Polygon" and part.area > 0]


def _without_holes(polygon: shapely.Polygon) -> list[shapely.Polygon]:
    """Pieces that make up the polygon; each cut goes through a hole."""
    if not polygon.interiors:
        return [polygon]
    west, south, east, north = polygon.bounds
    across = polygon.interiors[0].centroid.x
    halves = (shapely.box(west, south, across, north), shapely.box(across, south, east, north))
    parts = [part for half in halves for part in _polygons(polygon.intersection(half))]
    return [piece for part in parts for piece in _without_holes(part)]


def _flat(polygon: shapely.Polygon) -> list[float]:
    points = np.asarray(polygon.exterior.coords)[:, :2].round(_PIXELS)
    flat: list[float] = points.ravel().tolist()
    return flat


def _of_feature(feature: Mapping[str, Any]) -> Annotation:
    given = feature.get("properties") or {}
    drawn = shapely.from_geojson(orjson.dumps(feature.get("geometry", feature)))
    return _annotation(str(given.get("kind", "change")), drawn, given)


def _of_coco(document: Mapping[str, Any]) -> Iterator[Annotation]:
    images = {image["id"]: image for image in document["images"]}
    names = {category["id"]: str(category["name"]) for category in document["categories"]}
    for record in document["annotations"]:
        name, given = names[record["category_id"]], record.get("attributes") or {}
        kind = name if name in KINDS else "change"
        classes = {} if name in KINDS else {"to_class": name}
        drawn = _placed(record["segmentation"], images[record["image_id"]])
        yield _annotation(kind, drawn, {**given, **classes})


def _placed(segmentation: Sequence[Sequence[float]], image: Mapping[str, Any]) -> BaseGeometry:
    """Outlines in pixels of an image, EPSG:4326."""
    outlines = [shapely.Polygon(np.reshape(flat, (-1, 2))) for flat in segmentation]
    drawn = shapely.union_all(outlines)
    if "geotransform_epsg4326" in image:
        to_degrees = Affine.from_gdal(*image["geotransform_epsg4326"])
        return affine_transform(drawn, to_degrees.to_shapely())
    row, col = map(int, image["tile"].split("_"))
    there = affine_transform(drawn, tile_transform(Tile(row, col)).to_shapely())
    return to_lonlat([there], int(image["epsg"]))[0]


def _annotation(kind: str, drawn: BaseGeometry, given: Mapping[str, Any]) -> Annotation:
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r:.40}: there are {', '.join(KINDS)}")
    if drawn.geom_type not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"a {drawn.geom_type} is no polygon")
    if not drawn.is_valid:
        raise ValueError(f"a polygon is bent ({shapely.is_valid_reason(drawn):.80})")
    west, south, east, north = drawn.bounds
    if not (west >= -180 and east <= 180 and south >= -90 and north <= 90):
        raise ValueError("a polygon leaves the globe")
    about = {name: given[name] for name in _KEPT if given.get(name) is not None}
    if odd := [name for name, value in about.items() if not isinstance(value, str | int)]:
        raise ValueError(f"{odd[0]} is neither a text nor a number")
    return Annotation(kind, drawn, about)
