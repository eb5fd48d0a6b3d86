"""Metrics and the yardstick, without torch: ONNX Runtime and numpy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from scipy.stats import rankdata

from geodata_etl.bands import NOT_OBSERVED, PROBABILITY_MAX
from geodata_etl.grid import HALO_PX, TILE_PX
from training import classical
from training.corpus import SimPair

Stack = NDArray[np.uint16]
Mask = NDArray[np.bool_]

_CORE: Final = TILE_PX - 2 * HALO_PX


class OnnxModel:
    """A shipped model: inputs by name in, its one output out."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> NDArray[np.generic]:
        """The output of one batch."""
        output: NDArray[np.generic] = self._session.run(None, dict(inputs))[0]
        return output


@dataclass(frozen=True)
class Scores:
    """Agreement of a change mask with labels."""

    hits: int
    false_alarms: int
    misses: int

    @property
    def precision(self) -> float:
        """Share of what was called changed that is; 0 where nothing was called."""
        return self.hits / max(1, self.hits + self.false_alarms)

    @property
    def recall(self) -> float:
        """Share of what changed that was called."""
        return self.hits / max(1, self.hits + self.misses)

    @property
    def f1(self) -> float:
        """Harmonic mean of the two; 1 where there was nothing to find and nothing was called."""
        called_or_true = 2 * self.hits + self.false_alarms + self.misses
        return 2 * self.hits / called_or_true if called_or_true else 1.0

    def __add__(self, other: Scores) -> Scores:
        return Scores(
            self.hits + other.hits,
            self.false_alarms + other.false_alarms,
            self.misses + other.misses,
        )


def score(predicted: Mask, truth: Mask, valid: Mask) -> Scores:
    """Count over the valid pixels; all [H,W]."""
    p, t = predicted & valid, truth & valid
    return Scores(int((p & t).sum()), int((p & ~t).sum()), int((~p & t).sum()))


def auroc(scores: NDArray[np.generic], truth: Mask) -> float:
    """Chance that a changed pixel scores higher than an unchanged one; ties count half. Flat."""
    ranks = rankdata(scores)
    changed, unchanged = int(truth.sum()), int((~truth).sum())
    above = float(ranks[truth].sum()) - changed * (changed + 1) / 2
    return above / max(1, changed * unchanged)


def cva_otsu(before: Stack, after: Stack, valid: Mask) -> Mask:
    """Change-vector analysis with Otsu's threshold: [H,W]; the method to beat."""
    return classical.cva_otsu(before, after, valid)


def tiled(model: OnnxModel, inputs: Mapping[str, NDArray[np.generic]]) -> NDArray[np.generic]:
    """The model over [C,H,W] inputs of any size, tile by tile as the platform does it.

    What fits into one tile is run in one just large enough: no model looks further than the halo.
    """
    height, width = next(iter(inputs.values())).shape[-2:]
    if max(height, width) <= _CORE:
        return _single(model, inputs)
    tops, lefts = range(0, height, _CORE), range(0, width, _CORE)
    padded = {name: _pad(array, len(tops), len(lefts)) for name, array in inputs.items()}
    rows = []
    for top in tops:
        row = []
        for left in lefts:
            at = (..., slice(top, top + TILE_PX), slice(left, left + TILE_PX))
            tile = model({n: np.ascontiguousarray(a[at])[None] for n, a in padded.items()})[0]
            row.append(tile[..., HALO_PX:-HALO_PX, HALO_PX:-HALO_PX])
        rows.append(np.concatenate(row, axis=-1))
    whole: NDArray[np.generic] = np.concatenate(rows, axis=-2)[..., :height, :width]
    return whole


def _single(model: OnnxModel, inputs: Mapping[str, NDArray[np.generic]]) -> NDArray[np.generic]:
    height, width = next(iter(inputs.values())).shape[-2:]
    padded = {name: _around(array, height % -32, width % -32) for name, array in inputs.items()}
    tile = model({name: array[None] for name, array in padded.items()})[0]
    inner: NDArray[np.generic] = tile[..., HALO_PX:, HALO_PX:][..., :height, :width]
    return inner


def _pad(array: NDArray[np.generic], rows: int, columns: int) -> NDArray[np.generic]:
    height, width = array.shape[-2:]
    return _around(array, height - rows * _CORE, width - columns * _CORE)


