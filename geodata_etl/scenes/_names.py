"""Band names of the world to the common names of STAC's eo extension."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

SENTINEL2: Final = "sentinel-2"
OLI: Final = "oli"
"""Landsat 8 and 9."""
TM: Final = "tm"
"""Landsat 4, 5 and 7 (TM, ETM+)."""

_COMMON: Final = {
    **{name: name for name in ("blue", "green", "red", "nir", "nir08", "swir16", "swir22")},
    "swir1": "swir16",
    "swir2": "swir22",
    "nir8a": "nir08",
}
_CODES: Final = {
    # Sentinel-2 MSI, Landsat OLI and Landsat TM/ETM+ numbering, from the sensors' band tables
    SENTINEL2: {
        "b2": "blue",
        "b3": "green",
        "b4": "red",
        "b8": "nir",
        "b8a": "nir08",
        "b11": "swir16",
        "b12": "swir22",
    },
    OLI: {
        "b2": "blue",
        "b3": "green",
        "b4": "red",
        "b5": "nir",
        "b6": "swir16",
        "b7": "swir22",
    },
    TM: {
        "b1": "blue",
        "b2": "green",
        "b3": "red",
        "b4": "nir",
        "b5": "swir16",
        "b7": "swir22",
    },
}
_PLATFORMS: Final = (
    (r"sentinel-?2|(^|_)s2[abc]_msi", SENTINEL2),
    (r"landsat-?_?0?[89]|(^|_)lc0[89]_", OLI),
    (r"landsat-?_?0?[457]|(^|_)l[et]0[457]_", TM),
)


def sensor_of(*texts: str | None) -> str | None:
    """The numbering family that platform names or product names speak of; None where none does."""
    joined = [text.lower().replace(" ", "-") for text in texts if text]
    for pattern, family in _PLATFORMS:
        if any(re.search(pattern, text) for text in joined):
            return family
    return None


def common_names(names: Sequence[str | None], sensor: str | None) -> list[str | None]:
    """The common name of each band of one scene, None where a name says nothing.

    A bare number (``B5``) means different things on different sensors: it only counts where the
    platform is known, or where the names together leave one reading (``B8A`` or ``B12`` is only on
    Sentinel-2, ``SR_B6`` only on Landsat 8-9).
    """
    tokens = [_tokens(name) for name in names]
    family = sensor or _family(names, tokens)
    return [_common(found, _CODES.get(family or "", {})) for found in tokens]


def _tokens(name: str | None) -> list[str]:
    return [t for t in re.split(r"[^a-z0-9]+", (name or "").lower()) if t]


def _common(tokens: list[str], codes: dict[str, str]) -> str | None:
    for token in tokens:
        if token in _COMMON:
            return _COMMON[token]
    for token in tokens:
        code = _code(token)
        if code in codes:
            return codes[code]
    return None


def _code(token: str) -> str:
    match = re.fullmatch(r"b0?(\d{1,2}a?)", token)
    return f"b{match[1]}" if match else ""


def _family(names: Sequence[str | None], tokens: list[list[str]]) -> str | None:
    flat = {token for found in tokens for token in found}
    codes = {_code(token) for token in flat}
    if "sr" in flat:  # Landsat Collection 2 calls its bands SR_B1 ... SR_B7
        if "b6" in codes:
            return OLI
        return TM if {"b1", "b5", "b7"} <= codes else None
    padded = any(re.search(r"(^|[^a-z0-9])b0\d", (name or "").lower()) for name in names)
    return SENTINEL2 if padded or {"b8a", "b12"} & codes else None
