"""One scene onto its site's grid: its shift measured, resampled once, written as a COG."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Final

import dask.base
import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.windows import Window

from geodata_etl.align import (
    Shift,
    cog_grid,
    cog_preview,
    cog_windows,
    estimate_shift,
    scene_windows,
)
from geodata_etl.bands import BANDS, NODATA, REFLECTANCE_SCALE
from geodata_etl.cog import BLOCK_PX, Block, gdal_env, write_cog
from geodata_etl.errors import Refusal, SceneRefused
from geodata_etl.grid import Extent, Grid, extent_of_bounds
from geodata_etl.scenes import MIN_EDGE_PX, Scene, SceneFile
from geodata_etl.stac import grid_outline
from geodata_etl.warp import Read, SceneReader, lazy_stack

_CHUNK_PX: Final = (BLOCK_PX, 2 * BLOCK_PX)
"""Rows and columns computed at a time: 6.3 MB of stack, one row of blocks, so that a source in
full-width strips is decoded once."""
_AT_ONCE: Final = 2
"""Chunks in memory, whatever the scene's size."""
_FAR_PX: Final = 10.0
"""`max_shift_px` where a caller gives none: 100 m, several times what any product promises."""


@dataclass(frozen=True)
class BandStatistics:
    """Of the valid pixels of one band, in stored units (reflectance x 10000)."""

    name: str
    minimum: int
    maximum: int
    mean: float
    stddev: float


@dataclass(frozen=True)
class Ingested:
    """A scene's analysis COG: uint16 [6, rows, columns], reflectance x 10000, 0 = nodata."""

    source_id: str
    """The scene's own id."""
    path: Path
    digest: str
    """``sha256:...`` of the COG file."""
    grid: Grid
    valid_fraction: float
    """Share of the grid's pixels that have data, 0..1."""
    shift: Shift | None
    """What was measured against the reference; None where there is none (it becomes one)."""
    statistics: tuple[BandStatistics, ...]

    @property
    def scene_id(self) -> str:
        """The id on the platform: the scene's own and the COG's digest, safe in keys and paths."""
        own = re.sub(r"[^A-Za-z0-9_.-]+", "-", self.source_id).strip(".-") or "scene"
        return f"{own[:80]}-{self.digest.removeprefix('sha256:')[:12]}"

    @property
    def alignment(self) -> str:
        """``reference``, ``measured`` or ``unmeasured`` (too few windows agreed: not moved)."""
        if self.shift is None:
            return "reference"
        return "measured" if self.shift.reliable else "unmeasured"

    @property
    def shift_yx_px(self) -> tuple[float, float]:
        """The shift that was applied, (rows, columns)."""
        return (self.shift.dy, self.shift.dx) if self.shift else (0.0, 0.0)


def ingest_scene(
    scene: Scene,
    *,
    epsg: int,
    site_extent: Extent,
    out: Path,
    reference: Path | None = None,
    max_shift_px: float = _FAR_PX,
) -> Ingested:
    """Write the scene's part of a site as a COG at `out`; the same input gives the same file.

    `reference` is the ingested COG that the site is aligned to; where too few windows agree on a
    shift, the scene is not moved and says so.

    Raises SceneRefused, and then leaves nothing at `out`: NO_OVERLAP, TOO_SMALL, NOT_ALIGNED over
    `max_shift_px`, ALL_NODATA, and what pixels can show (UNREADABLE, UNDECLARED_NAN, INFINITE).
    """
    with gdal_env():
        grid = scene_grid(scene, epsg=epsg, site_extent=site_extent)
        read = SceneReader(scene.files)
        shift = measure_shift(scene, grid, reference, read) if reference else None
        _check_shift(shift, max_shift_px)
        by = (shift.dy, shift.dx) if shift else (0.0, 0.0)
        stack = lazy_stack(scene, grid, shift_yx_px=by, chunk_px=_CHUNK_PX, read=read)
        tally = _Tally()
        digest = write_cog(
            out,
            _blocks(stack, tally, scene),
            grid=grid,
            dtype="uint16",
            count=len(BANDS),
            nodata=NODATA,
            band_names=BANDS,
            resampling="average",
            scale=1 / REFLECTANCE_SCALE,
            tags={"ACQUISITION_DATETIME": scene.acquired.isoformat(), "SOURCE_ID": scene.id},
        )
    height, width = grid.shape
    return Ingested(
        source_id=scene.id,
        path=out,
        digest=digest,
        grid=grid,
        valid_fraction=tally.valid / (height * width),
        shift=shift,
        statistics=tally.statistics(),
    )


