"""detect: block.ready -> block.done. Dask over the block's tiles, each through the three models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from dask.base import compute
from dask.delayed import delayed
from numpy.typing import NDArray

from functions.platform import Platform
from geodata_etl.arrays import pack
from geodata_etl.bands import NOT_OBSERVED
from geodata_etl.grid import HALO_PX, Block, Extent, Tile
from geodata_etl.windows import BlockReader
from groundshift import keys
from groundshift.errors import ModelMismatch
from groundshift.events import BlockDone, BlockReady, Event, SceneReady
from groundshift.ledger import runs, scenes
from groundshift.ledger.runs import Run
from groundshift.runs import Parameters, model_set_of
from groundshift.tiles import TileChain, TileResult, TileScene

STAGE: Final = "detect"
_EMPTY: Final = {
    "change": NOT_OBSERVED,
    "observed": 0,
    "before_class": NOT_OBSERVED,
    "after_class": NOT_OBSERVED,
}
"""The arrays of a block artifact and what stands in them where nothing was seen."""


def detect(event: Event, platform: Platform) -> None:
    """Score a block and store its artifact; a run that was superseded needs it no more."""
    ready = BlockReady.of(event)
    with platform.ledger.read() as connection:
        run = runs.get(connection, ready.run_id)
    try:
        if run.state == "planned":
            _ensure_artifact(run, Block.parse(ready.block), platform)
    except ModelMismatch as mismatch:
        _plan_again(event, run, mismatch, platform)
        return
    with platform.ledger.transaction() as tx:
        if not tx.first_time(STAGE, event):
            return
        runs.finish_block(tx, run.run_id, ready.block)
        tx.say(
            BlockDone(run_id=run.run_id, block=ready.block),
            source=STAGE,
            subject=f"{run.run_id}/{ready.block}",
            attempt=run.attempt,
            tenant=run.tenant,
        )


def _ensure_artifact(run: Run, block: Block, platform: Platform) -> None:
    """Compute the block unless its artifact stands: it follows from its key alone."""
    key = keys.block_artifact(run.run_id, str(block))
    with platform.flights(key):
        if not platform.store.exists(key):
            platform.store.put_if_absent(key, pack(_score(run, block, platform)))


def _score(run: Run, block: Block, platform: Platform) -> Mapping[str, NDArray[np.uint8]]:
    with platform.ledger.read() as connection:
        extent = scenes.get(connection, run.scene_id).extent
    area = block.core & extent
    arrays = {
        name: np.full((area.height, area.width), empty, np.uint8) for name, empty in _EMPTY.items()
    }
    chain = TileChain(
        models=platform.models,
        model_set=model_set_of(run.model_set),
        store=platform.store,
        cloud_buffer_px=Parameters(**run.params).cloud_buffer_px,
        flights=platform.flights,
    )
    readers = _readers(run, block, platform)
    compare = delayed(chain.compare, pure=False, traverse=False)
    tiles = [tile for tile in block.tiles if not (tile.core & extent).empty]
    tasks = [
        compare(
            tile,
            _of_tile(readers, run.scene_id, tile),
            [_of_tile(readers, scene_id, tile) for scene_id in run.baseline],
        )
        for tile in tiles
    ]
    workers = platform.settings.detect_workers
    results = compute(*tasks, scheduler="threads", num_workers=workers)  # type: ignore[no-untyped-call]
    for tile, result in zip(tiles, results, strict=True):
        _paste(arrays, area, tile, result)
    return arrays


def _readers(run: Run, block: Block, platform: Platform) -> dict[str, BlockReader]:
    extent = block.core.buffered(HALO_PX)
    names = (run.scene_id, *run.baseline)
    return {name: BlockReader(platform.store.url(keys.scene_cog(name)), extent) for name in names}


def _of_tile(readers: Mapping[str, BlockReader], scene_id: str, tile: Tile) -> TileScene:
    return TileScene(scene_id, readers[scene_id].reader(tile))


def _paste(
    arrays: Mapping[str, NDArray[np.uint8]], area: Extent, tile: Tile, result: TileResult
) -> None:
    """Put a tile's core where it belongs, cut to the run's grid."""
    shared = tile.core & area
    for name, array in arrays.items():
        array[shared.slices_in(area)] = getattr(result, name)[shared.slices_in(tile.core)]


def _plan_again(event: Event, run: Run, mismatch: ModelMismatch, platform: Platform) -> None:
    """Another model answers now than when the run was planned: a run never mixes models."""
    with platform.ledger.transaction() as tx:
        if not tx.first_time(STAGE, event):
            return
        if runs.get(tx.connection, run.run_id).state != "planned":
            return
        runs.supersede(tx, run.run_id, reason="model_mismatch", message=str(mismatch))
        tx.say(
            SceneReady(scene_id=run.scene_id, site_id=run.site_id),
            source=STAGE,
            subject=run.scene_id,
            attempt=1 + len(runs.of_scene(tx.connection, run.scene_id)) + run.attempt,
            tenant=run.tenant,
        )
