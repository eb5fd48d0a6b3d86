"""/api/stats/observations: band statistics of scenes, and how often each tile was seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Row

from groundshift import scene_stats
from groundshift.api.access import Given, Reader
from groundshift.api.answers import json_answer
from groundshift.ledger import catalogue
from groundshift.scene_stats import Stats

router: Final = APIRouter(prefix="/api/stats", tags=["catalogue"])

_HALF: Final = 0.5
_AT_ONCE: Final = 4
"""Rasters read at once: each is small, and the other requests want a share too."""


@router.get("/observations", summary="Band statistics of scenes, observations of tiles")
def read_observations(
    request: Request,
    given: Given,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=500, description="Of the latest acquisitions")] = 60,
) -> Response:
    """`counts` says what each figure counts. Measured from overviews, once per scene."""
    with given.ledger.read() as connection:
        _, rows = catalogue.scene_page(connection, caller.tenant, limit=limit)
        runs = catalogue.current_runs(connection, [row.id for row in rows])
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        known = list(pool.map(lambda row: scene_stats.of_scene(given.store, row.id), rows))
        seen = list(pool.map(lambda run_id: scene_stats.of_run(given.store, run_id), runs.values()))
    observed = dict(zip(runs, seen, strict=True))
    body = {
        "scenes": [_scene(row, stats) for row, stats in zip(rows, known, strict=True) if stats],
        "tiles": _tiles(rows, known, observed),
        "counts": _COUNTS,
    }
    return json_answer(request, body)


def _scene(row: Row[Any], stats: Stats) -> Mapping[str, Any]:
    named = {"id": row.id, "stac_id": row.stac_id, "sensor": row.sensor, "acquired": row.acquired}
    return {**named, "bands": stats["bands"], "valid_fraction": stats["valid_fraction"]}


def _tiles(
    rows: Sequence[Row[Any]],
    known: Iterable[Stats | None],
    observed: Mapping[str, Mapping[str, float] | None],
) -> list[Mapping[str, Any]]:
    valid: dict[tuple[int, str], list[float]] = defaultdict(list)
    clear: dict[tuple[int, str], list[float]] = defaultdict(list)
    for row, stats in zip(rows, known, strict=True):
        for tile, share in (stats["valid"] if stats else {}).items():
            valid[row.epsg, tile].append(share)
        for tile, share in (observed.get(row.id) or {}).items():
            clear[row.epsg, tile].append(share)
    return [
        {
            "epsg": epsg,
            "tile": tile,
            "scenes": len(shares),
            "valid": sum(share >= _HALF for share in shares),
            "mean_valid_fraction": _mean(shares),
            "compared": len(clear[epsg, tile]),
            "observed": sum(share >= _HALF for share in clear[epsg, tile]),
            "mean_observed_fraction": _mean(clear[epsg, tile]),
        }
        for (epsg, tile), shares in sorted(valid.items())
    ]


def _mean(shares: Sequence[float]) -> float | None:
    return round(sum(shares) / len(shares), 4) if shares else None


_COUNTS: Final[Mapping[str, str]] = {
    "scenes": "mean and percentiles of the reflectance (0..1) of each band, over the valid pixels "
    "of the scene's raster: clouds are valid pixels too",
    "tiles": "of the scenes whose raster reaches the tile: `valid` show at least half of it; of "
    "their current runs: `observed` saw at least half of it on both dates, without cloud",
}
