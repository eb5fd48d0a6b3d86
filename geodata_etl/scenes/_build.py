"""From what a source offers to a checked scene."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime

from geodata_etl.bands import BANDS
from geodata_etl.errors import Refusal, SceneRefused
from geodata_etl.hrefs import Access
from geodata_etl.radiometry import DTYPES, Declared, calibrate
from geodata_etl.scenes._checks import check_amount, footprint, same_crs, scene_file
from geodata_etl.scenes._model import Scene, SceneBand, SceneFile
from geodata_etl.scenes._offers import Files, Found, Offer
from geodata_etl.scenes._raster import Facts


def build(found: Found, *, access: Access, caller: Declared, date: datetime | None) -> Scene:
    """Choose the six bands and check everything that metadata can tell. Raises SceneRefused."""
    acquired = date or found.acquired
    if acquired is None:
        raise SceneRefused(
            Refusal.NO_DATE,
            f"{found.source!r} does not say when it was acquired: put one YYYYMMDD into its name, "
            "an ACQUISITION tag into the file, or `acquired` into the event that announces it",
        )
    files = Files(access, found.base)
    chosen = _choose(found)
    facts = [files.facts(offer.href) for offer in chosen]
    _check_bands(chosen, facts)
    check_amount(_read(chosen, facts), access)
    placed = {offer.href: offer.placed for offer in chosen}
    made = {one.href: scene_file(one, placed[one.href]) for one in facts}
    crs = same_crs(list(made.values()))
    return Scene(
        id=found.id,
        acquired=acquired,
        platform=found.platform,
        level=found.level,
        footprint=footprint(list(made.values())),
        crs=crs,
        bands=tuple(
            _band(name, offer, one, made[offer.href], found, caller)
            for name, offer, one in zip(BANDS, chosen, facts, strict=True)
        ),
        source=found.source,
    )


def _choose(found: Found) -> list[Offer]:
    by_name: dict[str, list[Offer]] = {}
    for offer in found.offers:
        if offer.common:
            by_name.setdefault(offer.common, []).append(offer)
    by_name.setdefault("nir", by_name.get("nir08", []))  # the narrow band where there is no other
    names = ", ".join(offer.source for offer in found.offers) or "none"
    if not any(by_name.values()):
        raise SceneRefused(
            Refusal.BANDS_UNKNOWN,
            f"no band of {found.source!r} has a name that says what it is (found: {names}): give "
            "--bands, band descriptions, or an item with common names",
        )
    missing = [name for name in BANDS if not by_name.get(name)]
    if missing:
        raise SceneRefused(
            Refusal.MISSING_BAND,
            f"{found.source!r} has no {', '.join(missing)} (found: {names}): all of "
            f"{', '.join(BANDS)} are needed; use a product that has them",
        )
    return [min(by_name[name], key=lambda offer: offer.rank) for name in BANDS]


def _check_bands(chosen: Sequence[Offer], facts: Sequence[Facts]) -> None:
    for offer, one in zip(chosen, facts, strict=True):
        if offer.index > one.count:
            raise SceneRefused(
                Refusal.CONTRADICTION,
                f"band {offer.source} should be number {offer.index} of {offer.href!r}, which has "
                f"{one.count}: correct the item",
            )
        dtype = one.dtypes[offer.index - 1]
        if dtype not in DTYPES:
            raise SceneRefused(
                Refusal.DTYPE,
                f"band {offer.source} of {offer.href!r} is {dtype}; {', '.join(DTYPES)} are "
                "accepted: convert it",
            )
        if offer.dtype and offer.dtype != dtype:
            raise SceneRefused(
                Refusal.CONTRADICTION,
                f"band {offer.source} of {offer.href!r} is {dtype}, the item says {offer.dtype}: "
                "the file or the item is another one",
            )


def _read(chosen: Sequence[Offer], facts: Sequence[Facts]) -> list[tuple[Facts, set[int]]]:
    return [
        (one, {offer.index for offer in chosen if offer.href == href})
        for href, one in {one.href: one for one in facts}.items()
    ]


def _band(
    name: str, offer: Offer, facts: Facts, file: SceneFile, found: Found, caller: Declared
) -> SceneBand:
    dtype = facts.dtypes[offer.index - 1]
    calibration = calibrate(
        offer.source,
        dtype,
        caller=caller,
        item=offer.declared,
        file=_declared(facts, offer.index),
        product=found.product,
    )
    nodata = _nodata(offer, facts.nodata[offer.index - 1])
    if nodata is None and not dtype.startswith("float"):
        nodata = found.product.nodata
    return SceneBand(name, offer.source, file, offer.index, dtype, calibration, nodata)


def _nodata(offer: Offer, file: float | None) -> float | None:
    said = offer.nodata
    both = said is not None and file is not None
    if both and said != file and not (math.isnan(said or 0) and math.isnan(file or 0)):
        raise SceneRefused(
            Refusal.CONTRADICTION,
            f"band {offer.source} of {offer.href!r}: the item says nodata {said:g}, the file "
            f"{file:g}: correct one of them",
        )
    return file if said is None else said


def _declared(facts: Facts, index: int) -> Declared:
    """What a file says of its radiometry: GDAL's band scale and offset, or tags in plain words."""
    scale, offset = facts.scales[index - 1], facts.offsets[index - 1]
    if (scale, offset) != (1.0, 0.0):  # GDAL gives 1 and 0 where nothing is written
        return Declared(scale, offset)
    tags = {key.upper(): value for key, value in facts.tags.items()}
    return Declared(
        _factor(tags.get("SCALE") or tags.get("SCALE_FACTOR") or tags.get("REFLECTANCE_SCALE")),
        _factor(tags.get("OFFSET") or tags.get("ADD_OFFSET") or tags.get("REFLECTANCE_OFFSET")),
    )


def _factor(text: str | None) -> float | None:
    """A number, or the divisor of ``reflectance = DN/10000``."""
    match = re.fullmatch(r"(?:reflectance\s*=\s*)?DN\s*/\s*(\d+)", (text or "").strip(), re.I)
    if match:
        return 1 / int(match[1])
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
