"""/api/reviews: what analysts say of alerts."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

import shapely
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from groundshift.api.access import Analyst, Caller, Given, Reader
from groundshift.api.alerts import Cursor
from groundshift.api.answers import cursor_of, json_answer, next_link, place_of, self_link
from groundshift.api.features import review_record
from groundshift.api.geometries import polygon
from groundshift.errors import BadRequest, Conflict
from groundshift.events import API, AlertReviewed
from groundshift.ledger import Tx, alert_views, locks, reviews, scenes
from groundshift.ledger.alert_views import AlertView
from groundshift.ledger.reviews import Review, Verdict

router: Final = APIRouter(prefix="/api/reviews", tags=["reviews"])

Cover = Literal["water", "tree", "low_vegetation", "bare", "built", "burnt"]
_MAX_COMMENT: Final = 2000
_BEYOND: Final = 0.1
"""Degrees, about 10 km: how far beyond its site a drawn polygon may reach."""


class NewReview(BaseModel):
    """A verdict on one version of an alert."""

    model_config = ConfigDict(extra="forbid")

    alert_id: Annotated[str, Field(max_length=64)]
    alert_version: Annotated[int, Field(ge=1, lt=1 << 31)]
    """The version that was looked at: another one is answered with 409."""
    verdict: Literal["accept", "reject", "redraw", "unsure"]
    geometry: dict[str, Any] | None = None
    """Polygon or MultiPolygon, EPSG:4326: with `redraw`, and only then."""
    ignore: dict[str, Any] | None = None
    """Polygon or MultiPolygon, EPSG:4326: ground that you do not vouch for; not with `unsure`."""
    from_class: Cover | None = None
    """Where it differs from the alert's."""
    to_class: Cover | None = None
    comment: Annotated[str, Field(max_length=_MAX_COMMENT)] | None = None


@router.post("", status_code=HTTPStatus.CREATED, summary="Review an alert")
def add_review(request: Request, given: Given, caller: Analyst, said: NewReview) -> Response:
    """201 with the review; 200 where the same verdict of the caller stands already; 409 where
    another analyst has the alert in hand.
    """
    with given.ledger.transaction() as tx:
        review, new = keep(tx, caller, said)
    status = HTTPStatus.CREATED if new else HTTPStatus.OK
    return json_answer(request, review_record(review), status=status)


@router.get("", summary="Reviews, newest first; of one alert, oldest first")
def list_reviews(
    request: Request,
    given: Given,
    caller: Reader,
    alert_id: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    cursor: Cursor | None = None,
) -> Response:
    """None is ever changed: who thinks again leaves another one, who disagrees leaves theirs."""
    with given.ledger.read() as connection:
        if alert_id is not None:
            now = given.ledger.clock.now()
            alert_views.one(connection, caller.tenant, alert_id, now=now)
            found, links = reviews.of_alerts(connection, [alert_id]), []
        else:
            after = place_of(cursor)
            found = reviews.of_tenant(connection, caller.tenant, limit=limit, after=after)
            links = _next(request, found, limit)
    body = {"reviews": [review_record(r) for r in found], "links": [self_link(request), *links]}
    return json_answer(request, body)


def keep(tx: Tx, caller: Caller, said: NewReview) -> tuple[Review, bool]:
    """Store what a caller says of an alert, and tell; (the review, whether it is new).

    Raises BadRequest, Conflict, NotFound.
    """
    outline, ignored = _outline(said), _ignored(said)
    view = alert_views.one(tx.connection, caller.tenant, said.alert_id, now=tx.now)
    _check_version(view, said)
    locks.check_free(tx, said.alert_id, owner=caller.user)
    for drawn in (outline, ignored):
        _check_place(tx, view, drawn)
    review, new = _store(tx, view, said, (outline, ignored), caller)
    locks.release(tx, said.alert_id, owner=caller.user)
    return review, new


def _next(request: Request, found: list[Review], limit: int) -> list[dict[str, str]]:
    if len(found) < limit:
        return []
    return [next_link(request, cursor_of(found[-1].created, found[-1].review_id))]


def _outline(said: NewReview) -> str | None:
    """The redrawn polygon as GeoJSON text. Raises BadRequest."""
    if (said.verdict == "redraw") != (said.geometry is not None):
        raise BadRequest(
            f"verdict {said.verdict!r} {'without' if said.geometry is None else 'with'} a "
            "geometry: send one with `redraw`, and only then"
        )
    return None if said.geometry is None else polygon(said.geometry)


def _ignored(said: NewReview) -> str | None:
    """The ignored ground as GeoJSON text. Raises BadRequest."""
    if said.ignore is None:
        return None
    if said.verdict == "unsure":
        raise BadRequest(
            "verdict 'unsure' with ignored ground: who is unsure vouches for nothing, so there is "
            "nothing to leave out; send `ignore` with accept, reject or redraw"
        )
    return polygon(said.ignore)


def _check_version(view: AlertView, said: NewReview) -> None:
    """Raises Conflict where the alert moved on."""
    if view.row.version != said.alert_version:
        raise Conflict(
            f"alert {said.alert_id!r} moved on to version {view.row.version} "
            f"(you looked at {said.alert_version}): load it again and look once more"
        )


def _check_place(tx: Tx, view: AlertView, outline: str | None) -> None:
    """Raises BadRequest for a polygon beside the alert's site, or far beyond it."""
    if outline is None:
        return
    site = shapely.from_geojson(scenes.site(tx.connection, view.row.site_id).geometry)
    drawn, (west, south, east, north) = shapely.from_geojson(outline), site.bounds
    near = shapely.box(west - _BEYOND, south - _BEYOND, east + _BEYOND, north + _BEYOND)
    if not (drawn.intersects(site) and shapely.box(*drawn.bounds).within(near)):
        raise BadRequest(
            "a drawn polygon lies beside the alert's site, or far beyond it: write longitude "
            "before latitude"
        )


def _store(
    tx: Tx,
    view: AlertView,
    said: NewReview,
    drawn: tuple[str | None, str | None],
    caller: Caller,
) -> tuple[Review, bool]:
    verdict = Verdict(
        alert_id=said.alert_id,
        alert_version=said.alert_version,
        verdict=said.verdict,
        from_class=said.from_class or view.row.from_class,
        to_class=said.to_class or view.row.to_class,
        geometry=drawn[0],
        ignored=drawn[1],
        comment=said.comment,
    )
    review, new = reviews.add(
        tx,
        verdict,
        tenant=caller.tenant,
        reviewer=caller.user,
        site_id=view.row.site_id,
        run_id=view.first_run_id,
        model_set=view.model_set,
    )
    if new:
        _tell(tx, review)
    return review, new


def _tell(tx: Tx, review: Review) -> None:
    data = AlertReviewed(
        review_id=review.review_id,
        alert_id=review.alert_id,
        alert_version=review.alert_version,
        site_id=review.site_id,
        verdict=review.verdict,
        from_class=review.from_class,
        to_class=review.to_class,
        reviewer=review.reviewer,
    )
    tx.say(
        data,
        source=API,
        subject=review.alert_id,
        attempt=review.number,
        tenant=review.tenant,
        actor=review.reviewer,
    )
