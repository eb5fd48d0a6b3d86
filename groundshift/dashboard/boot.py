"""The map before Streamlit: its page is told to load the workspace and its data at once.

Streamlit's own scripts take a second or more until they mount a component. So the workspace starts
beside them (``static/boot.mjs``), and the component takes it over where it stands.
"""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PAGES: Final = ("/", "/label")
"""Those with a map."""
_MODULES: Final = ("boot", "mount", "workspace", "mapview", "alertstore", "queue", "draw")
_ASKED: Final = ("alerts/columns", "scenes?limit=1000", "sites", "areas", "me")
"""What the workspace asks the API first, as ``api.mjs`` writes it."""
_HEAD: Final = b"</head>"


class Boot:
    """Puts the workspace's script, and hints of what it will ask, into Streamlit's page."""

    def __init__(self, app: ASGIApp, *, assets: str) -> None:
        self._app = app
        self._hints = _hints(assets).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; all but the pages with a map pass through."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] not in _PAGES:
            await self._app(scope, receive, send)
            return
        kept = [(k, v) for k, v in scope["headers"] if k not in _CONDITIONS]
        await self._app({**scope, "headers": kept}, receive, _Page(send, self._hints))


_CONDITIONS: Final = (b"accept-encoding", b"if-none-match", b"if-modified-since", b"range")
"""The page is read as text, whole, and is another one than the file that it comes from."""
_OF_THE_FILE: Final = (b"content-length", b"etag", b"last-modified", b"accept-ranges")


class _Page:
    """Sends an HTML page on with the hints in its head."""

    def __init__(self, send: Send, hints: bytes) -> None:
        self._send, self._hints = send, hints
        self._start: Message | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        """Hold an HTML answer until it is whole."""
        if message["type"] == "http.response.start" and _is_html(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        body = bytes(self._body).replace(_HEAD, self._hints + _HEAD, 1)
        headers = [(k, v) for k, v in start["headers"] if k.lower() not in _OF_THE_FILE]
        headers.append((b"content-length", str(len(body)).encode()))
        await self._send({**start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _is_html(start: Message) -> bool:
    kinds = [v for k, v in start["headers"] if k.lower() == b"content-type"]
    return any(kind.startswith(b"text/html") for kind in kinds)


def _hints(assets: str) -> str:
    modules = [f"{assets}/{name}.mjs" for name in _MODULES]
    modules += [f"{assets}/vendor/maplibre-gl.mjs"]
    hints = [f'<link rel="modulepreload" href="{path}">' for path in modules]
    hints += [f'<link rel="preload" as="fetch" crossorigin href="/api/{q}">' for q in _ASKED]
    styles = ("vendor/maplibre-gl.css", "workspace.css")
    hints += [f'<link rel="stylesheet" href="{assets}/{name}">' for name in styles]
    hints += [f'<script type="module" src="{assets}/boot.mjs"></script>']
    return "".join(hints)
