"""Smooth random fields for clouds, haze and fields."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def fractal(
    rng: np.random.Generator, size: int, *, slope: float, longest: float = 2.0
) -> NDArray[np.float32]:
    """Noise [size,size] of zero mean and unit variance, spectrum frequency^-slope.

    `longest`: the longest wavelength, in units of `size`.
    """
    rows, columns = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    frequency = np.maximum(np.hypot(rows, columns), 1 / (longest * size))
    white = rng.standard_normal((size, size // 2 + 1)) + 1j * rng.standard_normal(
        (size, size // 2 + 1)
    )
    field = np.fft.irfft2(white * frequency**-slope, s=(size, size))
    standard: NDArray[np.float32] = ((field - field.mean()) / field.std()).astype(np.float32)
    return standard