def _around(array: NDArray[np.generic], short_rows: int, short_columns: int) -> NDArray[np.generic]:
    """A halo of nothing on every side, and below and right what the image is short of (<= 0)."""
    after = (HALO_PX - short_rows, HALO_PX - short_columns)
    empty = NOT_OBSERVED if array.dtype == np.uint8 else 0
    pads = [(0, 0)] * (array.ndim - 2) + [(HALO_PX, after[0]), (HALO_PX, after[1])]
    return np.pad(array, pads, constant_values=empty)


@dataclass(frozen=True)
class ChangeModels:
    """The two models that see change, run as the platform runs them."""

    segmenter: OnnxModel
    classifier: OnnxModel
    threshold: int
    """Level (of 254) from which a pixel counts as changed."""

    def covers(self, stack: Stack) -> NDArray[np.uint8]:
        """Class probabilities of a stack, [6,H,W]."""
        return tiled(self.segmenter, {"image": stack}).astype(np.uint8)

    def change(self, before: Stack, after: Stack) -> NDArray[np.uint8]:
        """Change probability, [H,W] levels, 255 where nodata."""
        inputs: dict[str, NDArray[np.generic]] = {
            "before": before,
            "after": after,
            "before_probabilities": self.covers(before),
            "after_probabilities": self.covers(after),
        }
        return tiled(self.classifier, inputs).astype(np.uint8)

    def changed(self, before: Stack, after: Stack) -> Mask:
        """[H,W] over the threshold."""
        level = self.change(before, after)
        over: Mask = (level >= self.threshold) & (level != NOT_OBSERVED)
        return over


@dataclass(frozen=True)
class ModelSet(ChangeModels):
    """All three."""

    cloud_mask: OnnxModel

    def clouds(self, stack: Stack) -> NDArray[np.uint8]:
        """bands.Cloud of a stack, [H,W]."""
        return tiled(self.cloud_mask, {"image": stack[:4]}).astype(np.uint8)


def load_change_models(store: Path) -> ChangeModels:
    """Those of a store; a record without a threshold means p = .5.

    Raises OSError where one is missing.
    """
    import json

    record = json.loads((store / "change-classifier" / "model.json").read_text(encoding="utf-8"))
    segmenter, classifier = (
        OnnxModel(store / name / "model.onnx") for name in ("segmenter", "change-classifier")
    )
    return ChangeModels(segmenter, classifier, record.get("threshold", PROBABILITY_MAX // 2))


def load_models(store: Path) -> ModelSet:
    """The model set in a store, as `load_change_models`."""
    two = load_change_models(store)
    cloud_mask = OnnxModel(store / "cloud-mask" / "model.onnx")
    return ModelSet(two.segmenter, two.classifier, two.threshold, cloud_mask)


@dataclass(frozen=True)
class Row:
    """One place: ours beside the yardstick."""

    name: str
    ours: Scores
    yardstick: Scores


@dataclass(frozen=True)
class Measured:
    """A named pair with its truth and the pixels that count."""

    name: str
    before: Stack
    after: Stack
    truth: Mask
    valid: Mask


def from_simulation(pair: SimPair) -> Measured:
    """A simulated pair; pixels under cloud or nodata do not count."""
    return Measured(f"seed {pair.seed}", pair.before, pair.after, pair.change > 0, pair.clear)


def evaluate_pairs(models: ChangeModels, pairs: Iterable[Measured]) -> list[Row]:
    """Score the shipped models and the yardstick on the same pixels of each pair."""
    rows = []
    for pair in pairs:
        ours = score(models.changed(pair.before, pair.after), pair.truth, pair.valid)
        plain = cva_otsu(pair.before, pair.after, pair.valid)
        rows.append(Row(pair.name, ours, score(plain, pair.truth, pair.valid)))
    return rows


def mean_f1(rows: Iterable[Row]) -> tuple[float, float]:
    """(ours, yardstick), each the mean over the places."""
    listed = list(rows)
    ours = float(np.mean([row.ours.f1 for row in listed]))
    return ours, float(np.mean([row.yardstick.f1 for row in listed]))


def table(rows: Iterable[Row]) -> str:
    """The rows as text, for people."""
    listed = list(rows)
    lines = [f"{'place':16} {'F1':>6} {'prec':>6} {'rec':>6} | {'CVA+Otsu F1':>11}"]
    for row in listed:
        s = row.ours
        lines.append(
            f"{row.name:16} {s.f1:6.3f} {s.precision:6.3f} {s.recall:6.3f}"
            f" | {row.yardstick.f1:11.3f}"
        )
    ours, plain = mean_f1(listed)
    lines.append(f"{'mean':16} {ours:6.3f} {'':6} {'':6} | {plain:11.3f}")
    return "\n".join(lines)
