"""Plain files as sources: one GeoTIFF, or a folder with one date in several."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from geodata_etl.errors import Refusal, SceneRefused
from geodata_etl.hrefs import Access
from geodata_etl.scenes import _dates
from geodata_etl.scenes._names import common_names, sensor_of
from geodata_etl.scenes._offers import Files, Found, Offer, baseline_of, level_of, product_of
from geodata_etl.scenes._raster import Facts

SUFFIXES: Final = (".tif", ".tiff", ".jp2")
_PLATFORM_TAGS: Final = ("PLATFORM", "SATELLITE", "SPACECRAFT_ID", "SPACECRAFT", "SENSOR")
_LEVEL_TAGS: Final = ("PROCESSING_LEVEL", "PRODUCT_LEVEL")


def read_files(source: str, *, access: Access, bands: Sequence[str] | None) -> Found:
    """What a GeoTIFF or a folder of them offers. Raises SceneRefused."""
    path = access.resolve(source)
    hrefs = _hrefs(path, source) if path.is_dir() else [source]
    base = path if path.is_dir() else Path.cwd()
    files = Files(access, base)
    facts = [files.facts(href) for href in hrefs]
    texts = [path.name]
    texts += [text for one in facts for text in (one.path.stem, one.tags.get("SOURCE_FILE", ""))]
    platform = _tag(facts, _PLATFORM_TAGS)
    sensor = sensor_of(platform, *texts)
    level = level_of(_tag(facts, _LEVEL_TAGS), *texts)
    offers = _offers(facts, sensor, bands, source)
    return Found(
        id=path.name if path.is_dir() else path.stem,
        source=source,
        base=base,
        acquired=_acquired(facts, offers, path, source),
        platform=platform,
        level=level,
        product=product_of(
            sensor,
            level,
            baseline=baseline_of(_tag(facts, ("PROCESSING_BASELINE",)), texts),
            texts=texts,
        ),
        offers=offers,
    )


def _hrefs(folder: Path, source: str) -> list[str]:
    found = sorted(str(path) for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise SceneRefused(
            Refusal.MISSING_FILE,
            f"the folder {source!r} holds no GeoTIFF: name the folder that holds the files of one "
            "date",
        )
    return found


def _tag(facts: Sequence[Facts], keys: Sequence[str]) -> str | None:
    for key in keys:
        for one in facts:
            if key in one.tags:
                return one.tags[key]
    return None


def _offers(
    facts: Sequence[Facts], sensor: str | None, bands: Sequence[str] | None, source: str
) -> tuple[Offer, ...]:
    places = [(one, index) for one in facts for index in range(1, one.count + 1)]
    if bands is not None and len(bands) != len(places):
        raise SceneRefused(
            Refusal.CONTRADICTION,
            f"{len(bands)} band names for the {len(places)} bands of {source!r}: name every band, "
            "files in order of their names ('-' for one that is not used)",
        )
    names = list(bands) if bands is not None else [_name(one, index) for one, index in places]
    commons = common_names(names, sensor)
    return tuple(
        Offer(
            href=one.href,
            index=index,
            source=name or f"band {index}",
            common=common,
            rank=(abs(one.transform.determinant) if one.transform else 0.0,),
        )
        for (one, index), name, common in zip(places, names, commons, strict=True)
    )


def _name(facts: Facts, index: int) -> str | None:
    """A band's description; of a single-band file without one, the end of its name."""
    described = facts.descriptions[index - 1]
    if described or facts.count > 1:
        return described
    ending = re.search(r"(SR_)?(B\d{1,2}A?|[A-Za-z]+\d*)(_\d\dm)?$", facts.path.stem)
    return f"{ending[1] or ''}{ending[2]}" if ending else None


def _acquired(
    facts: Sequence[Facts], offers: Sequence[Offer], path: Path, source: str
) -> datetime | None:
    used = {offer.href for offer in offers if offer.common}
    chosen = [one for one in facts if one.href in used] or list(facts)
    found = {moment for one in chosen if (moment := _date_of(one)) is not None}
    if len({moment.date() for moment in found}) > 1:
        days = ", ".join(sorted(f"{moment:%Y-%m-%d}" for moment in found))
        raise SceneRefused(
            Refusal.CONTRADICTION,
            f"{source!r} holds more than one date ({days}): a scene is one date; put each into a "
            "folder of its own or name its item",
        )
    return min(found) if found else _dates.of_name(path.name)


def _date_of(facts: Facts) -> datetime | None:
    return (
        _dates.of_tags(facts.tags) or _dates.of_name(facts.path.stem) or _dates.of_tiff(facts.tags)
    )
