"""/api/labels: verified tiles and their versions; labels as files, out and in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

import shapely
from fastapi import APIRouter, Body, Query, Request, Response
from sqlalchemy import Connection

from geodata_etl.grid import Tile
from groundshift.annotations import Annotation, Frame, read, to_coco, to_geojson
from groundshift.api import label_imports
from groundshift.api.access import Analyst, Caller, Given, Reader
from groundshift.api.answers import GEOJSON, JSON, json_answer
from groundshift.errors import BadRequest
from groundshift.label_diff import difference, nothing_said, read_masks
from groundshift.labels import tiles_touched, to_utm
from groundshift.ledger import alert_views, labels, reviews, scenes
from groundshift.ledger.labels import Label

router: Final = APIRouter(prefix="/api/labels", tags=["labels"])

Word = Annotated[str | None, Query(max_length=200)]


@router.get("", summary="Verified tiles, oldest first")
def list_labels(
    request: Request,
    given: Given,
    caller: Reader,
    current: Annotated[bool | None, Query(description="Only the newest of each tile")] = None,
    alert_id: Annotated[
        str | None, Query(max_length=64, description="Every version of the tiles of an alert")
    ] = None,
) -> Response:
    """Each version follows from its content: pixels, masks and reviews."""
    with given.ledger.read() as connection:
        if alert_id is None:
            known = labels.of_tenant(connection, caller.tenant, current=current)
        else:
            known = _of_alert(connection, given, caller, alert_id)
    listed = [vars(one) for one in known if current is None or one.current == current]
    return json_answer(request, {"labels": listed})


@router.get("/annotations", summary="What reviewers say of the ground, as GeoJSON or COCO")
def export_annotations(
    request: Request,
    given: Given,
    caller: Reader,
    format: Annotated[
        Literal["geojson", "coco"], Query(description="COCO: in pixels of the verified tiles")
    ] = "geojson",
    site_id: Word = None,
) -> Response:
    """The latest review of each reviewer of each alert: changed, unchanged and ignored ground."""
    with given.ledger.read() as connection:
        every = list(_annotations(connection, caller.tenant, site_id))
        if format == "geojson":
            return json_answer(request, to_geojson(every), media_type=GEOJSON)
        known = labels.of_tenant(connection, caller.tenant, current=True)
        epsg = {site.site_id: site.epsg for site in scenes.sites_of(connection, caller.tenant)}
    frames = [_frame(one, epsg[one.site_id]) for one in known if site_id in (None, one.site_id)]
    return json_answer(request, to_coco(every, frames), media_type=JSON)


@router.post("/annotations", summary="Take labels from a GeoJSON or COCO document")
def import_annotations(
    request: Request, given: Given, caller: Analyst, document: Annotated[dict[str, Any], Body()]
) -> Response:
    """Each alert's polygons become one review of the caller: accept where they are its outline,
    redraw where they are another, reject where all of it is unchanged. A polygon that names no
    `alert_id` is taken for the alert that it covers best. What is refused is said, the rest stays.
    """
    said = read(document)
    outcomes = label_imports.take(given, caller, said)
    return json_answer(request, {"outcomes": outcomes}, status=HTTPStatus.OK)


@router.get("/{version}", summary="One verified tile")
def get_label(request: Request, given: Given, caller: Reader, version: str) -> Response:
    """What it holds, and the reviews it follows from."""
    with given.ledger.read() as connection:
        label = labels.get(connection, caller.tenant, version)
    return json_answer(request, vars(label))


@router.get("/{version}/diff", summary="What changed from one version of a tile to another")
def diff_label(
    request: Request,
    given: Given,
    caller: Reader,
    version: str,
    against: Annotated[
        str | None, Query(max_length=64, description="Default: the version before")
    ] = None,
) -> Response:
    """Pixels of 100 m2 by kind (added, removed, reclassed, judged, ignored), the ground of each
    (EPSG:4326) and the reviews that one version follows from and the other does not.
    """
    with given.ledger.read() as connection:
        newer = labels.get(connection, caller.tenant, version)
        older = _older(connection, caller, newer, against)
        epsg = scenes.site(connection, newer.site_id).epsg
    masks = nothing_said() if older is None else read_masks(given.store, older.version)
    row, col = map(int, newer.tile.split("_"))
    found = difference(masks, read_masks(given.store, version), tile=Tile(row, col), epsg=epsg)
    said = set() if older is None else set(older.reviews)
    body = {
        "version": version,
        "against": older.version if older else None,
        "tile": newer.tile,
        "pixels": found.pixels,
        "reviews": {
            "added": sorted(set(newer.reviews) - said),
            "removed": sorted(said - set(newer.reviews)),
        },
        "features": {
            "type": "FeatureCollection",
            "features": [region.feature() for region in found.regions],
        },
    }
    return json_answer(request, body)


def _older(
    connection: Connection, caller: Caller, newer: Label, against: str | None
) -> Label | None:
    """Raises NotFound, BadRequest."""
    if against is None:
        return labels.before(connection, newer)
    older = labels.get(connection, caller.tenant, against)
    if (older.site_id, older.tile) != (newer.site_id, newer.tile):
        raise BadRequest(
            f"label {against!r:.20} is of tile {older.tile} of site {older.site_id!r}, not of tile "
            f"{newer.tile} of site {newer.site_id!r}: compare versions of one tile"
        )
    return older


def _of_alert(connection: Connection, given: Given, caller: Caller, alert_id: str) -> list[Label]:
    view = alert_views.one(connection, caller.tenant, alert_id, now=given.ledger.clock.now())
    if view.first_run_id is None:
        return []
    epsg = scenes.site(connection, view.row.site_id).epsg
    tiles = tiles_touched([to_utm(view.row.geometry, epsg=epsg)])
    return labels.of_tiles(connection, caller.tenant, view.first_run_id, map(str, tiles))


def _annotations(connection: Connection, tenant: str, site_id: str | None) -> Iterator[Annotation]:
    said = reviews.standing(connection, tenant, site_id=site_id)
    outlines = alert_views.outlines(connection, (one.alert_id for one in said))
    for one in said:
        about = {
            "alert_id": one.alert_id,
            "alert_version": one.alert_version,
            "from_class": one.from_class,
            "to_class": one.to_class,
            "reviewer": one.reviewer,
            "comment": one.comment,
        }
        kept: Mapping[str, Any] = {name: value for name, value in about.items() if value}
        drawn = one.geometry or outlines[one.alert_id]
        if one.verdict != "unsure":
            kind = "unchanged" if one.verdict == "reject" else "change"
            yield Annotation(kind, shapely.from_geojson(drawn), kept)
        if one.ignored:
            yield Annotation("ignore", shapely.from_geojson(one.ignored), kept)


def _frame(label: Label, epsg: int) -> Frame:
    row, col = map(int, label.tile.split("_"))
    return Frame(label.version, Tile(row, col), epsg, label.licence)
