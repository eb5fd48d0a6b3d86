"""/api/alerts/columns: all alerts in one small answer, for a map and a list of thousands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import numpy as np
import orjson
from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Row

from groundshift.api.access import Given, Reader
from groundshift.api.alerts import Box
from groundshift.api.answers import PRIVATE, etag_of, json_answer, known
from groundshift.api.boxes import read_bbox
from groundshift.ledger import alert_columns
from groundshift.ranking import score

router: Final = APIRouter(prefix="/api/alerts", tags=["alerts"])

_CODED: Final = ("site_id", "state", "from_class", "to_class")
_FORMAT: Final = 1
"""Raised when the columns mean something else: answers are kept by their ETag."""
_DEGREES: Final = 6
"""Decimals of the bounds, about 10 cm."""


@router.get("/columns", summary="Every alert of the caller's tenant, column by column")
def list_columns(request: Request, given: Given, caller: Reader) -> Response:
    """`columns` holds one list per property, all of one order; a property of `words` is given as
    the place of its word there. `day` is of the last scene that shows the alert (UTC). Outlines and
    evidence are left out: `/api/alerts` has them.
    """
    with given.ledger.read() as connection:
        etag = etag_of(f"{_FORMAT}/{alert_columns.stamp(connection, caller.tenant)}")
        headers = {"ETag": etag, "Cache-Control": PRIVATE}
        if known(request, etag):
            return Response(status_code=304, headers=headers)
        rows = alert_columns.rows(connection, caller.tenant)
        said = alert_columns.verdicts(connection, caller.tenant)
    body = {"numberMatched": len(rows), **_columns(rows), "verdicts": _said(said)}
    content = orjson.dumps(body, option=orjson.OPT_UTC_Z | orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, media_type="application/json", headers=headers)


@router.get("/outlines", summary="Outlines of the alerts over a box, by id")
def list_outlines(
    request: Request,
    given: Given,
    caller: Reader,
    bbox: Box,
    limit: Annotated[
        int, Query(ge=1, le=10_000, description="Most outlines, the largest first")
    ] = 1000,
) -> Response:
    """GeoJSON geometries, EPSG:4326."""
    with given.ledger.read() as connection:
        found = alert_columns.outlines(connection, caller.tenant, read_bbox(bbox), limit=limit)
    return json_answer(request, {"outlines": {r.id: orjson.Fragment(r.geometry) for r in found}})


def _columns(rows: Sequence[Row[Any]]) -> dict[str, Any]:
    coded = {name: _coded([getattr(row, name) for row in rows]) for name in _CODED}
    coded["day"] = _coded([row.last_seen.date().isoformat() for row in rows])
    bounds = np.array([row[-4:] for row in rows], np.float64).reshape(-1, 4).round(_DEGREES)
    plain = {
        "id": [row.id for row in rows],
        "version": [row.version for row in rows],
        "probability": [round(row.probability, 4) for row in rows],
        "area_m2": [round(row.area_m2) for row in rows],
        "supports": [row.supports for row in rows],
        "score": [score(row) for row in rows],
        **dict(zip(("west", "south", "east", "north"), bounds.T.tolist(), strict=True)),
    }
    places = {name: places for name, (_, places) in coded.items()}
    return {"words": {n: w for n, (w, _) in coded.items()}, "columns": {**plain, **places}}


def _coded(values: Sequence[str]) -> tuple[list[str], list[int]]:
    """(The words in order, the place of each value among them)."""
    words = sorted(set(values))
    place = {word: i for i, word in enumerate(words)}
    return words, [place[value] for value in values]


def _said(said: Mapping[str, Sequence[Row[Any]]]) -> dict[str, Any]:
    return {
        alert_id: [
            {
                "reviewer": one.actor,
                "verdict": one.verdict,
                "at": one.created,
                "alert_version": one.alert_version,
                "review_id": one.id,
            }
            for one in reviews
        ]
        for alert_id, reviews in said.items()
    }
