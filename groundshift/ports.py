"""The seams to outside services: one Protocol each, with one contract-test class each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

IN_PROCESS: Final = "inprocess:"
"""Stands where others have a model server's address: the models run in this process."""


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


@dataclass(frozen=True)
class RegisteredSet:
    """A model set in a registry: three models that are released, tried and rolled back together."""

    version: str
    """Its name in the registry, e.g. ``3``."""
    digest: str
    """``sha256:...`` over the three digests."""
    models: Mapping[str, str]
    """Digest of each model by name, in the order of `groundshift.runs.MODEL_NAMES`."""
    aliases: tuple[str, ...]
    """``challenger``, ``champion``: what it is now."""
    tags: Mapping[str, str]
    """``data_hash``, ``commit``, ``licence`` and what else whoever registered it said."""
    card: str = ""
    """What it is, in Markdown."""


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


class Registry(Protocol):
    """The model sets that there are. An artifact is ONNX, JSON or Markdown, never a pickle."""

    def register(self, store: Path, *, tags: Mapping[str, str]) -> RegisteredSet:
        """Take a model store's set in; the one that stands where the same set was registered.

        Raises Misconfigured for half a set or a changed artifact, Forbidden where nothing may be
        registered, Unavailable.
        """
        ...

    def alias(self, version: str, alias: str) -> None:
        """Give a version an alias, taken from whichever had it. Raises NotFound, Forbidden."""
        ...

    def fetch(self, which: str, to: Path) -> RegisteredSet:
        """Write a set, by version or alias, into a folder as a model store, digests verified.

        Raises NotFound, Misconfigured where an artifact is not the one that was registered.
        """
        ...

    def list(self) -> Sequence[RegisteredSet]:
        """Every set, the newest first."""
        ...
