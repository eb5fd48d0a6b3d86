"""The root of the one exception tree.

::

    GroundshiftError
    ├── SceneRefused            a scene that can never be processed as it is (a Refusal reason)
    └── (groundshift.errors)    what the platform adds

A message says what was wrong, with the value, and the cure.
"""

from __future__ import annotations

from enum import StrEnum


class GroundshiftError(Exception):
    """Base of every error that groundshift raises on purpose."""


class Refusal(StrEnum):
    """Why a scene was refused: each value is a machine-readable reason with a test of its own."""

    MISSING_FILE = "missing_file"
    UNREADABLE = "unreadable"
    """Truncated, or no raster at all (HTML named .tif)."""
    NOT_AN_ITEM = "not_an_item"
    """The JSON is no STAC Item."""
    NO_CRS = "no_crs"
    MIXED_CRS = "mixed_crs"
    ROTATED = "rotated"
    ANTIMERIDIAN = "antimeridian"
    TOO_COARSE = "too_coarse"
    """Pixels over 30 m in the bands that decide the resolution."""
    TOO_FINE = "too_fine"
    TOO_SMALL = "too_small"
    """Less than one usable tile of ground, e.g. 1x1 px."""
    TOO_LARGE = "too_large"
    """Would decode to more than the limit."""
    BANDS_UNKNOWN = "bands_unknown"
    MISSING_BAND = "missing_band"
    DTYPE = "dtype"
    NO_SCALE = "no_scale"
    CONTRADICTION = "contradiction"
    """Two sources of metadata disagree (scale, nodata, CRS, shape)."""
    UNDECLARED_NAN = "undeclared_nan"
    INFINITE = "infinite"
    ALL_NODATA = "all_nodata"
    NO_DATE = "no_date"
    NO_OVERLAP = "no_overlap"
    """No ground in common with the site (or, in `detect`, with the baseline)."""
    NOT_ALIGNED = "not_aligned"
    """The measured shift is over the limit, or no reliable shift could be measured."""
    HREF_FORBIDDEN = "href_forbidden"
    """Outside the allow-list of roots and hosts."""
    BEFORE_BASELINE = "before_baseline"
    """`detect`: AFTER is not later than every BEFORE."""


class SceneRefused(GroundshiftError):
    """A scene cannot be processed as it is; `reason` is for machines, the message for people."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        """The `Refusal` this scene met."""
