"""The API under the dashboard's own origin, so that a browser needs one address only.

Whoever logged in reaches the API through it with the token of their login, which the API verifies.
Without a login there is the one local user, so it answers this machine only.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import httpx
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from groundshift.dashboard.client import LIMITS
from groundshift.dashboard.login import Login
from groundshift.loopback import from_this_machine

_ASKED: Final = ("accept", "accept-encoding", "content-type", "if-none-match")
_ANSWERED: Final = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-type",
    "etag",
)
_MOST_BYTES: Final = 8 << 20
"""Of a request; a review with its outline takes kilobytes."""
_TIMEOUT: Final = httpx.Timeout(60.0, connect=5.0)
_READS: Final = ("GET", "HEAD")
_PROBLEM: Final = "application/problem+json"


class Proxy:
    """Hands requests on to the API at `base`."""

    def __init__(
        self,
        base: str,
        *,
        login: Login | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._login = login
        self._client = httpx.AsyncClient(
            base_url=base, timeout=_TIMEOUT, limits=LIMITS, trust_env=False, transport=transport
        )

    async def forward(self, request: Request) -> Response:
        """One request, answered by the API; the answer is streamed."""
        token = self._login.token_of(request.cookies) if self._login else None
        if (refusal := _refusal(request, self._login, token)) is not None:
            return refusal
        headers = {k: v for k, v in request.headers.items() if k in _ASKED}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        try:
            body = await _body(request)
        except ClientDisconnect:
            return Response()  # nobody is there to read it
        if body is None:
            return _problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {_MOST_BYTES} bytes are taken"
            )
        onward = self._client.build_request(
            request.method,
            httpx.URL(path=request.url.path, query=request.url.query.encode()),
            headers=headers,
            content=body,
        )
        try:
            answer = await self._send(onward)
        except httpx.TransportError as error:
            return _problem(
                HTTPStatus.BAD_GATEWAY,
                f"the API at {self._client.base_url} does not answer ({error}): "
                "start the platform with `groundshift up`, or name another with --api",
            )
        told = {k: v for k, v in answer.headers.items() if k in _ANSWERED}
        if token is not None:
            told["vary"] = "Cookie"  # the next person at this browser is told their own
        return StreamingResponse(
            answer.aiter_raw(),
            status_code=answer.status_code,
            headers=told,
            background=BackgroundTask(answer.aclose),
        )

    async def _send(self, onward: httpx.Request) -> httpx.Response:
        try:
            return await self._client.send(onward, stream=True)
        except httpx.RemoteProtocolError:  # closed as it was asked
            if onward.method not in _READS:
                raise  # what writes is never said twice
            return await self._client.send(onward, stream=True)

    async def close(self) -> None:
        """Close the connections to the API."""
        await self._client.aclose()


def _refusal(request: Request, login: Login | None, token: str | None) -> Response | None:
    """Who has nothing to ask here; pages of other sites too, since a browser sends our cookie."""
    if login is None:
        if from_this_machine(request):
            return None
        return _problem(
            HTTPStatus.FORBIDDEN,
            "this dashboard has no login, so it answers its own machine only, as localhost",
        )
    if request.headers.get("origin", login.origin) != login.origin:
        return _problem(
            HTTPStatus.FORBIDDEN, f"this dashboard answers its own pages only: open {login.url}"
        )
    if token is None:
        return _problem(HTTPStatus.UNAUTHORIZED, "you are not logged in: load the page again")
    return None


async def _body(request: Request) -> bytes | None:
    """What came, or None where it is too much. Raises ClientDisconnect."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            return None
    return bytes(body)


def _problem(status: HTTPStatus, detail: str) -> Response:
    body = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    return JSONResponse(body, status_code=status, media_type=_PROBLEM)
