"""What a variant of a model set costs and saves, measured beside the set that it was made from.

Both see the same samples in one pass, so that a difference is the variant's and nothing else's.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from groundshift.models import read_model
from groundshift.serving.session import Session
from training.dataset import Sample
from training.evaluate import ModelSet, load_models
from training.evaluation import metrics
from training.evaluation.predict import Prediction, predict
from training.evaluation.run import Evaluation, Plan, evaluate
from training.evaluation.tally import pooled
from training.quantise import Feed

_WARM_UP: Final = 2
NUMBERS: Final = ("f1", "recall", "false_share", "auroc")
"""What is told of a slice; None where it has no meaning (F1 where nothing changed)."""
SITE: Final = "site"
"""The dimension of the slices that are one site each: too small to say anything."""


@dataclass(frozen=True)
class Speed:
    """CPU seconds of one inference, medians over paired runs."""

    base_s: float
    variant_s: float
    ratio: float
    """Median of (base / variant) over the pairs: above 1 the variant is faster."""


@dataclass
class Agreement:
    """How often a variant says what its base says, at the same threshold, in pixels."""

    pixels: int = 0
    same: int = 0
    """Called changed by both or by neither, shown by both or by neither."""
    called: int = 0
    """Called changed, summed over both."""
    both: int = 0
    """Called changed by both."""

    def add(self, base: Prediction, variant: Prediction) -> None:
        """Count one sample."""
        one, two = base.called, variant.called
        self.pixels += one.size
        self.same += int(((one == two) & (base.hidden == variant.hidden)).sum())
        self.called += int(one.sum() + two.sum())
        self.both += int((one & two).sum())

    def as_dict(self) -> dict[str, float]:
        """Share of equal pixels, and overlap of what both call changed (Dice; 1 where nothing)."""
        return {
            "same_share": round(self.same / max(1, self.pixels), 5),
            "dice": round(2 * self.both / self.called, 4) if self.called else 1.0,
        }


@dataclass
class Compared:
    """A variant's evaluation and where it agrees with its base."""

    evaluation: Evaluation
    agreement: defaultdict[str, Agreement] = field(default_factory=lambda: defaultdict(Agreement))
    """By set."""


def speed(base: Path, variant: Path, feed: Feed, *, rounds: int) -> Speed:
    """Run two model folders in turn on the same inputs, one thread, as the platform runs them.

    CPU seconds of the thread, not the clock's: other work on the machine then counts for little.
    """
    sessions = [Session(read_model(folder)) for folder in (base, variant)]
    for _ in range(_WARM_UP):
        for session in sessions:
            session.run(feed)
    spent = np.array([[_seconds(session, feed) for session in sessions] for _ in range(rounds)])
    one, two = np.median(spent, axis=0)
    return Speed(float(one), float(two), float(np.median(spent[:, 0] / spent[:, 1])))


def _seconds(session: Session, feed: Feed) -> float:
    begun = time.thread_time()
    session.run(feed)
    return time.thread_time() - begun


def compare(
    base: Path, variants: Mapping[str, Path], plan: Plan, *, watch: Callable[[], None]
) -> tuple[Evaluation, dict[str, Compared]]:
    """Evaluate a model set and its variants on the plan's sets; `watch` is called per sample."""
    models = {name: load_models(store) for name, store in variants.items()}
    found = {name: Compared(_empty(variants[name], one)) for name, one in models.items()}

    def beside(name: str, sample: Sample, made: Prediction) -> None:
        for variant, one in models.items():
            theirs = predict(one, sample)
            found[variant].evaluation.tally.add(name, sample, theirs)
            found[variant].agreement[name].add(made, theirs)
        watch()

    return evaluate(base, plan, watch=beside), found


def _empty(store: Path, models: ModelSet) -> Evaluation:
    folders = sorted(path.parent for path in store.glob("*/model.json"))
    return Evaluation({f.name: read_model(f).digest for f in folders}, models.threshold)


def slices(base: Evaluation, variant: Evaluation) -> dict[str, dict[str, Any]]:
    """The `NUMBERS` of every slice but single sites: base, variant, loss (above 0: worse)."""
    rows = {}
    for key in sorted(base.tally.changes, key=str):
        sites = base.tally.changes[key]
        if key.dimension == SITE or key not in variant.tally.changes:
            continue
        ours = metrics.describe(pooled(sites), base.threshold)
        theirs = metrics.describe(pooled(variant.tally.changes[key]), variant.threshold)
        rows[str(key)] = {
            "sites": len(sites),
            **{name: _row(ours, theirs, name) for name in NUMBERS},
        }
    return rows


def _row(base: Mapping[str, Any], variant: Mapping[str, Any], name: str) -> dict[str, Any]:
    """As the platform shows it; AUROC of the classifier alone."""
    view = "classifier" if name == "auroc" else "platform"
    one, two = base[view][name], variant[view][name]
    loss = None if one is None or two is None else one - two
    if loss is not None and name == "false_share":
        loss = -loss
    return {"base": one, "variant": two, "loss": None if loss is None else round(loss, 6)}


def tile(feed: Feed, *, edge: int) -> dict[str, NDArray[np.generic]]:
    """Inputs of `edge` x `edge` px, made of smaller ones [1,C,h,w] side by side."""
    large = {}
    for name, x in feed.items():
        times = [-(-edge // size) for size in x.shape[-2:]]
        large[name] = np.ascontiguousarray(np.tile(x, (1, 1, *times))[..., :edge, :edge])
    return large
