"""The data page's second half: how well the ground is seen, and what labels there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import altair as alt
import streamlit as st

from groundshift.dashboard import figures
from groundshift.dashboard.figures import Rows
from groundshift.dashboard.views.charts import BAR, draw, title

_BANDS: Final = {
    "blue": "#0072b2",
    "green": "#009e73",
    "red": "#d55e00",
    "nir": "#cc79a7",
    "swir16": "#e69f00",
    "swir22": "#f0e442",
}
_SHOWN: Final = 12
"""Digits of a version that a table shows."""


def bands(scenes: Rows) -> None:
    """The median reflectance of each band over time."""
    frame = figures.bands(scenes)
    title(
        "Bands",
        "Median reflectance of each band over the valid pixels of each scene, clouds included; "
        "the bar spans the 25th to the 75th percentile. A step that no season explains is a "
        "sensor's or a processor's.",
    )
    if frame.empty:
        st.info("No scene's raster is at hand.", icon=":material/info:")
        return
    colour = alt.Color(
        "band:N",
        scale=alt.Scale(domain=list(_BANDS), range=list(_BANDS.values())),
        legend=alt.Legend(title=None, orient="top"),
    )
    tips = [alt.Tooltip(name) for name in ("scene", "band")]
    tips += [alt.Tooltip(f"{point}:Q", format=".3f") for point in figures.POINTS]
    base = alt.Chart(frame).encode(x=alt.X("acquired:T", title=None), color=colour, tooltip=tips)
    bars = base.mark_rule(strokeWidth=2, opacity=0.5).encode(
        y=alt.Y("p25:Q", title="reflectance"), y2="p75:Q"
    )
    points = base.mark_line(point=True).encode(y=alt.Y("p50:Q", title="reflectance"))
    draw(bars + points)


def observations(tiles: Rows) -> None:
    """How often each tile was seen."""
    title(
        "Observations of tiles",
        "Of the latest 60 scenes, by tile (4.48 km). Valid: show at least half of the tile. "
        "Observed: their run saw at least half of it on both dates, without cloud or shadow.",
    )
    frame = figures.observations(tiles)
    if frame.empty:
        return
    st.dataframe(
        frame,
        hide_index=True,
        height=min(38 + 35 * len(frame), 250),
        column_config={
            name: st.column_config.ProgressColumn(name, format="percent", min_value=0, max_value=1)
            for name in ("mean valid", "mean observed")
        },
    )


def dataset(stats: Mapping[str, Any], labels: Rows) -> None:
    """What training would get, and every version of every tile with what it follows from."""
    known = stats["dataset"]
    title(
        "Dataset",
        "Verified tiles that stand now, and every version with its lineage: the run that shows the "
        "pair, and the reviews. A version is the digest of pixels, masks and lineage.",
    )
    if not labels:
        st.info(
            "No verified tile yet: each review on the Review page makes one.",
            icon=":material/info:",
        )
        return
    said = ", ".join(f"{count} under {name}" for name, count in known["licences"].items())
    version = (known["version"] or "nothing stands")[:_SHOWN]
    st.markdown(
        f"Version `{version}` · {known['tiles']} tiles ({said}) · {known['versions']} versions"
    )
    st.dataframe(figures.versions(labels), hide_index=True, height=min(38 + 35 * len(labels), 250))
    st.caption(
        "`groundshift labels export FILE` writes them as GeoJSON or COCO; `diff` says what changed."
    )


def balance(labels: Mapping[str, Any]) -> None:
    """Verified change by classes."""
    title("Label balance", "Hectares of verified change in the newest version of each tile.")
    frame = figures.label_balance(labels)
    if frame.empty:
        st.info(
            "No verified change yet: accept or redraw alerts on the Review page.",
            icon=":material/info:",
        )
        return
    chart = (
        alt.Chart(frame)
        .mark_bar(color=BAR)
        .encode(
            y=alt.Y("change:N", title=None, sort="-x", axis=alt.Axis(labelLimit=220)),
            x=alt.X("hectares:Q", title="hectares"),
            tooltip=["change", alt.Tooltip("hectares:Q", format=".2f")],
        )
    )
    draw(chart)
    pixels = labels["pixels"]
    st.caption(
        "Pixels of 100 m²: " + ", ".join(f"{count:,} {kind}" for kind, count in pixels.items())
    )
