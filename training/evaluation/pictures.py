"""Pictures of the worst cases: before, after, truth, prediction."""

from __future__ import annotations

import base64
import heapq
import io
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter

from geodata_etl import render
from geodata_etl.bands import NOT_OBSERVED, Cover
from geodata_etl.palette import CHANGE_HIGH, COVER_COLOURS, Rgba
from training.dataset import Sample
from training.evaluation.predict import Prediction
from training.evaluation.slices import SLICED

HIT: Final[Rgba] = COVER_COLOURS[Cover.TREE]
FALSE_ALARM: Final[Rgba] = COVER_COLOURS[Cover.BURNT]
MISSED: Final[Rgba] = COVER_COLOURS[Cover.WATER]
"""Okabe and Ito's bluish green, vermilion and sky blue: told apart with any colour vision."""
TRUTH: Final[Rgba] = CHANGE_HIGH
PANELS: Final = ("before", "after", "truth", "prediction")
_WINDOW_PX: Final = 160
"""Edge of a picture: large enough to see where one is."""

Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """One picture row."""

    set: str
    name: str
    site: str
    caption: str
    panels: tuple[str, ...]
    """PNG data URIs in the order of `PANELS`."""


@dataclass
class Worst:
    """Keeps the worst samples of each set while an evaluation runs: see `Watch`."""

    sliced: int = 4
    """Pictures of a set that is sliced."""
    others: int = 1
    """Pictures of a failure mode, and of any other set."""
    _kept: defaultdict[str, list[tuple[float, int, Case]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _seen: int = 0

    def __call__(self, name: str, sample: Sample, made: Prediction) -> None:
        """Look at one sample."""
        most = self.sliced if name in SLICED else self.others
        if sample.change is None:
            return
        valid = ~sample.ignore & (made.level != NOT_OBSERVED)
        called = made.called & valid
        wrong = (called ^ sample.change) & valid & ~made.hidden
        weight = float(wrong.sum()) / max(1, int(valid.sum()))
        kept, self._seen = self._kept[name], self._seen + 1
        if not weight or (len(kept) == most and weight <= kept[0][0]):
            return
        entry = (weight, self._seen, _case(name, sample, made, called, wrong))
        (heapq.heappush if len(kept) < most else heapq.heappushpop)(kept, entry)

    @property
    def cases(self) -> tuple[Case, ...]:
        """By set, the worst first."""
        return tuple(
            case for kept in self._kept.values() for _, _, case in sorted(kept, reverse=True)
        )


def _case(name: str, sample: Sample, made: Prediction, called: Bool, wrong: Bool) -> Case:
    assert sample.change is not None
    at = _window(wrong)
    valid = ~sample.ignore
    ground = render.gray(render.opaque(render.true_color(sample.after[:, *at])))
    truth = _paint(ground, [(sample.change[at] & valid[at], TRUTH)], hatched=sample.ignore[at])
    hits, missed = called & sample.change, sample.change & valid & ~called & ~made.hidden
    outcome = [(hits[at], HIT), (wrong[at] & called[at], FALSE_ALARM), (missed[at], MISSED)]
    panels = (
        render.opaque(render.true_color(sample.before[:, *at])),
        render.opaque(render.true_color(sample.after[:, *at])),
        truth,
        _paint(ground, outcome, hatched=made.hidden[at] & valid[at]),
    )
    days = " to ".join(day.isoformat() for day in sample.dates)
    caption = (
        f"{days}, in the whole pair: {int((wrong & called).sum())} px false alarm,"
        f" {int(missed.sum())} px missed, {int(hits.sum())} px found"
    )
    return Case(name, sample.name, sample.site, caption, tuple(map(data_uri, panels)))


def _window(wrong: Bool) -> tuple[slice, slice]:
    """Where errors are densest."""
    density = uniform_filter(wrong.astype(np.float32), _WINDOW_PX // 2, mode="constant")
    middle = np.unravel_index(int(density.argmax()), density.shape)
    tops = [
        int(np.clip(at - _WINDOW_PX // 2, 0, max(0, side - _WINDOW_PX)))
        for at, side in zip(middle, wrong.shape, strict=True)
    ]
    return slice(tops[0], tops[0] + _WINDOW_PX), slice(tops[1], tops[1] + _WINDOW_PX)


def _paint(
    ground: render.Picture, layers: list[tuple[Bool, Rgba]], *, hatched: Bool
) -> render.Picture:
    top = np.zeros_like(ground)
    for mask, colour in layers:
        top[mask] = colour
    painted = render.over(ground, top)
    return render.over(painted, render.hatch((~hatched).astype(np.float32)))


def data_uri(picture: render.Picture) -> str:
    """A picture as ``data:image/png;base64,...``."""
    out = io.BytesIO()
    Image.fromarray(picture[..., :3]).save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
