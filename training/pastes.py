"""Construction pasted into real pairs, and pastes that mean nothing (label 0).

A network that only learned the look of a paste would find the null pastes too: they come from the
same code, with the same edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter, label

from geodata_etl.simulate.materials import LOOKS, ROOFS
from geodata_etl.simulate.sensor import PATH, THROUGH
from training.shapes import outline, soften
from training.spectra import Indices, as_reflectance, indices, local_std

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]

_ROOF = np.array([0.20, 0.21, 0.23, 0.27, 0.29, 0.26], np.float32)
_ASPHALT = np.array([0.12, 0.11, 0.11, 0.14, 0.15, 0.13], np.float32)
_EARTH = np.array([0.15, 0.16, 0.20, 0.27, 0.34, 0.29], np.float32)
"""Top-of-atmosphere spectra, checked against the unlabelled pairs."""
_EVEN = 0.02
"""Local deviation of near infrared below which ground counts as of one parcel."""
_LARGEST = 0.25
"""Share of a crop that a parcel takes at most."""


@dataclass(frozen=True)
class Crop:
    """Where content may be taken from: one date of one place, cut out."""

    reflectance: Float
    """[6,S,S]"""
    built: Mask
    """[S,S] ground that the rules call built."""


def place(
    rng: np.random.Generator, dates: list[Float], sources: list[Crop], *, most: int = 5
) -> NDArray[np.bool_]:
    """Paste construction and null content into `dates` (two [6,S,S], changed in place).

    `sources` are other crops of the same place, one per date. Gives the change mask [S,S].
    """
    size = dates[0].shape[1]
    change = np.zeros((size, size), bool)
    for _ in range(int(rng.integers(1, most + 1))):
        at = 1 if rng.random() < 0.8 else 0
        mask = _free(rng, dates, change, size)
        if mask is not None:
            change |= _construct(rng, dates, at, mask, sources[at])
    for _ in range(int(rng.integers(0, 2 * most))):
        free = ~binary_dilation(change, iterations=3)
        _null(rng, dates, int(rng.integers(2)), outline(rng, size) & free, sources, free)
    return change


def _open_ground(i: Indices) -> Mask:
    ground: Mask = (i.ndvi > 0.25) | (i.texture < 0.08) | (i.mndwi > 0.1)
    return ground


def _free(rng: np.random.Generator, dates: list[Float], taken: Mask, size: int) -> Mask | None:
    """An outline on ground that is open at both dates; at times on any ground (rebuilding)."""
    free = ~taken
    if rng.random() < 0.75:
        free &= _open_ground(indices(dates[0])) & _open_ground(indices(dates[1]))
    for _ in range(6):
        mask = outline(rng, size)
        if mask.sum() >= 5 and free[mask].mean() > 0.75:
            return mask
    return None


def _construct(
    rng: np.random.Generator, dates: list[Float], at: int, mask: Mask, source: Crop
) -> Mask:
    content = _content(rng, source, dates[at])
    old = dates[at]
    alpha = soften(rng, mask)
    if rng.random() < 0.5:  # walls throw a little shadow, away from the sun
        shade = np.roll(mask, rng.integers(-2, 3, 2), axis=(0, 1)) & ~mask
        old = old * (1 - soften(rng, shade) * np.float32(rng.uniform(0.1, 0.35)))
    dates[at] = _blend(old, content, alpha)
    # What differs too little to be seen by anyone is not labelled.
    visible = np.abs(content - dates[1 - at]).max(axis=0) > 0.03
    changed: Mask = mask & visible
    return changed


def _blend(old: Float, new: Float, alpha: Float) -> Float:
    blended = old * (1 - alpha) + new * alpha
    coarse = gaussian_filter(alpha, 0.7)  # the 20 m bands have softer edges
    blended[4:] = old[4:] * (1 - coarse) + new[4:] * coarse
    out: Float = blended.astype(np.float32)
    return out


def _content(rng: np.random.Generator, source: Crop, target: Float) -> Float:
    if rng.random() < 0.45 and source.built.mean() > 0.35:
        return source.reflectance
    level = np.float32(np.clip(np.median(target[:3]) / 0.11, 0.8, 1.6))  # haze and sun of the day
    kind = rng.random()
    if kind < 0.35:  # brighter and rougher than a ploughed field
        earth = _EARTH * rng.uniform(1.0, 1.6) * rng.normal(1, 0.05, 6).astype(np.float32)
        return _textured(rng, earth * level**0.5, target.shape[1], rough=rng.uniform(0.08, 0.2))
    if kind < 0.7:
        return _hall(rng, target.shape[1]) * level**0.5
    return _town(rng, target.shape[1]) * level**0.5


def _textured(rng: np.random.Generator, spectrum: Float, size: int, *, rough: float) -> Float:
    grain = gaussian_filter(rng.standard_normal((size, size)), 0.8)
    grain = 1 + rough * grain / grain.std()
    textured: Float = (spectrum[:, None, None] * grain).astype(np.float32)
    return textured


def _hall(rng: np.random.Generator, size: int) -> Float:
    """One plain roof of any material that roofs are made of, as large as a hall's may be."""
    ground = np.array(LOOKS[ROOFS[int(rng.integers(len(ROOFS)))]].spectrum, np.float32)
    above = THROUGH * ground + PATH
    tone = rng.lognormal(0, 0.15) * rng.normal(1, 0.04, 6)
    return _textured(rng, (above * tone).astype(np.float32), size, rough=rng.uniform(0.02, 0.08))


