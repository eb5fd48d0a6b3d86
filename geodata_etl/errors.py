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
    """Why a scene was refused: each value is a machine-readable reason with a test of its own.

    Below each value, a sentence with what was found and then the cure: the documentation's table is
    made of them.
    """

    MISSING_FILE = "missing_file"
    """No such file, or its host says so. Check the path or address."""
    UNREADABLE = "unreadable"
    """Truncated, or no raster at all (HTML named .tif). Fetch the file again."""
    NOT_AN_ITEM = "not_an_item"
    """The JSON is no STAC Item. Give an Item, a GeoTIFF or a folder of GeoTIFFs."""
    NO_CRS = "no_crs"
    """Neither the file nor the Item says where the pixels lie. Write the georeference into the
    file (gdal_edit.py), or `proj:code` and `proj:transform` into the Item."""
    MIXED_CRS = "mixed_crs"
    """The bands of one scene are in several CRSs. Reproject its files to one."""
    ROTATED = "rotated"
    """The pixels' rows do not run west to east. Warp the file to a north-up grid (gdalwarp)."""
    ANTIMERIDIAN = "antimeridian"
    """The scene crosses 180 degrees of longitude. Cut it there and submit the halves."""
    TOO_COARSE = "too_coarse"
    """Pixels over 30 m. Use a finer product."""
    TOO_FINE = "too_fine"
    """Pixels under 8 m. Average the file to 10 m first (gdalwarp -tr 10 10 -r average)."""
    TOO_SMALL = "too_small"
    """Less than 320 m (32 px) of usable ground. Give a larger crop."""
    TOO_LARGE = "too_large"
    """A file, the decoded scene or one of its internal blocks is over its limit. Cut the scene to
    the site, rewrite a file in strips as a COG, or raise the limit in the settings."""
    BANDS_UNKNOWN = "bands_unknown"
    """No band has a name that says what it is. Give `--bands`, band descriptions, or common names
    in the Item."""
    MISSING_BAND = "missing_band"
    """One of the six analysis bands is not there. Use a product that has all of them."""
    DTYPE = "dtype"
    """A pixel type that reflectance does not come in. Convert to uint8, uint16, int16, float32 or
    float64."""
    NO_SCALE = "no_scale"
    """Integers, and nothing says how they become reflectance. Give `--scale` and `--offset`, or
    put them into the Item's `raster:bands`."""
    CONTRADICTION = "contradiction"
    """Two sources of metadata disagree (scale, nodata, CRS, shape, date). Correct one of them, or
    say `--scale` and `--offset` yourself."""
    UNDECLARED_NAN = "undeclared_nan"
    """The pixels hold NaN, and nothing declares it as nodata. Declare it, or fill it."""
    INFINITE = "infinite"
    """The pixels hold infinity. Set them to the nodata value."""
    ALL_NODATA = "all_nodata"
    """No pixel on the site has data in every band. Check the nodata value, or leave the scene
    out."""
    NO_DATE = "no_date"
    """Nothing says when the scene was acquired. Write it into the Item, into an ACQUISITION tag,
    or as one YYYYMMDD into the name."""
    NO_OVERLAP = "no_overlap"
    """No ground in common with the site (or, in `detect`, with the baseline). Submit it to the
    site it belongs to."""
    NOT_ALIGNED = "not_aligned"
    """The measured shift is over the limit, or its windows disagree too much. Correct the
    georeference of the scene."""
    HREF_FORBIDDEN = "href_forbidden"
    """Outside the folders and hosts that may be read. Move the file there, or allow its folder or
    host (`--allow`, `--allow-host`)."""
    BEFORE_BASELINE = "before_baseline"
    """In `detect`, AFTER is not later than every BEFORE. Name the later scene last."""


class SceneRefused(GroundshiftError):
    """A scene cannot be processed as it is; `reason` is for machines, the message for people."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        """The `Refusal` this scene met."""
