"""`ObjectStore` on an S3 bucket, by plain S3 calls that every server has.

One winner among racers (`put_if_absent`) rests on one thing: a PUT with ``If-None-Match: *`` that
the server decides in one step. Measured with eight racers on one key, on loopback: versitygw 1.8
(posix) and SeaweedFS (November 2026) answer one 200 and seven 412; AWS S3 documents the same. A
server that ignores the header overwrites; so the first `put_if_absent` of a store asks the server
with a key of its own, and says so instead of going on where it does.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, Final, TypeVar
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree as ET

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from groundshift.adapters.files import checked_key, checked_prefix
from groundshift.errors import (
    Conflict,
    GroundshiftError,
    Misconfigured,
    NotFound,
    TooLarge,
    Unavailable,
)

T = TypeVar("T")

MAX_BYTES: Final = 5 << 30
"""Largest object: what one PUT may hold in S3."""
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PROBE: Final = ".groundshift/put-if-absent"
"""Key of the question whether the server heeds If-None-Match; no caller's key begins so."""
_SCHEME: Final = "s3://"
_PUT_LIFE: Final = timedelta(hours=1)
_URL_LIFE: Final = timedelta(days=1)
"""How long an address from `url` opens: longer than any stage works on a block."""
_TAKEN: Final = 412
_MISSING: Final = ("NoSuchKey", "NoSuchObject", "NotFound")
_AGAIN: Final = frozenset({408, 429})
"""Statuses below 500 that are worth a retry."""
_CROSSED: Final = ("ConditionalRequestConflict", "OperationAborted")
"""AWS's words, with 409, where two writers of a key cross: the same request works again."""
_CONFLICT: Final = 409
_CHUNK: Final = 1 << 20


class _Taken(Exception):
    """An object stands there already."""