def _town(rng: np.random.Generator, size: int) -> Float:
    """Roofs of random brightness on a jittered raster, asphalt between, the odd green."""
    step = int(rng.integers(2, 9))
    cells = -(-size // step)
    tone = rng.lognormal(0, 0.4, (cells, cells))
    roofs = np.kron(tone, np.ones((step, step)))[:size, :size]
    y, x = np.mgrid[:size, :size]
    street = ((y % step) < max(1, step // 3)) | ((x % step) < max(1, step // 3))
    street &= rng.random() < 0.8
    tint = rng.normal(1, 0.08, 6)
    roof = (_ROOF * tint)[:, None, None] * roofs
    scene = np.where(street, (_ASPHALT * rng.uniform(0.8, 1.2))[:, None, None], roof)
    blurred: Float = gaussian_filter(scene, (0, 0.5, 0.5)).astype(np.float32)
    return blurred * (1 + 0.05 * rng.standard_normal((1, size, size), np.float32))


def _null(
    rng: np.random.Generator,
    dates: list[Float],
    at: int,
    mask: Mask,
    sources: list[Crop],
    free: Mask,
) -> None:
    """Content of the same kind, or nothing but an edge; a whole parcel ends where `free` does."""
    alpha = soften(rng, mask)
    kind = rng.random()
    if kind < 0.3:  # the same content, moved by up to a pixel
        moved = np.roll(dates[at], tuple(rng.integers(-1, 2, 2)), axis=(1, 2))
        dates[at] = _blend(dates[at], moved, alpha)
    elif kind < 0.65:  # a field in another state: sown, in leaf, cut, ploughed
        if not mask.any() or local_std(dates[at][3])[mask].mean() > 0.03:
            return
        if rng.random() < 0.5:
            mask = _parcel(dates[at][3], mask) & free
            alpha = soften(rng, mask)
        leaf, soil = _field_states(rng)
        own = dates[at][:, mask].mean(axis=1)
        tone = own * 0.3 + (leaf if rng.random() < 0.4 else soil) * 0.7
        dates[at] = _blend(dates[at], _textured(rng, tone, len(mask), rough=0.03), alpha)
    else:  # the same new content at both dates: old construction
        content = _content(rng, sources[at], dates[at])
        for date in (0, 1):
            dates[date] = _blend(dates[date], content, alpha)


def _parcel(nir: Float, mask: Mask) -> Mask:
    """The even ground around most of `mask`, up to its edges: a field is ploughed whole, where a
    building stands in one. `mask` itself where no such ground ends near."""
    even, _ = label(local_std(nir) < _EVEN)
    inside = np.bincount(even[mask], minlength=2)[1:]
    around: Mask = even == inside.argmax() + 1
    return around if inside.any() and around.mean() < _LARGEST else mask


def _field_states(rng: np.random.Generator) -> tuple[Float, Float]:
    leaf = np.array([0.09, 0.09, 0.06, 0.32, 0.18, 0.09]) * rng.uniform(0.8, 1.2)
    soil = np.array([0.12, 0.12, 0.14, 0.20, 0.27, 0.22]) * rng.uniform(0.7, 1.15)
    return leaf.astype(np.float32), soil.astype(np.float32)


def crop(stack: NDArray[np.uint16], built: Mask, top: int, left: int, size: int) -> Crop:
    """Cut a source out of a scene."""
    at = (slice(top, top + size), slice(left, left + size))
    return Crop(as_reflectance(stack[:, *at]), built[at])
