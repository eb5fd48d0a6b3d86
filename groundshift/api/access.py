"""Who asks, and what they may do: bearer tokens, signed URLs, or the one local user.

A caller is known by a token of the OIDC issuer that the settings name, never by a plain header.
Without an issuer there is one local user, on loopback only.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, Final
from urllib.parse import urlencode, urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from groundshift.api.tokens import TokenVerifier
from groundshift.errors import Forbidden, Unauthenticated
from groundshift.ledger import Ledger
from groundshift.loopback import from_this_machine
from groundshift.ports import ObjectStore
from groundshift.settings import Settings

_SIGNED: Final = frozenset({"expires", "tenant", "signature"})
SIGNABLE: Final = ("/api/tiles/", "/api/files/", "/api/chips/", "/api/alerts/")
"""What a browser fetches without a header."""
_IN_THE_DOCUMENT: Final = HTTPBearer(
    scheme_name="login",
    description="A token of the login that the platform names; none where there is no login",
    auto_error=False,
)
"""Says in the OpenAPI document what `Services.caller` asks for; it refuses nobody itself."""


class Role(IntEnum):
    """What a caller may do; each may do what those before it may."""

    SERVICE = 0
    """A program: announce scenes, ask models, read metrics; nothing of the API."""
    VIEWER = 1
    """Look."""
    ANALYST = 2
    """Review, and hold locks."""
    ADMIN = 3
    """Manage webhooks."""


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    user: str
    tenant: str
    role: Role
    local: bool = False
    """The one user of a platform without a login."""
    service: bool = False
    """A program that may use the platform's doors (see `doors`), whatever else it may do."""
    signed: bool = False
    """Known by a signed URL alone: that URL is all they may see."""


@dataclass(frozen=True)
class Signer:
    """Signs addresses for browsers: HMAC-SHA256 over (scope, tenant, expiry)."""

    key: bytes = field(repr=False)
    seconds: float
    """How long a signature lasts."""

    def query(self, scope: str, tenant: str, *, now: float | None = None) -> str:
        """The query that opens every address below `scope` to a tenant's browser."""
        expires = int((time.time() if now is None else now) + self.seconds)
        named = {"expires": expires, "tenant": tenant}
        return urlencode({**named, "signature": self._sign(scope, tenant, expires)})

    def holds(self, path: str, tenant: str, expires: str, signature: str) -> bool:
        """Whether a signature opens `path` now."""
        if not (expires.isdecimal() and len(expires) < 12 and int(expires) > time.time()):
            return False
        given = signature.encode()
        return hmac.compare_digest(given, self._sign(scope_of(path), tenant, int(expires)).encode())

    def _sign(self, scope: str, tenant: str, expires: int) -> str:
        text = "\n".join((scope, tenant, str(expires)))
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()


def scope_of(path: str) -> str:
    """What one signature opens: one scene's or run's tiles or files, chips of a scene, a pack."""
    parts = path.split("/")
    depth = 5 if path.startswith(("/api/tiles/", "/api/files/")) else 4
    return "/".join(parts[:depth]).removesuffix(".png")


def signer(settings: Settings) -> Signer:
    """The signer of the settings; without a key one that lasts as long as the process."""
    key = settings.signing_key.get_secret_value().encode() or secrets.token_bytes(32)
    return Signer(key, settings.signed_url_s)


