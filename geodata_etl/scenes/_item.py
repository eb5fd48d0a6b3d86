"""STAC Items (1.0 and 1.1) as sources."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pystac
from affine import Affine
from pystac.errors import STACError, STACTypeError

from geodata_etl.errors import Refusal, SceneRefused
from geodata_etl.hrefs import Access, is_http
from geodata_etl.radiometry import Declared
from geodata_etl.scenes._names import common_names, sensor_of
from geodata_etl.scenes._offers import (
    Files,
    Found,
    Offer,
    Placed,
    baseline_of,
    level_of,
    product_of,
)

_MAX_JSON: Final = 16 << 20
"""Largest item, bytes: real ones have some tens of kilobytes."""
_PICTURES: Final = ("visual", "overview", "preview", "thumbnail", "tci")
"""Keys and roles of assets whose numbers were made for the eye."""


def read_item(source: str, *, access: Access, bands: Sequence[str] | None) -> Found:
    """What a STAC Item offers. Raises SceneRefused."""
    path = access.resolve(source)
    base: str | Path = source if is_http(source) else path
    item = _parse(path, source)
    properties = item.properties
    texts = [item.id, item.collection_id or ""]
    sensor = sensor_of(_text(properties.get("platform")), *texts)
    sensor = sensor or sensor_of(_text(properties.get("constellation")))
    level = level_of(
        _text(properties.get("processing:level")),
        _text(properties.get("s2:product_type")),
        _text(properties.get("landsat:correction")),
        *texts,
    )
    return Found(
        id=item.id,
        source=source,
        base=base,
        acquired=_acquired(item),
        platform=_text(properties.get("platform") or properties.get("constellation")),
        level=level,
        product=product_of(
            sensor,
            level,
            baseline=baseline_of(_either(properties, "processing_baseline"), texts),
            offset_applied=_either(properties, "boa_offset_applied"),
            collection=_text(properties.get("landsat:collection_number")),
            texts=texts,
        ),
        offers=tuple(_offers(item, Files(access, base), sensor, bands)),
    )


def _parse(path: Path, source: str) -> pystac.Item:
    if path.stat().st_size > _MAX_JSON:
        raise SceneRefused(
            Refusal.TOO_LARGE, f"{source!r} is over {_MAX_JSON} bytes: that is no STAC Item"
        )
    try:
        data = json.loads(path.read_bytes())
        item = pystac.Item.from_dict(data, migrate=False, preserve_dict=False)
    except (ValueError, KeyError, TypeError, AttributeError, STACError, STACTypeError) as error:
        raise SceneRefused(
            Refusal.NOT_AN_ITEM,
            f"{source!r} is no STAC Item ({error!r}): give an Item, a GeoTIFF or a folder",
        ) from error
    _plausible(item, source)
    return item


def _plausible(item: pystac.Item, source: str) -> None:
    box = item.bbox or []
    if len(box) >= 4 and box[0] > box[len(box) // 2]:
        raise SceneRefused(
            Refusal.ANTIMERIDIAN,
            f"{source!r} crosses the antimeridian (bbox {box}): cut it at 180 degrees and submit "
            "the halves",
        )


def _acquired(item: pystac.Item) -> Any:
    moment = item.datetime or item.common_metadata.start_datetime
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _offers(
    item: pystac.Item, files: Files, sensor: str | None, bands: Sequence[str] | None
) -> Iterator[Offer]:
    plain = [
        offer
        for number, (key, asset) in enumerate(_assets(item))
        for offer in _asset_offers(key, asset, number, item.properties, files, named=bands is None)
    ]
    if bands is not None and len(bands) != len(plain):
        raise SceneRefused(
            Refusal.CONTRADICTION,
            f"{len(bands)} band names for the {len(plain)} bands of {item.id}: name every band of "
            "the item's data assets, in order ('-' for one that is not used)",
        )
    names = list(bands) if bands is not None else [o.common or o.source for o in plain]
    for offer, name, common in zip(plain, names, common_names(names, sensor), strict=True):
        yield _renamed(offer, name, common)


def _renamed(offer: Offer, name: str, common: str | None) -> Offer:
    values = dict(vars(offer))
    return Offer(**values | {"source": offer.source or name, "common": common})


def _assets(item: pystac.Item) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, asset in item.assets.items():
        words = {key.lower(), *(role.lower() for role in asset.roles or [])}
        if any(picture in word for word in words for picture in _PICTURES):
            continue
        suffix = Path(urlsplit(asset.href).path).suffix.lower()
        media = (asset.media_type or "").lower()
        if suffix in (".tif", ".tiff", ".jp2") or "tiff" in media or "jp2" in media:
            yield key, asset.to_dict()


def _asset_offers(
    key: str,
    asset: dict[str, Any],
    number: int,
    properties: Mapping[str, Any],
    files: Files,
    *,
    named: bool,
) -> Iterator[Offer]:
    bands = _bands(asset)
    known = named and (len(bands) > 1 or any(_name(band) for band in bands) or not _multi(key))
    if not known:
        bands = _from_file(files, str(asset["href"]), bands)
    for index, band in enumerate(bands, 1):
        whole = {**asset, **band}  # what an asset says holds for each of its bands
        yield Offer(
            href=str(asset["href"]),
            index=index,
            source=_text(band.get("name")) or key,
            common=_text(band.get("eo:common_name") or band.get("common_name")),
            rank=_rank(whole, str(asset["href"]), number),
            declared=Declared(_number(whole, "scale"), _number(whole, "offset")),
            nodata=_number(whole, "nodata"),
            dtype=_text(whole.get("data_type")),
            placed=_placed(asset, properties),
        )


def _bands(asset: Mapping[str, Any]) -> list[dict[str, Any]]:
    eo = asset.get("bands") or asset.get("eo:bands") or []
    raster = asset.get("raster:bands") or []
    count = max(len(eo), len(raster), 1)
    if len({len(eo) or count, len(raster) or count}) > 1:
        raise SceneRefused(
            Refusal.CONTRADICTION,
            f"{asset['href']!r}: {len(eo)} eo:bands but {len(raster)} raster:bands: correct the "
            "item",
        )
    empty: list[dict[str, Any]] = [{}] * count
    return [
        {**numbers, **names} for names, numbers in zip(eo or empty, raster or empty, strict=True)
    ]


def _multi(key: str) -> bool:
    """Whether an asset's key is no band name itself, so that only the file can name its bands."""
    return common_names([key], "sentinel-2")[0] is None and common_names([key], "oli")[0] is None


