"""Tables behind the data page: from what the API counts to rows that a chart or a person reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import shapely
from pyproj import Transformer

from geodata_etl.grid import PIXEL_M, Tile

Rows = Sequence[Mapping[str, Any]]

OUTCOMES: Final = ("done", "ready", "skipped", "failed")
POINTS: Final = ("mean", "p2", "p25", "p50", "p75", "p98")
"""Of a band's reflectance: mean and percentiles."""
_HECTARE_M2: Final = 10_000
_SHORT: Final = 12
"""Digits of a version or run that a table shows."""


def scenes_by_month(rows: Rows) -> pd.DataFrame:
    """Month, outcome with its reason, scenes."""
    frame = pd.DataFrame(rows, columns=["month", "outcome", "reason", "scenes"])
    reason = (
        frame["reason"].fillna("").where(frame["reason"].isna(), ": " + frame["reason"].astype(str))
    )
    return frame.assign(ended=frame["outcome"] + reason)


def outcomes(rows: Rows) -> dict[str, int]:
    """Scenes by outcome."""
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row["outcome"]] += row["scenes"]
    return dict(counts)


def reasons(rows: Rows) -> pd.DataFrame:
    """Outcome, reason and number of what was not compared and says why."""
    frame = pd.DataFrame(rows, columns=["outcome", "reason", "scenes"]).dropna(subset=["reason"])
    summed: pd.DataFrame = frame.groupby(["outcome", "reason"], as_index=False).sum()
    return summed.assign(reason=summed["reason"].map(words))


def bands(scenes: Rows) -> pd.DataFrame:
    """Date, scene, band and `POINTS` of its reflectance."""
    rows = [
        {"acquired": scene["acquired"], "scene": scene["stac_id"], "band": band, **points}
        for scene in scenes
        for band, points in scene["bands"].items()
        if points
    ]
    frame = pd.DataFrame(rows, columns=["acquired", "scene", "band", *POINTS])
    return frame.assign(acquired=pd.to_datetime(frame["acquired"]))


def observations(tiles: Rows) -> pd.DataFrame:
    """Tile, scenes that reach it, how many show it, how many runs saw it on both dates."""
    return pd.DataFrame(
        {
            "tile": [row["tile"] for row in tiles],
            "scenes": [row["scenes"] for row in tiles],
            "valid": [row["valid"] for row in tiles],
            "mean valid": [row["mean_valid_fraction"] for row in tiles],
            "compared": [row["compared"] for row in tiles],
            "observed": [row["observed"] for row in tiles],
            "mean observed": [row["mean_observed_fraction"] for row in tiles],
        }
    )


def versions(labels: Rows) -> pd.DataFrame:
    """Every version of every verified tile, newest first, with what it follows from."""
    rows = [
        {
            "made": _minute(label["created"]),
            "site": label["site_id"],
            "tile": label["tile"],
            "version": label["version"][:_SHORT],
            "stands": label["current"],
            **{f"{kind} px": label["counts"][kind] for kind in ("changed", "unchanged", "ignored")},
            "reviews": len(label["reviews"]),
            "last by": label["actor"],
            "run": label["run_id"][:_SHORT],
            "licence": label["licence"],
        }
        for label in reversed(labels)
    ]
    return pd.DataFrame(rows)


def clouds(scenes: Rows) -> pd.DataFrame:
    """Date of acquisition, percent of the run's ground that was not observed."""
    rows = [
        {"acquired": scene["acquired"], "scene": scene["stac_id"], "unseen": 100 * unseen}
        for scene in scenes
        if (unseen := scene["not_observed_fraction"]) is not None
    ]
    frame = pd.DataFrame(rows, columns=["acquired", "scene", "unseen"])
    return frame.assign(acquired=pd.to_datetime(frame["acquired"]))


def gaps(rows: Rows) -> pd.DataFrame:
    """Every scene that was not compared, with the reason."""
    frame = pd.DataFrame(rows, columns=["acquired", "subject", "outcome", "reason", "message"])
    return frame.assign(acquired=frame["acquired"].map(_day))


