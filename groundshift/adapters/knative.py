"""`EventSink` to a Knative Broker, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Self
from urllib.parse import urlsplit

import httpx

from groundshift.errors import Misconfigured, Unavailable

_CONNECT_S: Final = 10.0
_SAID: Final = 300
"""What of an answer's body an error repeats, characters."""


class BrokerSink:
    """Posts each event to one address. Safe for threads.

    The channel-based Broker answers once every handler behind it is done, retries included, and a
    caller that gives up ends them: `timeout_s` must be longer than all of that.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """Raises Misconfigured for what is no http(s) address."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise Misconfigured(
                f"sink_url {url!r}: give the Broker's address, http://HOST/NAMESPACE/BROKER, "
                "or let a SinkBinding set K_SINK"
            )
        self._url = url
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=_CONNECT_S, pool=None),
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
        )

    def publish(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Deliver one CloudEvent. Raises Unavailable for any answer but a 202, and for none."""
        try:
            answer = self._client.post(self._url, content=body, headers=dict(headers))
        except httpx.HTTPError as error:
            raise Unavailable(f"no answer from {self._url}: {error or type(error)}") from error
        if answer.status_code != HTTPStatus.ACCEPTED:
            raise Unavailable(
                f"{self._url} answered {answer.status_code}, not 202: {answer.text[:_SAID]}"
            )

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
