"""What a model was trained on, for good: the dataset's version and its manifest.

The version is the hash of the samples' content, so the same data has the same version wherever it
lies, and a manifest that stands in the object store is never written again.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import orjson

from groundshift.errors import Misconfigured
from groundshift.ports import ObjectStore
from training.dataset import Sample

FORMAT: Final = 1
"""Raised when the manifest's fields mean something else."""
_NONCOMMERCIAL: Final = re.compile(r"\bNC\b|non[- ]?commercial", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """One sample of a dataset, without its pixels."""

    name: str
    source: str
    side: str
    """``train``, ``validation``, or ``gate``: kept for the gate alone."""
    site: str
    sensor: str
    dates: tuple[str, str]
    licence: str
    lineage: str
    shape: tuple[int, int]
    digest: str
    """SHA-256 over pixels, masks and what is said of them."""


@dataclass(frozen=True)
class Manifest:
    """The samples of one training, by content."""

    entries: tuple[Entry, ...]

    @cached_property
    def version(self) -> str:
        """SHA-256 over the samples' digests and sides, whatever their order."""
        lines = sorted(f"{e.side} {e.source} {e.digest}" for e in self.entries)
        return hashlib.sha256("\n".join([f"format {FORMAT}", *lines]).encode()).hexdigest()

    @property
    def licences(self) -> dict[str, int]:
        """Number of samples by licence."""
        return dict(sorted(Counter(entry.licence for entry in self.entries).items()))

    @property
    def restricted(self) -> list[str]:
        """The licences among them that forbid commercial use."""
        return [licence for licence in self.licences if noncommercial(licence)]

    def record(self) -> dict[str, Any]:
        """As JSON."""
        sites = {side: {e.site for e in self.entries if e.side == side} for side in _SIDES}
        return {
            "format": FORMAT,
            "version": self.version,
            "samples": len(self.entries),
            "sites": {side: len(found) for side, found in sites.items()},
            "licences": self.licences,
            "entries": [vars(entry) for entry in self.entries],
        }


_SIDES: Final = ("train", "validation", "gate")


def entries(source: str, side: str, samples: Iterable[Sample]) -> list[Entry]:
    """The entries of some samples of a source."""
    return [
        Entry(
            name=sample.name,
            source=source,
            side=side,
            site=sample.site,
            sensor=sample.sensor,
            dates=(sample.dates[0].isoformat(), sample.dates[1].isoformat()),
            licence=sample.licence,
            lineage=sample.lineage,
            shape=(sample.before.shape[1], sample.before.shape[2]),
            digest=sample.digest,
        )
        for sample in samples
    ]


def noncommercial(licence: str) -> bool:
    """Whether a licence forbids commercial use, by its SPDX identifier or its words."""
    return bool(_NONCOMMERCIAL.search(licence))


def check_licences(licences: Iterable[str], *, accepted: bool) -> list[str]:
    """The licences that restrict what is trained with them.

    Raises Misconfigured where there is one and the user did not accept it.
    """
    restricted = sorted({licence for licence in licences if noncommercial(licence)})
    if restricted and not accepted:
        raise Misconfigured(
            f"training data under {'; '.join(restricted)}: it may not be used commercially, nor"
            " may what is trained on it. Leave it out, or say --accept-licence: the model's record"
            " and card then say so"
        )
    return restricted


def manifest_key(version: str) -> str:
    """Where a manifest lies in the object store."""
    return f"datasets/{version}/manifest.json"


def store_manifest(store: ObjectStore, manifest: Manifest) -> str:
    """Write the manifest once, under its version; the version."""
    content = orjson.dumps(manifest.record(), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    store.put_if_absent(manifest_key(manifest.version), content)
    return manifest.version


def load_manifest(store: ObjectStore, version: str) -> Mapping[str, Any]:
    """The manifest's JSON. Raises NotFound."""
    found: Mapping[str, Any] = orjson.loads(store.get(manifest_key(version)))
    return found
