"""Variants of a model set as stores of their own: graphs, records, cards, calibration."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from geodata_etl.bands import CLOUD_BANDS, NODATA
from groundshift.influence import Influence
from groundshift.models import (
    ARTIFACT,
    CARD,
    RECORD,
    ModelRecord,
    artifact_digest,
    read_artifact,
    read_model,
)
from groundshift.registry import read_set
from groundshift.serving.session import Session
from training import corpus, measure, realdata
from training.evaluate import OnnxModel
from training.quantise import Feed, folded, int8

Stack = NDArray[np.uint16]
FOLDED: Final = "fp32-folded"
INT8: Final = "int8-static"
CROP_PX: Final = 192
"""Edge of a calibration crop: the largest that the smallest of the ten pairs (241 px) holds with a
free choice of place, and a multiple of 32."""
_CROPS: Final = 3
"""Per real pair and per date."""
_SIMULATED: Final = 12
_FIRST_SEED: Final = 900_000
"""Below the held-out seeds: what measures a variant never calibrated it."""
_CLOUD: Final = 0.4
_BASE_ONLY: Final = ("metrics", "metamorphic")
"""Keys of a record that tell of the base alone."""


@dataclass(frozen=True)
class Calibration:
    """Pairs [1,6,192,192] whose activations set the 8-bit ranges, and where they came from."""

    pairs: tuple[tuple[Stack, Stack], ...]
    sources: tuple[str, ...]


def calibration(data: Path | None) -> Calibration:
    """Crops of the ten unlabelled pairs in `data`, and simulated pairs under clouds.

    The real pairs are nearly cloudless: without the simulator's clouds the brightest activations
    that a cloud makes would be cut off. Without `data` the simulator stands alone.
    """
    pairs = list(_simulated())
    sources = [
        f"{len(pairs)} pairs of this project's scene simulator, seeds {_FIRST_SEED} on, some cloudy"
    ]
    folder = None if data is None else data / "oscd_unlabelled"
    if folder is not None and folder.is_dir():
        real = list(_real(folder))
        pairs += real
        sources.append(
            f"{len(real)} crops of the ten unlabelled Sentinel-2 L1C pairs; contains modified "
            "Copernicus Sentinel data 2015-2018"
        )
    return Calibration(tuple(pairs), tuple(sources))


def _simulated() -> Iterator[tuple[Stack, Stack]]:
    for number in range(_SIMULATED):
        cloud = _CLOUD if number % 2 else 0.0
        pair = corpus.simulate(_FIRST_SEED + number, size=CROP_PX, cloud_fraction=cloud)
        yield pair.before[None], pair.after[None]


def _real(folder: Path) -> Iterator[tuple[Stack, Stack]]:
    rng = np.random.default_rng(0)
    for name in realdata.UNLABELLED:
        pair = realdata.read_pair(folder / name)
        for _ in range(_CROPS):
            corner = [int(rng.integers(0, size - CROP_PX + 1)) for size in pair.before.shape[1:]]
            at = (slice(None), *(slice(first, first + CROP_PX) for first in corner))
            before, after = (np.ascontiguousarray(s[at])[None] for s in (pair.before, pair.after))
            if (before != NODATA).any() and (after != NODATA).any():
                yield before, after


def build(store: Path, out: Path, drawn: Calibration) -> dict[str, Path]:
    """Both variants of the set in `store`, each a store of its own below `out`, by name.

    Raises NotFound or Misconfigured where `store` holds no whole set.
    """
    base = read_set(store)
    lighter = {record.name: folded(read_artifact(record)) for record in base}
    small = _quantised(lighter, out / INT8, drawn)
    made = {FOLDED: out / FOLDED, INT8: out / INT8}
    _write(base, lighter, made[FOLDED], variant=FOLDED, sources=())
    _write(base, small, made[INT8], variant=INT8, sources=drawn.sources)
    return made


def _quantised(graphs: Mapping[str, bytes], work: Path, drawn: Calibration) -> dict[str, bytes]:
    """The classifier is calibrated on what the quantised segmenter says, as it will be used.

    The cloud mask keeps two convolutions: in 8 bits the second alone makes half of the pixels that
    its variant masks otherwise, and none of the time that can be measured.
    """
    bands = len(CLOUD_BANDS)
    images = [image for pair in drawn.pairs for image in pair]
    cloud = int8(
        graphs["cloud-mask"],
        ({"image": np.ascontiguousarray(x[:, :bands])} for x in images),
        lead=2,
    )
    segmenter = int8(graphs["segmenter"], ({"image": x} for x in images))
    path = work / "segmenter" / ARTIFACT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(segmenter)
    feeds = (change_feed(OnnxModel(path), *pair) for pair in drawn.pairs)
    return {
        "cloud-mask": cloud,
        "segmenter": segmenter,
        "change-classifier": int8(graphs["change-classifier"], feeds),
    }


def change_feed(segmenter: OnnxModel, before: Stack, after: Stack) -> Feed:
    """Inputs of the classifier for a pair [1,6,H,W]."""
    return {
        "before": before,
        "after": after,
        "before_probabilities": segmenter({"image": before}),
        "after_probabilities": segmenter({"image": after}),
    }


def feeds(store: Path, pair: tuple[Stack, Stack]) -> dict[str, Feed]:
    """Inputs of each model of a store for one pair [1,6,H,W]."""
    before, after = pair
    segmenter = OnnxModel(store / "segmenter" / ARTIFACT)
    return {
        "cloud-mask": {"image": np.ascontiguousarray(before[:, : len(CLOUD_BANDS)])},
        "segmenter": {"image": before},
        "change-classifier": change_feed(segmenter, before, after),
    }


def _write(
    base: Sequence[ModelRecord],
    graphs: Mapping[str, bytes],
    store: Path,
    *,
    variant: str,
    sources: tuple[str, ...],
) -> None:
    segmenter = artifact_digest(graphs["segmenter"])
    for record in base:
        folder = store / record.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ARTIFACT).write_bytes(graphs[record.name])
        said: dict[str, Any] = {k: v for k, v in record.raw.items() if k not in _BASE_ONLY}
        said |= {
            "digest": artifact_digest(graphs[record.name]),
            "variant": variant,
            "base": {"digest": record.digest, "variant": record.variant},
        }
        if sources:
            said["calibration"] = list(sources)
        if record.accepts_segmenters:
            said["accepts_segmenters"] = [segmenter]
        _save(folder, said)
        Session(read_model(folder))  # it loads and holds to its record, or this raises
    if variant != FOLDED:  # a folded graph computes what its base computes
        _measure_influence(store)


def _measure_influence(store: Path) -> None:
    """How far each quantised model looks: 8 bits hide what is far and faint, and add nothing."""
    segmenter = OnnxModel(store / "segmenter" / ARTIFACT)
    for folder in sorted(path.parent for path in store.glob(f"*/{RECORD}")):
        record = read_model(folder)
        reach: Influence = measure.influence_of(record.name, OnnxModel(record.artifact), segmenter)
        _save(folder, {**record.raw, "influence_px": reach.px})


def _save(folder: Path, said: Mapping[str, Any]) -> None:
    (folder / RECORD).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def describe(store: Path, measured: Mapping[str, Any], metamorphic: Mapping[str, Any]) -> None:
    """Put what was measured into the records and cards of a variant."""
    for folder in sorted(path.parent for path in store.glob(f"*/{RECORD}")):
        record = read_model(folder)
        numbers = {"against_base": measured["sets"], "speed": measured["models"][record.name]}
        said = {**record.raw, "metrics": numbers, "metamorphic": dict(metamorphic)}
        _save(folder, said)
        (folder / CARD).write_text(_card(said), encoding="utf-8")


def _card(said: Mapping[str, Any]) -> str:
    training, speed = said["training"], said["metrics"]["speed"]
    calibrated = "".join(f"- {line}\n" for line in said.get("calibration", ()))
    trained = "\n".join(f"- {line}" for line in training["data"])
    scores = "\n".join(_score(name, row) for name, row in said["metrics"]["against_base"].items())
    return f"""# {said["name"]}, {said["variant"]}

