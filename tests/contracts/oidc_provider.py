"""A small OpenID Connect provider on loopback: what a login is, with the parts that can go wrong.

Authorization code with PKCE, client credentials, discovery, keys, logout; RS256. It holds people to
the rules that a real one does: unknown clients, redirects, codes used twice and wrong secrets are
refused.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT, SECRET = "groundshift", "a secret of the tests"


@dataclass
class Provider:
    """The login of some people; `url` is its issuer."""

    people: Mapping[str, Mapping[str, Any]]
    """Claims by name."""
    redirects: set[str] = field(default_factory=set)
    """Addresses that browsers may be sent back to."""
    seconds: float = 3600
    """How long a token holds; a test may change it."""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "p1"}))
    url: str = ""
    refused: list[str] = field(default_factory=list)
    """Why somebody was sent away."""
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def token(self, **claims: Any) -> str:
        """A signed token."""
        now = int(time.time())
        said = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": int(now + self.seconds)}
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, {**said, **claims}, self.key)

    def app(self) -> Starlette:
        """Its pages."""
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._about),
                Route("/keys", self._keys),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/logout", self._logout),
            ]
        )

    async def _about(self, _: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                "end_session_endpoint": f"{self.url}/logout",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            }
        )

    async def _keys(self, _: Request) -> Response:
        return JSONResponse(KeySet([self.key]).as_dict(private=False))

    async def _authorize(self, request: Request) -> Response:
        """A page that asks who you are; with `person` the way back."""
        asked = dict(request.query_params)
        if asked.get("client_id") != CLIENT or asked.get("redirect_uri") not in self.redirects:
            return self._refuse(f"client or redirect unknown: {asked}")
        if asked.get("code_challenge_method") != "S256" or "openid" not in asked.get("scope", ""):
            return self._refuse(f"no PKCE or no openid scope: {asked}")
        person = asked.pop("person", None)
        if person is None:
            links = (
                f"<li><a href='?{escape(urlencode({**asked, 'person': name}))}'>{escape(name)}</a>"
                for name in self.people
            )
            return HTMLResponse(f"<title>Login</title><h1>Who are you?</h1><ul>{''.join(links)}")
        code = secrets.token_urlsafe(16)
        self._codes[code] = {**asked, "person": person}
        back = urlencode({"code": code, "state": asked["state"]})
        return RedirectResponse(f"{asked['redirect_uri']}?{back}", status_code=302)

    async def _token(self, request: Request) -> Response:
        expected = base64.b64encode(f"{CLIENT}:{SECRET}".replace(" ", "+").encode()).decode()
        given = request.headers.get("authorization", "").removeprefix("Basic ")
        plain = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if given not in (expected, plain):
            return self._refuse("wrong client or secret")
        form = {name: str(value) for name, value in (await request.form()).items()}
        if form.get("grant_type") == "client_credentials":
            token = self.token(sub=CLIENT, role="service", tenant="acme")
            return JSONResponse({"access_token": token, "token_type": "Bearer"})
        asked = self._codes.pop(form.get("code", ""), None)  # a code works once
        if asked is None or asked["redirect_uri"] != form.get("redirect_uri"):
            return self._refuse("no such code")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != asked["code_challenge"]:
            return self._refuse("the verifier is of another challenge")
        claims = {"sub": asked["person"], **self.people[asked["person"]]}
        token = self.token(**claims, nonce=asked["nonce"])
        return JSONResponse(
            {
                "id_token": token,
                "access_token": self.token(**claims),
                "token_type": "Bearer",
                "expires_in": int(self.seconds),
            }
        )

    async def _logout(self, request: Request) -> Response:
        back = request.query_params.get("post_logout_redirect_uri")
        if back not in self.redirects:
            return self._refuse(f"redirect unknown: {back}")
        return RedirectResponse(back, status_code=302)

    def _refuse(self, why: str) -> Response:
        self.refused.append(why)
        return JSONResponse({"error": "invalid_request", "error_description": why}, 400)


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The app on a port of this machine; its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def provider(people: Mapping[str, Mapping[str, Any]]) -> Iterator[Provider]:
    """A provider that answers."""
    made = Provider(people)
    with served(made.app()) as url:
        made.url = url
        yield made
