"""From stored numbers to reflectance: which scale and offset hold, and the conversion itself.

Nothing is guessed: a scale comes from the caller, from the metadata, or from the definition of a
product that the metadata names; two sources that disagree are refused.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from geodata_etl.bands import BANDS, NODATA, REFLECTANCE_SCALE
from geodata_etl.errors import Refusal, SceneRefused

DTYPES: Final = ("uint8", "uint16", "int16", "float32", "float64")
"""Pixel types that reflectance comes in."""
_STORED_MAX: Final = 65_535

S2_SCALE: Final = 1e-4
"""Sentinel-2 L1C and L2A: QUANTIFICATION_VALUE 10000 (Sentinel-2 Products Specification)."""
S2_OFFSET: Final = -0.1
"""RADIO_ADD_OFFSET / BOA_ADD_OFFSET of -1000 DN, from processing baseline 04.00 on."""
S2_OFFSET_BASELINE: Final = 4.0
LANDSAT_SCALE: Final = 2.75e-5
"""Landsat Collection 2 Level-2 surface reflectance (Landsat 8-9 C2 L2 Science Product Guide)."""
LANDSAT_OFFSET: Final = -0.2


@dataclass(frozen=True)
class Calibration:
    """Reflectance = stored value x scale + offset."""

    scale: float
    offset: float


@dataclass(frozen=True)
class Product:
    """What the metadata says about the product a band belongs to, as far as radiometry goes."""

    sentinel2: bool = False
    """Sentinel-2 L1C or L2A."""
    baseline: float | None = None
    """Sentinel-2 processing baseline, e.g. 4.0."""
    offset_applied: bool | None = None
    """Whether the pixels already hold the -1000 (``earthsearch:boa_offset_applied``)."""
    landsat_c2_l2: bool = False
    """Landsat Collection 2 Level-2 surface reflectance."""

    @property
    def nodata(self) -> float | None:
        """The fill value that the product's specification fixes for integer pixels."""
        return 0.0 if self.sentinel2 or self.landsat_c2_l2 else None


@dataclass(frozen=True)
class Declared:
    """What metadata or a caller says about one band; None where it says nothing."""

    scale: float | None = None
    offset: float | None = None


def calibrate(
    band: str, dtype: str, *, caller: Declared, item: Declared, file: Declared, product: Product
) -> Calibration:
    """The calibration of one band, from whoever says it: caller, item and file, product rules.

    A scale that the caller gives overrides all metadata; its offset is then the caller's, or 0.
    Raises SceneRefused: NO_SCALE, CONTRADICTION.
    """
    if caller.scale is not None:
        return Calibration(caller.scale, caller.offset or 0.0)
    scale = _agreed(band, "scale", item.scale, file.scale)
    if scale is None and np.dtype(dtype).kind in "ui":
        scale = _product_scale(product)
    if scale is None or (scale == 1 and np.dtype(dtype).kind in "ui"):
        raise SceneRefused(
            Refusal.NO_SCALE,
            f"band {band} ({dtype}) has {'no scale' if scale is None else 'a scale of 1'}, "
            "so its numbers are no reflectance: give --scale and --offset, or put them in the "
            "item's raster:bands",
        )
    if caller.offset is not None:
        return Calibration(scale, caller.offset)
    offset = _offset(band, dtype, _agreed(band, "offset", item.offset, file.offset), scale, product)
    return Calibration(scale, offset)


def harmonise(
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    calibrations: list[Calibration],
    *,
    only: Collection[str] = BANDS,
) -> NDArray[np.uint16]:
    """Stored values [bands, rows, columns] as the stack's uint16: reflectance x 10000, 0 = nodata.

    `valid` [rows, columns] is false where any band has nothing; values there are ignored.
    Bands that are not in `only` are 0.
    """
    out = np.zeros(values.shape, np.uint16)
    for band, calibration in enumerate(calibrations):
        if BANDS[band] in only:
            scaled = np.where(valid, values[band], 0).astype(np.float64)
            scaled *= calibration.scale * REFLECTANCE_SCALE
            scaled += calibration.offset * REFLECTANCE_SCALE
            np.rint(scaled, out=scaled)
            out[band] = np.clip(scaled, NODATA + 1, _STORED_MAX, out=scaled)
    if not valid.all():
        out[:, ~valid] = NODATA
    return out


def _agreed(band: str, what: str, item: float | None, file: float | None) -> float | None:
    if item is not None and file is not None and not np.isclose(item, file, rtol=1e-6, atol=1e-12):
        raise SceneRefused(
            Refusal.CONTRADICTION,
            f"band {band}: the item says {what} {item:g}, the file {file:g}: correct one of them "
            "or give --scale and --offset",
        )
    return file if item is None else item


def _product_scale(product: Product) -> float | None:
    if product.sentinel2 and (product.baseline is not None or product.offset_applied is not None):
        return S2_SCALE
    return LANDSAT_SCALE if product.landsat_c2_l2 else None


def _offset(band: str, dtype: str, declared: float | None, scale: float, product: Product) -> float:
    if declared is not None and abs(declared) > 1:
        raise SceneRefused(
            Refusal.CONTRADICTION,
            f"band {band}: an offset of {declared:g} with a scale of {scale:g} is in stored units, "
            f"not in reflectance: give --offset {declared * scale:g}",
        )
    if np.dtype(dtype).kind == "f":
        return declared or 0.0
    if product.sentinel2:
        return _s2_offset(band, declared, product)
    if declared is None and product.landsat_c2_l2 and np.isclose(scale, LANDSAT_SCALE):
        return LANDSAT_OFFSET
    return declared or 0.0


def _s2_offset(band: str, declared: float | None, product: Product) -> float:
    shifted = product.baseline is not None and product.baseline >= S2_OFFSET_BASELINE
    if product.offset_applied is not None:
        wanted = S2_OFFSET if shifted and not product.offset_applied else 0.0
        known = f"boa_offset_applied is {product.offset_applied}"
    elif declared is None or (product.baseline is not None and not shifted):
        wanted = S2_OFFSET if shifted else 0.0
        known = f"processing baseline {product.baseline}"
    else:
        return declared
    if declared is not None and not np.isclose(declared, wanted, atol=1e-9):
        raise SceneRefused(
            Refusal.CONTRADICTION,
            f"band {band}: the item says offset {declared:g}, but {known}, which makes it "
            f"{wanted:g}: look at dark water and give --scale 0.0001 with --offset 0 or -0.1",
        )
    return wanted
