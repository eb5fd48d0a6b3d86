"""A scene's pixels on the analysis grid: lazily, in one resampling, the same whatever the chunks.

The unit of resampling is a cell of 512 x 512 px counted from the grid's corner, whatever the
chunks are, so that no rounding ever depends on how the work was split.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, Final

import dask.array
import numpy as np
import rasterio
import xarray as xr
from affine import Affine
from dask.delayed import delayed
from dask.utils import SerializableLock
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.errors import RasterioError
from rasterio.warp import Resampling, reproject
from rasterio.windows import Window
from xarray.backends import CachingFileManager

from geodata_etl.bands import BANDS, NODATA
from geodata_etl.cog import BLOCK_PX, gdal_env
from geodata_etl.errors import Refusal, SceneRefused
from geodata_etl.grid import PIXEL_M, Extent, Grid
from geodata_etl.radiometry import harmonise
from geodata_etl.scenes import Scene, SceneBand, SceneFile, open_raster, unreadable

CELL_PX: Final = BLOCK_PX
"""Edge of the unit of resampling: a COG block, so that each is written once."""
EXACT_SHIFT_PX: Final = 0.05
"""A shift below this is not worth a resampling: the pixels are copied."""
_MARGIN_PX: Final = 4
"""Source pixels read around a cell: the cubic kernel needs 2."""
_TOLERANCE_PX: Final = 0.01
"""Largest error of GDAL's approximated coordinates, source pixels (its default is 0.125)."""

Read = Callable[[SceneFile, Sequence[int], Window], NDArray[Any]]
"""Pixels [bands, rows, columns] of a file's window, in the file's own type."""


def lazy_stack(
    scene: Scene,
    grid: Grid,
    *,
    shift_yx_px: tuple[float, float] = (0.0, 0.0),
    chunk_px: int | tuple[int, int] = 1024,
    read: Read | None = None,
) -> xr.DataArray:
    """The scene on `grid` as the stack: uint16 [band, y, x], reflectance x 10000, 0 = nodata.

    `shift_yx_px` moves the content by (+rows, +columns) grid pixels, within the one resampling.
    Bands are cubic, validity is nearest. Files that lie on the lattice at 10 m are copied where the
    shift is under `EXACT_SHIFT_PX`. Chunks are rounded up to whole cells of 512 px. `read` is a
    `SceneReader` that has read the scene before, so that what it decoded is not decoded again.

    Nothing is read until it is computed; then SceneRefused may be raised: UNREADABLE,
    UNDECLARED_NAN, INFINITE.
    """
    shift = (0.0, 0.0) if math.hypot(*shift_yx_px) < EXACT_SHIFT_PX else shift_yx_px
    edges = chunk_px if isinstance(chunk_px, tuple) else (chunk_px, chunk_px)
    read = read or SceneReader(scene.files)
    rows, cols = (_starts(size, edge) for size, edge in zip(grid.shape, edges, strict=True))
    blocks = [[_block(scene, grid, shift, read, (row, col)) for col in cols] for row in rows]
    x, y = _centres(grid)
    arrays: Any = dask.array
    return xr.DataArray(
        arrays.block(blocks),
        dims=("band", "y", "x"),
        coords={"band": list(BANDS), "y": y, "x": x},
        attrs={"crs": grid.crs, "nodata": NODATA},
        name=scene.id,
    )


Span = tuple[int, int]
"""[first, last) rows or columns of a grid, counted from its corner."""


