"""Outlines of construction sites and of fields: soft masks [size,size] in 0..1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from training.noise import fractal

Float = NDArray[np.float32]


def _axes(rng: np.random.Generator, size: int) -> tuple[Float, Float]:
    """Coordinates around a random place, turned by a random angle."""
    middle = rng.uniform(0.1 * size, 0.9 * size, 2)
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    y, x = y - np.float32(middle[0]), x - np.float32(middle[1])
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return c * x + s * y, c * y - s * x


def _rectangle(u: Float, v: Float, long: float, short: float) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (np.abs(u) < long / 2) & (np.abs(v) < short / 2)
    return inside


def outline(rng: np.random.Generator, size: int) -> NDArray[np.bool_]:
    """A site: rectangle, L, block row, blob or road; area about log-uniform in 6..3000 px."""
    area = np.exp(rng.uniform(np.log(6), np.log(3000)))
    stretch = np.exp(rng.uniform(0, 1.0))
    long, short = np.sqrt(area * stretch), np.sqrt(area / stretch)
    u, v = _axes(rng, size)
    kind = rng.random()
    if kind < 0.4:
        return _rectangle(u, v, long, short)
    if kind < 0.6:
        return _rectangle(u, v, long, short / 2) | _rectangle(u - long / 3, v, short / 2, long)
    if kind < 0.8:
        return _blob(rng, u, v, np.sqrt(area / np.pi))
    if kind < 0.9:
        return _rectangle(u, v, rng.uniform(20, size), rng.uniform(1.2, 3))
    gaps = (np.abs(u) % 6 < rng.uniform(3, 5)) & (np.abs(v) % 6 < rng.uniform(3, 5))
    return _rectangle(u, v, max(long, 8), max(short, 8)) & gaps


def _blob(rng: np.random.Generator, u: Float, v: Float, radius: float) -> NDArray[np.bool_]:
    wobble = fractal(rng, len(u), slope=1.8, longest=0.5)
    inside: NDArray[np.bool_] = np.hypot(u, v) < radius * (1 + 0.3 * wobble)
    return inside


def soften(rng: np.random.Generator, mask: NDArray[np.bool_]) -> Float:
    """The mask as a sensor would see it: point spread of .5 to .8 px."""
    soft: Float = gaussian_filter(mask.astype(np.float32), rng.uniform(0.5, 0.8))
    return soft
