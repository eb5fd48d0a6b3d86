"""Alerts and reviews as GeoJSON."""

from __future__ import annotations

from typing import Any

import orjson

from groundshift.ledger.alert_views import AlertView
from groundshift.ledger.reviews import Review
from groundshift.ranking import score


def alert_feature(view: AlertView, *, outlined: bool = True) -> dict[str, Any]:
    """An alert as a Feature, EPSG:4326; not `outlined`: its bounds stand for its polygon."""
    row = view.row
    return {
        "type": "Feature",
        "id": row.id,
        "geometry": orjson.Fragment(row.geometry) if outlined else _box(row),
        "bbox": [row.west, row.south, row.east, row.north],
        "properties": {
            "version": row.version,
            "state": row.state,
            "reason": row.reason,
            "from_class": row.from_class,
            "to_class": row.to_class,
            "probability": round(row.probability, 4),
            "area_m2": round(row.area_m2, 1),
            "first_seen": row.first_seen,
            "last_seen": row.last_seen,
            "supports": row.supports,
            "observed_fraction": view.observed_fraction,
            "site_id": row.site_id,
            "run_id": view.run_id,
            "before_scene_id": view.before_scene_id,
            "after_scene_id": view.after_scene_id,
            "verdict": [_verdict(review) for review in view.reviews],
            "locked_by": view.lock.owner if view.lock else None,
            "score": score(row),
        },
    }


def _box(row: Any) -> dict[str, Any]:
    west, south, east, north = row.west, row.south, row.east, row.north
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def evidence(view: AlertView) -> dict[str, Any]:
    """What stands behind an alert."""
    found = view.row.evidence
    return {
        "first_run_id": view.first_run_id,
        "first_scene_id": view.row.first_scene,
        "runs": found.get("runs", []),
        "supports": found.get("supports", []),
        "contradictions": found.get("contradictions", []),
        "models": [{"name": m["name"], "digest": m["digest"]} for m in view.model_set],
    }


def review_record(review: Review) -> dict[str, Any]:
    """A review for the API."""
    return {
        "id": review.review_id,
        "alert_id": review.alert_id,
        "alert_version": review.alert_version,
        "number": review.number,
        "verdict": review.verdict,
        "geometry": _fragment(review.geometry),
        "ignore": _fragment(review.ignored),
        "from_class": review.from_class,
        "to_class": review.to_class,
        "comment": review.comment,
        "reviewer": review.reviewer,
        "created": review.created,
        "run_id": review.run_id,
        "models": review.model_set,
    }


def _fragment(geometry: str | None) -> orjson.Fragment | None:
    return orjson.Fragment(geometry) if geometry else None


def _verdict(review: Review) -> dict[str, Any]:
    return {
        "reviewer": review.reviewer,
        "verdict": review.verdict,
        "at": review.created,
        "alert_version": review.alert_version,
        "review_id": review.review_id,
    }
