"""List the models of a store, or the model sets of the registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from groundshift.models import list_models
from groundshift.opening import open_registry, settings_of
from groundshift.ports import RegisteredSet


@dataclass(frozen=True)
class ModelRow:
    """One model."""

    name: str
    digest: str
    size_kib: int
    influence_px: int | None
    """How far around a pixel the model looks, measured, pixels."""
    summary: str
    """What it was trained on."""
    card: str
    """Its card, Markdown."""


def models(store: Path | None) -> list[ModelRow]:
    """The models of a store; by default the one that the platform serves."""
    folder = store or settings_of().models
    return [
        ModelRow(
            name=record.name,
            digest=record.digest,
            size_kib=record.artifact.stat().st_size // 1024,
            influence_px=record.influence_px,
            summary=_summary(record.raw.get("training")),
            card=record.card,
        )
        for record in list_models(folder)
    ]


def registered(data_dir: Path | None) -> list[RegisteredSet]:
    """The model sets of the registry, the newest first. Raises Misconfigured, Unavailable."""
    return list(open_registry(settings_of(data_dir)).list())


def _summary(training: object) -> str:
    """What `model.json` says of the training data, in a line."""
    data = training.get("data", "") if isinstance(training, dict) else ""
    return ", ".join(map(str, data)) if isinstance(data, list) else str(data)
