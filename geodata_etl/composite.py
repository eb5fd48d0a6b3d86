"""What was seen, and what it is compared with: clear pixels and the baseline composite.

All arrays cover one tile with its halo. A pixel is *clear* where the scene has data and no cloud,
thin cloud or shadow lies within the buffer; only clear pixels of both dates are observed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from geodata_etl.bands import BANDS, NODATA, NOT_OBSERVED, Cloud, Cover

UInt8 = NDArray[np.uint8]
UInt16 = NDArray[np.uint16]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Layer:
    """One scene over one tile."""

    bands: UInt16
    """[6, H, W], reflectance x 10000, 0 = nodata."""
    clear: Bool
    """[H, W]: has data, and no cloud or shadow within the buffer."""
    probabilities: UInt8
    """[6, H, W] class probabilities, 255 = not observed."""


@dataclass(frozen=True)
class Composite:
    """The baseline of a tile: per pixel the most recent clear scene."""

    bands: UInt16
    """[6, H, W]; where no scene is clear, the most recent one with data; 0 where none has any."""
    probabilities: UInt8
    """[6, H, W] of the same scene as the bands."""
    observed: Bool
    """[H, W]: some scene of the baseline is clear here."""


def clear_mask(bands: UInt16, cloud: UInt8, *, buffer_px: int) -> Bool:
    """Where a scene can be trusted.

    `bands` is [6, H, W] with 0 = nodata, `cloud` [H, W] of `Cloud` classes; everything that is not
    clear is grown by `buffer_px` in both axes (a square, so that it costs two passes).
    """
    valid = bands[0] != NODATA
    covered = (valid & (cloud != Cloud.CLEAR)).astype(np.uint8)
    if buffer_px and covered.any():
        size = 2 * buffer_px + 1
        for axis in (0, 1):
            covered = maximum_filter1d(covered, size, axis=axis, mode="constant")
    clear: Bool = valid & (covered == 0)
    return clear


def blend_baseline(layers: Iterable[Layer], *, shape: tuple[int, int]) -> Composite:
    """Per pixel the first clear layer of `layers`, which come most recent first.

    `layers` may be lazy: it is read no further than the layer that fills the last pixel.
    """
    bands = np.full((len(BANDS), *shape), NODATA, np.uint16)
    probabilities = np.full((len(Cover), *shape), NOT_OBSERVED, np.uint8)
    observed = np.zeros(shape, np.bool_)
    for layer in layers:
        if not observed.any() and layer.clear.all():
            return Composite(layer.bands, layer.probabilities, layer.clear)
        unseen = (bands[0] == NODATA) & (layer.bands[0] != NODATA) & ~observed
        take = (layer.clear & ~observed) | unseen
        np.copyto(bands, layer.bands, where=take)
        np.copyto(probabilities, layer.probabilities, where=take)
        observed |= layer.clear
        if observed.all():
            break
    return Composite(bands, probabilities, observed)


def class_map(probabilities: UInt8, observed: Bool) -> UInt8:
    """The most probable class, [H, W] of `Cover`, 255 where not observed; ties go to the first."""
    known = observed & (probabilities[0] != NOT_OBSERVED)
    classes = np.zeros(observed.shape, np.uint8)
    highest = probabilities[0].copy()
    for number in range(1, len(probabilities)):  # argmax over the first axis: 7 x as slow
        np.copyto(classes, np.uint8(number), where=probabilities[number] > highest)
        np.maximum(highest, probabilities[number], out=highest)
    classes[~known] = NOT_OBSERVED
    return classes