class S3ObjectStore:
    """Objects below ``s3://bucket/prefix``; `url` is a signed /vsicurl address. Safe for threads.

    A 5xx answer, a cut connection and a body that ends early are tried again for `retry_s`
    seconds, then Unavailable; S3 itself shows whole objects only.
    """

    def __init__(
        self,
        bucket: str,
        *,
        endpoint: str,
        access_key: str,
        secret_key: str,
        prefix: str = "",
        region: str = "us-east-1",
        timeout_s: float = 60.0,
        retry_s: float = 60.0,
    ) -> None:
        """Nothing is asked yet. Raises Misconfigured for an endpoint that is no address."""
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
            raise Misconfigured(
                f"s3_endpoint {endpoint!r}: give http(s)://host:port, e.g. http://127.0.0.1:9000"
            )
        if not _BUCKET.fullmatch(bucket):
            raise Misconfigured(
                f"object_root s3://{bucket}: a bucket's name has 3 to 63 lower-case letters, "
                "digits, dots and hyphens"
            )
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._retry_s = retry_s
        # tenacity retries, since only it knows which answers may have had an effect
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=min(timeout_s, 10.0), read=timeout_s),
            maxsize=32,
            retries=False,
        )
        self._client = Minio(
            parts.netloc,
            access_key=access_key,
            secret_key=secret_key,
            secure=parts.scheme == "https",
            region=region,
            http_client=self._http,
        )
        self._asked = threading.Lock()
        self._decides: bool | None = None

    def get(self, key: str) -> bytes:
        """The whole object. Raises NotFound, Unavailable."""
        name = self._name(key)
        return self._trying(key, lambda: self._read(name, offset=0, length=0))

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Bytes ``[start, start + length)``, fewer where the object ends. Raises NotFound."""
        name = self._name(key)
        if length <= 0:
            self._trying(key, lambda: self._client.stat_object(self._bucket, name))
            return b""
        return self._trying(key, lambda: self._read(name, offset=start, length=length))

    def put(self, key: str, data: bytes | Path) -> None:
        """Write or replace in one atomic step; a Path is read as a file and stays where it is."""
        name = self._name(key)
        self._trying(key, lambda: self._send(name, data, {}))

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        """Write only where no object stands; False where one did. One of several racers wins.

        Where an answer was lost on the way and the next try finds our bytes, they were ours.
        Raises Misconfigured where the server ignores If-None-Match.
        """
        name = self._name(key)
        self._check_decides()
        return self._put_new(key, name, data)

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        name = self._name(key)
        try:
            self._trying(key, lambda: self._client.stat_object(self._bucket, name))
        except NotFound:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys that start with `prefix`, sorted."""
        whole = self._prefix + checked_prefix(prefix)

        def names() -> list[str]:
            found = self._client.list_objects(self._bucket, prefix=whole, recursive=True)
            return [entry.object_name or "" for entry in found]

        keys = (name.removeprefix(self._prefix) for name in self._trying(whole, names))
        yield from sorted(key for key in keys if _is_key(key))

    def delete(self, key: str) -> None:
        """Remove; nothing happens where there is no such object."""
        name = self._name(key)
        try:
            self._trying(key, lambda: self._client.remove_object(self._bucket, name))
        except NotFound:
            return

    def url(self, key: str) -> str:
        """What GDAL opens: a /vsicurl address, signed for a day, that carries all its options.

        No setting of GDAL and no secret in the environment is needed, in any thread or process.
        """
        signed = self._client.presigned_get_object(self._bucket, self._name(key), _URL_LIFE)
        options = "use_head=no&list_dir=no&empty_dir=yes&max_retry=5&retry_delay=0.3"
        return f"/vsicurl?{options}&url={quote(signed, safe='')}"

    def make_bucket(self) -> None:
        """Make the bucket unless it stands; for set-up and tests, the platform never calls it."""

        def make() -> None:
            if not self._client.bucket_exists(self._bucket):
                self._client.make_bucket(self._bucket)

        self._trying(self._bucket, make)

    # One request each

    def _name(self, key: str) -> str:
        return self._prefix + checked_key(key)

    def _read(self, name: str, *, offset: int, length: int) -> bytes:
        try:
            with closing(self._client.get_object(self._bucket, name, offset, length)) as response:
                body: bytes = response.read()
                response.release_conn()
                return body
        except S3Error as error:
            if error.code == "InvalidRange":
                return b""  # as a slice past the end
            raise

    def _send(self, name: str, data: bytes | Path, headers: dict[str, str]) -> None:
        """One PUT, a file streamed. Raises _Taken where If-None-Match holds it off."""
        # signed in its address: the client's own put has no way to send a condition
        address = self._client.presigned_put_object(self._bucket, name, _PUT_LIFE)
        with _opened(data) as (body, size):
            _check_size(name, size)
            about = {
                "Content-Length": str(size),
                "Content-Type": "application/octet-stream",
                "Content-MD5": _md5(body),  # seen: versitygw keeps what came of a PUT that was cut
            }
            answer = self._http.request("PUT", address, body=body, headers={**headers, **about})
        if answer.status == _TAKEN:
            raise _Taken
        if answer.status >= 300:
            raise _refusal(name, answer.status, answer.data.decode(errors="replace"))

    def _put_new(self, key: str, name: str, data: bytes | Path) -> bool:
        tries = 0

        def send() -> None:
            nonlocal tries
            tries += 1
            self._send(name, data, {"If-None-Match": "*"})

        try:
            self._trying(key, send)
        except _Taken:
            # a try before this one may have written it, and its answer was lost
            return tries > 1 and self._trying(key, lambda: self._holds(name, data))
        return True

    def _holds(self, name: str, data: bytes | Path) -> bool:
        with (
            closing(self._client.get_object(self._bucket, name)) as response,
            _opened(data) as (ours, _),
        ):
            while theirs := response.read(_CHUNK):
                if ours.read(len(theirs)) != theirs:
                    return False
            return not ours.read(1)

    def _check_decides(self) -> None:
        with self._asked:
            if self._decides is None:
                name = self._prefix + _PROBE
                self._trying(name, lambda: self._send(name, b"first", {}))
                # other bytes, so that a try whose answer was lost is not taken for the winner
                self._decides = not self._put_new(name, name, b"second")
        if not self._decides:
            raise Misconfigured(
                f"the S3 server of bucket {self._bucket!r} ignores If-None-Match, so that two "
                "workers would overwrite each other: use one that heeds it (AWS S3, versitygw, "
                "SeaweedFS, MinIO)"
            )

    # Errors

    def _trying(self, key: str, call: Callable[[], T]) -> T:
        """Call, again where that may help. Raises NotFound, Unavailable, Misconfigured."""
        for attempt in Retrying(
            retry=retry_if_exception_type(Unavailable),
            stop=stop_after_delay(self._retry_s),
            wait=wait_random_exponential(multiplier=0.05, max=5.0),
            reraise=True,
        ):
            with attempt, _errors(key, self._bucket):
                return call()
        raise AssertionError("tenacity returns or raises")


