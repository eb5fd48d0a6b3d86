"""/api/scenes, runs, gaps, sites: what came in and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Connection, Row

from geodata_etl.grid import Extent
from groundshift.api.access import Given, Reader
from groundshift.api.alerts import Cursor
from groundshift.api.answers import cursor_of, json_answer, next_link, place_of, self_link
from groundshift.api.boxes import footprint
from groundshift.ledger import catalogue, scenes
from groundshift.ledger.catalogue import Place

router: Final = APIRouter(prefix="/api", tags=["catalogue"])

Limit = Annotated[int, Query(ge=1, le=1000, description="Most rows of one page")]
Outcome = Literal["ready", "skipped", "done", "failed"]
_PENDING: Final = "pending"


@router.get("/scenes", summary="Scenes and how they ended, newest acquisition first")
def list_scenes(
    request: Request,
    given: Given,
    caller: Reader,
    outcome: Outcome | None = None,
    site_id: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = 200,
    cursor: Cursor | None = None,
) -> Response:
    """The footprint is the scene's raster on the site's grid, EPSG:4326."""
    with given.ledger.read() as connection:
        matched, rows = catalogue.scene_page(
            connection,
            caller.tenant,
            limit=limit,
            after=place_of(cursor),
            outcome=outcome,
            site_id=site_id,
        )
        shares = catalogue.run_shares(connection, [row.id for row in rows])
    listed = [scene_record(row, shares.get(row.id, {})) for row in rows]
    last = (rows[-1].acquired, rows[-1].id) if len(rows) == limit else None
    return _page(request, "scenes", listed, matched, last)


@router.get("/scenes/{scene_id}", summary="One scene")
def get_scene(request: Request, given: Given, caller: Reader, scene_id: str) -> Response:
    """The record of the list."""
    with given.ledger.read() as connection:
        catalogue.scene_of(connection, caller.tenant, scene_id)
        _, rows = catalogue.scene_page(connection, caller.tenant, limit=1, scene_id=scene_id)
        shares = catalogue.run_shares(connection, [scene_id])
    return json_answer(request, scene_record(rows[0], shares.get(scene_id, {})))


@router.get("/runs", summary="Runs, newest first")
def list_runs(
    request: Request,
    given: Given,
    caller: Reader,
    current: Annotated[bool | None, Query(description="Whether its changes count")] = None,
    site_id: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = 200,
    cursor: Cursor | None = None,
) -> Response:
    """Each with its baseline, model set, summary and duration."""
    with given.ledger.read() as connection:
        matched, rows = catalogue.run_page(
            connection,
            caller.tenant,
            limit=limit,
            after=place_of(cursor),
            current=current,
            site_id=site_id,
        )
    last = (rows[-1].created, rows[-1].id) if len(rows) == limit else None
    return _page(request, "runs", [run_record(row) for row in rows], matched, last)


@router.get("/gaps", summary="Every scene that was not compared, and why")
def list_gaps(request: Request, given: Given, caller: Reader) -> Response:
    """Refused and failed arrivals, then skipped, failed and pending scenes."""
    with given.ledger.read() as connection:
        found = list(_gaps(connection, caller.tenant))
    return _page(request, "gaps", found, len(found), None)


@router.get("/sites", summary="The caller's areas of interest")
def list_sites(request: Request, given: Given, caller: Reader) -> Response:
    """Polygons, EPSG:4326."""
    with given.ledger.read() as connection:
        found = scenes.sites_of(connection, caller.tenant)
    listed = [
        {
            "id": site.site_id,
            "name": site.name,
            "geometry": orjson.Fragment(site.geometry),
            "epsg": site.epsg,
            "reference_scene_id": site.reference_scene_id,
        }
        for site in found
    ]
    return _page(request, "sites", listed, len(listed), None)


def scene_record(row: Row[Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    """A scene for the API; `summary` is its current run's."""
    return {
        "id": row.id,
        "stac_id": row.stac_id,
        "site_id": row.site_id,
        "acquired": row.acquired,
        "sensor": row.sensor,
        "outcome": row.outcome,
        "reason": row.reason,
        "message": row.message,
        "valid_fraction": row.valid_fraction,
        "not_observed_fraction": not_observed(summary),
        "shift_px": [row.shift_y, row.shift_x],
        "shift_state": row.shift_state,
        "footprint": footprint(row.epsg, Extent(row.top, row.left, row.bottom, row.right)),
        "digest": row.digest,
        "arrived": row.created,
    }


def not_observed(summary: Mapping[str, Any]) -> float | None:
    """The share of the run's ground that cloud, shadow or missing data hid; None if not known."""
    parts = [summary.get(f"{name}_km2") for name in ("changed", "unchanged", "not_observed")]
    known = [float(part) for part in parts if part is not None]
    if len(known) < len(parts) or not sum(known):
        return None
    return round(known[2] / sum(known), 4)


def run_record(row: Row[Any]) -> dict[str, Any]:
    """A run for the API."""
    lasted = (row.finished - row.created).total_seconds() if row.finished else None
    return {
        "id": row.id,
        "site_id": row.site_id,
        "scene_id": row.scene_id,
        "acquired": row.acquired,
        "kind": row.kind,
        "baseline": row.baseline,
        "models": [{k: m[k] for k in ("name", "digest", "revision")} for m in row.model_set],
        "params": row.params,
        "state": row.state,
        "current": row.current,
        "reason": row.reason,
        "message": row.message,
        "summary": row.summary,
        "created": row.created,
        "finished": row.finished,
        "seconds": lasted,
    }


def _gaps(connection: Connection, tenant: str) -> Iterable[dict[str, Any]]:
    for row in catalogue.unread(connection, tenant):
        pending = row.state == "arrived"
        yield {
            "subject": row.options.get("id") or row.href,
            "acquired": None,
            "site_id": None,
            "outcome": _PENDING if pending else row.state,
            "reason": row.reason or "waiting",
            "message": row.message or "",
        }
    for scene in scenes.all_of(connection, tenant):
        if scene.outcome != "done":
            yield {
                "subject": scene.scene_id,
                "acquired": scene.acquired,
                "site_id": scene.site_id,
                "outcome": _PENDING if scene.outcome == "ready" else scene.outcome,
                "reason": scene.reason or "waiting",
                "message": scene.message or "",
            }


def _page(
    request: Request, name: str, rows: list[Any], matched: int, last: Place | None
) -> Response:
    links = [self_link(request)]
    if last is not None:
        links.append(next_link(request, cursor_of(*last)))
    body = {name: rows, "numberMatched": matched, "numberReturned": len(rows), "links": links}
    return json_answer(request, body)
