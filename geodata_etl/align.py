"""The sub-pixel shift between a scene and its site's reference, measured on several windows.

Each window votes: phase correlation of gradient magnitudes, in three bands that must agree. The
votes are combined by their densest cluster, so that clouds, change and season in most of the
windows cannot move the answer; where too few windows agree, there is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from scipy import ndimage
from skimage.registration import phase_cross_correlation
from xarray.backends import CachingFileManager

from geodata_etl.bands import BANDS, NODATA
from geodata_etl.cog import gdal_env
from geodata_etl.grid import Extent, Grid, grid_of_transform
from geodata_etl.scenes import Scene
from geodata_etl.warp import Read, SceneReader, warp_block

WINDOW_PX: Final = 256
"""Edge of a window in pixels, less where the overlap is small."""
MIN_WINDOW_PX: Final = 48
MAX_WINDOWS: Final = 16
AGREE_PX: Final = 0.5
"""Votes within this distance say the same."""
MIN_AGREEING: Final = 3
MIN_SHARE: Final = 0.2
"""Least share of the windows that must agree. Random peaks spread over the whole window (65,000
places), so that even three windows within half a pixel do not meet by chance."""
_VOTING: Final = ("green", "red", "nir")
_BANDS: Final = tuple(BANDS.index(name) for name in _VOTING)
_UPSAMPLE: Final = 25
"""1/25 px: finer than the measurement is good for."""
_MIN_VALID: Final = 0.8
"""Least share of a window that both dates have data for."""

Windows = Callable[[Extent], NDArray[np.uint16]]
"""Pixels of a lattice extent: uint16 [6, rows, columns], 0 = nodata; only green, red and nir are
looked at."""


@dataclass(frozen=True)
class Shift:
    """By how much a scene's content must be moved to fit the reference."""

    dy: float
    """Rows of 10 m, positive southwards."""
    dx: float
    """Columns of 10 m, positive eastwards."""
    windows: int
    """Windows that could be measured."""
    agreeing: int
    """Windows within half a pixel of the answer."""
    spread_px: float
    """1.4826 x median absolute deviation of the agreeing windows: their standard deviation."""
    reliable: bool
    """Whether enough windows agree; where not, dy and dx are 0."""

    @property
    def length_px(self) -> float:
        """Length of the shift, pixels."""
        return math.hypot(self.dy, self.dx)

    @property
    def reliability(self) -> float:
        """Share of the windows that agree, 0..1."""
        return self.agreeing / self.windows if self.windows else 0.0


def estimate_shift(
    scene: Windows,
    reference: Windows,
    *,
    extent: Extent,
    preview: NDArray[Any] | None = None,
) -> Shift:
    """The shift of `scene` against `reference` over their common `extent`.

    `preview`, a coarse image of the reference over `extent`, chooses the windows by texture where
    there are more than `MAX_WINDOWS`; without it they are spread evenly.
    """
    candidates = _candidates(extent)
    chosen = _chosen(candidates, extent, preview)
    votes = [vote for window in chosen if (vote := _vote(scene(window), reference(window)))]
    return _combine(np.array(votes).reshape(-1, 2))


def array_windows(array: Any, extent: Extent) -> Windows:
    """Windows of an array [6, rows, columns] (NumPy, dask or xarray) that covers `extent`."""

    def read(window: Extent) -> NDArray[np.uint16]:
        rows, cols = window.slices_in(extent)
        return np.asarray(array[:, rows, cols])

    return read


def scene_windows(scene: Scene, epsg: int, read: Read | None = None) -> Windows:
    """Windows of a scene, resampled to the lattice of a UTM zone without any shift.

    `read` is a `SceneReader`: what it decodes here need not be decoded again for the stack.
    """
    source = read or SceneReader(scene.files)

    def pixels(window: Extent) -> NDArray[np.uint16]:
        spans = (0, window.height), (0, window.width)
        return warp_block(scene, Grid(epsg, window), (0.0, 0.0), source, spans, only=_VOTING)

    return pixels


def cog_windows(path: Path) -> Windows:
    """Windows of an ingested scene; ground outside the file is nodata.

    The file stays open as long as the function lives, so that GDAL keeps what it decoded.
    """
    manager = CachingFileManager(rasterio.open, path, mode="r", kwargs={"driver": "GTiff"})

    def read(window: Extent) -> NDArray[np.uint16]:
        with gdal_env():
            file = manager.acquire()
            have = cog_grid(file).extent
            shared = window & have
            out = np.zeros((file.count, window.height, window.width), np.uint16)
            if not shared.empty:
                into = (slice(None), *shared.slices_in(window))
                out[into] = file.read(window=shared.window_in(have))
        return out

    return read


