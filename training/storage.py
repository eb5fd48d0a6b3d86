"""Where a training keeps what must outlive it: a folder, or a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from groundshift.errors import Misconfigured
from groundshift.opening import open_store
from groundshift.ports import ObjectStore
from groundshift.settings import Settings


def open_objects(place: str, settings: Settings) -> ObjectStore:
    """The object store at `place`: a folder, or s3://bucket/prefix with the settings' server."""
    return open_store(settings.model_copy(update={"object_root": place}))


def open_files(place: str, settings: Settings) -> tuple[str, Any]:
    """(path, pyarrow filesystem) of `place`, as Ray takes them; no filesystem for a folder."""
    bucket, prefix = _bucket(place)
    if not bucket:
        return str(Path(place).absolute()), None
    from pyarrow.fs import S3FileSystem

    server = urlsplit(settings.s3_endpoint)
    files = S3FileSystem(
        access_key=settings.s3_access_key or None,
        secret_key=settings.s3_secret_key.get_secret_value() or None,
        endpoint_override=server.netloc or None,
        scheme=server.scheme or "https",
        region=settings.s3_region,
    )
    return "/".join(part for part in (bucket, prefix) if part), files


def _bucket(place: str) -> tuple[str, str]:
    """(bucket, prefix); both empty for a folder."""
    scheme, found, rest = place.partition("://")
    if not found:
        return "", ""
    if scheme != "s3":
        raise Misconfigured(f"storage {place!r}: name a folder or s3://bucket/prefix")
    bucket, _, prefix = rest.strip("/").partition("/")
    return bucket, prefix