def scene_grid(scene: Scene, *, epsg: int, site_extent: Extent) -> Grid:
    """The part of a site's grid that a scene covers.

    Raises SceneRefused: NO_OVERLAP, TOO_SMALL.
    """
    site = Grid(epsg, site_extent)
    extent = site_extent
    if grid_outline(site).intersects(scene.footprint):
        for file in scene.files:
            extent &= _extent(file, epsg)
    if extent.empty or not grid_outline(site).intersects(scene.footprint):
        raise SceneRefused(
            Refusal.NO_OVERLAP,
            f"scene {scene.id} (lon/lat {_numbers(scene.footprint.bounds)}) has no ground in "
            f"common with the site ({_numbers(grid_outline(site).bounds)}): submit it to the site "
            "it belongs to",
        )
    if min(extent.height, extent.width) < MIN_EDGE_PX:
        raise SceneRefused(
            Refusal.TOO_SMALL,
            f"scene {scene.id} and the site share {extent.height} x {extent.width} pixels, less "
            f"than {MIN_EDGE_PX} x {MIN_EDGE_PX}: give a scene that covers more of the site",
        )
    return Grid(epsg, extent)


def measure_shift(scene: Scene, grid: Grid, reference: Path, read: Read | None = None) -> Shift:
    """The scene's shift against an ingested COG; only windows of both are read."""
    with gdal_env(), rasterio.open(reference, driver="GTiff") as file:
        fixed = cog_grid(file)
    if fixed.epsg != grid.epsg:
        raise ValueError(f"the reference is in EPSG:{fixed.epsg}, the site in EPSG:{grid.epsg}")
    shared = grid.extent & fixed.extent
    return estimate_shift(
        scene_windows(scene, grid.epsg, read),
        cog_windows(reference),
        extent=shared,
        preview=None if shared.empty else cog_preview(reference, shared),
    )


def _check_shift(shift: Shift | None, limit: float) -> None:
    if shift and shift.reliable and shift.length_px > limit:
        raise SceneRefused(
            Refusal.NOT_ALIGNED,
            f"the scene lies {shift.length_px:.2f} px (dy {shift.dy:+.2f}, dx {shift.dx:+.2f}; "
            f"{shift.agreeing} of {shift.windows} windows agree, spread {shift.spread_px:.2f} px) "
            f"off the site's reference, over the limit of {limit:g} px: correct its georeference",
        )


def _extent(file: SceneFile, epsg: int) -> Extent:
    rows, cols = file.shape
    a, _, c, _, e, f = tuple(file.transform)[:6]
    xs, ys = sorted((c, c + a * cols)), sorted((f, f + e * rows))
    bounds = (xs[0], ys[0], xs[1], ys[1])
    if file.crs != f"EPSG:{epsg}":  # the same CRS must give the same numbers, to the last bit
        to_site = Transformer.from_crs(file.crs, f"EPSG:{epsg}", always_xy=True)
        bounds = to_site.transform_bounds(*bounds, densify_pts=21)
    return extent_of_bounds(*bounds)


@dataclass
class _Tally:
    """Sums over the valid pixels, in the fixed order of the blocks."""

    valid: int = 0
    lows: NDArray[np.int64] = field(default_factory=lambda: np.full(len(BANDS), 1 << 16))
    highs: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(BANDS), np.int64))
    sums: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(BANDS), np.int64))
    squares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(BANDS)))

    def add(self, pixels: NDArray[np.uint16]) -> None:
        valid = pixels[0] != NODATA
        count = int(np.count_nonzero(valid))
        if not count:
            return
        self.valid += count
        for i, band in enumerate(pixels):
            seen = band.ravel() if count == band.size else band[valid]
            self.lows[i] = min(self.lows[i], seen.min())
            self.highs[i] = max(self.highs[i], seen.max())
            exact = seen.astype(np.float64)  # sums and squares of a chunk stay below 2 ** 53
            self.sums[i] += int(exact.sum())
            self.squares[i] += exact @ exact

    def statistics(self) -> tuple[BandStatistics, ...]:
        mean = self.sums / self.valid
        deviation = np.sqrt(np.maximum(self.squares / self.valid - mean**2, 0))
        return tuple(
            BandStatistics(
                name, int(self.lows[i]), int(self.highs[i]), float(mean[i]), float(deviation[i])
            )
            for i, name in enumerate(BANDS)
        )


def _blocks(stack: xr.DataArray, tally: _Tally, scene: Scene) -> Iterator[Block]:
    """The stack's chunks, a few at a time; refuses a scene without data before it is finished."""
    lazy: Any = stack.data
    starts = [np.cumsum((0, *sizes[:-1])).tolist() for sizes in lazy.chunks[1:]]
    compute: Any = dask.base.compute
    places = list(product(*(range(len(axis)) for axis in starts)))
    for first in range(0, len(places), _AT_ONCE):
        batch = places[first : first + _AT_ONCE]
        computed = compute(*(lazy.blocks[0, row, col] for row, col in batch))
        for (row, col), pixels in zip(batch, computed, strict=True):
            tally.add(pixels)
            height, width = pixels.shape[1:]
            yield Window(starts[1][col], starts[0][row], width, height), pixels
    if not tally.valid:
        raise SceneRefused(
            Refusal.ALL_NODATA,
            f"scene {scene.id} has no valid pixel on the site: every one is nodata in some band; "
            "check its nodata value, or leave the scene out",
        )


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4f}" for value in values)
