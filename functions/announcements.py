"""Messages that announce a scene, in the shapes that stores and programs were seen to send.

And messages that are wrong in the ways that such messages are. What takes them is
`functions.consume`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import quote_plus

import orjson

from groundshift.adapters.kafka import Headers, to_kafka
from groundshift.codec import STRUCTURED, encode
from groundshift.events import Event, SceneArrived, SceneReady, event_type, new_event

SOURCE: Final = "groundshift-simulate"
_S3: Final = "s3://"
_TAG_DIGITS: Final = 32
"""Length of an MD5 in hex."""


class Shape(StrEnum):
    """How a scene is announced."""

    MINIO = "minio"
    """A bucket notification of MinIO: `s3:` before the event's name, the key in URL encoding."""
    AWS = "aws"
    """A bucket notification of AWS S3: the key in URL encoding with its slashes."""
    CEPH = "ceph"
    """A bucket notification of Ceph RGW: the key as it is."""
    CE_BINARY = "cloudevent-binary"
    """A CloudEvent in Kafka's binary mode: attributes in `ce_` headers."""
    CE_STRUCTURED = "cloudevent-structured"
    """A CloudEvent in structured mode: attributes and data in one JSON."""


BUCKET_SHAPES: Final = (Shape.MINIO, Shape.AWS, Shape.CEPH)
"""The shapes that can name an object in a bucket only."""


class Defect(StrEnum):
    """What is wrong with a broken message."""

    NO_JSON = "no-json"
    """Bytes that are no JSON."""
    CUT = "cut"
    """A bucket notification that ends in the middle."""
    STRANGER = "stranger"
    """JSON that says nothing of a scene."""
    NO_KEY = "no-key"
    """A bucket notification without the object's key."""
    NO_ZONE = "no-zone"
    """A bucket notification whose time has no zone."""
    NO_ID = "no-id"
    """A CloudEvent without an id."""
    NO_HREF = "no-href"
    """A `scene.arrived` that names no scene."""
    UNKNOWN = "unknown"
    """A CloudEvent of a type that nobody knows."""
    OURS = "ours"
    """A `scene.ready`, which only the platform itself says."""


@dataclass(frozen=True)
class Announcement:
    """One object that was put, as its store knows it."""

    href: str
    time: datetime
    """When it was put; aware."""
    sequencer: str
    """Hex digits that differ from put to put and make the message an event of its own."""

    @property
    def place(self) -> tuple[str, str]:
        """(bucket, key)."""
        bucket, _, key = self.href.removeprefix(_S3).partition("/")
        return bucket, key

    @property
    def tag(self) -> str:
        """The content's ETag, such as it is: simulated, from the sequencer."""
        return self.sequencer.rjust(_TAG_DIGITS, "0").lower()


@dataclass(frozen=True)
class Written:
    """A message as Kafka takes it."""

    value: bytes
    key: bytes
    headers: Headers = ()


def in_bucket(href: str) -> bool:
    """Whether a bucket notification can name it."""
    bucket, slash, key = href.removeprefix(_S3).partition("/")
    return href.startswith(_S3) and bool(bucket and slash and key)


def write(shape: Shape, said: Announcement) -> Written:
    """An announcement in one of the shapes. A `BUCKET_SHAPES` one needs an s3:// href."""
    return _WRITERS[shape](said)


def spoil(defect: Defect, said: Announcement, *, cut: float) -> Written:
    """A message that can never be taken; `cut` (0..1) is where the cut one ends."""
    if defect is Defect.CUT:
        whole = _plain(_minio(_placed(said)), said)
        return Written(whole.value[: 1 + int(cut * (len(whole.value) - 2))], whole.key)
    return _SPOILERS[defect](said)


# Bucket notifications


def _record(said: Announcement, *, source: str, key: str) -> dict[str, Any]:
    """What the stores' records have in common."""
    bucket, _ = said.place
    return {
        "eventVersion": "2.1",
        "eventSource": source,
        "awsRegion": "us-east-1",
        "eventTime": said.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": SOURCE},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": said.sequencer, "x-amz-id-2": "simulated"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "scenes",
            "bucket": {
                "name": bucket,
                "ownerIdentity": {"principalId": SOURCE},
                "arn": f"arn:aws:s3:::{bucket}",
            },
            "object": {
                "key": key,
                "size": 4096,
                "eTag": said.tag,
                "sequencer": said.sequencer.upper(),
            },
        },
    }