def durations(rows: Rows) -> pd.DataFrame:
    """When a run finished, the seconds it took."""
    frame = pd.DataFrame(rows, columns=["finished", "seconds", "state", "scene_id", "run_id"])
    frame = frame.dropna(subset=["finished", "seconds"])
    return frame.assign(finished=pd.to_datetime(frame["finished"]))


def alerts_by_class(rows: Rows) -> pd.DataFrame:
    """Change, state, alerts, hectares."""
    frame = pd.DataFrame(rows, columns=["state", "from_class", "to_class", "alerts", "area_m2"])
    change = frame["from_class"].map(words) + " → " + frame["to_class"].map(words)
    return frame.assign(change=change, hectares=frame["area_m2"] / _HECTARE_M2)


def model_sets(rows: Rows) -> pd.DataFrame:
    """One row per model set: its three digests, runs, verdicts, acceptance."""
    return pd.DataFrame([_model_set(row) for row in rows])


def _model_set(row: Mapping[str, Any]) -> dict[str, Any]:
    said: Mapping[str, int] = row["reviews"]
    real = said.get("accept", 0) + said.get("redraw", 0)
    decided = real + said.get("reject", 0)
    digests = {m["name"]: m["digest"].removeprefix("sha256:")[:8] for m in row["models"]}
    return {
        **digests,
        "runs": row["runs"],
        "traffic": f"{row['traffic']:.0%}",
        "current runs": row["current_runs"],
        "verdicts": sum(said.values()),
        "accepted": f"{real / decided:.0%} of {decided}" if decided else "no verdict yet",
        "last run": _day(row["last_run"]),
    }


def label_balance(labels: Mapping[str, Any]) -> pd.DataFrame:
    """Class pair, hectares of verified change."""
    rows = [
        {"change": pair.replace("_", " "), "hectares": pixels * PIXEL_M**2 / _HECTARE_M2}
        for pair, pixels in labels["pairs"].items()
    ]
    return pd.DataFrame(rows, columns=["change", "hectares"])


def tile_polygons(rows: Rows) -> dict[str, Any]:
    """The tiles as GeoJSON, EPSG:4326, with how many scenes reach, show and compare each."""
    return _collection(
        {
            "type": "Feature",
            "properties": {
                name: row[name] for name in ("tile", "scenes", "valid", "compared", "observed")
            },
            "geometry": _tile(row["tile"], row["epsg"]),
        }
        for row in rows
    )


def footprints(scenes: Rows) -> dict[str, Any]:
    """The scenes' outlines as GeoJSON, EPSG:4326."""
    return _collection(
        {
            "type": "Feature",
            "properties": {
                "outcome": scene["outcome"],
                "reason": scene["reason"] or "",
                "scene": scene["stac_id"],
                "acquired": _day(scene["acquired"]),
            },
            "geometry": scene["footprint"],
        }
        for scene in scenes
    )


def words(name: str) -> str:
    """A class for people."""
    return name.replace("_", " ")


def _tile(name: str, epsg: int) -> Mapping[str, Any]:
    row, col = (int(part) for part in name.split("_"))
    core = Tile(row, col).core
    west, east = core.left * PIXEL_M, core.right * PIXEL_M
    north, south = -core.top * PIXEL_M, -core.bottom * PIXEL_M
    project = Transformer.from_crs(epsg, 4326, always_xy=True).transform
    outline = shapely.transform(
        shapely.box(west, south, east, north),
        lambda xy: np.column_stack(project(xy[:, 0], xy[:, 1])),
    )
    found: Mapping[str, Any] = shapely.geometry.mapping(outline)
    return found


def _collection(features: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


def _day(time: str | None) -> str:
    return time[:10] if time else "unknown"


def _minute(time: str | None) -> str:
    return time[:16].replace("T", " ") if time else "unknown"
