"""/api/alerts: alerts as GeoJSON, filtered, page by page."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import shapely
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AwareDatetime
from shapely.geometry.base import BaseGeometry

from groundshift.api.access import Caller, Given, Reader
from groundshift.api.answers import (
    GEOJSON,
    cursor_of,
    json_answer,
    next_link,
    place_of,
    self_link,
)
from groundshift.api.boxes import read_bbox
from groundshift.api.features import alert_feature, evidence
from groundshift.ledger import alert_views, areas
from groundshift.ledger.alert_views import AlertFilter, AlertView

router: Final = APIRouter(prefix="/api/alerts", tags=["alerts"])

Word = Annotated[str, Query(max_length=64)]
State = Literal["first", "provisional", "confirmed", "finished", "withdrawn"]
Share = Annotated[float, Query(ge=0, le=1)]
Area = Annotated[float, Query(ge=0, allow_inf_nan=False)]
Limit = Annotated[int, Query(ge=1, le=10_000, description="Most alerts of one page")]
Cursor = Annotated[str, Query(max_length=400, description="From the `next` link")]
Box = Annotated[str, Query(max_length=200, description="west,south,east,north; degrees, EPSG:4326")]


def wanted(
    given: Given,
    caller: Reader,
    state: Annotated[list[State] | None, Query(description="Repeatable; default: all")] = None,
    from_class: Word | None = None,
    to_class: Word | None = None,
    min_probability: Share | None = None,
    min_area_m2: Area | None = None,
    since: Annotated[AwareDatetime | None, Query(description="Last seen at or after")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Last seen at or before")] = None,
    bbox: Box | None = None,
    reviewed: Annotated[bool | None, Query(description="Whether any review stands")] = None,
    site_id: Word | None = None,
    area_id: Annotated[
        Word | None, Query(description="Inside a saved area, or touching it")
    ] = None,
) -> AlertFilter:
    """The filter that the query describes. Raises BadRequest, NotFound."""
    return AlertFilter(
        states=tuple(state or ()),
        from_class=from_class,
        to_class=to_class,
        min_probability=min_probability,
        min_area_m2=min_area_m2,
        since=since,
        until=until,
        bbox=None if bbox is None else read_bbox(bbox),
        reviewed=reviewed,
        site_id=site_id,
        area=None if area_id is None else _area(given, caller, area_id),
    )


def _area(given: Given, caller: Caller, area_id: str) -> BaseGeometry:
    with given.ledger.read() as connection:
        return shapely.from_geojson(areas.get(connection, caller.tenant, area_id).geometry)


@router.get("", summary="Alerts as a GeoJSON FeatureCollection, last seen first")
def list_alerts(
    request: Request,
    given: Given,
    caller: Reader,
    wish: Annotated[AlertFilter, Depends(wanted)],
    shape: Annotated[
        Literal["full", "box"], Query(description="box: bounds for polygons, for a wide view")
    ] = "full",
    limit: Limit = 1000,
    cursor: Cursor | None = None,
) -> Response:
    """`numberMatched` counts all that the filter finds; the link `next` leads on."""
    with given.ledger.read() as connection:
        matched, found = alert_views.page(
            connection,
            caller.tenant,
            wish,
            limit=limit,
            after=place_of(cursor),
            now=given.ledger.clock.now(),
            outlined=shape == "full",
        )
    body = {
        "type": "FeatureCollection",
        "features": [alert_feature(view, outlined=shape == "full") for view in found],
        "numberMatched": matched,
        "numberReturned": len(found),
        "links": [self_link(request), *_next(request, found, limit)],
    }
    return json_answer(request, body, media_type=GEOJSON)


@router.get("/{alert_id}", summary="One alert, with its evidence")
def get_alert(request: Request, given: Given, caller: Reader, alert_id: str) -> Response:
    """The Feature of the list, and the runs, scenes and models behind it."""
    view = find(given, caller.tenant, alert_id)
    feature: dict[str, Any] = alert_feature(view)
    feature["properties"]["evidence"] = evidence(view)
    pack = f"/api/alerts/{view.row.id}/pack.zip"
    feature["links"] = [
        self_link(request),
        {"rel": "enclosure", "href": given.signed(pack, caller), "type": "application/zip"},
    ]
    return json_answer(request, feature, media_type=GEOJSON)


def find(given: Given, tenant: str, alert_id: str) -> AlertView:
    """One alert of a tenant. Raises NotFound."""
    with given.ledger.read() as connection:
        return alert_views.one(connection, tenant, alert_id, now=given.ledger.clock.now())


def _next(request: Request, found: list[AlertView], limit: int) -> list[dict[str, str]]:
    if len(found) < limit:
        return []
    last: datetime = found[-1].row.last_seen
    return [next_link(request, cursor_of(last, found[-1].row.id))]
