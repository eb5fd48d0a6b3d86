"""/api/areas: polygons that people drew on the map and saved, and the alerts inside."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final

import orjson
import shapely
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from groundshift.api.access import Analyst, Given, Reader
from groundshift.api.answers import json_answer, self_link
from groundshift.api.geometries import polygon
from groundshift.errors import BadRequest
from groundshift.ledger import alert_views, areas
from groundshift.ledger.areas import Area

router: Final = APIRouter(prefix="/api/areas", tags=["areas"])

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]
_MOST: Final = 500
"""Areas of a tenant: the map's list stays one that a person reads."""


class NewArea(BaseModel):
    """A polygon with a name."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    """None that the tenant has already."""
    geometry: dict[str, Any]
    """Polygon or MultiPolygon, EPSG:4326."""


class AreaChange(BaseModel):
    """What is to be another; what is not given stays."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    geometry: Annotated[dict[str, Any] | None, Field(description="EPSG:4326")] = None


@router.get("", summary="The areas that people of the caller's tenant saved, by name")
def list_areas(request: Request, given: Given, caller: Reader) -> Response:
    """Polygons, EPSG:4326."""
    with given.ledger.read() as connection:
        found = areas.of_tenant(connection, caller.tenant)
    body = {"areas": [_record(area) for area in found], "links": [self_link(request)]}
    return json_answer(request, body)


@router.post("", status_code=HTTPStatus.CREATED, summary="Save an area")
def add_area(request: Request, given: Given, caller: Analyst, wish: NewArea) -> Response:
    """201 with it; 409 where the tenant has one of that name."""
    outline = polygon(wish.geometry)
    with given.ledger.transaction() as tx:
        if len(areas.of_tenant(tx.connection, caller.tenant)) >= _MOST:
            raise BadRequest(f"there are {_MOST} areas already: delete some first")
        area = areas.add(
            tx, tenant=caller.tenant, name=wish.name, geometry=outline, actor=caller.user
        )
    return json_answer(request, _record(area), status=HTTPStatus.CREATED)


@router.get("/{area_id}", summary="One area")
def get_area(request: Request, given: Given, caller: Reader, area_id: str) -> Response:
    """The record of the list."""
    with given.ledger.read() as connection:
        area = areas.get(connection, caller.tenant, area_id)
    return json_answer(request, _record(area))


@router.get("/{area_id}/alerts", summary="The ids of the alerts inside an area")
def list_alerts_inside(request: Request, given: Given, caller: Reader, area_id: str) -> Response:
    """Of every state; an alert that touches the area is inside. `/api/alerts?area_id=` says more
    of each.
    """
    with given.ledger.read() as connection:
        area = areas.get(connection, caller.tenant, area_id)
        found = alert_views.inside(connection, caller.tenant, shapely.from_geojson(area.geometry))
    return json_answer(request, {"area_id": area_id, "alert_ids": sorted(found)})


@router.patch("/{area_id}", summary="Rename an area, or draw it anew")
def change_area(
    request: Request, given: Given, caller: Analyst, area_id: str, wish: AreaChange
) -> Response:
    """200 with it; 409 where the name is taken."""
    outline = None if wish.geometry is None else polygon(wish.geometry)
    with given.ledger.transaction() as tx:
        area = areas.get(tx.connection, caller.tenant, area_id)
        changed = areas.change(tx, area, name=wish.name, geometry=outline)
    return json_answer(request, _record(changed))


@router.delete("/{area_id}", status_code=HTTPStatus.NO_CONTENT, summary="Forget an area")
def delete_area(given: Given, caller: Analyst, area_id: str) -> Response:
    """204; alerts and scenes stay."""
    with given.ledger.transaction() as tx:
        areas.delete(tx, areas.get(tx.connection, caller.tenant, area_id))
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _record(area: Area) -> dict[str, Any]:
    return {
        "id": area.area_id,
        "name": area.name,
        "geometry": orjson.Fragment(area.geometry),
        "created": area.created,
        "updated": area.updated,
        "created_by": area.actor,
    }
