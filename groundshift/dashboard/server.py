"""The dashboard's ASGI app: Streamlit, its static files, and the API under the same origin."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from os import PathLike, stat_result
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from streamlit import config
from streamlit.starlette import App

from groundshift.dashboard.boot import Boot
from groundshift.dashboard.login import Login
from groundshift.dashboard.origins import OwnPages
from groundshift.dashboard.proxy import Proxy

STATIC: Final = Path(__file__).with_name("static")
_SCRIPT: Final = Path(__file__).with_name("app.py")
_FOREVER: Final = "public, max-age=31536000, immutable"


def create_app(api_url: str, login: Login | None = None) -> App:
    """The dashboard of the API at `api_url`; one per process (Streamlit's own limit).

    Without a `login` there is the one local user, and requests of this machine only are answered.
    """
    proxy = Proxy(api_url, login=login)

    @asynccontextmanager
    async def lifespan(_: App) -> AsyncIterator[None]:
        yield
        await proxy.close()

    secrets: dict[str, Any] = {"api_url": api_url}
    middleware = [
        Middleware(OwnPages, origin=login.origin if login else None),
        Middleware(Boot, assets=assets_path()),
    ]
    if login is not None:
        secrets["auth"] = login.secrets()
        middleware += login.middleware()
    app = App(
        _SCRIPT,
        secrets=secrets,
        lifespan=lifespan,
        middleware=middleware,
        routes=[
            Route("/api/{path:path}", proxy.forward, methods=["GET", "POST", "PATCH", "DELETE"]),
            Mount(assets_path(), _Immutable(directory=STATIC)),
        ],
    )
    if login is not None:  # the way to the login has a cookie too; not before the App is made,
        config.set_option("server.cookieSecret", login.cookie_key)  # which finds our config.toml
        # behind a gateway its name is none of this machine's, which Streamlit knows by itself
        config.set_option("browser.serverAddress", urlsplit(login.url).hostname)
    return app


@cache
def assets_path() -> str:
    """Where the static files are served: their digest is in the path, so no copy is ever stale."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(STATIC).as_posix().encode())
            digest.update(path.read_bytes())
    return f"/assets/{digest.hexdigest()[:16]}"


class _Immutable(StaticFiles):
    """Files that a browser asks for once."""

    def file_response(
        self,
        full_path: str | PathLike[str],
        stat_result: stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """A file, kept by the browser."""
        answer = super().file_response(full_path, stat_result, scope, status_code)
        answer.headers["Cache-Control"] = _FOREVER
        return answer
