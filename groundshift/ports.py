"""The seams to outside services: one Protocol each, with one contract-test class each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ModelRevision:
    """One deployed model, pinned: what a run stores and every request of it goes to."""

    name: str
    """``cloud-mask``, ``segmenter`` or ``change-classifier``."""
    revision: str
    """What serves it: a Knative revision name; embedded, the digest's first 12 characters."""
    digest: str
    """``sha256:...`` of the ONNX artifact."""
    signature: str
    """Compute signature: provider, version, variant, batch policy and CPU ISA."""
    url: str
    """Base address of that revision, without a path."""


@dataclass(frozen=True)
class Split:
    """What serves a group of models now: whole releases only, never parts of two."""

    stable: tuple[ModelRevision, ...]
    """The revisions that were rolled out."""
    canary: tuple[ModelRevision, ...] = ()
    """The revisions of the release in canary; empty unless all of them are ready."""
    percent: int = 0
    """The canary's share of the runs, 0..100."""


class ObjectStore(Protocol):
    """Bytes by key. Keys are ``/``-separated, relative and hold no ``..``."""

    def get(self, key: str) -> bytes:
        """The whole object. Raises NotFound."""
        ...

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Bytes ``[start, start + length)``. Raises NotFound."""
        ...

    def put(self, key: str, data: bytes | Path) -> None:
        """Write or replace in one atomic step; a Path is read as a file and stays where it is."""
        ...

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        """Write only where no object stands; False where one did. One of several racers wins."""
        ...

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        ...

    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys that start with `prefix`, sorted."""
        ...

    def delete(self, key: str) -> None:
        """Remove; nothing happens where there is no such object."""
        ...

    def url(self, key: str) -> str:
        """What GDAL opens: a path, or a /vsi address."""
        ...


class ModelClient(Protocol):
    """The KServe v2 endpoint of a pinned revision."""

    def resolve(self, name: str) -> ModelRevision:
        """The revision that serves `name` now. Raises Unavailable."""
        ...

    def split(self, names: Sequence[str]) -> Split:
        """The revisions that serve `names` now, in their order. Raises Unavailable.

        Read once per planning: which side a run takes follows from it and the run alone.
        """
        ...

    def infer(
        self, revision: ModelRevision, inputs: Mapping[str, NDArray[np.generic]]
    ) -> dict[str, NDArray[np.generic]]:
        """One inference; outputs by name.

        Raises ModelMismatch where another digest answered, Unavailable where a retry may help,
        ModelRefused where it never will.
        """
        ...


class EventSink(Protocol):
    """Where events go: the outbox's dispatcher, a Knative Broker, Kafka."""

    def publish(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Deliver one CloudEvent (HTTP binding); returns once accepted. Raises Unavailable."""
        ...