@dataclass(frozen=True)
class BucketReads:
    """Scenes that lie in buckets, as web addresses that are signed when they are fetched."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str
    buckets: tuple[str, ...]
    """Only what lies in these is signed: anything else the server refuses."""

    @property
    def host(self) -> str:
        """Host and port of the server."""
        return urlsplit(self.endpoint).netloc

    def address(self, href: str) -> str:
        """The web address of ``s3://bucket/key``; any other href as it is."""
        if not href.startswith(_SCHEME):
            return href
        return f"{self.endpoint.rstrip('/')}/{quote(href.removeprefix(_SCHEME))}"

    def sign(self, url: str) -> str:
        """The address with its signature, where it lies in one of the buckets."""
        bucket, _, key = url.removeprefix(f"{self.endpoint.rstrip('/')}/").partition("/")
        if bucket not in self.buckets or not key:
            return url
        client = Minio(
            self.host,
            access_key=self.access_key,
            secret_key=self.secret_key,
            secure=self.endpoint.startswith("https:"),
            region=self.region,
        )
        return client.presigned_get_object(bucket, unquote(key), _PUT_LIFE)


def _is_key(name: str) -> bool:
    """Whether a listed name is a caller's object: no folder mark, no part with a dot first."""
    return bool(name) and not any(not part or part.startswith(".") for part in name.split("/"))


@contextmanager
def _opened(data: bytes | Path) -> Iterator[tuple[IO[bytes], int]]:
    if isinstance(data, Path):
        with data.open("rb") as file:
            yield file, data.stat().st_size
    else:
        yield io.BytesIO(data), len(data)


def _md5(body: IO[bytes]) -> str:
    """The digest that S3 checks what arrived against; `body` stands at its beginning again."""
    digest = hashlib.md5(usedforsecurity=False)
    while part := body.read(_CHUNK):
        digest.update(part)
    body.seek(0)
    return base64.b64encode(digest.digest()).decode()


def _check_size(name: str, size: int) -> None:
    if size > MAX_BYTES:
        raise TooLarge(f"{name!r} has {size} bytes, one PUT takes {MAX_BYTES}: cut the scene")


@contextmanager
def _errors(key: str, bucket: str) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        if error.code in _MISSING:
            raise NotFound(f"no object {key!r} in bucket {bucket!r}") from error
        raise _refusal(key, error.response.status, f"{error.code}: {error.message}") from error
    except InvalidResponseError as error:
        raise _refusal(key, error._code, str(error)) from error
    except ServerError as error:
        raise _refusal(key, error.status_code, str(error)) from error
    except (urllib3.exceptions.HTTPError, ET.ParseError) as error:
        raise Unavailable(f"S3 did not answer whole about {key!r}: {error}") from error


def _refusal(key: str, status: int, said: str) -> GroundshiftError:
    if status >= 500 or status in _AGAIN or any(word in said for word in _CROSSED):
        return Unavailable(f"S3 answered {status} about {key!r} ({said:.300})")
    if status == _CONFLICT:  # servers on a file system: versitygw
        return Conflict(
            f"S3 refused {key!r} ({said:.300}): a key cannot be an object and the beginning of "
            "another key; choose keys that do not nest"
        )
    return Misconfigured(
        f"S3 refused {key!r} with {status} ({said:.300}): "
        "check s3_endpoint, s3_region, the keys and the bucket"
    )
