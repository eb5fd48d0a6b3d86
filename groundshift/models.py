"""The model store: a folder per model with ``model.onnx``, ``model.json`` and ``card.md``.

``model.json`` says what the artifact is and what it takes: see `ModelRecord`. The digest in it is
the model's identity; `read_model` with `verify=True` holds the artifact against it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from groundshift.errors import Misconfigured, NotFound

ARTIFACT: Final = "model.onnx"
RECORD: Final = "model.json"
CARD: Final = "card.md"

MAX_ARTIFACT_BYTES: Final = 256 << 20
"""An artifact over this is not read: the shipped ones are under 4 MiB."""
MAX_RECORD_BYTES: Final = 1 << 20

DATATYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP32": np.dtype("<f4"),
}
"""KServe v2 datatype -> numpy dtype, little-endian as on the wire.

Source: Open Inference Protocol, "Tensor Data Types".
"""
_BY_DTYPE = {dtype.name: name for name, dtype in DATATYPES.items()}


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model."""

    name: str
    datatype: str
    """KServe v2 name, e.g. ``UINT16``."""
    shape: tuple[int, ...]
    """-1 where any size goes: ``(-1, 6, -1, -1)`` is [N, 6, H, W]."""
    labels: tuple[str, ...] = ()
    """Bands of an input, classes of an output, in the order of its planes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype."""
        return DATATYPES[self.datatype]


@dataclass(frozen=True)
class ModelRecord:
    """What ``model.json`` says; `raw` keeps every key of it."""

    name: str
    digest: str
    """``sha256:<64 hex digits>`` of model.onnx."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tile: int
    """Edge of the input that the platform sends, pixels."""
    halo: int
    """Context that an output pixel may look at, pixels."""
    influence_px: int | None
    """How far an input pixel was seen to reach; None where it was not measured."""
    variant: str
    """Numeric variant: ``fp32``, ``int8-static``."""
    accepts_segmenters: tuple[str, ...]
    """Digests of the segmenters a classifier was trained with; ``*`` takes any."""
    folder: Path
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def artifact(self) -> Path:
        """Where the ONNX file lies."""
        return self.folder / ARTIFACT

    @property
    def short_digest(self) -> str:
        """The first 12 hex digits, the revision's name where Knative gives none."""
        return short_digest(self.digest)

    @property
    def card(self) -> str:
        """The model card, Markdown; empty where the folder holds none."""
        path = self.folder / CARD
        return path.read_text("utf-8") if path.is_file() else ""

    def accepts(self, segmenter_digest: str) -> bool:
        """Whether this classifier was trained with that segmenter."""
        return "*" in self.accepts_segmenters or segmenter_digest in self.accepts_segmenters


def short_digest(digest: str) -> str:
    """The first 12 hex digits of ``sha256:...``."""
    return digest.removeprefix("sha256:")[:12]


def artifact_digest(artifact: bytes) -> str:
    """The identity of an ONNX artifact: ``sha256:...`` of its bytes."""
    return "sha256:" + hashlib.sha256(artifact).hexdigest()


def read_model(folder: Path) -> ModelRecord:
    """Read one model folder's record; the artifact is read by `read_artifact`.

    Raises NotFound where there is no record, Misconfigured where it does not hold together.
    """
    path = folder / RECORD
    if not path.is_file():
        raise NotFound(f"{path}: no such file; a model folder holds {RECORD} and {ARTIFACT}")
    if path.stat().st_size > MAX_RECORD_BYTES:
        raise Misconfigured(f"{path}: over {MAX_RECORD_BYTES} bytes, which no model record is")
    try:
        raw = json.loads(path.read_bytes())
        return _record(raw, folder)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Misconfigured(
            f"{path}: not a model record ({type(error).__name__}: {error}); export the model again"
        ) from error


def read_artifact(record: ModelRecord, *, max_bytes: int = MAX_ARTIFACT_BYTES) -> bytes:
    """The ONNX bytes, held against the record's digest.

    Raises NotFound, or Misconfigured where the file is over `max_bytes` or another artifact.
    """
    try:
        with record.artifact.open("rb") as file:
            artifact = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise NotFound(f"{record.artifact}: no such file, although {RECORD} is there") from error
    if len(artifact) > max_bytes:
        raise Misconfigured(f"{record.artifact}: over the limit of {max_bytes} bytes")
    found = artifact_digest(artifact)
    if found != record.digest:
        raise Misconfigured(
            f"{record.artifact}: its digest is {found}, {RECORD} says {record.digest}; "
            "the file was changed or only half copied: copy the model folder again"
        )
    return artifact


def list_models(store: Path) -> tuple[ModelRecord, ...]:
    """The records of every model in a store, by name.

    A folder that holds ``model.json`` itself (what KServe mounts) is a store of one model.
    Raises NotFound where the store is empty, Misconfigured where two folders claim one name.
    """
    if (store / RECORD).is_file():
        return (read_model(store),)
    folders = sorted(path.parent for path in store.glob(f"*/{RECORD}"))
    if not folders:
        raise NotFound(f"{store}: holds no model; expected {store}/<name>/{RECORD}")
    records = [read_model(folder) for folder in folders]
    names = [record.name for record in records]
    if len(set(names)) < len(names):
        raise Misconfigured(f"{store}: two folders hold a model of the same name, of {names}")
    return tuple(sorted(records, key=lambda record: record.name))


def _record(raw: Mapping[str, Any], folder: Path) -> ModelRecord:
    influence = raw.get("influence_px")
    return ModelRecord(
        name=_name(raw["name"]),
        digest=_digest(raw["digest"]),
        inputs=_specs(raw["inputs"], "bands"),
        outputs=_specs(raw["outputs"], "classes"),
        tile=int(raw["tile"]),
        halo=int(raw["halo"]),
        influence_px=None if influence is None else int(influence),
        variant=str(raw.get("variant", "fp32")),
        accepts_segmenters=tuple(raw.get("accepts_segmenters") or ()),
        folder=folder,
        raw=raw,
    )


def _name(value: str) -> str:
    if not value.replace("-", "").isalnum() or len(value) > 63 or value != value.lower():
        raise ValueError(f"name is {value!r}; lower-case letters, digits and dashes make one")
    return value


def _digest(value: str) -> str:
    digits = value.removeprefix("sha256:")
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdef") or digits == value:
        raise ValueError(f"digest is {value!r}; expected sha256: and 64 hex digits")
    return value


def _specs(rows: Sequence[Mapping[str, Any]], labels: str) -> tuple[TensorSpec, ...]:
    if not rows:
        raise ValueError("a model without tensors")
    return tuple(
        TensorSpec(
            name=str(row["name"]),
            datatype=_datatype(row["dtype"]),
            shape=tuple(size if isinstance(size, int) else -1 for size in row["shape"]),
            labels=tuple(map(str, row.get(labels) or ())),
        )
        for row in rows
    )


def _datatype(value: str) -> str:
    name = _BY_DTYPE.get(value.lower(), value.upper())
    if name not in DATATYPES:
        raise ValueError(f"dtype is {value!r}; known are {', '.join(DATATYPES)}")
    return name
