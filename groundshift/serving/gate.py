"""What stands before kserve's endpoints: who gets in, and how much.

An ASGI middleware. It lets through GETs and inferences only (kserve's repository API would unload
a model for any caller), reads each body once under a size limit, and keeps the number of requests
in the server bounded, so that neither memory nor waiting time grows without end.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundshift.serving.metrics import ServerMetrics
from groundshift.v2 import BINARY, HEADER_LENGTH, JSON

Headers = Iterable[tuple[bytes, bytes]]
_INFER: Final = re.compile(r"/v2/models/[^/]+/infer")
RETRY_AFTER_S: Final = 1


@dataclass(frozen=True)
class Limits:
    """How much the server takes."""

    in_flight: int
    """Inference requests in the server at once, waiting ones included."""
    body_bytes: int
    """Largest request body."""
    body_s: float = 30.0
    """Longest wait for a body: one that never comes must not keep its place for ever."""


class Gate:
    """The middleware; answers 400 (no body), 405, 408, 413 and 503 itself."""

    def __init__(self, app: ASGIApp, *, limits: Limits, metrics: ServerMetrics) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
        elif scope["method"] != "POST" or not _INFER.fullmatch(scope["path"]):
            await self._refuse(
                send, HTTPStatus.METHOD_NOT_ALLOWED, "POST goes to /v2/models/NAME/infer only"
            )
        elif self._in_flight >= self._limits.in_flight:
            await self._refuse(
                send,
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self._in_flight} requests are in the server already; try again in a moment",
                (b"retry-after", str(RETRY_AFTER_S).encode()),
            )
        else:
            await self._admit(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._in_flight += 1
        self._metrics.in_flight.set(self._in_flight)
        try:
            await self._infer(scope, receive, send)
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.set(self._in_flight)

    async def _infer(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit, seconds = self._limits.body_bytes, self._limits.body_s
        try:
            async with asyncio.timeout(seconds):
                body = await _read(scope, receive, limit)
        except TimeoutError:
            message = f"the body did not come within {seconds:g} s"
            await self._refuse(send, HTTPStatus.REQUEST_TIMEOUT, message)
            return
        if body is None:
            message = f"the body is over the limit of {limit} bytes; send fewer images at once"
            await self._refuse(send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
        elif not body:
            await self._refuse(send, HTTPStatus.BAD_REQUEST, "the body is empty")
        else:
            await self._app(_as_binary(scope), _replay(body), _typed(send))

    async def _refuse(
        self, send: Send, status: HTTPStatus, message: str, *headers: tuple[bytes, bytes]
    ) -> None:
        self._metrics.refused.labels(status=str(status.value)).inc()
        body = orjson.dumps({"error": message})
        start = [(b"content-type", JSON.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": [*start, *headers]})
        await send({"type": "http.response.body", "body": body})


async def _read(scope: Scope, receive: Receive, limit: int) -> bytes | None:
    """The whole body; None where it is over the limit, empty where the client has gone."""
    declared = _header(scope["headers"], b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        return None
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _header(headers: Headers, name: bytes) -> bytes | None:
    return next((value for key, value in headers if key == name), None)


def _as_binary(scope: Scope) -> Scope:
    """kserve parses a JSON body on the event loop; as bytes it reaches the data plane untouched."""
    kept = [(k, v) for k, v in scope["headers"] if k not in (b"content-type", b"content-length")]
    return {**scope, "headers": [*kept, (b"content-type", BINARY.encode())]}


def _replay(body: bytes) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


def _typed(send: Send) -> Callable[[Message], Awaitable[None]]:
    """kserve drops the content type of what the data plane encoded: put it back."""

    async def typed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message["headers"])
            if _header(headers, b"content-type") is None:
                raw = _header(headers, HEADER_LENGTH.encode()) is not None
                headers.append((b"content-type", (BINARY if raw else JSON).encode()))
            message = {**message, "headers": headers}
        await send(message)

    return typed
