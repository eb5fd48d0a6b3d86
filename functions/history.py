"""STAC Items that lie somewhere, in the order in which their scenes were acquired."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from functions.ingest import access_of
from geodata_etl.hrefs import is_http
from groundshift.errors import Misconfigured
from groundshift.opening import open_store
from groundshift.settings import Settings

_S3: Final = "s3://"
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
"""Where an Item without a date stands: at the end, where ingest says what is wrong with it."""


@dataclass(frozen=True)
class Found:
    """One Item."""

    href: str
    acquired: datetime | None
    """As the Item says; aware."""
    digest: str
    """Hex SHA-256 of the Item, 16 digits of it."""

    @property
    def order(self) -> tuple[datetime, str]:
        """Its place in history."""
        return self.acquired or _NEVER, self.href


def history(sources: Sequence[str], settings: Settings) -> list[Found]:
    """The Items that the sources name, each once, in order of acquisition.

    A source is an Item (a path or a web address), a folder, or an s3:// address of an Item or of a
    prefix; what lies below a folder or a prefix and is no Item is passed over. Raises
    Misconfigured where a source holds none, and what reading it raises.
    """
    found: dict[str, Found] = {}
    for source in sources:
        items = {href: item for href, raw in _read(source, settings) if (item := _item(raw, href))}
        if not items:
            raise Misconfigured(f"{source}: no STAC Item there; name Items, or what they lie in")
        found |= items
    return sorted(found.values(), key=lambda one: one.order)


def _read(source: str, settings: Settings) -> Iterator[tuple[str, bytes]]:
    """(href, bytes) of everything that may be an Item."""
    if source.startswith(_S3):
        yield from _in_bucket(source, settings)
        return
    if is_http(source):
        yield source, access_of(settings).resolve(source).read_bytes()
        return
    path = Path(source).resolve()
    if not path.exists():
        raise Misconfigured(f"{source}: there is no such file or folder ({path})")
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    yield from ((str(file), file.read_bytes()) for file in files)


def _in_bucket(source: str, settings: Settings) -> Iterator[tuple[str, bytes]]:
    bucket, prefix = urlsplit(source).netloc, urlsplit(source).path.strip("/")
    if bucket not in settings.allowed_buckets:
        raise Misconfigured(
            f"{source}: scenes are read from the buckets {list(settings.allowed_buckets)} only: "
            "add this one to GROUNDSHIFT_ALLOWED_BUCKETS"
        )
    store = open_store(settings.model_copy(update={"object_root": f"{_S3}{bucket}"}))
    for key in _wanted(store.list(prefix), prefix, settings):
        yield f"{_S3}{bucket}/{key}", store.get(key)


def _wanted(keys: Iterable[str], prefix: str, settings: Settings) -> Iterator[str]:
    """Of the keys that begin so: the one, or those below it, that end as a scene's does."""
    for key in keys:
        below = key == prefix or not prefix or key.startswith(f"{prefix}/")
        if below and key.endswith(settings.scene_suffixes):
            yield key


def _item(raw: bytes, href: str) -> Found | None:
    """The Item, if it is one."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(body, dict) or body.get("type") != "Feature" or "stac_version" not in body:
        return None
    return Found(href, _acquired(body), hashlib.sha256(raw).hexdigest()[:16])


def _acquired(item: Mapping[str, Any]) -> datetime | None:
    properties = item.get("properties") or {}
    said = properties.get("datetime") or properties.get("start_datetime")
    try:
        found = datetime.fromisoformat(str(said))
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
