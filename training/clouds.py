"""Clouds and their shadows put onto clear reflectance, with their exact mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from geodata_etl.bands import Cloud
from training.noise import fractal

Float = NDArray[np.float32]
UNSURE = 255
"""Label of a veil that one person would call haze and another cloud."""
_THICK = 0.5
"""Opacity from which a pixel counts as cloud."""
_THIN, _HAZE = 0.045, 0.02
"""By how much a veil changes what is seen (the band that changes most): from the first on it is
thin cloud, from the second on it is unsure. A veil over bright sand changes little."""
_DARK = 0.25
"""Share of direct light lost from which a pixel counts as shadow."""


def add_clouds(
    rng: np.random.Generator, ground: Float, margin: int = 32
) -> tuple[Float, NDArray[np.uint8]]:
    """Clouds over `ground` [B,H,W]: (reflectance, bands.Cloud or UNSURE [H,W]).

    The cloud field is larger than the crop by `margin`, so that shadows also come from clouds that
    are not in it.
    """
    size = ground.shape[1]
    opacity = _opacity(rng, size + 2 * margin)
    rows, columns = (int(v) for v in rng.integers(-margin, margin + 1, 2))
    cast = np.roll(opacity, (rows, columns), axis=(0, 1))
    inner = (slice(margin, margin + size),) * 2
    soft_shadow = gaussian_filter(np.clip(cast * 1.4, 0, 1), 1.0)[inner]
    dark = soft_shadow * rng.uniform(0.3, 0.65)
    alpha = opacity[inner]
    lit = ground * (1 - dark * _shadow_tint(len(ground)))
    clouded = lit * (1 - alpha) + _tops(rng, alpha, len(ground)) * alpha
    veil = np.abs(clouded[:3] - lit[:3]).max(axis=0)
    mask = np.full((size, size), Cloud.CLEAR, np.uint8)
    mask[dark > _DARK] = Cloud.SHADOW
    mask[((veil > _HAZE) | (alpha > 0.1)) | (np.abs(dark - _DARK) < 0.08)] = UNSURE
    mask[veil > _THIN] = Cloud.THIN
    mask[alpha > _THICK] = Cloud.CLOUD
    return clouded.astype(np.float32), mask


def _shadow_tint(bands: int) -> Float:
    # Shadows keep the blue light of the sky.
    tint = np.array([0.75, 0.9, 1.0, 1.1, 1.15, 1.15], np.float32)[:bands]
    return np.asarray(tint[:, None, None], np.float32)


def _unit(values: Float) -> Float:
    clipped: Float = np.clip(values, 0, 1).astype(np.float32)
    return clipped


def _opacity(rng: np.random.Generator, size: int) -> Float:
    field = fractal(rng, size, slope=rng.uniform(1.4, 2.2), longest=rng.uniform(0.2, 2.0))
    kind = rng.random()
    if kind < 0.4:  # overcast: nothing of the ground is left, or much of it
        depth = rng.uniform(0.1, 0.5) if rng.random() < 0.6 else rng.uniform(0.5, 1.1)
        return _unit(depth * (1 + rng.uniform(0, 0.25) * field))
    cover = rng.uniform(-1.5, 1.0)
    if kind < 0.55:  # veil
        veil = np.clip(0.3 * (field - cover), 0, 1) * rng.uniform(0.3, 1.0)
        return _unit(np.minimum(veil, 0.9))
    return _unit((field - cover) * rng.uniform(0.8, 3.0))


def _tops(rng: np.random.Generator, alpha: Float, bands: int) -> Float:
    bright = rng.uniform(0.28, 0.95)
    relief = 1 + rng.uniform(0, 0.15) * fractal(rng, len(alpha), slope=1.6)
    colour = rng.normal(1, 0.03, 6) * np.array([1.03, 0.98, 0.98, 1.03, 0.75, 0.6])
    tops: Float = (bright * relief)[None] * colour[:bands, None, None].astype(np.float32)
    return tops.astype(np.float32)
