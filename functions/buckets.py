"""Scenes in buckets: which may be read, and under which address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodata_etl.errors import Refusal, SceneRefused
from groundshift.settings import Settings

if TYPE_CHECKING:
    from groundshift.adapters.s3 import BucketReads


def bucket_reads(settings: Settings) -> BucketReads | None:
    """How scenes in buckets are read; None where none may be."""
    if not settings.allowed_buckets or not settings.s3_endpoint:
        return None
    from groundshift.adapters.s3 import BucketReads  # a laptop without S3 does not load its client

    return BucketReads(
        endpoint=settings.s3_endpoint,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value(),
        region=settings.s3_region,
        buckets=settings.allowed_buckets,
    )


def scene_address(href: str, settings: Settings) -> str:
    """``s3://bucket/key`` as a web address, any other href as it is. Raises SceneRefused."""
    if not href.startswith("s3://"):
        return href
    reads, bucket = bucket_reads(settings), href.split("/")[2]
    if reads is None or bucket not in reads.buckets:
        raise SceneRefused(
            Refusal.HREF_FORBIDDEN,
            f"{href!r}: scenes are read from the buckets {list(settings.allowed_buckets)} only: "
            "add this one to GROUNDSHIFT_ALLOWED_BUCKETS",
        )
    return reads.address(href)
