"""The data page: what came in, what became of it, and how good the verdicts say it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import altair as alt
import streamlit as st

from groundshift.dashboard import figures
from groundshift.dashboard.chrome import nothing_yet
from groundshift.dashboard.client import Api
from groundshift.dashboard.figures import Rows
from groundshift.dashboard.views import quality
from groundshift.dashboard.views.charts import BAR, HEIGHT, draw, ready, scale, title
from groundshift.dashboard.workspace import coverage_map

_COLOURS: Final = {
    "done": "#009e73",
    "ready": "#56b4e9",
    "skipped": "#e69f00",
    "failed": "#d55e00",
    "refused": "#cc79a7",
}
_STATES: Final = {
    "confirmed": "#56b4e9",
    "provisional": "#8fc4e8",
    "first": "#cfe3f2",
    "finished": "#9aa3ad",
    "withdrawn": "#5b6570",
}


def show(api: Api) -> None:
    """The whole page."""
    ready()
    stats = api.get("/api/stats")
    scenes = api.every("/api/scenes", "scenes", limit=1000)
    gaps = api.every("/api/gaps", "gaps")
    seen = api.get("/api/stats/observations") if scenes else {"scenes": (), "tiles": ()}
    labels = api.get("/api/labels")["labels"]
    if not scenes and not gaps:
        nothing_yet()
        return
    _totals(stats, scenes)
    left, right = st.columns([1, 1], gap="medium")
    with left:
        _scenes(stats)
        _clouds(scenes)
    with right:
        _coverage(seen["tiles"], scenes)
    _reasons(stats)
    _gaps(gaps)
    left, right = st.columns([1, 1], gap="medium")
    with left:
        quality.bands(seen["scenes"])
    with right:
        quality.observations(seen["tiles"])
    left, right = st.columns([1, 1], gap="medium")
    with left:
        _alerts(stats)
        _durations(stats)
    with right:
        _models(stats)
        quality.balance(stats["labels"])
    quality.dataset(stats, labels)


def _totals(stats: Mapping[str, Any], scenes: Rows) -> None:
    ended = figures.outcomes(stats["scenes_by_month"])
    alerts = sum(row["alerts"] for row in stats["alerts"] if row["state"] != "withdrawn")
    verdicts = sum(row["reviews"] for row in stats["verdicts"])
    values = [
        ("Scenes", len(scenes), "on the platform, whatever became of them"),
        ("Compared", ended.get("done", 0), "scenes whose run is done"),
        ("Not compared", len(scenes) - ended.get("done", 0), "skipped, failed or waiting"),
        ("Alerts", alerts, "all states but withdrawn"),
        ("Verdicts", verdicts, "reviews, a second one of the same alert included"),
        ("Verified tiles", stats["labels"]["tiles"], "newest version of each"),
    ]
    for column, (name, value, meaning) in zip(st.columns(len(values)), values, strict=True):
        column.metric(name, f"{value:,}", help=meaning, border=True)


def _scenes(stats: Mapping[str, Any]) -> None:
    frame = figures.scenes_by_month(stats["scenes_by_month"])
    title(
        "Scenes over time",
        "Scenes by month of acquisition and by how they ended; what was refused or failed before "
        "it became a scene, by month of arrival.",
    )
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("month:O", title=None, axis=alt.Axis(labelAngle=-45)),
            y=alt.Y("scenes:Q", title="scenes", axis=alt.Axis(tickMinStep=1)),
            color=scale("outcome", _COLOURS),
            tooltip=["month", "ended", "scenes"],
        )
    )
    draw(chart)


def _clouds(scenes: Rows) -> None:
    frame = figures.clouds(scenes)
    title(
        "Not observed",
        "Percent of each compared run's ground that cloud, shadow or missing data hid, on either "
        "date. Scenes without a run are left out.",
    )
    chart = (
        alt.Chart(frame)
        .mark_circle(size=60, color=BAR, opacity=0.9)
        .encode(
            x=alt.X("acquired:T", title=None),
            y=alt.Y("unseen:Q", title="percent", scale=alt.Scale(domain=[0, 100])),
            tooltip=["scene", alt.Tooltip("unseen:Q", format=".0f")],
        )
    )
    draw(chart)


def _coverage(tiles: Rows, scenes: Rows) -> None:
    title(
        "Where",
        "Outlines: scenes, by how they ended. Shade: how many of the latest 60 scenes show at "
        "least half of the tile (4.48 km). Point at one for its counts.",
    )
    coverage_map(figures.footprints(scenes), figures.tile_polygons(tiles))


def _reasons(stats: Mapping[str, Any]) -> None:
    frame = figures.reasons(stats["scenes_by_month"])
    if frame.empty:
        return
    title("Why not compared", "Scenes and arrivals by the reason for which they were not compared.")
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            y=alt.Y("reason:N", title=None, sort="-x", axis=alt.Axis(labelLimit=260)),
            x=alt.X("scenes:Q", title="scenes", axis=alt.Axis(tickMinStep=1)),
            color=scale("outcome", _COLOURS),
            tooltip=["outcome", "reason", "scenes"],
        )
    )
    draw(chart, height=70 + 26 * len(frame))


def _gaps(rows: Rows) -> None:
    title("Gaps", "Every scene that was not compared, and why. `groundshift gaps` lists the same.")
    if not rows:
        st.success("No gap: every scene that came was compared.", icon=":material/check:")
        return
    st.dataframe(
        figures.gaps(rows),
        hide_index=True,
        height=min(38 + 35 * len(rows), 250),
        column_config={"message": st.column_config.TextColumn(width="large")},
    )


def _alerts(stats: Mapping[str, Any]) -> None:
    frame = figures.alerts_by_class(stats["alerts"])
    title("Alerts by change", "Alerts that stand now, by what changed into what, and by state.")
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            y=alt.Y("change:N", title=None, sort="-x", axis=alt.Axis(labelLimit=220)),
            x=alt.X("alerts:Q", title="alerts", axis=alt.Axis(tickMinStep=1)),
            color=scale("state", _STATES),
            tooltip=["change", "state", "alerts", alt.Tooltip("hectares:Q", format=".1f")],
        )
    )
    draw(chart, height=max(HEIGHT, 24 * frame["change"].nunique()))


def _durations(stats: Mapping[str, Any]) -> None:
    frame = figures.durations(stats["runs"])
    title("Run durations", "Seconds from plan to products of each finished run, the latest 500.")
    chart = (
        alt.Chart(frame)
        .mark_circle(size=60, color=BAR, opacity=0.9)
        .encode(
            x=alt.X("finished:T", title=None),
            y=alt.Y("seconds:Q", title="seconds"),
            tooltip=["scene_id", alt.Tooltip("seconds:Q", format=".1f")],
        )
    )
    draw(chart)


def _models(stats: Mapping[str, Any]) -> None:
    title(
        "Model sets",
        "Runs of each set of three models (first 8 digits of their digests). Traffic: its share of "
        "the latest 100 runs. Accepted: accept and redraw among accept, redraw and reject.",
    )
    st.dataframe(figures.model_sets(stats["model_sets"]), hide_index=True)