Made by `groundshift optimise` without further training. Digest
`{said["digest"]}`, made from
`{said["base"]["digest"]}`.
It looks {said["influence_px"]} px around a pixel (measured). One inference of a 512 px tile is
{speed["ratio"]:.2f} times faster than its base's (CPU time, one thread, paired runs).

## Calibrated on

{calibrated or "- nothing: the weights are those of the base"}
## Trained on

{trained}

{training["attribution"][0].upper()}{training["attribution"][1:]}.
Licence of the weights: {training["licence"]}.

## Measured

The whole variant set beside the whole base set, at the base's threshold:

{scores}

## Limits

- Those of its base, whose card says them.
- It goes with the other models of its variant only.
"""


def _score(name: str, row: Mapping[str, Any]) -> str:
    told = {"F1": row["f1"], "AUROC": row["auroc"], "false alarms": row["false_share"]}
    shown = [
        f"{measure} {one['base']:.4f} -> {one['variant']:.4f}"
        for measure, one in told.items()
        if one["base"] is not None and one["variant"] is not None
    ]
    return f"- {name}: {', '.join(shown)}; the same answer on {row['same_share']:.2%} of the pixels"


def ship(store: Path, to: Path) -> None:
    """Replace the models in `to` by those of `store`, whole folders."""
    for record in read_set(store):
        shutil.rmtree(to / record.name, ignore_errors=True)
        shutil.copytree(record.folder, to / record.name)
