"""The colours of every picture: safe for colour-blind readers, and the same everywhere."""

from __future__ import annotations

from typing import Final

from geodata_etl.bands import Cover

Rgba = tuple[int, int, int, int]

COVER_COLOURS: Final[dict[int, Rgba]] = {
    Cover.WATER: (86, 180, 233, 255),
    Cover.TREE: (0, 158, 115, 255),
    Cover.LOW_VEGETATION: (240, 228, 66, 255),
    Cover.BARE: (230, 159, 0, 255),
    Cover.BUILT: (204, 121, 167, 255),
    Cover.BURNT: (213, 94, 0, 255),
}
"""Class to colour: Okabe and Ito's palette, told apart with any colour vision, on dark and light.
The dashboard's ``palette.mjs`` says the same."""

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
