"""S3 bucket notifications as events: an object that was created announces a scene.

The shapes of MinIO, AWS, Ceph and versitygw differ in little: an ``s3:`` before the event's name,
``eTag`` or ``etag``, an object key in URL encoding or as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import unquote_plus

from pydantic import AliasChoices, AwareDatetime, BaseModel, Field, ValidationError

from groundshift.errors import BadEvent
from groundshift.events import Event, SceneArrived, event_id, event_type

_TYPE: Final = event_type(SceneArrived.WORD)
_CREATED: Final = "ObjectCreated:"
_PLAIN_KEYS: Final = "ceph:s3"
"""The one source whose keys are not URL-encoded."""


class _Bucket(BaseModel):
    name: str = Field(min_length=1)


class _Object(BaseModel):
    key: str = Field(min_length=1)
    tag: str = Field(default="", validation_alias=AliasChoices("eTag", "etag"))
    version: str = Field(default="", validation_alias="versionId")
    sequencer: str = ""


class _Place(BaseModel):
    bucket: _Bucket
    object: _Object


class _Record(BaseModel):
    source: str = Field(validation_alias="eventSource")
    name: str = Field(validation_alias="eventName")
    time: AwareDatetime | None = Field(default=None, validation_alias="eventTime")
    s3: _Place

    @property
    def key(self) -> str:
        key = self.s3.object.key
        return key if self.source == _PLAIN_KEYS else unquote_plus(key)

    @property
    def created(self) -> bool:
        return self.name.removeprefix("s3:").startswith(_CREATED)


def is_notification(message: object) -> bool:
    """Whether a JSON value is a bucket notification, a store's test message included."""
    return isinstance(message, Mapping) and (
        isinstance(message.get("Records"), Sequence) or message.get("Event") == "s3:TestEvent"
    )


def scenes_of(
    message: Mapping[str, Any], *, suffixes: Sequence[str], received: datetime | None = None
) -> list[Event]:
    """A scene.arrived for each created object whose key ends as a scene's does.

    The event's id follows from bucket, key, version (or content) and sequencer, so that the same
    notification twice is one event. Raises BadEvent.
    """
    try:
        records = [_Record.model_validate(record) for record in message.get("Records") or ()]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadEvent(
            f"bucket notification: {where}: {first['msg']}: send S3's own JSON"
        ) from error
    return [
        _arrived(record, received or datetime.now(UTC))
        for record in records
        if record.created and record.key.endswith(tuple(suffixes))
    ]


def _arrived(record: _Record, received: datetime) -> Event:
    bucket, stored = record.s3.bucket.name, record.s3.object
    href = f"s3://{bucket}/{record.key}"
    what = "\n".join((href, stored.version or stored.tag, stored.sequencer))
    data = SceneArrived.fit({"href": href})
    return Event(
        id=event_id(_TYPE, what),
        source=f"s3://{bucket}",
        type=_TYPE,
        subject=href,
        time=(record.time or received).astimezone(UTC),
        data=MappingProxyType(data.model_dump(mode="json", exclude_none=True)),
    )
