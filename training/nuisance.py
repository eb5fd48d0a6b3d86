"""What differs between two dates without any change: light, haze, shift, blur, season, noise.

All functions take and give float32 reflectance [6,H,W].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from training.clouds import SHADOW_TINT
from training.noise import fractal

Float = NDArray[np.float32]
_HAZE = np.array([1.0, 0.75, 0.55, 0.3, 0.1, 0.05], np.float32)[:, None, None]
"""Haze per band: falls with wavelength."""
_SOIL = np.array([0.13, 0.14, 0.17, 0.24, 0.31, 0.26], np.float32)[:, None, None]
_CROP = np.array([0.09, 0.09, 0.06, 0.33, 0.18, 0.09], np.float32)[:, None, None]
"""Top-of-atmosphere spectra of bare soil and of a crop in leaf."""


def light(rng: np.random.Generator, r: Float) -> Float:
    """Gain of the whole scene and of each band, and a small offset."""
    gain = rng.uniform(0.85, 1.15) * rng.uniform(0.94, 1.06, (6, 1, 1))
    offset = rng.normal(0, 0.006, (6, 1, 1))
    lit: Float = (r * gain + offset).astype(np.float32)
    return lit


def haze(rng: np.random.Generator, r: Float) -> Float:
    """Additive, blue-weighted, smooth haze."""
    field = np.clip(1 + 0.5 * fractal(rng, r.shape[1], slope=2.0), 0, None)
    hazy: Float = r + np.float32(rng.uniform(0, 0.05)) * _HAZE * field
    return hazy


def low_sun(rng: np.random.Generator, r: Float) -> Float:
    """Winter: dim ground below a long way through air, which sends back blue light.

    [4,H,W] or [6,H,W].
    """
    haze = np.float32(rng.uniform(0.0, 0.06)) * _HAZE[: len(r)]
    dim: Float = (r * np.float32(rng.uniform(0.4, 0.8)) + haze).astype(np.float32)
    return dim


def shift(rng: np.random.Generator, r: Float, *, most: float = 1.0) -> Float:
    """Sub-pixel misregistration (bilinear)."""
    rows, columns = rng.uniform(-most, most, 2)
    for axis, amount in ((1, rows), (2, columns)):
        moved = np.roll(r, 1 if amount > 0 else -1, axis=axis)
        r = (r * (1 - abs(amount)) + moved * abs(amount)).astype(np.float32)
    return r


def blur(rng: np.random.Generator, r: Float) -> Float:
    """A softer point spread."""
    sigma = rng.uniform(0.2, 0.7)
    soft: Float = gaussian_filter(r, (0, sigma, sigma))
    return soft


def season(rng: np.random.Generator, r: Float) -> Float:
    """Move vegetation along the line from leaf to soil, by patches."""
    ndvi = (r[3] - r[2]) / (r[3] + r[2] + 0.01)
    leafy = np.clip((ndvi - 0.2) * 4, 0, 1)
    patches = fractal(rng, r.shape[1], slope=rng.uniform(1.0, 1.8), longest=0.4)
    amount = np.clip(rng.uniform(0.1, 0.7) * (patches > rng.normal(0, 0.7)), 0, 1)
    amount = gaussian_filter(amount.astype(np.float32), 0.7) * leafy
    target = _SOIL * rng.uniform(0.7, 1.2) if rng.random() < 0.6 else _CROP * rng.uniform(0.8, 1.2)
    moved: Float = (r * (1 - amount) + target * amount).astype(np.float32)
    return moved


def glare(rng: np.random.Generator, r: Float) -> Float:
    """Surfaces send back more or less light under another sun; bright roofs most of all."""
    patches = np.tanh(fractal(rng, r.shape[1], slope=rng.uniform(0.6, 1.4), longest=0.2))
    bright = np.clip((r[:3].mean(axis=0) - 0.15) * 6, 0, 1)
    amount = rng.uniform(0, 0.08) + bright * rng.uniform(0, 0.3)
    lit: Float = (r * (1 + amount * patches)).astype(np.float32)
    return lit


def long_shadows(rng: np.random.Generator, r: Float) -> Float:
    """A lower sun: what stands out of its surroundings throws a longer shadow."""
    tone = r[:3].mean(axis=0)
    tall = tone - uniform_filter(tone, 7) > rng.uniform(0.005, 0.03)
    angle = rng.uniform(0, 2 * np.pi)
    shade = np.zeros_like(tall)
    for step in range(1, int(rng.integers(2, 5))):
        offset = (round(step * np.sin(angle)), round(step * np.cos(angle)))
        shade |= np.roll(tall, offset, axis=(0, 1))
    soft = gaussian_filter((shade & ~tall).astype(np.float32), 0.6)
    shaded: Float = r * (1 - np.float32(rng.uniform(0.1, 0.45)) * soft)
    return shaded


def cloud_shadow(rng: np.random.Generator, r: Float) -> Float:
    """Shadows of clouds that a mask overlooked: patches without much of their direct light.

    What is left comes from the sky, so it is blue. The darkest take what the simulator's take.
    """
    field = fractal(rng, r.shape[1], slope=rng.uniform(1.2, 2.2), longest=rng.uniform(0.1, 0.8))
    depth = np.clip((field - rng.uniform(0.2, 1.5)) * rng.uniform(1.0, 8.0), 0, 1)
    dark = gaussian_filter(depth.astype(np.float32), 0.7) * np.float32(rng.uniform(0.3, 0.75))
    shaded: Float = r * (1 - dark * SHADOW_TINT)
    return shaded


_EFFECTS = (
    (0.7, light),
    (0.35, haze),
    (0.5, shift),
    (0.25, blur),
    (0.3, season),
    (0.4, glare),
    (0.3, long_shadows),
)
"""Chance of each effect."""


def patchwork(rng: np.random.Generator, r: Float) -> Float:
    """Parts of the ground as another date without change saw it, hard seams between.

    A baseline takes each pixel from the most recent clear date.
    """
    other = r
    for chance, effect in _EFFECTS:
        if rng.random() < chance:
            other = effect(rng, other)
    field = fractal(rng, r.shape[1], slope=rng.uniform(1.2, 2.0), longest=1.0)
    mixed: Float = np.where(field > rng.normal(0, 0.7), other, r).astype(np.float32)
    return mixed


def sensor_noise(rng: np.random.Generator, r: Float) -> Float:
    """Noise that grows with the signal."""
    noisy: Float = r + rng.standard_normal(r.shape, np.float32) * (0.001 + 0.008 * r)
    return noisy


def disturb(rng: np.random.Generator, before: Float, after: Float) -> tuple[Float, Float]:
    """Draw nuisances for a pair; never a change."""
    dates = [before, after]
    one = int(rng.integers(2))
    for chance, effect in _EFFECTS:
        if rng.random() < chance:
            dates[one] = effect(rng, dates[one])
    if rng.random() < 0.5:  # both dates alike: another sensor, level or sun
        common = rng.uniform(0.8, 1.25) * rng.uniform(0.92, 1.08, (6, 1, 1))
        dates = [(r * common).astype(np.float32) for r in dates]
    if rng.random() < 0.4:
        dates = [sensor_noise(rng, r) for r in dates]
    return dates[0], dates[1]
