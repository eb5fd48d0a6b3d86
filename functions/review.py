"""review: alert.reviewed -> label.accepted. Verdicts become verified tiles.

Each tile that the alert touches is folded anew from every review that stands, and stored under its
content; so it does not matter which review came last, or how often it came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import rasterio
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection

from functions.platform import Platform
from geodata_etl.cog import gdal_env
from geodata_etl.composite import blend_baseline
from geodata_etl.grid import TILE_PX, Extent, Tile, grid_of_transform
from geodata_etl.windows import read_extent
from groundshift import keys
from groundshift.events import AlertReviewed, Event, LabelAccepted
from groundshift.labels import (
    Judged,
    LabelTile,
    fold_masks,
    store_label,
    tiles_touched,
    to_utm,
)
from groundshift.ledger import Tx, alert_views, labels, reviews, runs, scenes
from groundshift.ledger.labels import Label
from groundshift.ledger.reviews import Review
from groundshift.ledger.runs import Run
from groundshift.ledger.scenes import Site
from groundshift.ports import ObjectStore
from groundshift.runs import Parameters, model_set_of
from groundshift.tiles import TileChain, TileScene

STAGE: Final = "review"


@dataclass(frozen=True)
class _Task:
    """A run's reviews around one alert."""

    run: Run
    site: Site
    judged: tuple[Judged, ...]
    """Of every alert of the run, in the order of their ids."""
    tiles: tuple[Tile, ...]
    """Those that the alert touches."""

    @property
    def review_ids(self) -> frozenset[str]:
        """What the labels follow from."""
        return frozenset(one.review_id for one in self.judged)


def review(event: Event, platform: Platform) -> None:
    """Make the labels of the tiles that a reviewed alert touches anew."""
    said = AlertReviewed.of(event)
    with platform.ledger.read() as connection:
        run_id = reviews.get(connection, said.review_id).run_id
    if run_id is None:
        return  # the alert's runs were superseded: there is no pair to show
    with platform.flights(f"review/{run_id}"):
        while not _review_once(event, said, run_id, platform):
            continue  # another review came meanwhile: fold again with it


def _review_once(event: Event, said: AlertReviewed, run_id: str, platform: Platform) -> bool:
    """Fold and store outside the transaction; commit if the reviews are still those."""
    with platform.ledger.read() as connection:
        task = _task(connection, run_id, said.alert_id)
    made = [_label(task, tile, platform) for tile in task.tiles]
    for one in made:
        if not one.empty:
            store_label(platform.store, one)
    with platform.ledger.transaction() as tx:
        if _task(tx.connection, run_id, said.alert_id).review_ids != task.review_ids:
            return False
        if tx.first_time(STAGE, event):
            for one in made:
                _commit(tx, task, one, said.reviewer)
    return True


def _task(connection: Connection, run_id: str, alert_id: str) -> _Task:
    run = runs.get(connection, run_id)
    site = scenes.site(connection, run.site_id)
    project = partial(to_utm, epsg=site.epsg)
    said = [one for one in reviews.of_run(connection, run_id) if one.tenant == run.tenant]
    outlines = alert_views.outlines(connection, (one.alert_id for one in said))
    judged = tuple(_judged(one, outlines[one.alert_id], project) for one in said)
    touched = [
        shape
        for one, verdict in zip(said, judged, strict=True)
        if one.alert_id == alert_id
        for shape in verdict.drawn
    ]
    return _Task(run, site, judged, tuple(tiles_touched(touched)))


def _judged(one: Review, outline: str, project: Callable[[str], BaseGeometry]) -> Judged:
    return Judged(
        review_id=one.review_id,
        verdict=one.verdict,
        outline=project(outline),
        redrawn=project(one.geometry) if one.geometry else None,
        ignored=project(one.ignored) if one.ignored else None,
        from_class=one.from_class,
        to_class=one.to_class,
    )


def _label(task: _Task, tile: Tile, platform: Platform) -> LabelTile:
    before, after = _pixels(task.run, tile, platform)
    touching = [one for one in task.judged if tile in tiles_touched(one.drawn)]
    masks = fold_masks(touching, tile, _observed(platform.store, task.run.run_id, tile))
    return LabelTile(
        tile=tile,
        epsg=task.site.epsg,
        before=before,
        after=after,
        masks=masks,
        lineage=_lineage(task, tile, touching, platform),
    )


def _lineage(
    task: _Task, tile: Tile, touching: Sequence[Judged], platform: Platform
) -> Mapping[str, Any]:
    return {
        "run": task.run.run_id,
        "site": task.site.site_id,
        "tenant": task.run.tenant,
        "tile": str(tile),
        "epsg": task.site.epsg,
        "after": task.run.scene_id,
        "before": list(task.run.baseline),
        "models": [{"name": m["name"], "digest": m["digest"]} for m in task.run.model_set],
        "reviews": sorted(one.review_id for one in touching),
        "licence": platform.settings.label_licence,
    }


def _pixels(
    run: Run, tile: Tile, platform: Platform
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """What the run compared in a tile: the baseline's composite and the scene.

    What the models said of clouds then is in the store: nothing is computed again.
    """
    chain = TileChain(
        models=platform.models,
        model_set=model_set_of(run.model_set),
        store=platform.store,
        cloud_buffer_px=Parameters(**run.params).cloud_buffer_px,
        flights=platform.flights,
    )
    layers = (chain.layer(tile, _of_scene(name, tile, platform.store)) for name in run.baseline)
    before = blend_baseline(layers, shape=(TILE_PX, TILE_PX)).bands
    return before, _of_scene(run.scene_id, tile, platform.store).read()


def _of_scene(scene_id: str, tile: Tile, store: ObjectStore) -> TileScene:
    url = store.url(keys.scene_cog(scene_id))

    def read() -> NDArray[np.uint16]:
        with gdal_env():
            return read_extent(url, tile.extent)

    return TileScene(scene_id, read)


def _observed(store: ObjectStore, run_id: str, tile: Tile) -> NDArray[np.bool_]:
    """Where the run saw both dates, over a tile with its halo."""
    seen = np.zeros((TILE_PX, TILE_PX), np.bool_)
    url = store.url(keys.product(run_id, "observed.tif"))
    with gdal_env(), rasterio.open(url) as raster:
        grid = grid_of_transform(raster.crs.to_epsg(), raster.transform, *raster.shape)
        shared: Extent = tile.extent & grid.extent
        if not shared.empty:
            window = shared.window_in(grid.extent)
            seen[shared.slices_in(tile.extent)] = raster.read(1, window=window) == 1
    return seen


def _commit(tx: Tx, task: _Task, made: LabelTile, reviewer: str) -> None:
    """Make a label the current one of its tile, and say so; or leave the tile without one."""
    run, tile = task.run, str(made.tile)
    if made.empty:
        labels.retire(tx, run.run_id, tile)
        return
    label = Label(
        version=made.version,
        tenant=run.tenant,
        site_id=run.site_id,
        run_id=run.run_id,
        tile=tile,
        reviews=made.lineage["reviews"],
        counts=made.counts,
        licence=made.lineage["licence"],
    )
    if labels.add(tx, label, actor=reviewer):
        data = LabelAccepted(
            version=label.version, site_id=run.site_id, run_id=run.run_id, tile=tile
        )
        tx.say(data, source=STAGE, subject=label.version, tenant=run.tenant, actor=reviewer)
