"""Connected components of a raster that is read strip by strip: labels joined along the seams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy.ndimage import generate_binary_structure, label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geodata_etl.bands import NOT_OBSERVED

_NOWHERE: Final = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Changed:
    """Which pixels count as changed, and which of them hang together."""

    raster: Any
    """Open rasterio dataset, uint8: probability x 254, 255 = not observed."""
    threshold: int
    """Lowest level that counts as changed, 1..254."""
    connectivity: int
    """8: pixels that touch at a corner hang together; 4: only those that share an edge."""
    strip_rows: int
    """Rows read at a time."""

    def strips(self) -> Iterator[tuple[Window, NDArray[np.uint8], NDArray[np.int32], int]]:
        """(window, levels, labels 1..n within the strip, n) from top to bottom."""
        structure = generate_binary_structure(2, 2 if self.connectivity == 8 else 1)
        for window in strip_windows(self.raster, self.strip_rows):
            levels = self.raster.read(1, window=window)
            mask = (levels >= self.threshold) & (levels != NOT_OBSERVED)
            labels, count = label(mask, structure, output=np.int32)
            yield window, levels, labels, count if isinstance(count, int) else int(count)


@dataclass(frozen=True)
class Components:
    """The components that are large enough, numbered 1..n from the top left."""

    lookup: NDArray[np.int32]
    """Label within its strip, counted on over the strips, to component; 0 = too small."""
    pixels: NDArray[np.int64]
    """Pixels of each component; component 1 stands first."""


def strip_windows(raster: Any, rows: int) -> Iterator[Window]:
    """Windows over whole rows of an open raster, at most `rows` high, from top to bottom."""
    for top in range(0, raster.height, rows):
        yield Window(0, top, raster.width, min(rows, raster.height - top))


def find_components(changed: Changed, *, min_area_px: int) -> Components:
    """The components of at least `min_area_px` pixels; holds one strip at a time."""
    sizes, firsts = [np.zeros(1, np.int64)], [np.full(1, _NOWHERE)]
    seams: list[NDArray[np.int64]] = []
    above, offset = np.zeros(changed.raster.width, np.int64), 0
    for window, _, labels, count in changed.strips():
        sizes.append(np.bincount(labels.ravel(), minlength=count + 1)[1:])
        firsts.append(_first_pixels(labels, count, start=window.row_off * window.width))
        seams.append(_seam(above, _counted_on(labels[0], offset), changed.connectivity))
        above, offset = _counted_on(labels[-1], offset), offset + count
    return _join(np.concatenate(sizes), np.concatenate(firsts), np.concatenate(seams), min_area_px)


def component_strips(
    changed: Changed, components: Components
) -> Iterator[tuple[Window, NDArray[np.uint8], NDArray[np.int32]]]:
    """(window, levels, components) from top to bottom; 0 where there is no component."""
    offset = 0
    for window, levels, labels, count in changed.strips():
        own = components.lookup[offset : offset + count + 1].copy()
        own[0] = 0
        yield window, levels, own[labels]
        offset += count


def _first_pixels(labels: NDArray[np.int32], count: int, *, start: int) -> NDArray[np.int64]:
    """Index of each label's first pixel in reading order, counted over the whole raster."""
    at = np.flatnonzero(labels)
    first = np.full(count + 1, _NOWHERE)
    first[labels.ravel()[at][::-1]] = at[::-1] + start  # the last write wins: the first pixel
    return first[1:]


def _counted_on(row: NDArray[np.int32], offset: int) -> NDArray[np.int64]:
    counted = row.astype(np.int64)
    counted[row > 0] += offset
    return counted


def _seam(
    above: NDArray[np.int64], below: NDArray[np.int64], connectivity: int
) -> NDArray[np.int64]:
    """Pairs of labels that touch across the border of two strips, shape [n, 2]."""
    facing = [(above, below)]
    if connectivity == 8:
        facing += [(above[:-1], below[1:]), (above[1:], below[:-1])]
    pairs = np.concatenate([np.stack(pair, axis=1) for pair in facing])
    touching: NDArray[np.int64] = np.unique(pairs[(pairs > 0).all(axis=1)], axis=0)
    return touching


def _join(
    sizes: NDArray[np.int64],
    firsts: NDArray[np.int64],
    seams: NDArray[np.int64],
    min_area_px: int,
) -> Components:
    ones = np.ones(len(seams), np.int8)
    graph = coo_array((ones, (seams[:, 0], seams[:, 1])), shape=(len(sizes),) * 2)
    count, group = connected_components(graph, directed=False)
    pixels, first = np.zeros(count, np.int64), np.full(count, _NOWHERE)
    np.add.at(pixels, group, sizes)
    np.minimum.at(first, group, firsts)
    kept = np.flatnonzero(pixels >= max(min_area_px, 1))  # the background's group holds 0 pixels
    kept = kept[np.argsort(first[kept])]
    number = np.zeros(count, np.int32)
    number[kept] = np.arange(1, len(kept) + 1)
    return Components(number[group], pixels[kept])