def _from_file(files: Files, href: str, bands: list[dict[str, Any]]) -> list[dict[str, Any]]:
    facts = files.facts(href)
    if len(bands) not in (1, facts.count):
        raise SceneRefused(
            Refusal.CONTRADICTION,
            f"{href!r}: the item lists {len(bands)} bands, the file has {facts.count}: correct "
            "the item",
        )
    padded = bands if len(bands) == facts.count else bands * facts.count
    return [
        {**band, "name": band.get("name") or name or ""}
        for band, name in zip(padded, facts.descriptions, strict=True)
    ]


def _name(band: Mapping[str, Any]) -> str | None:
    """What an item calls a band, if anything."""
    return _text(band.get("eo:common_name") or band.get("common_name") or band.get("name"))


def _rank(band: Mapping[str, Any], href: str, number: int) -> tuple[float, ...]:
    gsd = _number(band, "spatial_resolution") or _number(band, "gsd") or 1e9
    return (gsd, float(urlsplit(href).path.lower().endswith(".jp2")), number)


def _placed(asset: Mapping[str, Any], properties: Mapping[str, Any]) -> Placed:
    whole = {**properties, **asset}
    code = whole.get("proj:code") or whole.get("proj:epsg")
    shape, transform = whole.get("proj:shape"), whole.get("proj:transform")
    return Placed(
        crs=None if code is None else str(code) if ":" in str(code) else f"EPSG:{code}",
        shape=(int(shape[0]), int(shape[1])) if shape else None,
        transform=Affine(*[float(value) for value in transform[:6]]) if transform else None,
    )


def _number(band: Mapping[str, Any], key: str) -> float | None:
    for name in (f"raster:{key}", key):
        value = band.get(name)
        if value is not None:
            try:
                return float(value)  # "nan" is how JSON says NaN
            except (TypeError, ValueError) as error:
                raise SceneRefused(
                    Refusal.NOT_AN_ITEM, f"{name} is {value!r}, not a number: correct the item"
                ) from error
    return None


def _either(properties: Mapping[str, Any], key: str) -> Any:
    """A field that earth-search and others write under different prefixes."""
    for prefix in ("earthsearch", "s2", "sentinel"):
        if properties.get(f"{prefix}:{key}") is not None:
            return properties[f"{prefix}:{key}"]
    return None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
