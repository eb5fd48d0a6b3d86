"""The login: Streamlit's own, set up from the platform's settings, and whose token the API gets.

Streamlit runs the authorization code flow and keeps the tokens in a signed cookie that no script of
a page can read. What goes on to the API is the token, which the API verifies itself.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any, Final, Literal
from urllib.parse import SplitResult, quote, unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.auth_util import get_cookie_with_chunks
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import TOKENS_COOKIE_NAME

from groundshift.errors import Misconfigured
from groundshift.settings import Settings

CALLBACK: Final = "/oauth2callback"
"""Streamlit's own page that browsers come back to."""
_LOGIN: Final = "/auth/login"
_RETURN: Final = "groundshift_return"
_RETURN_S: Final = 600
"""How long somebody may take to log in and still come back to the same view."""
_URL: Final = "%/:?#[]@!$&'()*+,;="
"""What stands as it is in an address."""


@dataclass(frozen=True)
class Login:
    """How people log in to one dashboard."""

    issuer: str
    client_id: str
    scope: str
    token: Literal["id", "access"]
    """Which of the login's tokens the API takes."""
    url: str
    """The dashboard as browsers reach it."""
    client_secret: str = field(repr=False)
    cookie_key: str = field(repr=False)

    @classmethod
    def of(cls, settings: Settings, *, url: str) -> Login | None:
        """The login of the settings; None where they name no issuer.

        `url` is where browsers find the dashboard unless the settings know better. Raises
        Misconfigured for an issuer without the client that tokens are for, or without its secret.
        """
        if not settings.oidc_issuer:
            return None
        client_id = settings.oidc_client_id or settings.oidc_audience
        client_secret = settings.oidc_client_secret.get_secret_value()
        for name, value in (("audience", client_id), ("client_secret", client_secret)):
            if not value:
                raise Misconfigured(
                    f"oidc_issuer is set and oidc_{name} is not: register the dashboard at "
                    f"{settings.oidc_issuer} and set GROUNDSHIFT_OIDC_{name.upper()}"
                )
        return cls(
            issuer=settings.oidc_issuer,
            client_id=client_id,
            scope=settings.oidc_scope,
            token=settings.oidc_token,
            url=(settings.public_url or url).rstrip("/"),
            client_secret=client_secret,
            cookie_key=settings.cookie_key.get_secret_value() or secrets.token_hex(32),
        )

    def middleware(self) -> list[Middleware]:
        """What a dashboard with this login is wrapped in."""
        secure = [Middleware(SecureCookies)] if self.url.startswith("https:") else []
        return [*secure, Middleware(ComeBack, origin=self.origin)]

    @property
    def origin(self) -> str:
        """The origin of the dashboard's pages."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def redirect(self) -> str:
        """Where the login sends browsers back to; the login must be told it."""
        return f"{self.url}{CALLBACK}"

    def secrets(self) -> dict[str, Any]:
        """What Streamlit is told: the section [auth] of its secrets."""
        return {
            "redirect_uri": self.redirect,
            "cookie_secret": self.cookie_key,
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "server_metadata_url": f"{self.issuer.rstrip('/')}/.well-known/openid-configuration",
            "client_kwargs": {"scope": self.scope},
            "expose_tokens": [self.token],
        }

    def token_of(self, cookies: Mapping[str, str]) -> str | None:
        """The token that a browser's cookies hold, not verified; None where there is none."""

        def read(name: str) -> bytes | None:
            return decode_signed_value(self.cookie_key, name, cookies.get(name, ""))

        held = get_cookie_with_chunks(read, TOKENS_COOKIE_NAME)
        token = json.loads(held).get(f"{self.token}_token") if held else None
        return token if isinstance(token, str) else None


class ComeBack:
    """After the login a browser is back at what it looked at; Streamlit itself leads to `/`."""

    def __init__(self, app: ASGIApp, *, origin: str) -> None:
        self._app, self._origin = app, origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        path = scope["path"] if scope["type"] == "http" else ""

        async def with_return(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                if path == _LOGIN:
                    self._remember(Headers(scope=scope), headers)
                else:
                    self._restore(Headers(scope=scope), headers)
            await send(message)

        await self._app(scope, receive, with_return if path in (_LOGIN, CALLBACK) else send)

    def _remember(self, asked: Headers, answer: MutableHeaders) -> None:
        """Keep the page that asked for the login, where it is one of ours."""
        page = _split(asked.get("referer", ""))
        if f"{page.scheme}://{page.netloc}" == self._origin and page.path.startswith("/"):
            answer.append("set-cookie", self._cookie(_place(page.path, page.query), _RETURN_S))

    def _restore(self, asked: Headers, answer: MutableHeaders) -> None:
        kept = SimpleCookie(asked.get("cookie", "")).get(_RETURN)
        if kept is None or "location" not in answer:
            return
        page = _split(unquote(kept.value))
        answer["location"] = _place(page.path, page.query)
        answer.append("set-cookie", self._cookie("", 0))

    @staticmethod
    def _cookie(place: str, seconds: int) -> str:
        return (
            f"{_RETURN}={quote(place, safe='')}; Path={CALLBACK}; Max-Age={seconds}; "
            "HttpOnly; SameSite=Lax"
        )


class SecureCookies:
    """Every cookie of a dashboard behind https travels by https only; Streamlit leaves that out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def with_secure(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [_secured(*pair) for pair in message["headers"]]
            await send(message)

        await self._app(scope, receive, with_secure)


def _secured(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    needed = name.lower() == b"set-cookie" and b"secure" not in value.lower().split(b"; ")
    return (name, value + b"; Secure") if needed else (name, value)


def _split(address: str) -> SplitResult:
    """The parts of an address; of what is none: nothing."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _place(path: str, query: str) -> str:
    """A page of this site: never the name of another host."""
    return quote("/" + path.lstrip("/\\") + (f"?{query}" if query else ""), safe=_URL)
