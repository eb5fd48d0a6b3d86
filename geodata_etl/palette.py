"""The colours of every picture: safe for colour-blind readers, and the same everywhere."""

from __future__ import annotations

from typing import Final

from geodata_etl.bands import Cover

Rgba = tuple[int, int, int, int]

COVER_COLOURS: Final[dict[int, Rgba]] = {
    Cover.WATER: (68, 119, 170, 255),
    Cover.TREE: (34, 136, 51, 255),
    Cover.LOW_VEGETATION: (204, 187, 68, 255),
    Cover.BARE: (200, 184, 166, 255),
    Cover.BUILT: (238, 102, 119, 255),
    Cover.BURNT: (68, 40, 60, 255),
}
"""Class to colour. Water, trees, low vegetation and built-up are Paul Tol's "bright" scheme, made
to be told apart with any colour vision; bare and burnt differ from them by lightness."""

CHANGE_LOW: Final[Rgba] = (255, 224, 102, 255)
"""A change just over the threshold: yellow."""
CHANGE_HIGH: Final[Rgba] = (204, 0, 153, 255)
"""A certain change: magenta."""
UNSEEN_DARK: Final[Rgba] = (40, 44, 52, 255)
"""Stripes of ground that was not observed."""
UNSEEN_LIGHT: Final[Rgba] = (150, 156, 166, 255)
"""Between the stripes."""
NO_IMAGE: Final[Rgba] = (214, 217, 222, 255)
"""Where a scene holds no pixel."""


def css(colour: Rgba) -> str:
    """``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*colour[:3])
