"""One self-contained HTML file: before and after of every run, alerts, and what was not observed.

The file needs no network and no server: pictures, outlines and script are inside. Outlines come as
picture pixels, so that the script knows no projection. Whatever comes from outside (titles, ids,
properties) is escaped or travels as JSON, and a content security policy allows but that one script.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import shapely
from PIL import Image
from pyproj import Transformer
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from geodata_etl import render
from geodata_etl.bands import Cover
from geodata_etl.errors import GroundshiftError
from geodata_etl.grid import Grid
from geodata_etl.palette import COVER_COLOURS, css
from geodata_etl.view import View, read_scene, read_share

LONGEST_PX: Final = 1400
"""Longest side of a map's pictures."""
MAX_BYTES: Final = 5_500_000
"""Size that a map's file stays under, as far as its pictures can help it."""

_QUALITIES: Final = (90, 80, 70, 55, 40, 25)
"""WebP qualities, tried until a picture fits its share of the file."""
_GROUND: Final = ("changed", "unchanged", "not_observed")
_BASE64: Final = 4 / 3
_PLACEHOLDER: Final = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True)
class MapRun:
    """A run as the map shows it."""

    run_id: str
    before_cog: Path | str
    """Stack of the newest baseline scene (path or /vsi address)."""
    after_cog: Path | str
    """Stack of the scene."""
    observed_tif: Path | str
    before_date: date
    after_date: date
    summary: Mapping[str, Any]
    """`Summary.as_dict`."""


@dataclass(frozen=True)
class MapLayer:
    """A run's pictures, encoded, all of one `View`."""

    run: MapRun
    before: bytes
    """WebP, true colour."""
    after: bytes
    """WebP, true colour."""
    unseen: bytes
    """PNG: hatched where not observed, clear elsewhere."""


def map_view(grid: Grid) -> View:
    """How a map sees a site's grid."""
    return View.fit(grid, longest=LONGEST_PX)


def read_layers(view: View, runs: Sequence[MapRun]) -> list[MapLayer]:
    """Read and encode the pictures of `runs`, oldest first; a scene of two runs is read once.

    The more runs, the smaller each picture, so that the file stays under `MAX_BYTES`.
    """
    scenes = {str(path): path for run in runs for path in (run.before_cog, run.after_cog)}
    budget = int(0.8 * MAX_BYTES / _BASE64 / max(1, len(scenes)))
    encoded = {key: _scene_webp(path, view, budget) for key, path in scenes.items()}
    return [
        MapLayer(
            run=run,
            before=encoded[str(run.before_cog)],
            after=encoded[str(run.after_cog)],
            unseen=_hatch_png(run.observed_tif, view),
        )
        for run in sorted(runs, key=lambda run: (run.after_date, run.run_id))
    ]


