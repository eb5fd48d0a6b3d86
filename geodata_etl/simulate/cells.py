"""Irregular cells (a jittered Voronoi mosaic): zones of fields, quarters of towns."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from geodata_etl.simulate.noise import Float, hashed, uniform

_COARSE_FROM_PX: Final = 700
"""Larger maps take the mosaic on every second pixel."""


def cells(rows: Float, cols: Float, *, size: float, seed: int) -> tuple[NDArray[np.uint32], Float]:
    """The cell of every place and how far its border is.

    `rows` and `cols` [h, w] are (bent) coordinates in pixels, `size` the spacing of cells. Gives a
    number per cell and the difference of the distances to the two nearest centres, pixels. Cells
    depend on the coordinates alone, so that a map may be made strip by strip.
    """
    step = 2 if max(rows.shape) > _COARSE_FROM_PX else 1
    number, border = _nearest(rows[::step, ::step], cols[::step, ::step], size, seed)
    height, width = rows.shape
    number = number.repeat(step, 0).repeat(step, 1)[:height, :width]
    return number, border.repeat(step, 0).repeat(step, 1)[:height, :width]


def _nearest(rows: Float, cols: Float, size: float, seed: int) -> tuple[NDArray[np.uint32], Float]:
    """Search the nine cells around each place, two nearest centres each."""
    y, x = rows / np.float32(size), cols / np.float32(size)
    i, j = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    top, left = int(i.min()) - 1, int(j.min()) - 1
    down, across = np.arange(top, i.max() + 2)[:, None], np.arange(left, j.max() + 2)[None, :]
    centre_y = (down + 0.1 + 0.8 * uniform(down, across, seed, 1)).astype(np.float32).ravel()
    centre_x = (across + 0.1 + 0.8 * uniform(down, across, seed, 2)).astype(np.float32).ravel()
    first, second = np.full(y.shape, 9.0, np.float32), np.full(y.shape, 9.0, np.float32)
    nearest = np.zeros(y.shape, np.int64)
    width = across.size
    flat = (i - top) * width + (j - left)
    for offset in (di * width + dj for di in (-1, 0, 1) for dj in (-1, 0, 1)):
        place = flat + offset
        distance = (centre_y[place] - y) ** 2 + (centre_x[place] - x) ** 2
        closer = distance < first
        second = np.where(closer, first, np.minimum(second, distance))
        first = np.where(closer, distance, first)
        nearest = np.where(closer, place, nearest)
    border = (np.sqrt(second) - np.sqrt(first)) * np.float32(size)
    number = hashed(np.broadcast_to(down, centre_y.reshape(-1, width).shape), across).ravel()
    return number[nearest], border.astype(np.float32)
