"""From where data lies to what a training takes: samples by side, and the manifest of all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from geodata_etl.bands import Cloud
from groundshift.errors import Misconfigured
from groundshift.opening import settings_of
from training import manifest, realdata, samples, sources, split
from training.corpus import HELD_OUT_SEED, SimPair
from training.dataset import UNKNOWN, Sample, Source
from training.downloads import CloudSen12, Oscd
from training.storage import open_objects
from training.validation import learnable

_LABELLED_SHARE: Final = 0.5
"""Of the draws that are not from unlabelled pairs, where real labels were given at all."""


@dataclass(frozen=True)
class Inputs:
    """Where training data lies; what is None or empty is left out."""

    simulated: int = 400
    """Simulated pairs, seeds 0 on."""
    unlabelled: Path | None = None
    """The development data: its ten unlabelled pairs."""
    pairs: tuple[Path, ...] = ()
    """Folders of pairs with STAC Items and label rasters."""
    oscd: Path | None = None
    cloudsen12: Path | None = None
    labels: str = ""
    """Object store of the labels that reviewers vouch for."""
    hold_out: tuple[str, ...] = ()
    """Sites that neither train nor validate."""
    accept_licence: bool = False

    def absolute(self) -> Inputs:
        """The same places from every working folder: Ray's workers have their own."""
        folder = self.labels and "://" not in self.labels
        return replace(
            self,
            unlabelled=self.unlabelled and self.unlabelled.absolute(),
            pairs=tuple(root.absolute() for root in self.pairs),
            oscd=self.oscd and self.oscd.absolute(),
            cloudsen12=self.cloudsen12 and self.cloudsen12.absolute(),
            labels=str(Path(self.labels).absolute()) if folder else self.labels,
        )

    def sources(self) -> list[Source]:
        """Every source with labels. Raises Misconfigured for seeds that are held out."""
        if self.simulated > HELD_OUT_SEED:
            raise Misconfigured(f"{self.simulated} simulated pairs: at most {HELD_OUT_SEED}")
        found: list[Source] = [sources.Simulator(range(self.simulated))]
        found += [sources.StacPairs(root, name=f"pairs-{root.name}") for root in self.pairs]
        found += [Oscd(self.oscd)] if self.oscd is not None else []
        found += [CloudSen12(self.cloudsen12)] if self.cloudsen12 is not None else []
        if self.labels:
            settings = settings_of()
            store = open_objects(self.labels, settings)
            found.append(sources.VerifiedTiles(store, sources.current_labels(settings)))
        return found

    def ground(self) -> list[Sample]:
        """The unlabelled pairs, where there are any: their pixels train, nothing is marked."""
        if self.unlabelled is None or not (self.unlabelled / _UNLABELLED).is_dir():
            return []
        places = realdata.UNLABELLED
        return list(sources.StacPairs(self.unlabelled / _UNLABELLED, places=places).samples())


_UNLABELLED: Final = "oscd_unlabelled"
_JUDGES: Final = {"verified-tiles": "gate"}
"""Sources whose held-out sites do not even choose between checkpoints: the gate judges on them."""


@dataclass(frozen=True)
class Collected:
    """What a training takes."""

    source: samples.Source
    validation: tuple[Sample, ...]
    """Of held-out sites: they choose between checkpoints."""
    manifest: manifest.Manifest
    restricted: list[str] = field(default_factory=list)
    """Licences that forbid commercial use of what is trained."""
    described: list[str] = field(default_factory=list)
    """One sentence per labelled source beside the simulator, for the card."""


def collect(
    model: str, inputs: Inputs, *, size: int, real_share: float, paste_share: float
) -> Collected:
    """Read every source, split it by site and say what it was.

    Raises Misconfigured for a licence that was not accepted.
    """
    found = {
        source.name: [s for s in source.samples() if _usable(model, s, inputs, size)]
        for source in inputs.sources()
    }
    everything = [sample for listed in found.values() for sample in listed]
    manifest.check_licences({s.licence for s in everything}, accepted=inputs.accept_licence)
    ground = [s for s in inputs.ground() if s.site not in inputs.hold_out]
    # Ground that is pasted on trains, so what is labelled there must not judge.
    judging = {s.site for s in split.by_site(everything).validation} - {s.site for s in ground}
    learn = {name: [s for s in one if s.site not in judging] for name, one in found.items()}
    judge = {name: [s for s in one if s.site in judging] for name, one in found.items()}
    entries = manifest.entries("unlabelled-pairs", "train", ground)
    for name in found:
        entries += manifest.entries(name, "train", learn[name])
        entries += manifest.entries(name, _JUDGES.get(name, "validation"), judge[name])
    made = manifest.Manifest(tuple(entries))
    drawn = samples.Source(
        _backgrounds(inputs, {sample.site for sample in ground}),
        _mixed(learn),
        size=size,
        real_share=real_share if ground else 0.0,
        paste_share=paste_share,
    )
    choosing = [s for name, one in judge.items() if name not in _JUDGES for s in one]
    return Collected(drawn, tuple(choosing), made, made.restricted, _described(learn))


def _backgrounds(inputs: Inputs, sites: set[str]) -> list[samples.Background]:
    if inputs.unlabelled is None or not sites:
        return []
    return [b for b in samples.backgrounds(inputs.unlabelled) if b.pair.name in sites]


def _usable(model: str, sample: Sample, inputs: Inputs, size: int) -> bool:
    fits = min(sample.ignore.shape) >= size
    return fits and sample.site not in inputs.hold_out and learnable(model, sample)


def _mixed(learn: dict[str, list[Sample]]) -> list[SimPair]:
    """The simulator's pairs, and every labelled one as often as makes up its share."""
    pairs = {name: as_pairs(found) for name, found in learn.items()}
    simulated = pairs.pop("simulator", [])
    labelled = [pair for found in pairs.values() for pair in found]
    if not labelled:
        return simulated
    wanted = len(simulated) * _LABELLED_SHARE / (1 - _LABELLED_SHARE)
    return simulated + labelled * max(1, round(wanted / len(labelled)))


def as_pairs(found: Iterable[Sample]) -> list[SimPair]:
    """Labelled samples as what `samples.Source` cuts its crops from."""
    return [_pair(index, sample) for index, sample in enumerate(found)]


def _pair(index: int, sample: Sample) -> SimPair:
    # Ground that must not count is as good as under a cloud: no sample is cut with it known.
    hidden = np.where(sample.ignore, Cloud.CLOUD, Cloud.CLEAR).astype(np.uint8)
    nowhere = np.full(sample.ignore.shape, UNKNOWN, np.uint8)
    clouds = sample.clouds or (hidden, hidden)
    covers = sample.covers or (nowhere, nowhere)
    change = np.zeros_like(sample.ignore) if sample.change is None else sample.change
    marked = change.astype(np.uint8)
    return SimPair(index, sample.before, sample.after, *clouds, *covers, marked)


def _described(learn: dict[str, list[Sample]]) -> list[str]:
    sentences = []
    for name, found in learn.items():
        if name == "simulator" or not found:
            continue
        licences = "; ".join(sorted({sample.licence for sample in found}))
        sites = len({sample.site for sample in found})
        sentences.append(f"{len(found)} labelled samples of {sites} sites from {name} ({licences})")
    return sentences
