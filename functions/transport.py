"""How the dispatcher reaches a Service: over HTTP semantics, in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import httpx
from starlette.types import ASGIApp

from groundshift.errors import RETRYABLE
from groundshift.manifests import Subscriber

PROBLEM: Final = "application/problem+json"
"""Media type of an error (RFC 9457)."""
_REASON_CHARS: Final = 2000
"""What of an answer is kept in the ledger."""


@dataclass(frozen=True)
class Answer:
    """What came of one attempt."""

    status: int | None
    """HTTP status; None where there was no answer."""
    reason: str = ""
    """What the body said, or why there was no answer."""

    @property
    def accepted(self) -> bool:
        """A 2xx without a body; one with a body would be a reply, and is retried like Knative's."""
        return self.status is not None and 200 <= self.status < 300 and not self.reason

    @property
    def worth_a_retry(self) -> bool:
        """Whether the same attempt may work later."""
        if self.status is None or self.status >= 500 or self.status < 300:
            return True
        return self.status in RETRYABLE


class Transport(Protocol):
    """How an event reaches a Service or a JobSink."""

    async def __call__(
        self, service: Subscriber, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        """POST one CloudEvent. Never raises for what the other side does."""
        ...


class AppTransport:
    """Calls each subscriber's ASGI app in this process, over httpx, on the subscriber's name."""

    def __init__(self, apps: Mapping[str, ASGIApp]) -> None:
        """`apps` by name of the Knative Service or JobSink."""

        def mounted(app: ASGIApp) -> httpx.ASGITransport:
            return httpx.ASGITransport(app=app, raise_app_exceptions=False)

        mounts = {f"all://{name}": mounted(app) for name, app in apps.items()}
        self._client = httpx.AsyncClient(
            mounts=mounts, transport=httpx.MockTransport(_no_such_host), trust_env=False
        )

    async def __call__(
        self, service: Subscriber, path: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        """POST one CloudEvent."""
        try:
            answer = await self._client.post(
                f"http://{service.name}{path}", headers=dict(headers), content=body
            )
        except httpx.HTTPError as error:
            return Answer(None, f"{type(error).__name__}: {error}")
        return Answer(answer.status_code, _said(answer))


def _no_such_host(request: httpx.Request) -> httpx.Response:
    return httpx.Response(503, text=f"no app is mounted for {request.url.host}")


def _said(answer: httpx.Response) -> str:
    """A problem's detail, or the body's text; of an empty failure its status."""
    text = answer.text[:_REASON_CHARS]
    if answer.headers.get("content-type") == PROBLEM:
        return str(answer.json().get("detail", text))[:_REASON_CHARS]
    return text or ("" if answer.is_success else f"status {answer.status_code} and no body")
