"""The demo's map and quicklooks, from what the platform stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from functions.platform import Platform
from geodata_etl.grid import Extent, Grid
from geodata_etl.htmlmap import MapRun, map_view, read_layers, write_map
from groundshift import keys
from groundshift.ledger import scenes
from groundshift.ledger.runs import Run
from groundshift.ledger.scenes import Scene


def write_demo_map(
    out: Path,
    platform: Platform,
    known: Sequence[Scene],
    done: Sequence[Run],
    alerts: Sequence[Mapping[str, Any]],
    summary: Sequence[tuple[str, str]],
) -> Path:
    """Write ``map.html`` and ``quicklooks/`` under `out`; the map's path."""
    with platform.ledger.read() as connection:
        site = scenes.sites_of(connection, platform.settings.tenant)[0]
    _quicklooks(out / "quicklooks", platform, known, done)
    extents = [scenes.find(known, run.scene_id).extent for run in done]
    view = map_view(Grid(site.epsg, _around(extents or [site.extent])))
    path = out / "map.html"
    write_map(
        path,
        title=f"groundshift: {site.name}",
        view=view,
        layers=read_layers(view, [_layer(run, known, platform) for run in done]),
        alerts=_features(alerts),
        summary=summary,
    )
    return path


def _quicklooks(
    folder: Path, platform: Platform, known: Sequence[Scene], done: Sequence[Run]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for run in done:
        name = f"{scenes.find(known, run.scene_id).acquired:%Y-%m-%d}.png"
        picture = platform.store.get(keys.product(run.run_id, "quicklook.png"))
        (folder / name).write_bytes(picture)


def _around(extents: Sequence[Extent]) -> Extent:
    whole = extents[0]
    for extent in extents[1:]:
        whole |= extent
    return whole


def _layer(run: Run, known: Sequence[Scene], platform: Platform) -> MapRun:
    before, after = (scenes.find(known, name) for name in (run.baseline[0], run.scene_id))
    url = platform.store.url
    return MapRun(
        run_id=run.run_id,
        before_cog=url(keys.scene_cog(before.scene_id)),
        after_cog=url(keys.scene_cog(after.scene_id)),
        observed_tif=url(keys.product(run.run_id, "observed.tif")),
        before_date=before.acquired.date(),
        after_date=after.acquired.date(),
        summary=run.summary,
    )


def _features(alerts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    features = [
        {
            "type": "Feature",
            "id": alert["id"],
            "geometry": orjson.loads(alert["geometry"]),
            "properties": {k: v for k, v in alert.items() if k != "geometry"},
        }
        for alert in alerts
    ]
    return {"type": "FeatureCollection", "features": features}
