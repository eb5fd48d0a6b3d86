"""Real Sentinel-2 pairs for training and measuring: six bands on date 1's 10 m grid.

A thin reader of the development data's own layout (``<place>/<yyyymmdd>_{10m,20m}.tif``), so that
measuring does not depend on the platform's ingest. Date 2 is moved onto date 1 in one resampling,
by the georeference and a measured sub-pixel shift.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import Resampling, reproject
from skimage.registration import phase_cross_correlation

UNLABELLED = (
    *("brasilia", "chongqing", "dubai", "lasvegas", "milano"),
    *("montpellier", "norcia", "rio", "saclay_w", "valencia"),
)
"""The places that may train."""
LABELLED = (
    *("abudhabi", "aguasclaras", "beihai", "bercy"),
    *("bordeaux", "cupertino", "paris", "saclay_e"),
)
"""The places that only measure."""
_SIX = ("B02", "B03", "B04", "B08", "B11", "B12")
_B11, _B12 = 5, 6  # band numbers in a 20 m file: B05 B06 B07 B8A B11 B12


@dataclass(frozen=True)
class Pair:
    """Two dates of one place on one grid."""

    name: str
    before: NDArray[np.uint16]
    """[6,H,W] reflectance x 10000, 0 = nodata."""
    after: NDArray[np.uint16]
    label: NDArray[np.bool_] | None
    """[H,W] true where an analyst marked change; None where nobody looked."""
    shift: tuple[float, float]
    """(rows, columns) that date 2 was moved by."""

    @property
    def valid(self) -> NDArray[np.bool_]:
        """[H,W] observed at both dates."""
        seen: NDArray[np.bool_] = (self.before.min(0) > 0) & (self.after.min(0) > 0)
        return seen


def data_root() -> Path | None:
    """The development data: ``GROUNDSHIFT_DATA``, or ``../shared/data``; None where absent."""
    named = os.environ.get("GROUNDSHIFT_DATA")
    root = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    return root if root.is_dir() else None


def read_pair(folder: Path) -> Pair:
    """The pair in a folder of the OSCD layout, co-registered."""
    first, second = sorted(path.name[:8] for path in folder.glob("*_10m.tif"))
    with rasterio.open(folder / f"{first}_10m.tif") as source:
        transform, shape = source.transform, source.shape
    before = _stack(folder, first, transform, shape, (0.0, 0.0))
    loose = _stack(folder, second, transform, shape, (0.0, 0.0))
    shift = measure_shift(before, loose)
    after = _stack(folder, second, transform, shape, shift)
    return Pair(folder.name, before, after, _label(folder), shift)


def _label(folder: Path) -> NDArray[np.bool_] | None:
    path = folder / "label_change.tif"
    if not path.exists():
        return None
    with rasterio.open(path) as source:
        marked: NDArray[np.bool_] = source.read(1) == 1
    return marked


def _stack(
    folder: Path, date: str, transform: Affine, shape: tuple[int, int], shift: tuple[float, float]
) -> NDArray[np.uint16]:
    ten = _warp(folder / f"{date}_10m.tif", [1, 2, 3, 4], transform, shape, shift)
    twenty = _warp(folder / f"{date}_20m.tif", [_B11, _B12], transform, shape, shift)
    stack = np.concatenate([ten, twenty])
    invalid = stack.min(axis=0) <= 0
    stack = np.clip(np.round(stack), 1, 65535).astype(np.uint16)
    stack[:, invalid] = 0
    return stack


def _warp(
    path: Path,
    bands: list[int],
    transform: Affine,
    shape: tuple[int, int],
    shift: tuple[float, float],
) -> NDArray[np.float32]:
    """Bands on the target grid, their content moved by (rows, columns) target pixels; 0 outside."""
    target = np.zeros((len(bands), *shape), np.float32)
    with rasterio.open(path) as source:
        moved = Affine.translation(shift[1] * transform.a, shift[0] * transform.e)
        reproject(
            source.read(bands).astype(np.float32),
            target,
            src_transform=moved * source.transform,
            src_crs=source.crs,
            src_nodata=0,
            dst_transform=transform,
            dst_crs=source.crs,
            dst_nodata=0,
            resampling=Resampling.cubic,
        )
    return target


def read_scene(path: Path) -> NDArray[np.uint16]:
    """The six analysis bands [6,H,W] of a 13-band reflectance GeoTIFF (the Slovenian series)."""
    with rasterio.open(path) as source:
        bands = [source.descriptions.index(name) + 1 for name in _SIX]
        reflectance = source.read(bands)
    invalid = ~np.isfinite(reflectance).all(axis=0)
    filled = np.nan_to_num(reflectance)
    stack = np.clip(np.round(filled * 10_000), 1, 65535).astype(np.uint16)
    stack[:, invalid] = 0
    six: NDArray[np.uint16] = stack
    return six


def measure_shift(
    before: NDArray[np.uint16], after: NDArray[np.uint16], *, window: int = 192
) -> tuple[float, float]:
    """(rows, columns) to move `after` by: the median of windowed phase correlations."""
    shifts = []
    _, height, width = before.shape
    for top in range(0, max(1, height - window + 1), window):
        for left in range(0, max(1, width - window + 1), window):
            at = (slice(None), slice(top, top + window), slice(left, left + window))
            shifts.append(_window_shift(before[at], after[at]))
    rows, columns = np.median(np.array(shifts), axis=0)
    return float(rows), float(columns)


def _window_shift(before: NDArray[np.uint16], after: NDArray[np.uint16]) -> NDArray[np.float64]:
    # The gradient of the visible mean: edges of roads and roofs stay while fields change colour.
    def edges(stack: NDArray[np.uint16]) -> NDArray[np.float64]:
        rows, columns = np.gradient(np.log(stack[:3].mean(0) + 1))
        magnitude: NDArray[np.float64] = np.hypot(rows, columns)
        taper = np.outer(np.hanning(magnitude.shape[0]), np.hanning(magnitude.shape[1]))
        return (np.minimum(magnitude, 0.5) - 0.05) * taper

    shift, _, _ = phase_cross_correlation(  # type: ignore[no-untyped-call]
        edges(before), edges(after), upsample_factor=20, normalization=None
    )
    return np.asarray(shift)
