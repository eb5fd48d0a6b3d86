"""Tokens of an OIDC issuer, held against its published keys."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from groundshift.errors import Unauthenticated, Unavailable

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
"""Signatures that are taken: of public keys only, so that nobody signs with what is published."""
_LEEWAY_S: Final = 30
_KEYS_LAST_S: Final = 3600.0
_ASK_AGAIN_S: Final = 10.0
"""At the soonest after this the issuer is asked again for a key that is not known."""
_TIMEOUT_S: Final = 5.0
_MAX_TOKEN: Final = 16_384

Fetch = Callable[[str], Mapping[str, Any]]


def fetch_json(url: str) -> Mapping[str, Any]:
    """A JSON object. Raises Unavailable."""
    try:
        answer = httpx.get(url, timeout=_TIMEOUT_S, trust_env=False).raise_for_status()
        found: Mapping[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise Unavailable(f"the login's {url} did not answer ({error}): try again") from error
    return found


class TokenVerifier:
    """Verifies tokens of one issuer for one audience. Safe for threads."""

    def __init__(
        self,
        issuer: str,
        audience: str,
        *,
        fetch: Fetch = fetch_json,
        ask_again_s: float = _ASK_AGAIN_S,
    ) -> None:
        self._issuer, self._audience = issuer, audience
        self._fetch, self._ask_again_s = fetch, ask_again_s
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._fetched = 0.0

    def verify(self, token: str) -> Mapping[str, Any]:
        """The claims of a token that holds. Raises Unauthenticated, Unavailable."""
        if len(token) > _MAX_TOKEN:
            raise Unauthenticated(f"a token of {len(token)} bytes: at most {_MAX_TOKEN} are taken")
        try:
            claims = self._decode(token)
            self._registry().validate(claims)
        except (JoseError, ValueError, TypeError) as error:
            raise Unauthenticated(f"the token does not hold ({error}): log in again") from error
        return claims

    def _registry(self) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            exp={"essential": True},
            sub={"essential": True},
        )

    def _decode(self, token: str) -> dict[str, Any]:
        """The claims; the keys are fetched anew once where none of those that are known fits."""
        try:
            return jwt.decode(token, self._known(older_s=_KEYS_LAST_S), [*ALGORITHMS]).claims
        except (JoseError, ValueError):
            if time.monotonic() - self._fetched < self._ask_again_s:
                raise
            return jwt.decode(token, self._known(older_s=0), [*ALGORITHMS]).claims

    def _known(self, *, older_s: float) -> KeySet:
        with self._lock:
            if self._keys is None or time.monotonic() - self._fetched > older_s:
                where = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
                found = self._fetch(str(self._fetch(where)["jwks_uri"]))
                self._keys = KeySet.import_key_set({"keys": list(found["keys"])})
                self._fetched = time.monotonic()
            return self._keys