def cog_preview(path: Path, extent: Extent, *, factor: int = 8) -> NDArray[np.uint16]:
    """The reference's red band over `extent`, coarser by `factor`, read from its overviews."""
    with gdal_env(), rasterio.open(path, driver="GTiff") as file:
        have = cog_grid(file).extent
        pixels: NDArray[np.uint16] = file.read(
            BANDS.index("red") + 1,
            window=extent.window_in(have),
            out_shape=(-(-extent.height // factor), -(-extent.width // factor)),
            resampling=Resampling.nearest,
        )
    return pixels


def cog_grid(file: Any) -> Grid:
    """The grid of an open raster that ingest wrote."""
    return grid_of_transform(file.crs.to_epsg(), file.transform, file.height, file.width)


def _candidates(extent: Extent) -> list[Extent]:
    edge = min(WINDOW_PX, extent.height * 2 // 3, extent.width * 2 // 3)
    if edge < MIN_WINDOW_PX:
        return []
    return [
        Extent(top, left, top + edge, left + edge)
        for top in _starts(extent.top, extent.height, edge)
        for left in _starts(extent.left, extent.width, edge)
    ]


def _starts(first: int, length: int, edge: int) -> list[int]:
    """Window starts at half-window steps that reach both ends."""
    count = max(1, round((length - edge) / (edge / 2))) + 1
    return sorted({first + int(at) for at in np.linspace(0, length - edge, count)})


def _chosen(
    candidates: list[Extent], extent: Extent, preview: NDArray[Any] | None
) -> Iterator[Extent]:
    """The best candidate of each of 5 x 5 sectors, so that the windows lie apart."""
    if len(candidates) <= MAX_WINDOWS:
        yield from candidates
        return
    side = math.isqrt(MAX_WINDOWS)
    sectors: dict[tuple[int, int], list[Extent]] = {}
    for window in candidates:
        row = (window.top - extent.top) * side // extent.height
        col = (window.left - extent.left) * side // extent.width
        sectors.setdefault((row, col), []).append(window)
    for sector in sectors.values():
        yield max(sector, key=lambda window: (_texture(window, extent, preview), window))


def _texture(window: Extent, extent: Extent, preview: NDArray[Any] | None) -> float:
    if preview is None:
        return 0.0
    factor = extent.height / preview.shape[0]
    rows, cols = window.slices_in(extent)
    part = preview[
        int(rows.start / factor) : int(rows.stop / factor),
        int(cols.start / factor) : int(cols.stop / factor),
    ]
    seen = part != NODATA
    return float(np.log(np.maximum(part, 1)).std() * seen.mean() if seen.all() else 0.0)


def _vote(scene: NDArray[np.uint16], reference: NDArray[np.uint16]) -> tuple[float, float] | None:
    """(dy, dx) of one window, None where it has too little data or its bands disagree."""
    any_band = _BANDS[0]  # a pixel without data has none in every band
    valid = (scene[any_band] != NODATA) & (reference[any_band] != NODATA)
    if valid.mean() < _MIN_VALID:
        return None
    inner = ndimage.binary_erosion(valid, iterations=2, border_value=1)
    found = []
    correlate: Any = phase_cross_correlation
    for band in _BANDS:
        moving, fixed = (_edges(array[band], inner) for array in (scene, reference))
        if not moving.any() or not fixed.any():
            return None
        shift, _, _ = correlate(fixed, moving, upsample_factor=_UPSAMPLE)
        found.append(shift)
    votes = np.array(found)
    middle = np.median(votes, axis=0)
    near = np.hypot(*(votes - middle).T) <= AGREE_PX
    # two of three bands: haze hides one, a crop turning from green to bare another
    return (float(middle[0]), float(middle[1])) if near.sum() >= 2 else None


def _edges(band: NDArray[np.uint16], inner: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Gradient magnitude under a Hann window: edges stay where they are in every season."""
    image = band.astype(np.float32)
    edges = np.hypot(ndimage.sobel(image, 0), ndimage.sobel(image, 1))
    edges[~inner] = 0
    taper = np.outer(*(np.hanning(size) for size in edges.shape))
    flat: NDArray[np.float32] = ((edges - edges.mean()) * taper).astype(np.float32)
    return flat


def _combine(votes: NDArray[np.float64]) -> Shift:
    if not len(votes):
        return Shift(0.0, 0.0, 0, 0, 0.0, reliable=False)
    apart = np.hypot(*(votes[:, None] - votes[None]).transpose(2, 0, 1))
    densest = np.argmax((apart <= AGREE_PX).sum(axis=0))
    middle = np.median(votes[apart[densest] <= AGREE_PX], axis=0)
    away = np.hypot(*(votes - middle).T)
    near = away <= AGREE_PX
    count = int(near.sum())
    reliable = count >= MIN_AGREEING and count >= MIN_SHARE * len(votes)
    dy, dx = np.median(votes[near], axis=0) if reliable else (0.0, 0.0)
    spread = 1.4826 * float(np.median(away[near])) if count else 0.0
    return Shift(float(dy), float(dx), len(votes), count, spread, reliable)