@dataclass(frozen=True)
class Services:
    """What the API's endpoints are given."""

    settings: Settings
    ledger: Ledger
    store: ObjectStore
    signer: Signer
    tokens: TokenVerifier | None = None
    """None: no login is configured."""

    def caller(self, connection: HTTPConnection) -> Caller:
        """Who asks. Raises Unauthenticated, Forbidden."""
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if self.tokens is None:
            return self._local(connection)
        if scheme.lower() == "bearer" and token:
            return self._bearer(self.tokens, token.strip())
        if connection.query_params.keys() >= _SIGNED:
            return self._by_signature(connection)
        raise Unauthenticated(
            f"no bearer token: log in at {self.settings.oidc_issuer} and send its token as "
            "`Authorization: Bearer ...`"
        )

    def signed(self, path: str, caller: Caller) -> str:
        """`path` with a signature, where the caller's browser needs one."""
        if caller.local:
            return path
        joint = "&" if "?" in path else "?"
        return f"{path}{joint}{self.signer.query(scope_of(urlsplit(path).path), caller.tenant)}"

    def _bearer(self, tokens: TokenVerifier, token: str) -> Caller:
        claims = tokens.verify(token)
        s = self.settings
        named = claims.get(s.oidc_role_claim)
        words = named if isinstance(named, list) else [named]
        roles = [role for role in Role if role.name.lower() in words]
        tenant, user = claims.get(s.oidc_tenant_claim), claims.get("email") or claims.get("sub")
        if not roles or not isinstance(tenant, str) or not tenant or not isinstance(user, str):
            raise Forbidden(
                f"the token has no usable {s.oidc_role_claim!r} (viewer, analyst, admin, service), "
                f"{s.oidc_tenant_claim!r} or `sub`: an administrator of the login must grant them"
            )
        service = Role.SERVICE in roles
        return Caller(user=user, tenant=tenant, role=max(roles), service=service)

    def _by_signature(self, connection: HTTPConnection) -> Caller:
        query = connection.query_params
        tenant, path = query["tenant"], connection.url.path
        good = path.startswith(SIGNABLE) and self.signer.holds(
            path, tenant, query["expires"], query["signature"]
        )
        if not good:
            raise Unauthenticated("this signed address does not hold any more: load the page again")
        return Caller(user="", tenant=tenant, role=Role.VIEWER, signed=True)

    def _local(self, connection: HTTPConnection) -> Caller:
        """The local user. Raises Unauthenticated for who comes from elsewhere."""
        if not from_this_machine(connection):
            raise Unauthenticated(
                "this platform has no login configured, so only its own machine may ask, as "
                "localhost: set GROUNDSHIFT_OIDC_ISSUER and GROUNDSHIFT_OIDC_AUDIENCE to open it"
            )
        return Caller(
            user=self.settings.local_user, tenant=self.settings.tenant, role=Role.ADMIN, local=True
        )


def services(request: Request) -> Services:
    """What the app was made with."""
    found: Services = request.app.state.services
    return found


def viewer(
    request: Request,
    given: Annotated[Services, Depends(services)],
    _: Annotated[object, Security(_IN_THE_DOCUMENT)],
) -> Caller:
    """Anybody who may look; by a signed URL too. Raises Forbidden."""
    return _at_least(given.caller(request), Role.VIEWER)


def reader(caller: Annotated[Caller, Depends(viewer)]) -> Caller:
    """Anybody with a token. Raises Unauthenticated for a signed URL: it opens pictures only."""
    if caller.signed:
        raise Unauthenticated("a signed address opens pictures only: send a bearer token")
    return caller


def analyst(caller: Annotated[Caller, Depends(reader)]) -> Caller:
    """Who may review. Raises Forbidden."""
    return _at_least(caller, Role.ANALYST)


def admin(caller: Annotated[Caller, Depends(reader)]) -> Caller:
    """Who may manage. Raises Forbidden."""
    return _at_least(caller, Role.ADMIN)


def _at_least(caller: Caller, role: Role) -> Caller:
    if caller.role < role:
        raise Forbidden(
            f"{caller.user!r} is {caller.role.name.lower()}, this takes {role.name.lower()}: "
            "ask an administrator of the login for the role"
        )
    return caller


Given = Annotated[Services, Depends(services)]
Viewer = Annotated[Caller, Depends(viewer)]
"""For pictures: a signed URL does."""
Reader = Annotated[Caller, Depends(reader)]
Analyst = Annotated[Caller, Depends(analyst)]
Admin = Annotated[Caller, Depends(admin)]
