"""One evaluation of a model set: every set of samples through the models, counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from groundshift.registry import read_set
from training.classical import cva_otsu
from training.dataset import Sample
from training.evaluate import ModelSet, load_models, score
from training.evaluation import failures, real, simulated
from training.evaluation.counts import Confusion, Outcome
from training.evaluation.predict import Prediction, predict
from training.evaluation.slices import LABELS, OSCD, SIMULATED, SLOVENIA, SLOVENIA_WINTER
from training.evaluation.tally import Tally
from training.realdata import LABELLED
from training.sources import StacPairs

Watch = Callable[[str, Sample, Prediction], None]
"""Is shown every sample with what the models made of it: the name of the set first."""


@dataclass(frozen=True)
class Plan:
    """What an evaluation covers. The defaults are the gate's."""

    sites: int = 48
    """Held-out simulator sites."""
    size_px: int = 256
    """Their edge."""
    failure_sites: int = 10
    """Sites of each failure-mode set."""
    data: Path | None = None
    """Folder of real scenes; None: the simulator alone."""
    labels: tuple[Sample, ...] = ()
    """Held-out verified labels."""
    look: int = 0
    """A further look sees other sites of the simulator."""

    def further(self, look: int) -> Plan:
        """Look number `look` (1, 2) at what the simulator makes: each doubles the sites so far."""
        times = 2 ** (look - 1)
        return replace(
            self,
            sites=self.sites * times,
            failure_sites=self.failure_sites * times,
            data=None,
            labels=(),
            look=look,
        )

    @property
    def total(self) -> int:
        """How many samples, for a progress bar."""
        real_scenes = 0 if self.data is None else 12
        return (
            self.sites + self.failure_sites * len(failures.MODES) + len(self.labels) + real_scenes
        )


@dataclass
class Evaluation:
    """What the models did on the sets of a plan."""

    models: dict[str, str]
    """Digest of each model by name."""
    threshold: int
    tally: Tally = field(default_factory=Tally)
    yardstick: defaultdict[str, dict[str, Outcome]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """Change-vector analysis with Otsu's threshold, by set and site."""
    chips: dict[str, Confusion] = field(default_factory=dict)
    """Clear against cloud (veils too) on the labelled cloud chips."""

    def with_more(self, more: Evaluation) -> Evaluation:
        """These counts and those of other sites."""
        return replace(self, tally=self.tally.with_more(more.tally))


def evaluate(
    store: Path,
    plan: Plan,
    *,
    watch: Watch | None = None,
) -> Evaluation:
    """Run the model set in `store` over the plan's sets.

    Raises NotFound or Misconfigured where the store holds no whole set.
    """
    records = {record.name: record.digest for record in read_set(store)}
    models = load_models(store)
    done = Evaluation(records, models.threshold)
    for name, sample in _samples(plan):
        made = predict(models, sample)
        done.tally.add(name, sample, made)
        _yardstick(done, name, sample)
        if watch is not None:
            watch(name, sample, made)
    if plan.data is not None:
        done.chips.update(cloud_chips(models, plan.data))
    return done


def _samples(plan: Plan) -> Iterator[tuple[str, Sample]]:
    """(set, sample)."""

    def named(name: str, samples: Iterable[Sample]) -> Iterator[tuple[str, Sample]]:
        return ((name, sample) for sample in samples)

    yield from named(SIMULATED, simulated.held_out(plan.sites, size=plan.size_px, look=plan.look))
    for mode in failures.MODES:
        yield from named(mode.name, failures.samples(mode, plan.failure_sites, look=plan.look))
    yield from named(LABELS, plan.labels)
    if plan.data is not None:
        yield from named(OSCD, StacPairs(plan.data / "oscd", places=LABELLED).samples())
        yield from named(SLOVENIA, real.slovenia(plan.data, real.SUMMER))
        yield from named(SLOVENIA_WINTER, real.slovenia(plan.data, real.WINTER))


def _yardstick(done: Evaluation, name: str, sample: Sample) -> None:
    if sample.change is None or not sample.change.any():
        return
    valid = ~sample.ignore
    found = score(cva_otsu(sample.before, sample.after, valid), sample.change, valid)
    rest = int(valid.sum()) - found.hits - found.false_alarms - found.misses
    sites = done.yardstick[name]
    old = sites.get(sample.site, Outcome(0, 0, 0, 0))
    sites[sample.site] = old + Outcome(found.hits, found.false_alarms, found.misses, rest)


def cloud_chips(models: ModelSet, data: Path) -> dict[str, Confusion]:
    """Clear against cloud on each chip; a veil counts as cloud, a shadow as clear."""
    found = {}
    for chip in real.cloud_chips(data):
        mask = models.clouds(chip.image)
        cloud = np.isin(mask, (1, 2)).astype(np.uint8)
        cloud[mask == 255] = 255
        found[chip.name] = Confusion.of(
            cloud, chip.cloud, valid=np.ones(cloud.shape, np.bool_), classes=2
        )
    return found
