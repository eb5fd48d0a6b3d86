"""CloudEvents 1.0 over HTTP: binary and structured mode, JSON data; batches are refused.

Own code, since the cloudevents 1.x package was seen to raise RecursionError and TypeError on
hostile bodies, to accept a wrong specversion and not to percent-decode headers (HTTP binding,
section 3.1.3.2). The tests exchange events with that package in both directions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, unquote

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from groundshift.errors import BadEvent, TooLarge, UnsupportedMedia
from groundshift.events import Event, Time, kind_of

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch"
JSON: Final = "application/json"
MAX_BYTES: Final = 1 << 20
"""1 MiB: what Kafka and JobSink take at most (reference/knative_kserve.md, section 3.4)."""
_UNESCAPED: Final = "!#$&'()*+,/:;<=>?@[\\]^`{|}~-._"
"""Printable ASCII that stands as it is in a header; space, quote, percent and the rest do not."""
_EXTENSION: Final = re.compile(r"[a-z0-9]{1,64}")
_TEXT: Final = r"^[^\x00-\x1f\x7f]+$"

Text = Annotated[str, Field(min_length=1, max_length=1024, pattern=_TEXT)]


class _Envelope(BaseModel):
    """The context attributes; what is not among them is an extension."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    specversion: Literal["1.0"]
    id: Text
    source: Text
    type: Text
    subject: Text | None = None
    time: Annotated[Time | None, Field(strict=False)] = None
    datacontenttype: str | None = None
    dataschema: str | None = None


def decode(
    headers: Mapping[str, str],
    body: bytes,
    *,
    max_bytes: int = MAX_BYTES,
    received: datetime | None = None,
) -> Event:
    """The event in an HTTP request; `received` (default: now) stands in for an absent time.

    Raises TooLarge, UnsupportedMedia (a batch, data that is no JSON), BadEvent (no CloudEvent, or
    data that does not fit), UnknownEvent.
    """
    if len(body) > max_bytes:
        raise TooLarge(f"an event of {len(body)} bytes: at most {max_bytes} are taken")
    lowered = {name.lower(): value for name, value in headers.items()}
    media = lowered.get("content-type", "").partition(";")[0].strip().lower()
    if media.startswith(BATCH):
        raise UnsupportedMedia("a batch of events: send them one by one")
    if media == STRUCTURED:
        attributes, data = _structured(body)
    elif "ce-specversion" in lowered:
        attributes, data = _binary(lowered, body, media)
    else:
        raise BadEvent(
            f"content type {media!r:.80} and no ce-specversion header: not a CloudEvent; "
            f"send {STRUCTURED}, or ce- headers with {JSON}"
        )
    return _event(attributes, data, received or datetime.now(UTC))


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadEvent(f"the body is no JSON: {error}") from error


def _structured(body: bytes) -> tuple[dict[str, Any], Any]:
    attributes = _json(body)
    if not isinstance(attributes, dict):
        raise BadEvent(f"the body is a JSON {type(attributes).__name__}, a CloudEvent is an object")
    if "data_base64" in attributes:
        raise UnsupportedMedia("data_base64: send the data as a JSON object in `data`")
    return attributes, attributes.pop("data", None)


def _binary(headers: dict[str, str], body: bytes, media: str) -> tuple[dict[str, Any], Any]:
    if media != JSON and not media.endswith("+json"):
        raise UnsupportedMedia(f"data of content type {media!r:.80}: send {JSON}")
    attributes = {name[3:]: _unquote(v) for name, v in headers.items() if name.startswith("ce-")}
    return attributes, _json(body)


def _unquote(value: str) -> str:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError as error:
        raise BadEvent(f"header value {value!r:.80} is no percent-encoded UTF-8") from error


def _event(attributes: dict[str, Any], data: Any, received: datetime) -> Event:
    try:
        envelope = _Envelope.model_validate(attributes)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadEvent(f"attribute {where}: {first['msg']}: not a CloudEvents 1.0 event") from error
    model = kind_of(envelope.type).model
    return Event(
        id=envelope.id,
        source=envelope.source,
        type=envelope.type,
        subject=envelope.subject or "",
        time=envelope.time or received.astimezone(UTC),
        data=MappingProxyType(model.fit(data).model_dump(mode="json", exclude_none=True)),
        extensions=_extensions(envelope.model_extra or {}),
    )


def _extensions(extra: dict[str, Any]) -> Mapping[str, str]:
    texts = {}
    for name, value in extra.items():
        if not _EXTENSION.fullmatch(name) or not isinstance(value, str | int | None):
            raise BadEvent(
                f"extension {name!r:.80}: names are lower-case letters and digits, "
                "values text, whole numbers or booleans"
            )
        if value is not None:
            texts[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return MappingProxyType(texts)


def encode(
    event: Event, *, mode: Literal["binary", "structured"] = "binary"
) -> tuple[dict[str, str], bytes]:
    """The HTTP headers and body that say `event`."""
    if mode == "structured":
        whole = {**event.attributes, "datacontenttype": JSON, "data": dict(event.data)}
        return {"content-type": STRUCTURED}, orjson.dumps(whole)
    headers = {f"ce-{name}": quote(v, safe=_UNESCAPED) for name, v in event.attributes.items()}
    return {**headers, "content-type": JSON}, orjson.dumps(dict(event.data))
