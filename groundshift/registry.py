"""Model sets: read as a whole, told by one digest, listed from a folder or from a registry.

The folder is what ships: a registry that nobody writes to. The one that is written to is MLflow's
(`groundshift.adapters.mlflow_registry`).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from groundshift.errors import Forbidden, Misconfigured, NotFound
from groundshift.models import ARTIFACT, CARD, RECORD, ModelRecord, list_models, read_artifact
from groundshift.ports import RegisteredSet
from groundshift.runs import MODEL_NAMES

FILES: Final = (ARTIFACT, CARD, RECORD)
"""What a model consists of; the record last, for it says that the rest is there."""
CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
PACKAGE: Final = "package"
"""The one version of a `FolderRegistry`."""


def read_set(store: Path) -> tuple[ModelRecord, ...]:
    """The three models of a store, in the order of `MODEL_NAMES`, each held against its digest.

    Raises Misconfigured for half a set, or models that were not made for each other.
    """
    found = {record.name: record for record in list_models(store)}
    missing = [name for name in MODEL_NAMES if name not in found]
    if missing:
        raise Misconfigured(f"{store}: no {', '.join(missing)}; a model set is {MODEL_NAMES}")
    records = tuple(found[name] for name in MODEL_NAMES)
    _, segmenter, classifier = records
    if not classifier.accepts(segmenter.digest):
        raise Misconfigured(
            f"{store}: {classifier.name} was not trained with this segmenter "
            f"({segmenter.short_digest}): take models that were exported together"
        )
    for record in records:
        read_artifact(record)
    return records


def set_digest(digests: Sequence[str]) -> str:
    """``sha256:...`` over the three models' digests, in the order of `MODEL_NAMES`."""
    return "sha256:" + hashlib.sha256("".join(digests).encode()).hexdigest()


def digest_of(records: Sequence[ModelRecord]) -> str:
    """The digest of a set that was read."""
    return set_digest([record.digest for record in records])


def card_of(records: Sequence[ModelRecord]) -> str:
    """The three cards in one text."""
    return "\n\n".join(record.card.strip() for record in records if record.card)


def facts_of(records: Sequence[ModelRecord]) -> Mapping[str, str]:
    """What the records say of the set as a whole: commits and licences, each once."""

    def told(key: str) -> str:
        said = (record.raw.get("training", {}).get(key, "") for record in records)
        return ", ".join(dict.fromkeys(str(value) for value in said if value))

    facts = {"commit": told("commit"), "licence": told("licence"), "data_hash": told("dataset")}
    return MappingProxyType({key: value for key, value in facts.items() if value})


class FolderRegistry:
    """A model store as a registry of one set, the champion; nobody can write to it."""

    def __init__(self, store: Path) -> None:
        self._store = store

    def register(self, store: Path, *, tags: Mapping[str, str]) -> RegisteredSet:
        """Refuse. Raises Forbidden."""
        del store, tags
        raise Forbidden(
            f"{self._store}: the models of the package stay as they are: register with MLflow "
            "(GROUNDSHIFT_MLFLOW_URI, or the data folder's own)"
        )

    def alias(self, version: str, alias: str) -> None:
        """Refuse. Raises Forbidden."""
        raise Forbidden(f"{self._store}: {version} is {CHAMPION} and cannot become {alias}")

    def fetch(self, which: str, to: Path) -> RegisteredSet:
        """Copy the set. Raises NotFound for another version or alias."""
        (only,) = self.list()
        if which not in (only.version, *only.aliases):
            raise NotFound(f"{self._store} holds {only.version}, the {CHAMPION}, and no {which!r}")
        for record in read_set(self._store):
            copy_model(record.folder, to / record.name)
        read_set(to)
        return only

    def list(self) -> Sequence[RegisteredSet]:
        """The one set. Raises NotFound, Misconfigured."""
        records = read_set(self._store)
        return (
            RegisteredSet(
                version=PACKAGE,
                digest=digest_of(records),
                models=MappingProxyType({r.name: r.digest for r in records}),
                aliases=(CHAMPION,),
                tags=facts_of(records),
                card=card_of(records),
            ),
        )


def copy_model(source: Path, to: Path) -> None:
    """Copy the files that a model consists of, and no other."""
    to.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, to / name)
