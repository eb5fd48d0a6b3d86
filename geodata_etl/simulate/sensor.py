"""From the ground to what a sensor records: light, atmosphere, optics, detector."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from geodata_etl.bands import REFLECTANCE_SCALE
from geodata_etl.simulate.noise import Float

PATH: Final[Float] = np.array((0.072, 0.044, 0.025, 0.011, 0.002, 0.001), np.float32)
"""Path reflectance of a clear day, top of atmosphere: dark objects of the real L1C scenes."""
THROUGH: Final[Float] = np.array((0.86, 0.90, 0.93, 0.95, 0.97, 0.97), np.float32)
"""Two-way transmittance of a clear day."""
HAZE: Final[Float] = np.array((0.050, 0.038, 0.028, 0.018, 0.005, 0.003), np.float32)
"""Added path reflectance for one more unit of aerosol."""
CLOUD_TONE: Final[Float] = np.array((0.66, 0.65, 0.66, 0.70, 0.52, 0.40), np.float32)
"""Reflectance of a thick cloud."""
SKY_LIGHT: Final[Float] = np.array((0.52, 0.44, 0.38, 0.30, 0.20, 0.16), np.float32)
"""Share of the light left in full shadow: scattered, so blue."""


@dataclass(frozen=True)
class Sensor:
    """How one instrument sees."""

    name: str
    platform: str
    instrument: str
    gain: tuple[float, ...]
    """Spectral response against Sentinel-2's, per band."""
    offset: tuple[float, ...]
    blur_px: tuple[float, ...]
    """Sd of the blur per band beyond the pixel itself, 10 m pixels; set by the power spectra of the
    real scenes."""
    noise: tuple[float, ...]
    """Sd of the noise per band, reflectance, before the 20 m bands are averaged."""


SENSORS: Final = {
    "sentinel-2": Sensor(
        name="sentinel-2",
        platform="sentinel-2a",
        instrument="msi",
        gain=(1.0,) * 6,
        offset=(0.0,) * 6,
        blur_px=(0.40, 0.40, 0.40, 0.42, 1.2, 1.2),
        noise=(0.0012, 0.0012, 0.0013, 0.0020, 0.0016, 0.0016),
    ),
    "landsat": Sensor(  # OLI against MSI: slopes and offsets of the harmonised product's order
        name="landsat",
        platform="landsat-8",
        instrument="oli",
        gain=(0.977, 1.005, 0.982, 1.001, 1.001, 0.996),
        offset=(-0.0040, -0.0009, 0.0009, -0.0001, -0.0011, -0.0012),
        blur_px=(1.3,) * 6,
        noise=(0.0006,) * 6,
    ),
}


@dataclass(frozen=True)
class Exposure:
    """What a date does to all pixels alike."""

    gain: Float
    """Residual radiometric gain per band [6]."""
    top_of_atmosphere: bool
    shift_yx_px: tuple[float, float]


def expose(ground: Float, haze: Float, *, level_toa: bool) -> Float:
    """Add the atmosphere to surface reflectance [6, rows, cols], in place.

    At the surface level only the haze that the correction missed remains (a third of it).
    """
    extra = haze - 1 if level_toa else (haze - 1) / 3
    for band in range(6):
        plane = ground[band]
        if level_toa:
            plane *= THROUGH[band]
            plane += PATH[band]
        plane *= 1 - 0.8 * HAZE[band] * extra
        plane += HAZE[band] * extra
    return ground


def cover_with_clouds(ground: Float, opacity: Float, tone: Float) -> None:
    """Lay clouds over [6, rows, cols], in place."""
    clear = 1 - opacity
    cloud = opacity * tone
    for band in range(6):
        ground[band] *= clear
        ground[band] += cloud * CLOUD_TONE[band]


def darken(ground: Float, shadow: Float, sky: float) -> None:
    """Take the direct light from shadowed ground [6, rows, cols], in place; `sky` 0..1 is how much
    of the scattered light is left."""
    for band in range(6):
        ground[band] *= 1 - shadow * (1 - np.float32(sky) * SKY_LIGHT[band])


def kernel(blur: float, shift: float, radius: int) -> Float:
    """A Gaussian of sd `blur` that moves content by `shift` px, for `correlate1d`.

    It is built from frequencies up to Nyquist's, so that all of them move alike; a Gaussian merely
    sampled off its middle leaves the finest detail behind, which phase correlation sees.
    """
    taps = np.arange(-radius, radius + 1) + shift
    frequency = np.linspace(-0.5, 0.5, 129)
    response = np.exp(-2 * (np.pi * blur * frequency) ** 2)
    weights = np.cos(2 * np.pi * np.outer(taps, frequency)) @ response
    weights *= np.cos(np.pi * taps / (2 * (radius + 1 + abs(shift)))) ** 2
    return np.asarray(weights / weights.sum(), np.float32)


def focus(plane: Float, blur: float, shift_yx: tuple[float, float], margin: int) -> Float:
    """Blur and shift one band [rows, cols]; `margin` rows and columns fall off on every side."""
    radius = min(margin, math.ceil(3 * blur + max(map(abs, shift_yx))) + 2)
    spare = margin - radius
    near = plane[spare : plane.shape[0] - spare, spare : plane.shape[1] - spare]
    down, across = (kernel(blur, shift, radius) for shift in shift_yx)
    rows = correlate1d(near, down, axis=0, mode="nearest")[radius:-radius]
    both: Float = correlate1d(rows, across, axis=1, mode="nearest")
    return both[:, radius:-radius]


def quantise(plane: Float) -> NDArray[np.uint16]:
    """Reflectance to uint16 x 10000, clipped to 1..65535 in place."""
    plane *= REFLECTANCE_SCALE
    np.rint(plane, out=plane)
    return np.clip(plane, 1, 65535, out=plane).astype(np.uint16)
