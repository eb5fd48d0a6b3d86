"""Blocks in, the run's rasters out: one pass, memory flat in the size of the scene."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geodata_etl.bands import NOT_OBSERVED, Cover
from geodata_etl.cog import Colours, cog_writer
from geodata_etl.errors import GroundshiftError
from geodata_etl.grid import Block, Extent, Grid, Tile
from geodata_etl.palette import COVER_COLOURS

CACHE_BYTES: Final = 64 << 20
"""GDAL's block cache for one-band uint8 rasters: five rows of 512 px blocks of 10980 px for each of
the four files. Smaller than for scenes, so that memory is the same for 4096 px and 10980 px."""

RASTERS: Final = ("change", "observed", "before_class", "after_class")
"""The run's rasters, which are also the arrays of a block's artifact."""


class BlocksMissing(GroundshiftError):
    """Some tiles of the run's grid came with no block: unseen ground must never be guessed."""


class BadBlock(GroundshiftError):
    """A block's arrays break the contract, or two blocks answer for the same tile."""


@dataclass(frozen=True)
class RasterSpec:
    """How one of the run's rasters is stored: uint8, one band."""

    nodata: int | None
    """None where every value says something: ``observed`` is 0 for not observed."""
    overviews: str
    """Resampling of the overviews. Nearest for `change`: a mean of levels is no level."""
    colours: Colours | None = None


SPECS: Final[Mapping[str, RasterSpec]] = {
    "change": RasterSpec(NOT_OBSERVED, "nearest"),
    "observed": RasterSpec(None, "nearest"),
    "before_class": RasterSpec(NOT_OBSERVED, "mode", COVER_COLOURS),
    "after_class": RasterSpec(NOT_OBSERVED, "mode", COVER_COLOURS),
}


def mosaic_blocks(
    blocks: Iterable[tuple[Block, Mapping[str, NDArray[Any]]]],
    grid: Grid,
    folder: Path,
    *,
    tags: Mapping[str, str] | None = None,
) -> dict[str, Path]:
    """Write ``change.tif``, ``observed.tif``, ``before_class.tif`` and ``after_class.tif``.

    `blocks` gives each block of `grid` once, in any order, with uint8 arrays ``change`` (0..254 =
    probability x 254), ``observed`` (0 / 1), ``before_class`` and ``after_class`` (`Cover`) of the
    block's core clipped to `grid`, 255 where not observed (``observed``: 0). The files are COGs on
    `grid`; their bytes do not depend on the size or order of the blocks. Only one block is held at
    a time.

    Returns the four paths by name. Raises BadBlock and BlocksMissing; no file is left then.
    """
    tiles: set[Tile] = set()
    with ExitStack() as stack:
        writers = {name: stack.enter_context(_writer(folder, name, grid, tags)) for name in RASTERS}
        for block, arrays in blocks:
            _claim(tiles, block)
            core = block.core & grid.extent
            if core.empty:
                continue
            _check(block, arrays, core)
            _write(writers, arrays, core.window_in(grid.extent))
        _require_all(tiles, grid)
    return {name: folder / f"{name}.tif" for name in RASTERS}


def _writer(folder: Path, name: str, grid: Grid, tags: Mapping[str, str] | None) -> Any:
    spec = SPECS[name]
    return cog_writer(
        folder / f"{name}.tif",
        grid=grid,
        dtype="uint8",
        count=1,
        nodata=spec.nodata,
        band_names=[name],
        resampling=spec.overviews,
        tags=tags,
        colours=spec.colours,
        cache_bytes=CACHE_BYTES,
    )


def _write(
    writers: Mapping[str, Callable[[Window, NDArray[Any]], None]],
    arrays: Mapping[str, NDArray[Any]],
    window: Window,
) -> None:
    for name, write in writers.items():
        write(window, arrays[name])


def _claim(tiles: set[Tile], block: Block) -> None:
    twice = tiles.intersection(block.tiles)
    if twice:
        raise BadBlock(f"block {block} covers tile {min(twice)} again: give each tile in one block")
    tiles.update(block.tiles)


def _require_all(tiles: set[Tile], grid: Grid) -> None:
    missing = sorted(set(grid.tiles) - tiles)
    if missing:
        raise BlocksMissing(
            f"{len(missing)} of {len(grid.tiles)} tiles came with no block, first {missing[0]}: "
            "detect every block of the run before it is assembled"
        )


def _check(block: Block, arrays: Mapping[str, NDArray[Any]], core: Extent) -> None:
    """The contract of a block's artifact, so that no product can contradict another."""
    missing = [name for name in RASTERS if name not in arrays]
    if missing:
        raise BadBlock(f"block {block} has no {', '.join(missing)}: detect it again")
    for name in RASTERS:
        array = arrays[name]
        if array.dtype != np.uint8 or array.shape != (core.height, core.width):
            raise BadBlock(
                f"block {block}: {name} is {array.dtype} {array.shape}, its core within the grid "
                f"is uint8 {(core.height, core.width)}: detect it again"
            )
    _check_values(block, arrays)


def _check_values(block: Block, arrays: Mapping[str, NDArray[Any]]) -> None:
    observed, change = arrays["observed"], arrays["change"]
    if (observed > 1).any():
        raise BadBlock(f"block {block}: observed holds {observed.max()}: only 0 and 1 are allowed")
    if ((change == NOT_OBSERVED) != (observed == 0)).any():
        raise BadBlock(f"block {block}: change must be 255 exactly where observed is 0")
    for name in ("before_class", "after_class"):
        seen = arrays[name][observed == 1]
        if seen.size and seen.max() >= len(Cover):
            raise BadBlock(f"block {block}: {name} holds {seen.max()} on observed ground")
