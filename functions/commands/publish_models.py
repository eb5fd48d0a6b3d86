"""Put a model set where KServe loads it from, in the layout that `storageUri` needs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from groundshift.errors import Conflict
from groundshift.models import ModelRecord, short_digest
from groundshift.opening import open_registry, open_store, settings_of
from groundshift.ports import ObjectStore
from groundshift.registry import FILES, digest_of, read_set


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
    records = read_set(store or settings_of().models)
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


def publish_registered(
    which: str, *, to: str, version: str | None, data_dir: Path | None = None
) -> list[Published]:
    """Publish a set of the registry, by version or alias. Raises NotFound too."""
    registry = open_registry(settings_of(data_dir))
    with tempfile.TemporaryDirectory() as folder:
        registry.fetch(which, Path(folder))
        return publish_models(Path(folder), to=to, version=version)


def release_name(records: Sequence[ModelRecord]) -> str:
    """The version that a model set has by itself."""
    return short_digest(digest_of(records))


def _publish(record: ModelRecord, folder: str, objects: ObjectStore) -> bool:
    written = [
        _write(record.folder / name, f"{folder}/{name}", objects)
        for name in FILES
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
