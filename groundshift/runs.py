"""What a run is: its parameters, its model set and the id that follows from all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from geodata_etl.bands import PROBABILITY_MAX
from geodata_etl.grid import LATTICE
from groundshift.ports import ModelRevision, Split
from groundshift.tiles import ModelSet

ALGORITHM_VERSION: Final = 1
"""Raised only when the pixels or polygons of a run change for the same inputs."""

MODEL_NAMES: Final = ("cloud-mask", "segmenter", "change-classifier")


@dataclass(frozen=True)
class Parameters:
    """Every knob that changes a run's pixels or polygons."""

    threshold: float
    """Change probability from which a pixel counts as changed, 0..1."""
    min_area_px: int
    """Minimum mapping unit, pixels of 100 m2."""
    cloud_buffer_px: int
    """Clouds and shadows grow by this much."""

    @property
    def threshold_level(self) -> int:
        """The threshold as it is stored: probability x 254, rounded."""
        return round(self.threshold * PROBABILITY_MAX)

    def as_dict(self) -> dict[str, Any]:
        """For the ledger and run.json."""
        return asdict(self)


def choose_model_set(split: Split, *, scene_id: str, baseline: Sequence[str]) -> ModelSet:
    """The model set of one run: one choice for all three models, the same at every planning.

    A higher percentage only adds runs to the canary, it moves none back.
    """
    canary = split.canary and canary_bucket(scene_id, baseline) < split.percent
    cloud_mask, segmenter, change_classifier = split.canary if canary else split.stable
    return ModelSet(cloud_mask, segmenter, change_classifier)


def canary_bucket(scene_id: str, baseline: Sequence[str]) -> int:
    """Where a pair of scene and baseline falls, 0..99: in canary below its percentage."""
    return int(_digest([scene_id, *baseline])[:16], 16) % 100


def model_set_record(model_set: ModelSet) -> list[dict[str, str]]:
    """A model set as the ledger stores it."""
    return [asdict(revision) for revision in model_set.revisions]


def model_set_of(record: Sequence[Mapping[str, str]]) -> ModelSet:
    """The model set that the ledger stored."""
    cloud_mask, segmenter, change_classifier = (ModelRevision(**row) for row in record)
    return ModelSet(cloud_mask, segmenter, change_classifier)


def model_set_digest(model_set: ModelSet) -> str:
    """One digest for three models and the machine that computes them; addresses play no part."""
    return _digest([[m.name, m.digest, m.signature] for m in model_set.revisions])


def run_id(
    *,
    scene_id: str,
    baseline: Sequence[str],
    site_id: str,
    reference: str,
    model_set: ModelSet,
    parameters: Parameters,
) -> str:
    """SHA-256 over everything that a run's pixels and polygons follow from.

    Scene ids hold the digest of the scene's COG, so that equal ids mean equal pixels.
    """
    return _digest(
        {
            "algorithm": ALGORITHM_VERSION,
            "lattice": LATTICE,
            "scene": scene_id,
            "baseline": list(baseline),
            "site": site_id,
            "reference": reference,
            "model_set": model_set_digest(model_set),
            "parameters": parameters.as_dict(),
        }
    )


def _digest(value: object) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
