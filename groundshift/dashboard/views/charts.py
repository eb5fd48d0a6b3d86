"""What the charts of the data page share."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any, Final

import altair as alt
import pandas as pd
import pyarrow as pa
import streamlit as st

HEIGHT: Final = 190
BAR: Final = "#5aa9e6"
_ONE: Final = Lock()


def ready() -> None:
    """Have pyarrow learn about pandas by one thread: two that do at once break each other's."""
    with _ONE:
        pa.Table.from_pandas(pd.DataFrame({"ready": [True]}))


def title(name: str, counts: str) -> None:
    """A heading, and what the figure counts."""
    st.markdown(f"##### {name}")
    st.caption(counts)


def scale(field: str, colours: Mapping[str, str]) -> alt.Color:
    """Colours that are fixed by name."""
    fixed = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color(f"{field}:N", scale=fixed, legend=alt.Legend(title=None, orient="top"))


def draw(chart: Any, *, height: int = HEIGHT) -> None:
    """A chart as wide as its column."""
    st.altair_chart(chart.properties(height=height), width="stretch")
