"""Irregular cells (a jittered Voronoi mosaic): zones of fields, quarters of towns."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from geodata_etl.simulate.noise import Float, uniform

_COARSE_FROM_PX: Final = 700
"""Larger maps take the mosaic on every second pixel."""


def cells(rows: Float, cols: Float, *, size: float, seed: int) -> tuple[NDArray[np.uint32], Float]:
    """The cell of every place and how far its border is.

    `rows` and `cols` [h, w] are (bent) coordinates in pixels, `size` the spacing of cells. Gives a
    number per cell and the difference of the distances to the two nearest centres, pixels.
    """
    step = 2 if max(rows.shape) > _COARSE_FROM_PX else 1
    number, border = _nearest(rows[::step, ::step], cols[::step, ::step], size, seed)
    height, width = rows.shape
    number = number.repeat(step, 0).repeat(step, 1)[:height, :width]
    return number, border.repeat(step, 0).repeat(step, 1)[:height, :width]


def _nearest(rows: Float, cols: Float, size: float, seed: int) -> tuple[NDArray[np.uint32], Float]:
    y, x = rows / np.float32(size), cols / np.float32(size)
    i, j = np.floor(y).astype(np.int32), np.floor(x).astype(np.int32)
    i -= i.min() - 1
    j -= j.min() - 1
    y, x = y - np.floor(y.min()) + 1, x - np.floor(x.min()) + 1
    down, across = np.arange(i.max() + 2)[:, None], np.arange(j.max() + 2)[None, :]
    centre_y = (down + 0.1 + 0.8 * uniform(down, across, seed, 1)).astype(np.float32)
    centre_x = (across + 0.1 + 0.8 * uniform(down, across, seed, 2)).astype(np.float32)
    first = np.full(y.shape, 9.0, np.float32)
    second = np.full(y.shape, 9.0, np.float32)
    number = np.zeros(y.shape, np.int64)
    flat, width = i.astype(np.int64) * across.size + j, across.size
    for offset in (di * width + dj for di in (-1, 0, 1) for dj in (-1, 0, 1)):
        place = flat + offset
        distance = (centre_y.ravel()[place] - y) ** 2 + (centre_x.ravel()[place] - x) ** 2
        closer = distance < first
        second = np.where(closer, first, np.minimum(second, distance))
        first = np.where(closer, distance, first)
        number = np.where(closer, place, number)
    border = (np.sqrt(second) - np.sqrt(first)) * np.float32(size)
    return number.astype(np.uint32), border.astype(np.float32)