def write_map(
    path: Path,
    *,
    title: str,
    view: View,
    layers: Sequence[MapLayer],
    alerts: Mapping[str, Any],
    summary: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the map.

    `layers` are the runs of one site, oldest first, as `read_layers` gives them for `view`.
    `alerts` is a GeoJSON FeatureCollection in EPSG:4326 of polygons; of its properties the map
    shows ``from_class``, ``to_class``, ``area_m2``, ``probability``, ``state``, ``first_seen``,
    ``last_seen`` (ISO dates) and ``observed_fraction``, where present. `summary` is a table of
    (name, value) shown beside the map.
    """
    if not layers:
        raise GroundshiftError("a map needs at least one run: give the layers of a site's runs")
    template = files("geodata_etl") / "templates"
    script = (template / "map.js").read_text(encoding="utf-8")
    page = _fill(
        (template / "map.html").read_text(encoding="utf-8"),
        {
            "title": html.escape(title),
            "style": (template / "map.css").read_text(encoding="utf-8"),
            "data": script_json(_document(title, view, layers, alerts, summary)),
            "script": script,
            "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        },
    )
    path.write_text(page, encoding="utf-8", newline="\n")


def script_json(value: object) -> str:
    """JSON that may stand inside a script element: nothing in it can close the element."""
    text = orjson.dumps(value).decode()
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _fill(template: str, values: Mapping[str, str]) -> str:
    """Fill ``{{name}}`` in one pass, so that nothing inside a value is ever filled again."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def _document(
    title: str,
    view: View,
    layers: Sequence[MapLayer],
    alerts: Mapping[str, Any],
    summary: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    pictures: dict[str, str] = {}
    return {
        "title": title,
        "width": view.shape[1],
        "height": view.shape[0],
        "metresPerPixel": view.pixel_m,
        "layers": [_layer(layer, pictures) for layer in layers],
        "pictures": pictures,
        "alerts": _alerts(alerts, view),
        "classes": [{"name": cover.label, "color": css(COVER_COLOURS[cover])} for cover in Cover],
        "summary": [[str(name), str(value)] for name, value in summary],
    }


def _layer(layer: MapLayer, pictures: dict[str, str]) -> dict[str, Any]:
    run = layer.run
    return {
        "runId": run.run_id,
        "beforeDate": run.before_date.isoformat(),
        "afterDate": run.after_date.isoformat(),
        "before": _picture(layer.before, "webp", pictures),
        "after": _picture(layer.after, "webp", pictures),
        "unseen": _picture(layer.unseen, "png", pictures),
        "km2": {
            name: run.summary.get(f"{name}_km2")
            for name in ("changed", "unchanged", "not_observed")
        },
    }


def _picture(data: bytes, kind: str, pictures: dict[str, str]) -> str:
    """Keep a picture once, however many layers show it; returns its key."""
    key = hashlib.sha256(data).hexdigest()[:12]
    pictures[key] = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return key


def _alerts(collection: Mapping[str, Any], view: View) -> list[dict[str, Any]]:
    to_utm = Transformer.from_crs(4326, view.grid.epsg, always_xy=True)
    found = [_alert(feature, view, to_utm) for feature in collection["features"]]
    return sorted(found, key=lambda alert: alert["id"])


def _alert(feature: Mapping[str, Any], view: View, to_utm: Transformer) -> dict[str, Any]:
    properties = feature.get("properties") or {}
    lonlat = shape(feature["geometry"])
    centre = lonlat.representative_point()
    outline = _on_picture(lonlat, view, to_utm)
    area = properties.get("area_m2")
    return {
        "id": str(properties.get("id") or feature.get("id") or ""),
        "path": _svg_path(outline),
        "box": [round(edge, 1) for edge in outline.bounds],
        "lonlat": [round(centre.x, 5), round(centre.y, 5)],
        "from": str(properties.get("from_class", "")),
        "to": str(properties.get("to_class", "")),
        "state": str(properties.get("state", "")),
        "areaM2": float(area) if area is not None else None,
        "probability": _first(properties, "probability", "mean_probability"),
        "observed": _first(properties, "observed_fraction"),
        "first": str(_first(properties, "first_seen", "after_date") or "")[:10],
        "last": str(_first(properties, "last_seen", "after_date") or "")[:10],
    }


def _first(properties: Mapping[str, Any], *names: str) -> Any:
    return next((properties[name] for name in names if properties.get(name) is not None), None)


def _on_picture(lonlat: BaseGeometry, view: View, to_utm: Transformer) -> BaseGeometry:
    def project(points: Any) -> Any:
        return view.to_picture(np.column_stack(to_utm.transform(points[:, 0], points[:, 1])))

    outline: BaseGeometry = shapely.transform(lonlat, project)
    return outline if view.factor == 1 else outline.simplify(0.3)


def _svg_path(geometry: BaseGeometry) -> str:
    """Every ring of a polygon or its parts as one SVG path, one decimal."""
    rings = [
        ring
        for part in shapely.get_parts(geometry)
        if part.geom_type == "Polygon"
        for ring in (part.exterior, *part.interiors)
    ]
    return "".join(
        "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in ring.coords[:-1]) + "Z" for ring in rings
    )


def _scene_webp(path: Path | str, view: View, budget: int) -> bytes:
    picture = Image.fromarray(render.true_color(read_scene(path, view, bands=render.TRUE_COLOR)))
    for quality in _QUALITIES:
        data = _encode(picture, "WEBP", quality=quality, method=4)
        if len(data) <= budget:
            break
    return data


def _hatch_png(path: Path | str, view: View) -> bytes:
    stripes = render.hatch(read_share(path, view))
    palette = Image.fromarray(stripes).quantize(4, method=Image.Quantize.FASTOCTREE)
    return _encode(palette, "PNG", optimize=True)


def _encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
