"""A stage's ASGI app, which every container runs and the embedded runtime mounts; and the intake.

Statuses say what to do: 202 and an empty body for what was handled (never a reply event: a chain of
replies would run inside the first POST), 400, 413, 415, 422 for what will never work, 404, 409 and
5xx for what is worth a retry. Errors have a problem+json body (RFC 9457).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from types import MappingProxyType
from typing import Protocol, TypeVar

from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from functions.heap import trim_heap
from functions.stages import TABLE
from functions.transport import PROBLEM
from groundshift.codec import MAX_BYTES, decode
from groundshift.errors import (
    RETRYABLE,
    BadEvent,
    Forbidden,
    GroundshiftError,
    Misconfigured,
    SceneRefused,
    TooLarge,
    UnknownEvent,
    UnsupportedMedia,
    http_status,
)
from groundshift.events import EVENTS, Event, SceneArrived
from groundshift.ledger import Ledger
from groundshift.ledger.arrivals import announce, owner
from groundshift.settings import Settings

log = logging.getLogger(__name__)

P = TypeVar("P")
Endpoint = Callable[[Request], Awaitable[Response]]


class IntakePlatform(Protocol):
    """What the intake needs of the platform."""

    @property
    def settings(self) -> Settings:
        """For the size limit."""
        ...

    @property
    def ledger(self) -> Ledger:
        """Where arrivals and events are committed."""
        ...


def create_app(
    stage: str,
    platform: P,
    handlers: Mapping[str, Callable[[Event, P], None]],
    *,
    max_event_bytes: int = MAX_BYTES,
) -> Starlette:
    """The app of one stage: ``POST /`` takes a CloudEvent, ``GET /healthz`` answers 200.

    `handlers` maps stages to functions; they run in worker threads, since they block. Raises
    Misconfigured for a stage that is not in the table or has no handler.
    """
    if stage not in TABLE or stage not in handlers:
        raise Misconfigured(f"no stage {stage!r}: there are {', '.join(TABLE)}")
    takes, handler = TABLE[stage].takes, handlers[stage]

    def handle(event: Event) -> None:
        if takes and event.type not in takes:
            raise UnknownEvent(f"{stage} takes {', '.join(takes)}, not {event.type}")
        try:
            handler(event, platform)
        finally:
            trim_heap()

    async def receive(request: Request) -> Response:
        body = await _body(request, max_event_bytes)
        event = decode(request.headers, body, max_bytes=max_event_bytes)
        began = time.monotonic()
        # a caller's time-out does not wait for the thread: that ends by itself, and again is safe
        await to_thread.run_sync(handle, event, abandon_on_cancel=True)
        log.info("%s: %s %s in %.3f s", stage, event.word, event.subject, time.monotonic() - began)
        return Response(status_code=HTTPStatus.ACCEPTED)

    return Starlette(routes=[Route("/", _answering(receive), methods=["POST"]), _health()])


def intake_app(platform: IntakePlatform) -> Starlette:
    """The platform's door: ``POST /events`` and ``GET /healthz``."""
    return Starlette(routes=[intake_route(platform), _health()])


def intake_route(
    platform: IntakePlatform,
    *,
    guard: Callable[[Endpoint], Endpoint] = lambda endpoint: endpoint,
    tenant_of: Callable[[Request], str | None] = lambda _: None,
) -> Route:
    """``POST /events``: commits the arrival and its event, then answers 202 with their ids.

    Takes the events that come from outside, in structured or binary mode, one at a time; the same
    (source, id) again changes nothing and gets the same answer. `guard` wraps the endpoint in who
    may come in; who comes for one tenant (`tenant_of`) announces for that one only.
    """

    def commit(event: Event, tenant: str | None) -> dict[str, str]:
        with platform.ledger.transaction() as tx:
            arrival = announce(tx, event)
            if tenant is not None and owner(tx, arrival) != tenant:
                raise Forbidden(
                    f"{event.source!r} announced {event.id!r} for another tenant: "
                    "name a source of your own"
                )
        return {"id": event.id, "source": event.source, "arrival": arrival}

    async def receive(request: Request) -> Response:
        limit = platform.settings.max_event_bytes
        body = await _body(request, limit)
        event = _from_outside(decode(request.headers, body, max_bytes=limit))
        if (tenant := tenant_of(request)) is not None:
            event = _for_tenant(event, tenant)
        answer = await to_thread.run_sync(commit, event, tenant)
        return JSONResponse(answer, status_code=HTTPStatus.ACCEPTED)

    return Route("/events", guard(_answering(receive)), methods=["POST"])


def _for_tenant(event: Event, tenant: str) -> Event:
    """The event as this tenant's, in data and envelope. Raises Forbidden: it names another."""
    named = {event.tenant, event.data.get("tenant")} - {None, tenant}
    if named:
        raise Forbidden(
            f"the event is for tenant {min(map(str, named))!r} and your token for {tenant!r}: "
            "leave `tenant` out, or use a token of that tenant"
        )
    return replace(
        event,
        data=MappingProxyType({**event.data, "tenant": tenant}),
        extensions=MappingProxyType({**event.extensions, "tenant": tenant}),
    )


def _from_outside(event: Event) -> Event:
    """The event with a subject. Raises UnknownEvent for what only this platform says."""
    if not EVENTS[event.type].from_outside:
        taken = ", ".join(type_ for type_, kind in EVENTS.items() if kind.from_outside)
        raise UnknownEvent(f"{event.type} is this platform's own: from outside it takes {taken}")
    return replace(event, subject=event.subject or SceneArrived.of(event).href)


def _health() -> Route:
    async def healthz(_: Request) -> Response:
        return Response(status_code=HTTPStatus.OK)

    return Route("/healthz", healthz, methods=["GET"])


async def _body(request: Request, limit: int) -> bytes:
    """The body, read no further than the limit. Raises TooLarge, UnsupportedMedia, BadEvent."""
    if (encoding := request.headers.get("content-encoding", "identity")) != "identity":
        raise UnsupportedMedia(f"content encoding {encoding!r:.40}: send the event as it is")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise TooLarge(f"an event of {declared} bytes: at most {limit} are taken")
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > limit:
                raise TooLarge(f"an event of more than {limit} bytes: send references, not pixels")
    except ClientDisconnect as error:
        raise BadEvent("the sender hung up before the end of the event") from error
    return bytes(body)


def _answering(endpoint: Endpoint) -> Endpoint:
    """The endpoint, with errors as answers."""

    async def answer(request: Request) -> Response:
        try:
            response = await endpoint(request)
        except GroundshiftError as error:
            level = logging.INFO if http_status(error) in RETRYABLE else logging.WARNING
            log.log(level, "%s: %s", type(error).__name__, error)
            return _problem(error)
        except Exception as error:
            log.exception("unforeseen, answered with 500")
            return _problem(error)
        return response

    return answer


def _problem(error: Exception) -> Response:
    status = HTTPStatus(http_status(error))
    foreseen = isinstance(error, GroundshiftError)
    body = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": str(error) if foreseen else f"{type(error).__name__}: {error}",
    }
    reason = {"reason": str(error.reason)} if isinstance(error, SceneRefused) else {}
    return JSONResponse({**body, **reason}, status_code=status, media_type=PROBLEM)
