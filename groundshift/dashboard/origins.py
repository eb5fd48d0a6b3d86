"""Whose pages may open the dashboard's WebSocket: its own.

Streamlit compares the page's origin with addresses of this machine, which a gateway's name is none
of, and for one that it does not know it asks a web site for this machine's address. So the origin
is looked at here, before Streamlit does.
"""

from __future__ import annotations

import logging
from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from groundshift.loopback import from_this_machine

log = logging.getLogger(__name__)
_POLICY_VIOLATION: Final = 1008


class OwnPages:
    """Refuses WebSockets of other sites' pages; `origin` None: all but this machine's."""

    def __init__(self, app: ASGIApp, *, origin: str | None) -> None:
        self._app, self._origin = app, origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] == "websocket" and not self._ours(HTTPConnection(scope)):
            log.warning("a page of %s may not open a WebSocket", _origin(HTTPConnection(scope)))
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        await self._app(scope, receive, send)

    def _ours(self, connection: HTTPConnection) -> bool:
        if self._origin is None:
            return from_this_machine(connection)
        return _origin(connection) == self._origin


def _origin(connection: HTTPConnection) -> str:
    return connection.headers.get("origin", "no origin")
