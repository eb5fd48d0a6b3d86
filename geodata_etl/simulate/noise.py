"""Seeded randomness and fractal noise, cheap enough for whole scenes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Float = NDArray[np.float32]


def generator(*key: object) -> np.random.Generator:
    """A generator that depends on `key` alone: the same key gives the same stream."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def moment(day: date | datetime) -> datetime:
    """A day as an acquisition time, UTC; a bare date means 10:30, Sentinel-2's local crossing."""
    if isinstance(day, datetime):
        return day.astimezone(UTC) if day.tzinfo else day.replace(tzinfo=UTC)
    return datetime.combine(day, time(10, 30), tzinfo=UTC)


def periodic(rng: np.random.Generator, size: int, *, beta: float, wavelength: float) -> Float:
    """Noise [size, size] of zero mean and unit sd that repeats without a seam.

    Power falls as frequency ** -`beta` for waves shorter than `wavelength` px, flat above.
    """
    return _shaped(rng, (size, size), beta=beta, wavelength=wavelength)


@dataclass(frozen=True, eq=False)
class Waves:
    """Noise of zero mean and unit sd, known on every `step`-th pixel of a map of `shape`."""

    field: Float
    step: int
    shape: tuple[int, int]

    def strip(self, rows: slice = slice(None)) -> Float:
        """The noise of some rows at every pixel [rows, cols]."""
        if self.step == 1:
            return self.field[rows, : self.shape[1]]
        return enlarge(self.field, self.shape, step=self.step, rows=rows)

    def level(self, share: float) -> float:
        """The value that about `share` of the map lies under."""
        return float(np.quantile(self.field[::2, ::2], share))


def waves(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    wavelength: float,
    beta: float = 3.0,
    step: int = 4,
) -> Waves:
    """Draw noise whose power falls as frequency ** -`beta` below `wavelength` px, flat above."""
    coarse = (fft.next_fast_len(shape[0] // step + 3), fft.next_fast_len(shape[1] // step + 3))
    field = _shaped(rng, coarse, beta=beta, wavelength=wavelength / step)
    field = field[: shape[0] // step + 2, : shape[1] // step + 2] if step > 1 else field
    return Waves(field, step, shape)


def fractal(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    wavelength: float,
    beta: float = 3.0,
    step: int = 4,
) -> Float:
    """The same as an array of `shape`."""
    drawn = waves(rng, shape, wavelength=wavelength, beta=beta, step=step)
    return drawn.strip(slice(0, shape[0]))


def _shaped(
    rng: np.random.Generator, shape: tuple[int, int], *, beta: float, wavelength: float
) -> Float:
    spectrum = fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    rows = fft.fftfreq(shape[0])[:, None].astype(np.float32)
    cols = fft.rfftfreq(shape[1])[None, :].astype(np.float32)
    power = rows**2 + cols**2 + np.float32(1.0 / wavelength**2)
    spectrum *= power ** np.float32(-beta / 4.0)
    spectrum[0, 0] = 0
    field: Float = fft.irfft2(spectrum, s=shape).astype(np.float32)
    return np.asarray(field / max(float(field.std()), 1e-9), np.float32)


def enlarge(field: Float, shape: tuple[int, int], *, step: int, rows: slice | None = None) -> Float:
    """Interpolate a coarse field [h, w] to `shape` at `step` px a cell; `rows` picks a strip."""
    chosen = np.arange(shape[0], dtype=np.float32)[rows or slice(None)]
    low, weight = _taps(chosen, step, field.shape[0])
    strip = field[low] * (1 - weight)[:, None] + field[low + 1] * weight[:, None]
    low, weight = _taps(np.arange(shape[1], dtype=np.float32), step, field.shape[1])
    return np.asarray(strip[:, low] * (1 - weight) + strip[:, low + 1] * weight, np.float32)


def _taps(position: Float, step: int, cells: int) -> tuple[NDArray[np.intp], Float]:
    exact = position / np.float32(step)
    low = np.minimum(exact.astype(np.intp), cells - 2)
    weight = np.minimum(exact - low, 1).astype(np.float32)
    return low, weight * weight * (3 - 2 * weight)  # smooth step: no visible mesh


def hashed(*values: NDArray[np.integer] | int) -> NDArray[np.uint32]:
    """A well-mixed 32-bit number of integer arrays (after the finaliser of MurmurHash3)."""
    words = np.broadcast_arrays(*(np.asarray(value).astype(np.uint32) for value in values))
    total = np.full(words[0].shape, 0x9E3779B9, np.uint32)
    for word in words:
        total ^= word
        total *= np.uint32(0x85EBCA6B)
        total ^= total >> np.uint32(13)
        total *= np.uint32(0xC2B2AE35)
        total ^= total >> np.uint32(16)
    return total


def uniform(*values: NDArray[np.integer] | int) -> Float:
    """The same as a number in [0, 1)."""
    return (hashed(*values) >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24)
