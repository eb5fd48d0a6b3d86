"""Pixels to colours: every function takes arrays of the contract and gives uint8 RGBA.

A colour follows from the pixel alone, never from the rest of the picture, so that two dates, two
tiles and two runs look alike where the ground is alike.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from geodata_etl.bands import BANDS, NODATA, NOT_OBSERVED, PROBABILITY_MAX, REFLECTANCE_SCALE
from geodata_etl.palette import (
    CHANGE_HIGH,
    CHANGE_LOW,
    COVER_COLOURS,
    NO_IMAGE,
    UNSEEN_DARK,
    UNSEEN_LIGHT,
    Rgba,
)

Picture = NDArray[np.uint8]
"""RGBA, shape [rows, columns, 4]."""

_BLACK: Final = 0.015
"""Reflectance that is black: deep clear water."""
_KNEE: Final = 0.16
"""Reflectance over black at which the tone curve has spent 63 % of its range: land mostly lies
below; clouds, snow and sand above keep some contrast."""
_KNEE_NIR: Final = 0.3
"""The same for near infrared, where vegetation is bright."""
_SATURATION: Final = 1.5
"""True colours are drawn away from gray by this much: haze and sky light pale them."""

LOWEST_SHOWN: Final = 0.3
"""Probability from which a change shows at all."""


TRUE_COLOR: Final = ("blue", "green", "red")
"""The bands that `true_color` looks at."""


def true_color(stack: NDArray[np.uint16]) -> Picture:
    """Red, green and blue of a stack uint16 [6, rows, columns] as an eye would see them.

    The other bands may be 0.
    """
    return _composite(stack, {"red": _KNEE, "green": _KNEE, "blue": _KNEE}, _SATURATION)


def false_color(stack: NDArray[np.uint16]) -> Picture:
    """Near infrared, red and green of a stack: vegetation is red, bare and built ground is blue."""
    return _composite(stack, {"nir": _KNEE_NIR, "red": _KNEE, "green": _KNEE}, 1)


def gray(picture: Picture, *, contrast: float = 0.6) -> Picture:
    """A picture without colour and with less contrast, as a ground for coloured overlays."""
    red, green, blue = np.moveaxis(picture[..., :3].astype(np.float32), -1, 0)
    # ITU-R BT.601 luma, term by term: a BLAS product's last bit depends on its threads
    luma = (0.299 * red + 0.587 * green + 0.114 * blue - 128) * contrast + 140
    paler = picture.copy()
    paler[..., :3] = np.clip(luma, 0, 255).astype(np.uint8)[..., np.newaxis]
    return paler


def class_colors(classes: NDArray[np.uint8]) -> Picture:
    """Land cover (`Cover`, 255 = not observed) in the colours of the legend; unseen is clear."""
    table = np.zeros((256, 4), np.uint8)
    for cover, colour in COVER_COLOURS.items():
        table[cover] = colour
    return table[classes]


def probability_overlay(change: NDArray[np.uint8]) -> Picture:
    """Change levels (0..254, 255 = not observed) from clear over yellow to magenta."""
    levels = np.arange(256) / PROBABILITY_MAX
    share = np.clip((levels - 0.5) / 0.5, 0, 1)[:, np.newaxis]
    table = np.array(CHANGE_LOW) * (1 - share) + np.array(CHANGE_HIGH) * share
    table[:, 3] = 255 * np.clip((levels - LOWEST_SHOWN) / (0.5 - LOWEST_SHOWN), 0, 0.9)
    table[NOT_OBSERVED] = 0
    return table.astype(np.uint8)[change]


def hatch(observed_share: NDArray[np.float32], *, spacing: int = 8) -> Picture:
    """Diagonal stripes where less than half of a picture pixel was observed, clear elsewhere.

    `spacing` is the distance of two stripes, picture pixels.
    """
    rows, cols = np.indices(observed_share.shape)
    dark = np.where((rows + cols) % spacing < max(1, spacing // 3), 1, 0)
    stripes = np.array([(*UNSEEN_LIGHT[:3], 90), (*UNSEEN_DARK[:3], 210)], np.uint8)[dark]
    stripes[observed_share >= 0.5] = 0
    return stripes


def over(bottom: Picture, top: Picture) -> Picture:
    """`top` laid over an opaque `bottom` by its alpha."""
    alpha = top[..., 3:].astype(np.float32) / 255
    mixed = bottom[..., :3] * (1 - alpha) + top[..., :3] * alpha
    opaque = np.full((*bottom.shape[:2], 1), 255, np.uint8)
    return np.concatenate([np.round(mixed).astype(np.uint8), opaque], axis=-1)


def opaque(picture: Picture, *, ground: Rgba = NO_IMAGE) -> Picture:
    """A picture on a plain ground."""
    return over(np.broadcast_to(np.array(ground, np.uint8), picture.shape), picture)


def _composite(stack: NDArray[np.uint16], knees: dict[str, float], saturation: float) -> Picture:
    channels = np.stack([_tone(stack[BANDS.index(name)], knee) for name, knee in knees.items()], -1)
    luma = channels.mean(axis=-1, keepdims=True)
    vivid = np.clip(luma + saturation * (channels - luma), 0, 255).astype(np.uint8)
    seen = np.where(stack[0] == NODATA, 0, 255).astype(np.uint8)[..., np.newaxis]
    return np.concatenate([vivid * (seen > 0), seen], axis=-1)


def _tone(band: NDArray[np.uint16], knee: float) -> NDArray[np.float32]:
    """Reflectance to 0..255 along 1 - exp(-r / knee), full at reflectance 1."""
    reflectance = np.maximum(band.astype(np.float32) / REFLECTANCE_SCALE - _BLACK, 0)
    toned: NDArray[np.float32] = 255 * (1 - np.exp(-reflectance / knee))
    return toned
