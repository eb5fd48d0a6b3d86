"""The plainest map of the same alerts: a Streamlit page with streamlit-folium, for a comparison.

Run by `benchmarks/dashboard.py`; the API's address is in GROUNDSHIFT_API.
"""

import os

import folium
import httpx
import streamlit as st
from streamlit_folium import st_folium

COLOURS = {"water": "#56b4e9", "tree": "#009e73", "bare": "#e69f00", "built": "#cc79a7"}


@st.cache_data
def alerts() -> dict:
    """Every alert, as GeoJSON."""
    url = f"{os.environ['GROUNDSHIFT_API']}/api/alerts"
    return httpx.get(url, params={"limit": 10_000}, timeout=120, trust_env=False).json()


st.set_page_config(layout="wide")
every = alerts()["features"]
words = sorted({feature["properties"]["to_class"] for feature in every})
chosen = st.selectbox("To", ["any", *words])
shown = [f for f in every if chosen in ("any", f["properties"]["to_class"])]
west, south, east, north = (
    min(f["bbox"][0] for f in every),
    min(f["bbox"][1] for f in every),
    max(f["bbox"][2] for f in every),
    max(f["bbox"][3] for f in every),
)
page = folium.Map(tiles=None)
page.fit_bounds([[south, west], [north, east]])
folium.GeoJson(
    {"type": "FeatureCollection", "features": shown},
    style_function=lambda f: {"color": COLOURS.get(f["properties"]["to_class"], "#d55e00")},
    smooth_factor=0,
).add_to(page)
st_folium(page, height=650, use_container_width=True, returned_objects=[])
st.write(f"{len(shown)} shown")
