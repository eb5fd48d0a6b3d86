"""A block's artifact: Dask over its tiles, each through the three models.

It follows from the run, the block and the objects alone: no ledger, so that any worker of any
machine that reads the objects and reaches the models can make it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from dask.base import compute
from dask.delayed import delayed
from numpy.typing import NDArray

from geodata_etl.arrays import pack
from geodata_etl.bands import NOT_OBSERVED
from geodata_etl.grid import HALO_PX, Block, Extent, Tile
from geodata_etl.windows import BlockReader
from groundshift import keys
from groundshift.ledger.runs import Run
from groundshift.ports import ModelClient, ObjectStore
from groundshift.runs import Parameters, model_set_of
from groundshift.settings import Settings
from groundshift.tiles import SingleFlight, TileChain, TileResult, TileScene

_EMPTY: Final = {
    "change": NOT_OBSERVED,
    "observed": 0,
    "before_class": NOT_OBSERVED,
    "after_class": NOT_OBSERVED,
}
"""The arrays of a block artifact and what stands in them where nothing was seen."""


class Tools(Protocol):
    """What a block is made with."""

    @property
    def settings(self) -> Settings:
        """For the number of threads."""
        ...

    @property
    def store(self) -> ObjectStore:
        """Where the scenes lie and the artifact goes."""
        ...

    @property
    def models(self) -> ModelClient:
        """Who answers for the tiles."""
        ...

    @property
    def flights(self) -> SingleFlight:
        """Keeps two threads from the same work."""
        ...


@dataclass(frozen=True)
class BlockTask:
    """A block of a run that waits for the models. Can be pickled."""

    run: Run
    block: Block
    extent: Extent
    """The run's grid: the scene's part of the site's."""

    @property
    def key(self) -> str:
        """Where its artifact lies."""
        return keys.block_artifact(self.run.run_id, str(self.block))

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The block's tiles that hold ground of the scene."""
        return tuple(tile for tile in self.block.tiles if not (tile.core & self.extent).empty)


Scorer = Callable[[BlockTask, Tools], None]
"""Sees to it that a block's artifact stands, by whatever means."""


def ensure_artifact(task: BlockTask, tools: Tools) -> None:
    """Compute the block here unless its artifact stands: it follows from its key alone."""
    with tools.flights(task.key):
        if not tools.store.exists(task.key):
            tools.store.put_if_absent(task.key, pack(_score(task, tools)))


def ensure_layers(task: BlockTask, tools: Tools) -> None:
    """Have what the first two models say of the run's own scene in the store."""
    chain, readers = _chain(task, tools), _readers(task, (task.run.scene_id,), tools)
    layer = delayed(chain.layer, pure=False, traverse=False)
    _computed(
        [layer(tile, _of_tile(readers, task.run.scene_id, tile)) for tile in task.tiles], tools
    )


def _score(task: BlockTask, tools: Tools) -> Mapping[str, NDArray[np.uint8]]:
    run, area = task.run, task.block.core & task.extent
    arrays = {
        name: np.full((area.height, area.width), empty, np.uint8) for name, empty in _EMPTY.items()
    }
    readers = _readers(task, (run.scene_id, *run.baseline), tools)
    compare = delayed(_chain(task, tools).compare, pure=False, traverse=False)
    tasks = [
        compare(
            tile,
            _of_tile(readers, run.scene_id, tile),
            [_of_tile(readers, scene_id, tile) for scene_id in run.baseline],
        )
        for tile in task.tiles
    ]
    for tile, result in zip(task.tiles, _computed(tasks, tools), strict=True):
        _paste(arrays, area, tile, result)
    return arrays


def _computed(tasks: list[object], tools: Tools) -> tuple[TileResult, ...]:
    workers = tools.settings.detect_workers
    return compute(*tasks, scheduler="threads", num_workers=workers)  # type: ignore[no-untyped-call,no-any-return]


def _chain(task: BlockTask, tools: Tools) -> TileChain:
    return TileChain(
        models=tools.models,
        model_set=model_set_of(task.run.model_set),
        store=tools.store,
        cloud_buffer_px=Parameters(**task.run.params).cloud_buffer_px,
        flights=tools.flights,
    )


def _readers(task: BlockTask, scene_ids: tuple[str, ...], tools: Tools) -> dict[str, BlockReader]:
    extent = task.block.core.buffered(HALO_PX)
    return {name: BlockReader(tools.store.url(keys.scene_cog(name)), extent) for name in scene_ids}


def _of_tile(readers: Mapping[str, BlockReader], scene_id: str, tile: Tile) -> TileScene:
    return TileScene(scene_id, readers[scene_id].reader(tile))


def _paste(
    arrays: Mapping[str, NDArray[np.uint8]], area: Extent, tile: Tile, result: TileResult
) -> None:
    """Put a tile's core where it belongs, cut to the run's grid."""
    shared = tile.core & area
    for name, array in arrays.items():
        array[shared.slices_in(area)] = getattr(result, name)[shared.slices_in(tile.core)]
