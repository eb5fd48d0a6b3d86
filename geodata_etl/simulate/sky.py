"""Clouds, their shadows, cirrus and haze."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from geodata_etl.bands import Cloud
from geodata_etl.simulate.noise import Float, enlarge, fractal

STEP: Final = 2
"""Clouds are drawn on every second pixel."""
THICK: Final = 0.5
"""A pixel is CLOUD from this opacity on."""
THIN: Final = 0.1
"""... and THIN from this one on."""
DARK: Final = 0.3
"""A clear pixel is SHADOW where at least this share of the direct light is lost."""


@dataclass(frozen=True)
class Sky:
    """Fields on every second pixel [rows / 2, cols / 2] of the padded grid."""

    shape: tuple[int, int]
    opacity: Float | None
    """0 clear .. 1 no ground seen; None for a clear sky."""
    shadow: Float | None
    """0 full light .. 1 no direct light."""
    tone: Float | None
    """Brightness of the cloud."""
    depth: float
    """Share of the sky's light that reaches the shadow."""
    haze: Float
    """Optical thickness of the aerosol, relative to a clear day's 1."""

    def strip(self, rows: slice) -> tuple[Float | None, Float | None, Float | None, Float]:
        """(opacity, shadow, tone, haze) of a strip of rows, at full resolution."""
        haze = enlarge(self.haze, self.shape, step=_HAZE_STEP, rows=rows)
        if self.opacity is None or self.shadow is None or self.tone is None:
            return None, None, None, haze
        opacity = enlarge(self.opacity, self.shape, step=STEP, rows=rows)
        shadow = enlarge(self.shadow, self.shape, step=STEP, rows=rows)
        return opacity, shadow, enlarge(self.tone, self.shape, step=STEP, rows=rows), haze

    def classes(self, rows: slice) -> NDArray[np.uint8]:
        """The `Cloud` truth of a strip of rows."""
        opacity, shadow, _, _ = self.strip(rows)
        count = len(range(*rows.indices(self.shape[0])))
        if opacity is None or shadow is None:
            return np.full((count, self.shape[1]), Cloud.CLEAR, np.uint8)
        return np.select(
            [opacity >= THICK, opacity >= THIN, shadow >= DARK],
            [np.uint8(Cloud.CLOUD), np.uint8(Cloud.THIN), np.uint8(Cloud.SHADOW)],
            np.uint8(Cloud.CLEAR),
        ).astype(np.uint8)


_HAZE_STEP: Final = 16


def draw_sky(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    cloud_fraction: float,
    haze: float,
    sun_zenith: float,
    sun_azimuth: float,
) -> Sky:
    """A sky whose clouds (thick and thin) cover about `cloud_fraction` of the site."""
    cells = (shape[0] // _HAZE_STEP + 2, shape[1] // _HAZE_STEP + 2)
    wave = fractal(rng, cells, wavelength=900 / _HAZE_STEP, beta=4.0, step=1)
    thickness = np.asarray(haze * np.exp(0.09 * wave), np.float32)
    if cloud_fraction <= 0:
        return Sky(shape, None, None, None, 1.0, thickness)
    small = (shape[0] // STEP + 2, shape[1] // STEP + 2)
    opacity, tone = _clouds(rng, small, cloud_fraction)
    reach = rng.uniform(40, 250) * np.tan(np.radians(sun_zenith)) / STEP
    shift = (reach * np.cos(np.radians(sun_azimuth)), -reach * np.sin(np.radians(sun_azimuth)))
    away = (round(shift[0]), round(shift[1]))
    # rolled round the edges: clouds outside the site throw their shadows in, too
    shadow = np.minimum(1.1 * np.roll(opacity, away, axis=(0, 1)), 1).astype(np.float32)
    return Sky(shape, opacity, shadow, tone, float(rng.uniform(0.45, 1.0)), thickness)


def _clouds(
    rng: np.random.Generator, small: tuple[int, int], cloud_fraction: float
) -> tuple[Float, Float]:
    """Opacity and tone: heaps with hard edges, sheets with soft ones, or a veil."""
    wavelength = float(np.exp(rng.uniform(np.log(20), np.log(260))))
    body = fractal(rng, small, wavelength=wavelength, beta=rng.uniform(3.1, 3.9), step=1)
    softness = float(np.exp(rng.uniform(np.log(0.2), np.log(1.5))))
    limit = float(np.quantile(body[::4, ::4], 1 - min(cloud_fraction, 1.0)))
    if cloud_fraction >= 1:
        limit = float(body.min()) - 2 * softness
    depth = (body - limit) / softness
    thickest = rng.uniform(0.85, 1.0) if rng.random() < 0.8 else rng.uniform(0.15, 0.48)
    opacity = thickest * (1 - np.exp(-np.clip(1.3 * depth + 0.13, 0, None)))
    tone = 1 + 0.10 * body + 0.05 * fractal(rng, small, wavelength=12, beta=2.2, step=1)
    return np.asarray(opacity, np.float32), np.asarray(tone, np.float32)
