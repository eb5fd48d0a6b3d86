"""/api/stats: the counts behind the data dashboard."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from groundshift.api.access import Given, Reader
from groundshift.api.answers import json_answer
from groundshift.ledger import catalogue, labels
from groundshift.ledger.labels import Label

router: Final = APIRouter(prefix="/api", tags=["catalogue"])


@router.get("/stats", summary="Counts of everything the caller's tenant has")
def read_stats(request: Request, given: Given, caller: Reader) -> Response:
    """`counts` says what each figure counts."""
    with given.ledger.read() as connection:
        known = labels.of_tenant(connection, caller.tenant, current=True)
        body = {
            "scenes_by_month": catalogue.outcomes_over_time(connection, caller.tenant),
            "tiles": catalogue.tiles_covered(connection, caller.tenant),
            "runs": catalogue.run_durations(connection, caller.tenant),
            "alerts": catalogue.alert_counts(connection, caller.tenant),
            "verdicts": catalogue.verdict_counts(connection, caller.tenant),
            "labels": label_balance(known),
            "dataset": dataset(labels.of_tenant(connection, caller.tenant)),
            "model_sets": catalogue.model_sets(connection, caller.tenant),
            "counts": _COUNTS,
        }
    return json_answer(request, body)


def dataset(every: Sequence[Label]) -> dict[str, Any]:
    """What training would get now: its version follows from those of its tiles."""
    standing = sorted(label.version for label in every if label.current)
    licences = Counter(label.licence for label in every if label.current)
    return {
        "version": hashlib.sha256("\n".join(standing).encode()).hexdigest() if standing else None,
        "tiles": len(standing),
        "versions": len(every),
        "licences": dict(sorted(licences.items())),
        "newest": max((label.created for label in every if label.created), default=None),
    }


def label_balance(known: Sequence[Label]) -> dict[str, Any]:
    """Verified pixels of 100 m2: changed, unchanged, ignored, and changed ones by class pair."""
    kinds: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    for label in known:
        kinds.update({kind: label.counts[kind] for kind in ("changed", "unchanged", "ignored")})
        pairs.update(label.counts.get("pairs", {}))
    return {"tiles": len(known), "pixels": dict(kinds), "pairs": dict(sorted(pairs.items()))}


_COUNTS: Final[Mapping[str, str]] = {
    "scenes_by_month": "scenes by month of acquisition, outcome and reason; what was refused or "
    "failed before it became a scene, by month of arrival",
    "tiles": "scenes whose raster reaches the tile, and the mean share of valid pixels of those "
    "whole scenes",
    "runs": "seconds from plan to products of each finished run, the latest 500",
    "alerts": "alerts by state and classes, and their area",
    "verdicts": "reviews by verdict, reviewer and digests of the models that raised the alert",
    "labels": "pixels of 100 m2 in current verified tiles",
    "dataset": "current verified tiles, all their versions, and the tiles' licences",
    "model_sets": "runs by the digests of their three models, and reviews of their alerts; "
    "`traffic` is the share of the latest 100 runs",
}
