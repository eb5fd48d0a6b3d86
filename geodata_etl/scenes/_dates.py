"""When a scene was acquired: from metadata, from a product name, from an unambiguous file name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Final

_PRODUCT: Final = (
    r"MSIL(?:1C|2A)_(\d{8}T\d{6})",  # Sentinel-2: the sensing time comes first
    r"T\d{2}[A-Z]{3}_(\d{8}T\d{6})",  # Sentinel-2 image file
    r"L[COTEM]\d{2}_L\w{3}_\d{6}_(\d{8})_",  # Landsat: acquisition, then processing
)
_DATE: Final = r"(?<!\d)((?:19|20)\d{2})-?([01]\d)-?([0-3]\d)(?!\d)"


def parse(text: str) -> datetime | None:
    """An ISO, ``YYYYMMDD[THHMMSS]`` or TIFF (``YYYY:MM:DD HH:MM:SS``) time in UTC, else None."""
    text = re.sub(r"^(\d{4}):(\d\d):(\d\d)", r"\1-\2-\3", text.strip())
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def of_caller(value: datetime | date | str | None) -> datetime | None:
    """The date a caller gave, as UTC. Raises ValueError where it is none."""
    if value is None:
        return None
    found = parse(value if isinstance(value, str) else value.isoformat())
    if found is None:
        raise ValueError(f"{value!r} is no date: write YYYY-MM-DD")
    return found


def of_tags(tags: Mapping[str, str]) -> datetime | None:
    """The acquisition time in a file's tags (``ACQUISITION...``)."""
    for key in sorted(tags):
        if key.upper().startswith("ACQUISITION"):
            found = parse(tags[key])
            if found:
                return found
    return None


def of_tiff(tags: Mapping[str, str]) -> datetime | None:
    """TIFFTAG_DATETIME: asked last, since many writers put the time of writing there."""
    return parse(tags.get("TIFFTAG_DATETIME", ""))


def of_name(name: str) -> datetime | None:
    """The date in a file or folder name, None where there is none or more than one."""
    for pattern in _PRODUCT:
        match = re.search(pattern, name)
        if match:
            return parse(match[1])
    found = {parse("-".join(groups)) for groups in re.findall(_DATE, name)} - {None}
    return found.pop() if len(found) == 1 else None
