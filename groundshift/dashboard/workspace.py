"""The maps as own Streamlit components: no iframe, and no redraw by Streamlit ever moves them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import streamlit as st

from groundshift.dashboard.server import assets_path

_LOADER: Final = """
const mounted = new WeakMap();

export default function (component) {
  const root = component.parentElement;
  if (mounted.has(root)) {
    mounted.get(root).then((view) => view.update(component));
  } else {
    const address = new URL(component.data.assets + "/MODULE", document.baseURI).href;
    mounted.set(root, import(address).then((module) => module.mount(component)));
  }
  return () => {
    mounted.get(root)?.then((view) => view.remove());
    mounted.delete(root);
  };
}
"""

Mode = Literal["review", "label"]


def workspace(mode: Mode, *, user: Mapping[str, Any]) -> None:
    """Mount the map; what the person looks at is kept in the page's address.

    `user` is who logged in, as /api/me says it; empty: the local user.
    """
    key = f"workspace-{mode}"

    def keep_view() -> None:
        view = st.session_state[key].get("view") or {}
        st.query_params.from_dict({str(name): str(value) for name, value in view.items()})

    view = st.query_params.to_dict()
    data = {"assets": _assets(), "mode": mode, "view": view, "user": dict(user)}
    _component("workspace", "gs-place", module="mount")(
        key=key, data=data, on_view_change=keep_view
    )


def coverage_map(footprints: Mapping[str, Any], tiles: Mapping[str, Any]) -> None:
    """A small map of scenes and tiles, as GeoJSON in EPSG:4326."""
    data = {"assets": _assets(), "footprints": footprints, "tiles": tiles}
    _component("coverage", "gs-coverage", module="coverage")(key="coverage", data=data)


def _assets() -> str:
    return assets_path().lstrip("/")


def _component(name: str, css_class: str, *, module: str) -> Any:
    return st.components.v2.component(
        f"groundshift.{name}",
        js=_LOADER.replace("MODULE", f"{module}.mjs"),
        html=f"<div class='{css_class}'></div>",
        isolate_styles=False,
    )
