"""How good a network is on held-out sites, while it trains: numbers, confusion and a picture.

This chooses between checkpoints of one run; it is no evaluation (`training.evaluation`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from geodata_etl.bands import NOT_OBSERVED, Cloud, Cover
from training.dataset import Sample
from training.nets import Segmenter

_MOST: Final = 32
"""Samples that are looked at, evenly spaced: a look takes seconds."""
_EDGE: Final = 256
_LEVEL: Final = 127
"""Level (of 254) from which a pixel counts as changed: p = .5."""
_CLASSES: Final[Mapping[str, tuple[str, ...]]] = {
    "cloud-mask": tuple(c.name.lower() for c in Cloud),
    "segmenter": tuple(c.label for c in Cover),
    "change-classifier": ("unchanged", "change"),
}
_COLOURS: Final = np.array(
    [
        *([30, 90, 200], [20, 110, 50], [140, 200, 80]),
        *([200, 160, 110], [200, 40, 40], [60, 30, 30]),
    ],
    np.uint8,
)
"""Of the classes, in the order of bands.Cover; the others take the first ones."""

UInt8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Look:
    """One date, or pair, as a network sees it; all [H,W]."""

    before: NDArray[np.uint16]
    """[6,H,W]; of a single date that date."""
    after: NDArray[np.uint16]
    truth: UInt8
    predicted: UInt8
    counts: NDArray[np.bool_]
    """Where the truth is known."""


@dataclass(frozen=True)
class Validation:
    """Held-out samples of one model."""

    model: str
    samples: Sequence[Sample]
    segmenter: Segmenter | None = None
    """For the change classifier, on the CPU."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the confusion matrix."""
        return _CLASSES[self.model]

    def __call__(self, net: nn.Module) -> dict[str, float]:
        """``score`` (F1 of change, else the mean IoU) and the IoU per class that is there."""
        return scores(self.classes, self.confusion(net))

    def confusion(self, net: nn.Module) -> NDArray[np.int64]:
        """Pixels by (true, predicted) class, [C,C]."""
        count = len(self.classes)
        matrix = np.zeros((count, count), np.int64)
        for look in self.looks(net):
            pairs = look.truth[look.counts].astype(np.int64) * count + look.predicted[look.counts]
            matrix += np.bincount(pairs, minlength=count * count).reshape(count, count)
        return matrix

    def looks(self, net: nn.Module) -> Iterator[Look]:
        """What the network says of each sample."""
        step = max(1, -(-len(self.samples) // _MOST))
        for sample in self.samples[::step]:
            yield from _LOOKS[self.model](net, _cut(sample), self.segmenter)

    def panel(self, net: nn.Module, *, rows: int = 4) -> bytes:
        """A PNG with a row per look: its dates, the truth, the prediction (black: not counted)."""
        shown = sorted(self.looks(net), key=lambda look: -len(np.unique(look.truth[look.counts])))
        lines = [_row(look) for look in shown[:rows]]
        width = max(line.shape[1] for line in lines)
        padded = [np.pad(line, ((0, 4), (0, width - line.shape[1]), (0, 0))) for line in lines]
        out = io.BytesIO()
        Image.fromarray(np.concatenate(padded)).save(out, "PNG")
        return out.getvalue()


def scores(classes: Sequence[str], matrix: NDArray[np.int64]) -> dict[str, float]:
    """Scores of a confusion matrix [C,C]; a class that is nowhere has none."""
    hits = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - hits
    iou = {c: float(h / u) for c, h, u in zip(classes, hits, union, strict=True) if u}
    if classes == _CLASSES["change-classifier"]:
        called_or_true = 2 * hits[1] + matrix[0, 1] + matrix[1, 0]
        score = float(2 * hits[1] / called_or_true) if called_or_true else 1.0
    else:
        score = float(np.mean(list(iou.values()))) if iou else 0.0
    return {"score": score, **{f"iou_{name}": value for name, value in iou.items()}}


def learnable(model: str, sample: Sample) -> bool:
    """Whether a sample has the labels that a model learns from."""
    wanted = {"cloud-mask": sample.clouds, "segmenter": sample.covers}
    return wanted.get(model, sample.change) is not None


def _cut(sample: Sample) -> Sample:
    """The middle of a sample, a multiple of 32 px for the networks."""
    height, width = (min(_EDGE, edge // 32 * 32) for edge in sample.ignore.shape)
    top, left = ((e - s) // 2 for e, s in zip(sample.ignore.shape, (height, width), strict=True))
    at = (..., slice(top, top + height), slice(left, left + width))

    def both(planes: tuple[UInt8, UInt8] | None) -> tuple[UInt8, UInt8] | None:
        return None if planes is None else (planes[0][at], planes[1][at])

    return Sample(
        name=sample.name,
        site=sample.site,
        sensor=sample.sensor,
        dates=sample.dates,
        licence=sample.licence,
        lineage=sample.lineage,
        before=sample.before[at],
        after=sample.after[at],
        ignore=sample.ignore[at],
        change=None if sample.change is None else sample.change[at],
        covers=both(sample.covers),
        clouds=both(sample.clouds),
    )


def _run(net: nn.Module, *planes: NDArray[Any]) -> UInt8:
    device = next(net.parameters()).device
    inputs = [torch.from_numpy(np.ascontiguousarray(plane))[None].to(device) for plane in planes]
    with torch.no_grad():
        output: UInt8 = net(*inputs)[0].cpu().numpy()
    return output


def _dates(sample: Sample) -> Iterator[tuple[int, NDArray[np.uint16]]]:
    yield 0, sample.before
    if sample.after is not sample.before and sample.dates[0] != sample.dates[1]:
        yield 1, sample.after


def _cloud_looks(net: nn.Module, sample: Sample, _: nn.Module | None) -> Iterator[Look]:
    assert sample.clouds is not None
    for index, stack in _dates(sample):
        truth = sample.clouds[index]
        counts = (truth < len(Cloud)) & (stack.min(0) > 0)
        yield Look(stack, stack, truth, _run(net, stack[:4]), counts)


def _cover_looks(net: nn.Module, sample: Sample, _: nn.Module | None) -> Iterator[Look]:
    assert sample.covers is not None
    for index, stack in _dates(sample):
        truth = sample.covers[index]
        counts = (truth < len(Cover)) & (stack.min(0) > 0)
        if sample.clouds is not None:
            counts &= sample.clouds[index] == Cloud.CLEAR
        best = _run(net, stack).argmax(axis=0).astype(np.uint8)
        yield Look(stack, stack, truth, best, counts)


def _change_looks(net: nn.Module, sample: Sample, segmenter: nn.Module | None) -> Iterator[Look]:
    assert sample.change is not None
    assert segmenter is not None
    planes = [_run(segmenter, date) for date in (sample.before, sample.after)]
    level = _run(net, sample.before, sample.after, *planes)
    counts = ~sample.ignore & (level != NOT_OBSERVED)
    for cloud in sample.clouds or ():
        counts &= cloud == Cloud.CLEAR
    called = ((level >= _LEVEL) & (level != NOT_OBSERVED)).astype(np.uint8)
    yield Look(sample.before, sample.after, sample.change.astype(np.uint8), called, counts)


_LOOKS: Final = {
    "cloud-mask": _cloud_looks,
    "segmenter": _cover_looks,
    "change-classifier": _change_looks,
}


def _row(look: Look) -> UInt8:
    dates = [look.before] if look.after is look.before else [look.before, look.after]
    pictures = [_picture(date) for date in dates]
    for plane in (look.truth, look.predicted):
        drawn = _COLOURS[np.minimum(plane, len(_COLOURS) - 1)]
        pictures.append(np.where(look.counts[..., None], drawn, 0).astype(np.uint8))
    return np.concatenate([np.pad(p, ((0, 0), (0, 4), (0, 0))) for p in pictures], axis=1)


def _picture(stack: NDArray[np.uint16]) -> UInt8:
    """Red, green and blue, brightened to reflectance 0.3."""
    shown = np.clip(np.moveaxis(stack[2::-1], 0, -1) / 3000.0, 0, 1) ** 0.7
    picture: UInt8 = (shown * 255).astype(np.uint8)
    return picture