def _starts(size: int, edge: int) -> list[Span]:
    step = -(-edge // CELL_PX) * CELL_PX
    return [(start, min(start + step, size)) for start in range(0, size, step)]


def _block(
    scene: Scene, grid: Grid, shift: tuple[float, float], read: Read, spans: tuple[Span, Span]
) -> Any:
    (top, bottom), (left, right) = spans
    arrays: Any = dask.array
    warp = partial(warp_block, scene, grid, shift, read, spans)  # dask looks into arguments
    task = delayed(warp, pure=False, traverse=False)()
    return arrays.from_delayed(task, (len(BANDS), bottom - top, right - left), np.uint16)


def warp_block(
    scene: Scene,
    grid: Grid,
    shift: tuple[float, float],
    read: Read,
    spans: tuple[Span, Span],
    only: Collection[str] = BANDS,
) -> NDArray[np.uint16]:
    """A rectangle of whole cells of the grid: uint16 [6, rows, columns].

    Bands that are not in `only` cost no resampling and are 0; the others are as they always are.
    """
    (top, bottom), (left, right) = spans
    out = np.zeros((len(BANDS), bottom - top, right - left), np.uint16)
    for row in range(top, bottom, CELL_PX):
        for col in range(left, right, CELL_PX):
            cell = Extent(row, col, min(row + CELL_PX, bottom), min(col + CELL_PX, right))
            place = cell.slices_in(Extent(top, left, bottom, right))
            out[(slice(None), *place)] = _cell(scene, grid, cell, shift, read, only)
    return out


def _centres(grid: Grid) -> tuple[NDArray[Any], NDArray[Any]]:
    e = grid.extent
    x = (np.arange(e.left, e.right) + 0.5) * PIXEL_M
    y = -(np.arange(e.top, e.bottom) + 0.5) * PIXEL_M
    return x, y


def _cell(
    scene: Scene,
    grid: Grid,
    cell: Extent,
    shift: tuple[float, float],
    read: Read,
    only: Collection[str],
) -> NDArray[np.uint16]:
    values = np.zeros((len(BANDS), cell.height, cell.width), np.float32)
    valid = np.ones(values.shape[1:], bool)
    for file, bands in _by_file(scene):
        part = _Part(file, bands, _target(grid, cell, shift), grid.crs, values.shape[1:])
        kept = [i for i, band in enumerate(bands) if band.name in only]
        places = [BANDS.index(bands[i].name) for i in kept]
        values[places], good = part.pixels(read, kept)
        valid &= good
    return harmonise(values, valid, [band.calibration for band in scene.bands], only=only)


def _by_file(scene: Scene) -> Iterator[tuple[SceneFile, list[SceneBand]]]:
    order = list(scene.files)
    ordered = sorted(scene.bands, key=lambda band: order.index(band.file))
    for file, bands in groupby(ordered, key=lambda band: band.file):
        yield file, list(bands)


def _target(grid: Grid, cell: Extent, shift: tuple[float, float]) -> Affine:
    """Pixel of the cell to the UTM place in the source that belongs there.

    Content moves by (+dy, +dx), so that a pixel shows what the source has at (-dy, -dx).
    """
    dy, dx = shift
    return (
        grid.transform
        @ Affine.translation(cell.left - dx, 0)
        @ Affine.translation(0, cell.top - dy)
    )


@dataclass(frozen=True)
class _Part:
    """The bands of one file over one cell."""

    file: SceneFile
    bands: Sequence[SceneBand]
    target: Affine
    crs: str
    shape: tuple[int, ...]

    def pixels(
        self, read: Read, kept: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Stored values of the bands `kept` as float32 [bands, rows, columns], and the validity.

        The latter is that of all bands; resampled along with one band it is that of all, too.
        """
        window = self._window()
        if window is None:
            return self._nothing(len(kept))
        raw = read(self.file, [band.index for band in self.bands], window)
        good = np.all([_valid(band, raw[i]) for i, band in enumerate(self.bands)], axis=0)
        values = raw[list(kept) or [0]].astype(np.float32)
        offset = self._lattice_offset()
        if offset is not None:
            values, valid = self._copied(values, good, window, offset)
        else:
            values, valid = self._warped(values, good, self.file.transform @ _corner(window))
        return values[: len(kept)], valid

    def _nothing(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        return np.zeros((count, *self.shape), np.float32), np.zeros(self.shape, bool)

    def _window(self) -> Window | None:
        """The source pixels under the cell with a margin, None where there are none."""
        rows, cols = self.shape
        edge_r, edge_c = np.linspace(0, rows, 17), np.linspace(0, cols, 17)
        r, c = (axis.ravel() for axis in np.meshgrid(edge_r, edge_c))
        x, y = _apply(self.target, c, r)
        if self.crs != self.file.crs:
            x, y = Transformer.from_crs(self.crs, self.file.crs, always_xy=True).transform(x, y)
        col, row = _apply(~self.file.transform, x, y)
        if not np.isfinite([col, row]).all():
            return None
        height, width = self.file.shape
        top, left = (max(0, math.floor(axis.min()) - _MARGIN_PX) for axis in (row, col))
        bottom = min(height, math.ceil(row.max()) + _MARGIN_PX)
        right = min(width, math.ceil(col.max()) + _MARGIN_PX)
        if bottom <= top or right <= left:
            return None
        return Window(left, top, right - left, bottom - top)

    def _lattice_offset(self) -> tuple[int, int] | None:
        """(row, column) of the cell's corner in the file, where its pixels are the grid's own."""
        a, b, c, d, e, f = tuple(~self.file.transform @ self.target)[:6]
        if self.crs != self.file.crs or not np.allclose((a, b, d, e), (1, 0, 0, 1), atol=1e-9):
            return None
        row, col = round(f), round(c)
        return (row, col) if max(abs(f - row), abs(c - col)) < 1e-3 else None

    def _copied(
        self,
        values: NDArray[np.float32],
        good: NDArray[np.bool_],
        window: Window,
        offset: tuple[int, int],
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        row, col = offset
        cell = Extent(row, col, row + self.shape[0], col + self.shape[1])
        have = Extent(
            int(window.row_off),
            int(window.col_off),
            int(window.row_off + window.height),
            int(window.col_off + window.width),
        )
        shared = cell & have
        out, valid = self._nothing(len(values))
        if not shared.empty:
            into, source = shared.slices_in(cell), shared.slices_in(have)
            out[(slice(None), *into)] = values[(slice(None), *source)]
            valid[into] = good[source]
        return out, valid

    def _warped(
        self, values: NDArray[np.float32], good: NDArray[np.bool_], transform: Affine
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        if not good.any():
            return self._nothing(len(values))
        nodata = None if good.all() else np.nan  # GDAL's kernels without a mask are 4 x as fast
        values[:, ~good] = np.nan
        out = self._resampled(values, transform, Resampling.cubic, nodata)
        valid = np.asarray(np.isfinite(out).all(axis=0))
        if nodata is not None:
            seen = good[np.newaxis].astype(np.float32)
            valid &= self._resampled(seen, transform, Resampling.nearest, None)[0] == 1
        return out, valid

    def _resampled(
        self,
        values: NDArray[np.float32],
        transform: Affine,
        method: Resampling,
        nodata: float | None,
    ) -> NDArray[np.float32]:
        """The values on the cell, NaN where the file has no pixel.

        Between two in-memory datasets: for arrays rasterio switches a process-wide warning filter
        on and off, which threads must not do.
        """
        count = len(values)
        target = np.full((count, *self.shape), np.nan, np.float32)
        source_crs = {"crs": self.file.crs, "transform": transform, "nodata": nodata}
        target_crs = {"crs": self.crs, "transform": self.target, "nodata": nodata}
        bands = list(range(1, count + 1))
        with (
            gdal_env(),
            rasterio.open("", "w+", **_in_memory(values), **source_crs) as source,
            rasterio.open("", "w+", **_in_memory(target), **target_crs) as out,
        ):
            source.write(values)
            out.write(target)
            reproject(
                rasterio.band(source, bands),
                rasterio.band(out, bands),
                resampling=method,
                init_dest_nodata=False,
                tolerance=0.0 if self.crs == self.file.crs else _TOLERANCE_PX,
            )
            pixels: NDArray[np.float32] = out.read()
        return pixels


def _in_memory(values: NDArray[np.float32]) -> dict[str, Any]:
    count, height, width = values.shape
    return {
        "driver": "MEM",
        "count": count,
        "height": height,
        "width": width,
        "dtype": values.dtype.name,
    }


def _apply(
    transform: Affine, x: NDArray[Any], y: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * x + b * y + c, d * x + e * y + f


def _corner(window: Window) -> Affine:
    return Affine.translation(window.col_off, window.row_off)


def _valid(band: SceneBand, raw: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a band has data; its numbers are checked on the way."""
    if raw.dtype.kind != "f":
        return _differs(raw, band.nodata)
    if np.isinf(raw).any() and not (band.nodata is not None and math.isinf(band.nodata)):
        raise SceneRefused(
            Refusal.INFINITE,
            f"band {band.source} of {band.file.href!r} holds infinite values: set them to the "
            "nodata value",
        )
    nan: NDArray[np.bool_] = np.isnan(raw)
    if band.nodata is None or not math.isnan(band.nodata):
        if nan.any():
            raise SceneRefused(
                Refusal.UNDECLARED_NAN,
                f"band {band.source} of {band.file.href!r} holds NaN, but its nodata is "
                f"{'not declared' if band.nodata is None else band.nodata}: declare NaN as nodata, "
                "or fill it",
            )
        return _differs(raw, band.nodata)
    return ~nan


def _differs(raw: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    return np.ones(raw.shape, bool) if nodata is None else np.asarray(raw != nodata)


class SceneReader:
    """Reads the files of a scene; each stays open and is read by one thread at a time.

    An open dataset keeps GDAL's decoded blocks, so that neighbouring cells do not decode them again
    (reopening for each cell was measured at a sixth of the speed). Can be pickled.
    """

    def __init__(self, files: Sequence[SceneFile]) -> None:
        self._open = {
            file.path: (
                CachingFileManager(
                    open_raster, file.path, mode="r", kwargs={"placed": file.placed}
                ),
                SerializableLock(),
            )
            for file in files
        }

    def __call__(self, file: SceneFile, indexes: Sequence[int], window: Window) -> NDArray[Any]:
        """Pixels of a window, in the file's own type. Raises SceneRefused: UNREADABLE."""
        manager, lock = self._open[file.path]
        try:
            with lock, gdal_env():
                pixels: NDArray[Any] = manager.acquire().read(list(indexes), window=window)
        except (RasterioError, OSError) as error:
            raise unreadable(file.href, error) from error
        return pixels
