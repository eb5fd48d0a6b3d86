"""Rendering: the land of one day, its light, sky and sensor, strip by strip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from geodata_etl.bands import NODATA
from geodata_etl.simulate import sensor as optics
from geodata_etl.simulate.ground import Palette
from geodata_etl.simulate.layout import Land
from geodata_etl.simulate.noise import Float
from geodata_etl.simulate.sky import Sky

MARGIN: Final = 8
"""Land drawn beyond the site on every side, so that a shifted scene still shows land."""
_STRIP: Final = 256
"""Rows rendered at a time: bounds the memory of a scene."""


@dataclass(frozen=True)
class View:
    """What one scene is rendered from."""

    ids: NDArray[np.uint16]
    tables: Palette
    sky: Sky
    land: Land
    textures: tuple[Float, Float]
    sensor: optics.Sensor
    gain: Float
    toa: bool
    shift: tuple[float, float]
    zenith: float
    azimuth: float
    drift: int


def record(
    view: View, rng: np.random.Generator, size: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Render strip by strip: reflectance [6, size, size] and cloud truth [size, size]."""
    reflectance = np.empty((6, size, size), np.uint16)
    cloud = np.empty((size, size), np.uint8)
    for rows in _strips(size):
        padded = slice(rows.start, rows.stop + 2 * MARGIN)
        light = _ground(view, padded)
        for band in range(6):
            seen = optics.focus(light[band], view.sensor.blur_px[band], view.shift, MARGIN)
            seen *= view.gain[band] * np.float32(view.sensor.gain[band])
            seen += np.float32(view.sensor.offset[band])
            noise = rng.standard_normal(seen.shape, dtype=np.float32)
            noise *= view.sensor.noise[band]
            seen += noise
            reflectance[band, rows] = optics.quantise(seen)
        cloud[rows] = view.sky.classes(padded)[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return reflectance, cloud


def _strips(size: int) -> Iterator[slice]:
    for start in range(0, size, _STRIP):
        yield slice(start, min(start + _STRIP, size))


def _ground(view: View, rows: slice) -> Float:
    """Reflectance [6, rows, cols] of a padded strip, before optics."""
    ids = view.ids[rows]
    tables = view.tables
    light: Float = tables.spectra[:, ids]
    pattern = _pattern(view, rows, ids)
    relative = 1 + pattern + tables.fine[ids] * _tile(view.textures[0], rows, ids.shape[1])
    relative *= _lit(view, rows, ids)
    light *= np.maximum(relative, 0.25, out=relative)
    thinner = 1 - np.clip(2.0 * tables.green[ids] * pattern, -0.5, 0.5)
    light[2] *= thinner  # where leaves are dense, red and short-wave fall as near infrared rises
    light[5] *= thinner
    opacity, shadow, tone, haze = view.sky.strip(rows)
    if shadow is not None:
        optics.darken(light, shadow, view.sky.depth)
    optics.expose(light, haze, level_toa=view.toa)
    if opacity is not None and tone is not None:
        optics.cover_with_clouds(light, opacity, tone)
    return light


def _pattern(view: View, rows: slice, ids: NDArray[np.uint16]) -> Float:
    """Relative texture over tens of metres: it stays with the land, but in crops and on water it
    is another one each day."""
    width = ids.shape[1]
    still = _tile(view.textures[1], rows, width)
    moved = _tile(view.textures[1], rows, width, drift=view.drift)
    moving = view.tables.moving[ids]
    return np.asarray(view.tables.coarse[ids] * (still + moving * (moved - still)), np.float32)


def _tile(texture: Float, rows: slice, width: int, *, drift: int = 0) -> Float:
    """A strip of an endlessly repeated texture."""
    down = (np.arange(rows.start, rows.stop) + drift) % texture.shape[0]
    right = (np.arange(width) + 3 * drift) % texture.shape[1]
    return texture[np.ix_(down, right)]


def _lit(view: View, rows: slice, ids: NDArray[np.uint16]) -> Float:
    """Light on the ground: slopes, and shadows that houses and wood edges throw."""
    tilt = float(np.tan(np.radians(min(view.zenith, 60.0))))
    lit = np.asarray(1 - np.float32(view.land.relief * tilt) * view.land.shading(rows))
    height = view.tables.height[ids]
    cast = np.zeros_like(height)  # the morning sun stands south-east: shadows fall north and west
    cast[:-1] = height[1:]
    cast[:, :-1] = np.maximum(cast[:, :-1], 0.6 * height[:, 1:])
    cast -= height
    lit *= 1 - np.clip(cast, 0, 1) * np.float32(min(0.35 * tilt, 0.6))
    lit *= 1 - height * np.float32(0.10 * tilt)  # crowns and streets shade themselves
    return np.clip(lit, 0.3, 1.7, out=lit)


def cut(reflectance: NDArray[np.uint16], rng: np.random.Generator, share: float) -> None:
    """Blank what lies beyond a slanted swath edge."""
    size = reflectance.shape[1]
    rows, cols = np.arange(size)[:, None], np.arange(size)[None, :]
    across = cols + rows * rng.uniform(-0.25, 0.25)
    off = across < np.quantile(across[::8, ::8], share)
    reflectance[:, off] = NODATA
