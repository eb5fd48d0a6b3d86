"""/api/feed: what became of alerts, in order, without gaps."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Row

from groundshift.api.access import Given, Reader
from groundshift.api.answers import json_answer, self_link
from groundshift.ledger import catalogue

router: Final = APIRouter(prefix="/api/feed", tags=["feed"])


@router.get("", summary="The feed of alerts, from a number on")
def read_feed(
    request: Request,
    given: Given,
    caller: Reader,
    after: Annotated[int, Query(ge=0, lt=1 << 31, description="The last number you have")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Numbers grow in the order of commits: who reads on from the last one misses nothing.

    Numbers that are left out belong to other tenants. Follow the link `next` for ever.
    """
    with given.ledger.read() as connection:
        rows = catalogue.feed_page(connection, caller.tenant, after=after, limit=limit)
    last = rows[-1].seq if rows else after
    url = request.url.include_query_params(after=last, limit=limit)
    follow = {"rel": "next", "href": str(url), "type": "application/json"}
    body = {
        "events": [feed_record(row) for row in rows],
        "last": last,
        "links": [self_link(request), follow],
    }
    return json_answer(request, body)


def feed_record(row: Row[Any]) -> dict[str, Any]:
    """An entry of the feed for the API."""
    return {
        "seq": row.seq,
        "type": row.type,
        "alert_id": row.alert_id,
        "version": row.version,
        "time": row.created,
        "data": row.payload,
    }
