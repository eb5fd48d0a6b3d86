"""Per-pixel and neighbourhood measures of a stack, in numpy: what rules and pastes look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

Float = NDArray[np.float32]


def ratio(a: Float, b: Float) -> Float:
    """Normalised difference, steadied where both are dark."""
    difference: Float = (a - b) / (a + b + np.float32(0.01))
    return difference


def local_std(band: Float, *, size: int = 5) -> Float:
    """Standard deviation in a size x size window."""
    mean = uniform_filter(band, size)
    variance = np.maximum(uniform_filter(band * band, size) - mean * mean, 0)
    std: Float = np.sqrt(variance)
    return std


@dataclass(frozen=True)
class Indices:
    """NDVI, NDBI, MNDWI and texture of one stack, each float32 [H,W]."""

    ndvi: Float
    ndbi: Float
    mndwi: Float
    texture: Float
    """5x5 standard deviation of the near infrared over its mean."""


def indices(reflectance: Float) -> Indices:
    """Of a reflectance stack [6,H,W] (0..1)."""
    _, green, red, nir, swir, _ = reflectance
    texture = local_std(nir) / (uniform_filter(nir, 5) + np.float32(0.02))
    return Indices(ratio(nir, red), ratio(swir, nir), ratio(green, swir), texture)


def as_reflectance(stack: NDArray[np.uint16]) -> Float:
    """0..1 from uint16 x 10000."""
    r: Float = stack.astype(np.float32) / np.float32(10_000)
    return r


def as_stack(reflectance: Float, seen: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """uint16 x 10000, at least 1 where seen, 0 elsewhere."""
    stack = np.clip(np.round(reflectance * 10_000), 1, 65535).astype(np.uint16)
    stack[:, ~seen] = 0
    return stack
