"""Clouds, veils and their shadows put onto clear reflectance, with their exact mask.

A cloud is a field of optical depth. What it sends back follows the two-stream approximation, what
still passes straight through falls with exp(-depth), and the rest of the ground's light arrives
scattered: that is why a veil takes the texture before it takes the brightness.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter

from geodata_etl.bands import Cloud
from training.noise import fractal

Float = NDArray[np.float32]
UNSURE = 255
"""Label of a veil that one person would call haze and another cloud."""
_THICK = 3.0
"""Optical depth from which a pixel counts as cloud: 5 % of the light passes straight."""
_THIN, _HAZE = 0.5, 0.2
"""From the first on it is thin cloud (40 % of the contrast is lost), from the second on unsure."""
_VISIBLE = 0.025
"""A veil that changes every visible band by less is unsure: one over bright sand looks like it."""
RIM_PX = 4
"""Analysts draw a cloud with its rim of droplets, and what spills over it spoils the comparison."""
_ROUND = np.ones((3, 3), bool)
_DARK = 0.25
"""Share of direct light lost from which a pixel counts as shadow."""
SHADOW_TINT = np.array([0.75, 0.9, 1.0, 1.1, 1.15, 1.15], np.float32)[:, None, None]
"""What a shadow takes from each band, relative to red: the sky still lights it, in blue."""


def add_clouds(
    rng: np.random.Generator, ground: Float, margin: int = 32
) -> tuple[Float, NDArray[np.uint8]]:
    """Clouds over `ground` [B,H,W]: (reflectance, bands.Cloud or UNSURE [H,W]).

    The cloud field is larger than the crop by `margin`, so that shadows also come from clouds that
    are not in it.
    """
    size = ground.shape[1]
    depth = _depth(rng, size + 2 * margin)
    inner = (slice(margin, margin + size),) * 2
    rows, columns = (int(v) for v in rng.integers(-margin, margin + 1, 2))
    cast = gaussian_filter(np.roll(1 - np.exp(-depth), (rows, columns), axis=(0, 1)), 1.0)[inner]
    dark = cast * rng.uniform(0.3, 0.8)
    lit = ground * (1 - dark * SHADOW_TINT[: len(ground)])
    clouded = _through(rng, lit.astype(np.float32), depth[inner])
    return clouded, _labels(depth[inner], dark, clouded[:3] - lit[:3])


def _labels(depth: Float, dark: Float, veil: Float) -> NDArray[np.uint8]:
    mask = np.full(depth.shape, Cloud.CLEAR, np.uint8)
    mask[dark > _DARK] = Cloud.SHADOW
    mask[(depth > _HAZE) | (np.abs(dark - _DARK) < 0.08)] = UNSURE
    mask[(depth > _THIN) & (np.abs(veil).max(axis=0) > _VISIBLE)] = Cloud.THIN
    mask[depth > _THICK] = Cloud.CLOUD
    return mask


def advised(
    label: NDArray[np.uint8], cloud: NDArray[np.bool_], shadow: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """A synthetic mask with what a teacher sees in the same picture (all [H,W]).

    Clouds it sees where the mask holds none are veils; its shadows are believed where the mask is
    unsure.
    """
    merged = label.copy()
    merged[(label == UNSURE) & shadow] = Cloud.SHADOW
    merged[(label != Cloud.CLOUD) & cloud] = Cloud.THIN
    return merged


def rimmed(label: NDArray[np.uint8], *, px: int = RIM_PX) -> NDArray[np.uint8]:
    """A mask whose clouds have a rim of thin cloud; their shadows stay shadows."""
    if not px:
        return label
    hidden = (label == Cloud.CLOUD) | (label == Cloud.THIN)
    rim = binary_dilation(hidden, _ROUND, iterations=px) & ~hidden & (label != Cloud.SHADOW)
    return np.where(rim, Cloud.THIN, label).astype(np.uint8)


@dataclass(frozen=True)
class _Droplets:
    """What a cloud is made of and how the sun stands."""

    forward: float
    """Asymmetry of scattering: .85 in water clouds, .75 in ice (Hansen and Travis 1974)."""
    sun: float
    """Cosine of the sun's distance from the zenith."""
    colour: Float
    """Relative brightness per band [B,1,1]."""

    def reflectance(self, depth: Float) -> Float:
        """Two-stream reflectance of a layer that absorbs nothing (Bohren 1987)."""
        back = (1 - self.forward) * depth
        sent: Float = (back / (2 * self.sun + back)).astype(np.float32)
        return sent


def _droplets(rng: np.random.Generator, bands: int) -> _Droplets:
    colour = rng.normal(1, 0.03, 6) * np.array([1.02, 0.99, 0.99, 1.02, 0.75, 0.6])
    return _Droplets(
        forward=rng.uniform(0.75, 0.87),
        sun=rng.uniform(0.4, 0.95),
        colour=colour[:bands, None, None].astype(np.float32),
    )


def _through(rng: np.random.Generator, lit: Float, depth: Float) -> Float:
    """The ground seen through the cloud: once down, once up, part of it scattered on the way."""
    drops = _droplets(rng, len(lit))
    sent = drops.reflectance(depth)
    straight = np.exp(-depth)
    spread = rng.uniform(3.0, 20.0)
    scattered = gaussian_filter(lit, (0, spread, spread))
    ground = straight * lit + (1 - straight) * scattered
    seen: Float = (sent * drops.colour + (1 - sent) ** 2 * ground).astype(np.float32)
    return seen


def _depth(rng: np.random.Generator, size: int) -> Float:
    """Optical depth [size,size]: overcast, a veil with holes, or single clouds."""
    field = fractal(rng, size, slope=rng.uniform(1.4, 2.2), longest=rng.uniform(0.2, 2.0))
    kind = rng.random()
    if kind < 0.5:
        depth = np.exp(rng.uniform(np.log(0.5), np.log(8.0)) + rng.uniform(0.05, 0.4) * field)
    elif kind < 0.65:
        depth = np.clip(field - rng.uniform(-1.5, 1.0), 0, None) * rng.uniform(0.3, 2.0)
    else:
        depth = np.clip(field - rng.uniform(-1.5, 1.5), 0, None) ** 1.5 * rng.uniform(2.0, 20.0)
    return np.asarray(depth, np.float32)
