"""The API, as the pages ask it: JSON in, errors with a cure out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx

from groundshift.errors import Forbidden, GroundshiftError, Unauthenticated, Unavailable

LIMITS: Final = httpx.Limits(
    max_connections=100, max_keepalive_connections=20, keepalive_expiry=2.0
)
"""A connection is not kept as long as the API keeps it (uvicorn: 5 s): a request into one
that is just being closed is lost."""
_TIMEOUT: Final = httpx.Timeout(30.0, connect=3.0)
_MOST_PAGES: Final = 100


_REFUSALS: Final[Mapping[int, type[GroundshiftError]]] = {401: Unauthenticated, 403: Forbidden}


class Api:
    """Reads of the API at `base`, with the rights of a `token` where there is a login."""

    def __init__(
        self, base: str, *, token: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._client = httpx.Client(
            base_url=base,
            headers=headers,
            timeout=_TIMEOUT,
            limits=LIMITS,
            trust_env=False,
            transport=transport,
        )

    def get(self, path: str, **query: Any) -> Mapping[str, Any]:
        """One JSON document.

        Raises Unavailable where nobody answers, Unauthenticated, Forbidden, else GroundshiftError.
        """
        asked = {name: value for name, value in query.items() if value is not None}
        try:
            answer = self._read(path, asked)
        except httpx.TransportError as error:
            raise Unavailable(
                f"the API at {self._client.base_url} does not answer ({error}): start the platform "
                "with `groundshift up`, or name another with `groundshift dashboard --api URL`"
            ) from error
        if answer.is_error:
            raise _REFUSALS.get(answer.status_code, GroundshiftError)(_why(answer))
        found: Mapping[str, Any] = answer.json()
        return found

    def _read(self, path: str, query: Mapping[str, Any]) -> httpx.Response:
        try:
            return self._client.get(path, params=query)
        except httpx.RemoteProtocolError:  # closed as it was asked
            return self._client.get(path, params=query)

    def every(self, path: str, name: str, **query: Any) -> list[Mapping[str, Any]]:
        """The rows of all pages."""
        return [row for page in self._pages(path, **query) for row in page[name]]

    def _pages(self, path: str, **query: Any) -> Iterator[Mapping[str, Any]]:
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = self.get(path, cursor=cursor, **query)
            yield page
            following = [link["href"] for link in page.get("links", ()) if link["rel"] == "next"]
            if not following:
                return
            cursor = httpx.URL(following[0]).params["cursor"]


def _why(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the API answered {answer.status_code} to {answer.request.url.path}"