def _minio(said: Announcement) -> dict[str, Any]:
    bucket, key = said.place
    record = _record(said, source="minio:s3", key=quote_plus(key)) | {
        "eventVersion": "2.0",
        "eventName": "s3:ObjectCreated:Put",
        "source": {"host": "127.0.0.1", "port": "", "userAgent": SOURCE},
    }
    return {
        "EventName": "s3:ObjectCreated:Put",
        "Key": f"{bucket}/{key}",
        "Records": [record],
    }


def _aws(said: Announcement) -> dict[str, Any]:
    _, key = said.place
    return {"Records": [_record(said, source="aws:s3", key=quote_plus(key, safe="/"))]}


def _ceph(said: Announcement) -> dict[str, Any]:
    _, key = said.place
    record = _record(said, source="ceph:s3", key=key) | {
        "awsRegion": "",
        "eventTime": said.time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "eventId": f"{said.time.timestamp():.6f}.{said.sequencer}",
        "opaqueData": "",
    }
    placed = record["s3"]["object"]
    placed |= {"versionId": "", "metadata": [], "tags": []}
    return {"Records": [record]}


def _plain(body: Mapping[str, Any], said: Announcement) -> Written:
    """A store's message: no header, the object as the key."""
    return Written(orjson.dumps(body), "/".join(said.place).encode())


# CloudEvents


def _event(said: Announcement) -> Event:
    """A foreign producer's scene.arrived."""
    return Event(
        id=said.tag,
        source=SOURCE,
        type=event_type(SceneArrived.WORD),
        subject=said.href,
        time=said.time,
        data={"href": said.href},
    )


def as_message(event: Event, *, mode: Literal["binary", "structured"]) -> Written:
    """A CloudEvent as Kafka takes it; its subject is the key."""
    headers, body = encode(event, mode=mode)
    return Written(body, event.subject.encode(), tuple(to_kafka(headers)))


_WRITERS: Final[Mapping[Shape, Callable[[Announcement], Written]]] = MappingProxyType(
    {
        Shape.MINIO: lambda said: _plain(_minio(said), said),
        Shape.AWS: lambda said: _plain(_aws(said), said),
        Shape.CEPH: lambda said: _plain(_ceph(said), said),
        Shape.CE_BINARY: lambda said: as_message(_event(said), mode="binary"),
        Shape.CE_STRUCTURED: lambda said: as_message(_event(said), mode="structured"),
    }
)


# Broken ones


def _placed(said: Announcement) -> Announcement:
    """The same in some bucket, where it lies in none."""
    if in_bucket(said.href):
        return said
    return Announcement(f"{_S3}scenes/scene.json", said.time, said.sequencer)


def _without(name: str) -> Callable[[Announcement], Written]:
    def write_it(said: Announcement) -> Written:
        body = _aws(_placed(said))
        del body["Records"][0]["s3"]["object"][name]
        return _plain(body, _placed(said))

    return write_it


def _no_zone(said: Announcement) -> Written:
    body = _aws(_placed(said))
    body["Records"][0]["eventTime"] = said.time.replace(tzinfo=None).isoformat()
    return _plain(body, _placed(said))


def _changed(**changes: Any) -> Callable[[Announcement], Written]:
    """A structured CloudEvent with other members; None takes one away."""

    def write_it(said: Announcement) -> Written:
        whole = orjson.loads(as_message(_event(said), mode="structured").value) | changes
        left = {name: value for name, value in whole.items() if value is not None}
        headers = (("content-type", STRUCTURED.encode()),)
        return Written(orjson.dumps(left), said.href.encode(), headers)

    return write_it


def _ours(said: Announcement) -> Written:
    data = SceneReady(scene_id=said.tag, site_id=said.tag)
    event = new_event(data, source=SOURCE, subject=said.tag, time=said.time)
    return as_message(event, mode="binary")


_SPOILERS: Final[Mapping[Defect, Callable[[Announcement], Written]]] = MappingProxyType(
    {
        Defect.NO_JSON: lambda said: Written(b"\xff\x00" + said.tag.encode(), b""),
        Defect.STRANGER: lambda said: Written(orjson.dumps({"hello": said.tag}), b""),
        Defect.NO_KEY: _without("key"),
        Defect.NO_ZONE: _no_zone,
        Defect.NO_ID: _changed(id=None),
        Defect.NO_HREF: _changed(data={"scene": "?"}),
        Defect.UNKNOWN: _changed(type=event_type("scene.vanished")),
        Defect.OURS: _ours,
    }
)
