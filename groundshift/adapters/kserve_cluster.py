"""`ModelClient` on a cluster: KServe's InferenceServices say what serves, runs pin revisions.

The split is KServe's own, read from its status; which side a run takes is decided by the run's
hash, once for all models, and every request goes to the revision's own address. So the traffic may
move, a canary may fail and a tag may be renamed while a run is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from groundshift.adapters.kserve_http import KServeClient
from groundshift.errors import Misconfigured, ModelRefused
from groundshift.kube import INFERENCE_SERVICES, REVISIONS, connect, list_objects
from groundshift.ports import ModelRevision, Split
from groundshift.releases import SERVICE, choose_releases, standing

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

SCHEME: Final = "kserve"
REVISION_URL: Final = "http://{revision}.NAMESPACE.svc.cluster.local"
"""Only the full name works: with the activator in the path it reads the revision from it."""


class KServeClusterClient:
    """A `ModelClient` over the InferenceServices of a namespace; thread-safe, until `close`.

    `revision_url` is the address of one revision, ``{revision}`` standing for its name; by default
    the one Knative gives it inside the cluster. `connect` opens the Kubernetes API, not before it
    is needed: a stage that only infers never asks it. Other options are those of `KServeClient`.
    """

    def __init__(
        self,
        namespace: str,
        *,
        revision_url: str | None = None,
        connect: Callable[[], ApiClient] = connect,
        **options: Any,
    ) -> None:
        self._namespace = namespace
        self._revision_url = revision_url or REVISION_URL.replace("NAMESPACE", namespace)
        self._connect = connect
        self._http = KServeClient(
            self._revision_url.replace("{revision}", "{name}-predictor"),
            revision_url=self._revision_url,
            **options,
        )

    @classmethod
    def of_url(cls, url: str, **options: Any) -> Self:
        """The client of ``kserve://NAMESPACE``. Raises Misconfigured."""
        parts = urlsplit(url)
        if parts.scheme != SCHEME or not parts.netloc or parts.path.strip("/"):
            raise Misconfigured(f"models_url {url!r}: expected {SCHEME}://NAMESPACE")
        return cls(parts.netloc, **options)

    @property
    def calls(self) -> dict[str, int]:
        """Answered inferences by model."""
        return self._http.calls

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds spent in answered inferences by model, transport and waiting included."""
        return self._http.seconds

    def resolve(self, name: str) -> ModelRevision:
        """The revision that was rolled out for `name`. Raises Unavailable, ModelRefused."""
        return self.split([name]).stable[0]

    def split(self, names: Sequence[str]) -> Split:
        """The releases of these InferenceServices that may answer.

        Raises Unavailable where no release is ready in all of them, NotYet before the first one
        is, ModelRefused where there is no such InferenceService.
        """
        services = {
            found["metadata"]["name"]: found
            for found in list_objects(self._api, INFERENCE_SERVICES, self._namespace)
        }
        for name in names:
            if name not in services:
                known = ", ".join(services) or "none"
                raise ModelRefused(
                    f"no InferenceService {name!r} in namespace {self._namespace}: there is {known}"
                )
        selector = f"{SERVICE} in ({','.join(names)})"
        revisions = list_objects(self._api, REVISIONS, self._namespace, selector=selector)
        choice = choose_releases([standing(services[name], revisions) for name in names])
        canary = choice.revisions[choice.canary] if choice.canary else ()
        return Split(
            stable=self._describe(names, choice.revisions[choice.stable]),
            canary=self._describe(names, canary) if canary else (),
            percent=choice.percent,
        )

    def infer(
        self, revision: ModelRevision, inputs: Mapping[str, NDArray[np.generic]]
    ) -> dict[str, NDArray[np.generic]]:
        """One inference at the revision's own address; see `KServeClient.infer`."""
        return self._http.infer(revision, inputs)

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

    @cached_property
    def _api(self) -> ApiClient:
        return self._connect()

    def _describe(
        self, names: Sequence[str], revisions: Sequence[str]
    ) -> tuple[ModelRevision, ...]:
        """The revisions as they describe themselves; one at zero is woken by the question."""
        return tuple(map(self._describe_one, names, revisions))

    def _describe_one(self, name: str, revision: str) -> ModelRevision:
        url = self._revision_url.format(revision=revision)
        found = self._http.describe(name, url)
        return ModelRevision(name, revision, found.digest, found.signature, url)
