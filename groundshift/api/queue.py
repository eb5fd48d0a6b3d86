"""/api/queue: which alerts wait for a look, the most worth it first; and who has one in hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Connection, Row

from groundshift import ranking
from groundshift.api.access import Analyst, Caller, Given, Reader
from groundshift.api.answers import json_answer
from groundshift.api.boxes import overlap, tile_box
from groundshift.labels import tiles_touched, to_utm
from groundshift.ledger import Tx, alert_views, locks, scenes
from groundshift.ledger.alert_views import Bbox
from groundshift.ledger.locks import Lock
from groundshift.ledger.reviews import Review

router: Final = APIRouter(prefix="/api/queue", tags=["reviews"])

Site = Annotated[str | None, Query(max_length=200)]
Labelling = Annotated[
    bool, Query(description="To draw labels: nobody else may have the same tiles in hand")
]


@dataclass(frozen=True)
class Waiting:
    """An alert that waits for a look."""

    row: Row[Any]
    said: tuple[Review, ...]
    lock: Lock | None

    def record(self) -> dict[str, Any]:
        """For the API."""
        return {
            "alert_id": self.row.id,
            "version": self.row.version,
            "score": ranking.queue_score(self.row, self.said),
            "why": ranking.why(self.row, self.said),
            "state": self.row.state,
            "from_class": self.row.from_class,
            "to_class": self.row.to_class,
            "bbox": list(_bounds(self.row)),
            "locked_by": self.lock.owner if self.lock else None,
            "locked_until": self.lock.until if self.lock else None,
        }


@router.get("", summary="The ranked review queue of the caller")
def list_queue(
    request: Request,
    given: Given,
    caller: Reader,
    site_id: Site = None,
    labelling: Labelling = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Without what the caller has reviewed, what is settled and what others have in hand."""
    with given.ledger.read() as connection:
        found = _ranked(connection, given, caller, site_id, labelling=labelling)
    body = {"queue": [one.record() for one in found[:limit]], "numberMatched": len(found)}
    return json_answer(request, body)


@router.get("/held", summary="What others have in hand now")
def list_held(request: Request, given: Given, caller: Reader) -> Response:
    """`boxes`: bounds of the tiles that the alert touches, EPSG:4326; who is `labelling` has them
    to themselves.
    """
    with given.ledger.read() as connection:
        held = locks.of_tenant(connection, caller.tenant, now=given.ledger.clock.now())
    others = sorted(
        (lock for lock in held.values() if lock.owner != caller.user), key=lambda one: one.alert_id
    )
    return json_answer(request, {"held": [_lock_record(one) for one in others]})


@router.post("/next", summary="Take the first free alert of the queue in hand")
def take_next(
    request: Request,
    given: Given,
    caller: Analyst,
    site_id: Site = None,
    labelling: Labelling = False,
) -> Response:
    """200 with it, locked for the caller; 204 where nothing waits.

    What the caller has in hand already comes first, so that a reload loses nothing.
    """
    with given.ledger.transaction() as tx:
        found = _ranked(tx.connection, given, caller, site_id, labelling=labelling)
        found.sort(key=lambda one: one.lock is None)
        if not found:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        lock = _take(tx, given, caller, found[0].row.id, labelling=labelling)
    return json_answer(request, Waiting(found[0].row, found[0].said, lock).record())


@router.post("/{alert_id}/lock", summary="Take an alert in hand, or keep it longer")
def take_lock(
    request: Request, given: Given, caller: Analyst, alert_id: str, labelling: Labelling = False
) -> Response:
    """200 with the end of the lock; 409 where another analyst has the alert or its tile."""
    with given.ledger.transaction() as tx:
        lock = _take(tx, given, caller, alert_id, labelling=labelling)
    return json_answer(request, _lock_record(lock))


@router.delete("/{alert_id}/lock", status_code=HTTPStatus.NO_CONTENT, summary="Give an alert back")
def release_lock(given: Given, caller: Analyst, alert_id: str) -> Response:
    """204, whoever had it; another analyst's lock stays."""
    with given.ledger.transaction() as tx:
        alert_views.one(tx.connection, caller.tenant, alert_id, now=tx.now)
        locks.release(tx, alert_id, owner=caller.user)
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _take(tx: Tx, given: Given, caller: Caller, alert_id: str, *, labelling: bool) -> Lock:
    """Raises NotFound, Conflict."""
    row = alert_views.one(tx.connection, caller.tenant, alert_id, now=tx.now).row
    epsg = scenes.site(tx.connection, row.site_id).epsg
    touched = tiles_touched([to_utm(row.geometry, epsg=epsg)])
    return locks.take(
        tx,
        alert_id,
        tenant=caller.tenant,
        owner=caller.user,
        seconds=given.settings.lock_s,
        tiles=[f"{epsg}/{tile}" for tile in touched],
        labelling=labelling,
    )


def _lock_record(lock: Lock) -> dict[str, Any]:
    return {
        "alert_id": lock.alert_id,
        "locked_by": lock.owner,
        "locked_until": lock.until,
        "labelling": lock.labelling,
        "boxes": [tile_box(name) for name in lock.tiles],
    }


def _ranked(
    connection: Connection, given: Given, caller: Caller, site_id: str | None, *, labelling: bool
) -> list[Waiting]:
    """What waits for the caller, the highest score first."""
    rows = alert_views.open_rows(connection, caller.tenant, site_id=site_id)
    said = alert_views.latest_reviews(connection, (row.id for row in rows))
    held = locks.of_tenant(connection, caller.tenant, now=given.ledger.clock.now())
    every = (Waiting(row, tuple(said.get(row.id, ())), held.get(row.id)) for row in rows)
    others = [lock for lock in held.values() if lock.owner != caller.user]
    closed = [tile_box(n) for one in others if labelling or one.labelling for n in one.tiles]
    return sorted(_free(every, caller.user, closed), key=_order)


def _free(every: Iterable[Waiting], user: str, closed: Sequence[Bbox]) -> Iterable[Waiting]:
    """What nobody else has in hand, outside the tiles that are closed."""
    for one in every:
        mine = one.lock is None or one.lock.owner == user
        if mine and ranking.waiting(one.said, user=user):
            bounds = _bounds(one.row)
            if not any(overlap(bounds, box) for box in closed):
                yield one


def _bounds(row: Row[Any]) -> Bbox:
    return row.west, row.south, row.east, row.north


def _order(one: Waiting) -> tuple[float, str]:
    return -ranking.queue_score(one.row, one.said), one.row.id
