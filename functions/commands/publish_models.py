"""Put a model set where KServe loads it from, in the layout that `storageUri` needs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from functions.commands.common import settings_of
from functions.local import open_store
from groundshift.errors import Conflict, Misconfigured
from groundshift.models import ARTIFACT, CARD, RECORD, ModelRecord, list_models, read_artifact
from groundshift.ports import ObjectStore
from groundshift.runs import MODEL_NAMES

_FILES: Final = (ARTIFACT, CARD, RECORD)
"""In the order they are written: the record last, for it says that the rest is there."""


@dataclass(frozen=True)
class Published:
    """One model of the set."""

    name: str
    digest: str
    storage_uri: str
    """What goes into the InferenceService."""
    new: bool
    """False where the same model stood there already."""


def publish_models(store: Path | None, *, to: str, version: str | None) -> list[Published]:
    """Publish the model set of a store below ``to``: NAME/VERSION/model.onnx and its record.

    What is published never changes: `version` is by default made of the models' digests. Raises
    Conflict where another model stands under that version, Misconfigured for half a set.
    """
    records = _set(store or settings_of().models)
    release = version or release_name(records)
    objects = open_store(settings_of(object_root=to))
    return [
        Published(
            name=record.name,
            digest=record.digest,
            storage_uri=f"{to.rstrip('/')}/{record.name}/{release}",
            new=_publish(record, f"{record.name}/{release}", objects),
        )
        for record in records
    ]


def release_name(records: Sequence[ModelRecord]) -> str:
    """The version that a model set has by itself."""
    digests = "".join(record.digest for record in records)
    return hashlib.sha256(digests.encode()).hexdigest()[:12]


def _set(store: Path) -> list[ModelRecord]:
    found = {record.name: record for record in list_models(store)}
    missing = [name for name in MODEL_NAMES if name not in found]
    if missing:
        raise Misconfigured(f"{store}: no {', '.join(missing)}; a model set is {MODEL_NAMES}")
    records = [found[name] for name in MODEL_NAMES]
    _, segmenter, classifier = records
    if not classifier.accepts(segmenter.digest):
        raise Misconfigured(
            f"{store}: {classifier.name} was not trained with this segmenter "
            f"({segmenter.short_digest}): publish models that were exported together"
        )
    return records


def _publish(record: ModelRecord, folder: str, objects: ObjectStore) -> bool:
    read_artifact(record)  # held against its digest before anyone loads it
    written = [
        _write(record.folder / name, f"{folder}/{name}", objects)
        for name in _FILES
        if (record.folder / name).is_file()
    ]
    return any(written)


def _write(path: Path, key: str, objects: ObjectStore) -> bool:
    if objects.put_if_absent(key, path):
        return True
    if objects.get(key) != path.read_bytes():
        raise Conflict(
            f"{key}: another model stands there, and a published version never changes; "
            "name another --version"
        )
    return False
