"""Labels from files: which alert each polygon is about, and what is thereby said of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
import shapely
from pydantic import ValidationError
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection

from groundshift.annotations import Annotation
from groundshift.api.access import Caller, Given
from groundshift.api.verdicts import NewReview, keep
from groundshift.errors import BadRequest, GroundshiftError, http_status
from groundshift.ledger import alert_columns, alert_views
from groundshift.ledger.alert_views import AlertView

_LEAST_SHARED: Final = 0.1
"""Intersection over union from which a polygon without an alert's id is taken for the alert."""
_SAME: Final = 0.01
"""Share of the outline by which a drawn one may differ and still be the same: roundings."""
_MOST_NEAR: Final = 500


def take(given: Given, caller: Caller, said: Sequence[Annotation]) -> list[dict[str, Any]]:
    """What became of each alert that the annotations are about, and of those about none."""
    with given.ledger.read() as connection:
        by_alert, lost = _by_alert(connection, caller.tenant, said)
    outcomes = [_take(given, caller, alert_id, about) for alert_id, about in by_alert.items()]
    return outcomes + [
        {"alert_id": None, "outcome": "unmatched", "why": f"annotation {i}: no alert lies there"}
        for i in lost
    ]


def _by_alert(
    connection: Connection, tenant: str, said: Sequence[Annotation]
) -> tuple[Mapping[str, list[Annotation]], list[int]]:
    found: dict[str, list[Annotation]] = defaultdict(list)
    lost: list[int] = []
    for i, one in enumerate(said):
        alert_id = one.about.get("alert_id") or _nearest(connection, tenant, one.geometry)
        if alert_id is None:
            lost.append(i)
        else:
            found[str(alert_id)].append(one)
    return found, lost


def _nearest(connection: Connection, tenant: str, drawn: BaseGeometry) -> str | None:
    near = alert_columns.outlines(connection, tenant, drawn.bounds, limit=_MOST_NEAR)
    shared = {row.id: _iou(shapely.from_geojson(row.geometry), drawn) for row in near}
    best = max(shared, key=lambda alert_id: shared[alert_id], default=None)
    return best if best is not None and shared[best] >= _LEAST_SHARED else None


def _iou(one: BaseGeometry, other: BaseGeometry) -> float:
    return float(one.intersection(other).area / one.union(other).area)


def _take(
    given: Given, caller: Caller, alert_id: str, about: Sequence[Annotation]
) -> dict[str, Any]:
    """One review, or why there is none: what others hold or what moved on stays as it is."""
    try:
        with given.ledger.transaction() as tx:
            view = alert_views.one(tx.connection, caller.tenant, alert_id, now=tx.now)
            review, new = keep(tx, caller, _verdict(view, about))
    except GroundshiftError as error:
        refused = {"outcome": "refused", "status": http_status(error), "why": str(error)}
        return {"alert_id": alert_id, **refused}
    outcome = "new" if new else "known"
    said = {"verdict": review.verdict, "review_id": review.review_id}
    return {"alert_id": alert_id, "outcome": outcome, **said}


def _verdict(view: AlertView, about: Sequence[Annotation]) -> NewReview:
    changed = [one for one in about if one.kind == "change"]
    ignored = _together(about, "ignore")
    if not changed and not any(one.kind == "unchanged" for one in about):
        raise BadRequest("ignored ground alone is no verdict: say what changed, or what did not")
    classes = {(one.about.get("from_class"), one.about.get("to_class")) for one in changed}
    if len(classes) > 1:
        raise BadRequest(f"{len(classes)} pairs of classes in one alert: an alert has one")
    before, after = classes.pop() if classes else (None, None)
    drawn = _together(about, "change")
    versions = {one.about.get("alert_version", view.row.version) for one in about}
    if len(versions) > 1:
        raise BadRequest(f"{len(versions)} versions of one alert: export the labels again")
    named = {
        "from_class": before or view.row.from_class,
        "to_class": after or view.row.to_class,
        "comment": next((c for one in about if (c := one.about.get("comment"))), None),
        "ignore": None if ignored is None else _geojson(ignored),
    }
    same = drawn is not None and _as_found(view, drawn, named)
    kind = "reject" if drawn is None else "accept" if same else "redraw"
    shape = _geojson(drawn) if drawn is not None and kind == "redraw" else None
    about_it = {"alert_id": view.row.id, "alert_version": versions.pop(), "verdict": kind}
    try:
        return NewReview.model_validate({**about_it, "geometry": shape, **named})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BadRequest(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _as_found(view: AlertView, drawn: BaseGeometry, named: Mapping[str, Any]) -> bool:
    """Whether it is what the models found."""
    outline = shapely.from_geojson(view.row.geometry)
    other = outline.symmetric_difference(drawn).area / outline.area
    classes = (named["from_class"], named["to_class"])
    return bool(other < _SAME and classes == (view.row.from_class, view.row.to_class))


def _together(about: Sequence[Annotation], kind: str) -> BaseGeometry | None:
    shapes = [one.geometry for one in about if one.kind == kind]
    return shapely.union_all(shapes) if shapes else None


def _geojson(geometry: BaseGeometry) -> Any:
    return orjson.loads(shapely.to_geojson(geometry))
