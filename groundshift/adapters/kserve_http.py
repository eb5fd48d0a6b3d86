"""`ModelClient` over KServe v2 REST with binary tensors."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

import httpx
import numpy as np
from numpy.typing import NDArray
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from groundshift import v2
from groundshift.errors import Misconfigured, ModelMismatch, ModelRefused, Unavailable
from groundshift.models import short_digest
from groundshift.ports import ModelRevision, Split

_RETRIED: Final = frozenset({408, 425, 429, 502, 503, 504})
"""Statuses after which the same request may work: a restart, a full queue, a gateway."""


class _TryAgain(Unavailable):
    """One attempt that did not get an answer."""


class KServeClient:
    """A `ModelClient`; thread-safe, with pooled connections, until `close`.

    `url` is the address of the model server, where ``{name}`` stands for the model
    (``http://{name}-predictor.eo.svc.cluster.local``). `revision_url`, if given, is the address of
    one revision (``http://{revision}.eo.svc.cluster.local``): `resolve` puts it into the
    ModelRevision, and every inference goes there. Without it (embedded: one process, whose port
    changes from start to start) inferences go to `url`, and the digest in each answer is the pin.
    """

    def __init__(
        self,
        url: str,
        *,
        revision_url: str | None = None,
        max_in_flight: int = 4,
        timeout_s: float = 120.0,
        retry_s: float = 60.0,
        backoff_s: float = 0.2,
    ) -> None:
        """Connect to nothing yet.

        `max_in_flight` bounds the requests at the server, over all threads; `timeout_s` one
        attempt; `retry_s` all attempts of a request; `backoff_s` the first wait between two.
        Raises Misconfigured where an address is none.
        """
        self._url = _template(url, "name")
        self._revision_url = None if revision_url is None else _template(revision_url, "revision")
        self._slots = threading.BoundedSemaphore(max_in_flight)
        self._retry_s = retry_s
        self._backoff_s = backoff_s
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=max_in_flight)
        self._http = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=5.0), limits=limits, trust_env=False
        )

    @property
    def calls(self) -> dict[str, int]:
        """Answered inferences by model."""
        with self._lock:
            return dict(self._calls)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds spent in answered inferences by model, transport and waiting included."""
        with self._lock:
            return dict(self._seconds)

    def resolve(self, name: str) -> ModelRevision:
        """The revision that serves `name` now. Raises Unavailable, ModelRefused, ModelMismatch."""
        found = self.describe(name, self._url.format(name=name))
        if self._revision_url is None:
            return found
        return replace(found, url=self._revision_url.format(revision=found.revision))

    def split(self, names: Sequence[str]) -> Split:
        """What answers for each name, without a canary: one address shows one side only."""
        return Split(tuple(map(self.resolve, names)))

    def describe(self, name: str, base: str) -> ModelRevision:
        """What answers for `name` at the address `base`. Raises as `resolve` does."""
        response = self._send(lambda: self._http.get(f"{base}/v2/models/{name}"))
        try:
            meta = response.json()
            digest, signature = str(meta["versions"][0]), str(meta["platform"])
            revision = str(meta["versions"][1]) if meta["versions"][1:] else short_digest(digest)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise Misconfigured(
                f"{base} answers for {name!r} without a digest: it is no groundshift model server"
            ) from error
        return ModelRevision(name, revision, digest, signature, base)

    def infer(
        self, revision: ModelRevision, inputs: Mapping[str, NDArray[np.generic]]
    ) -> dict[str, NDArray[np.generic]]:
        """One inference; outputs by name, as read-only views of the answer.

        Raises ModelMismatch, ModelRefused, Unavailable.
        """
        base = revision.url if self._revision_url else self._url.format(name=revision.name)
        headers, parts = v2.encode_request(inputs)

        def post() -> httpx.Response:
            return self._http.post(
                f"{base}/v2/models/{revision.name}/infer",
                content=v2.chunks(parts),
                headers=headers,
            )

        start = time.perf_counter()
        with self._slots:
            response = self._send(post)
        answer = _decoded(response)
        _hold(revision, answer.parameters)
        with self._lock:
            self._calls[revision.name] += 1
            self._seconds[revision.name] += time.perf_counter() - start
        return answer.outputs

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, request: Callable[[], httpx.Response]) -> httpx.Response:
        for attempt in Retrying(
            retry=retry_if_exception_type(_TryAgain),
            wait=wait_random_exponential(self._backoff_s, max=5.0),
            stop=stop_after_delay(self._retry_s),
            reraise=True,
        ):
            with attempt:
                return _once(request)
        raise AssertionError("tenacity returns or raises")


def _once(request: Callable[[], httpx.Response]) -> httpx.Response:
    try:
        response = request()
    except httpx.TransportError as error:
        where = error.request.url
        raise _TryAgain(f"no answer from {where}: {type(error).__name__}: {error}") from error
    status = response.status_code
    if status == 200:
        return response
    reason = _reason(response)
    message = f"{response.url} answered {status}: {reason or response.reason_phrase}"
    if status in _RETRIED:
        raise _TryAgain(message)
    if status >= 500 or (status == 404 and reason is None):  # or a gateway without the route
        raise Unavailable(f"{message}; is the revision still deployed, and what does its log say?")
    raise ModelRefused(message)


def _reason(response: httpx.Response) -> str | None:
    """The server's own words; None where something else answered."""
    try:
        doc = response.json()
    except ValueError:
        return None
    return str(doc["error"]) if isinstance(doc, dict) and "error" in doc else None


def _decoded(response: httpx.Response) -> v2.Response:
    try:
        return v2.decode_response(response.content, response.headers.get(v2.HEADER_LENGTH))
    except v2.BadMessage as error:
        raise Unavailable(f"{response.url} gave no v2 answer: {error}") from error


def _hold(revision: ModelRevision, answered: Mapping[str, Any]) -> None:
    for key, planned in (("digest", revision.digest), ("signature", revision.signature)):
        if answered.get(key) != planned:
            raise ModelMismatch(
                f"{revision.name} at {revision.revision} answered with {key} {answered.get(key)}, "
                f"the run was planned with {planned}; plan it again"
            )


def _template(url: str, key: str) -> str:
    try:
        parsed = httpx.URL(url.format(**{key: "x"}))
    except (ValueError, KeyError, IndexError, httpx.InvalidURL) as error:
        raise Misconfigured(
            f"{url!r} is no address of a model server; expected http://... with at most {{{key}}}"
        ) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise Misconfigured(f"{url!r} is no address of a model server; expected http://HOST...")
    return url.rstrip("/")
