"""Counts per slice and site: what an evaluation is made of, and what the gate compares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from geodata_etl.bands import Cloud, Cover
from training.dataset import Sample
from training.evaluation import slices
from training.evaluation.counts import Confusion, Counts
from training.evaluation.predict import Prediction
from training.evaluation.slices import Slice

_Record = TypeVar("_Record", Counts, Confusion)
Sites = dict[str, Counts]
Table = dict[Slice, Sites]


@dataclass
class Tally:
    """`add` samples one by one, in any order; its records add up with another's."""

    changes: defaultdict[Slice, Sites] = field(default_factory=lambda: defaultdict(dict))
    """Change per slice and site."""
    clouds: defaultdict[Slice, dict[str, Confusion]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """bands.Cloud, true against predicted, both dates."""
    covers: defaultdict[Slice, dict[str, Confusion]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """bands.Cover on clear pixels, true against predicted, both dates."""

    def with_more(self, more: Tally) -> Tally:
        """These records and those of other sites; neither of the two changes."""
        return Tally(
            changes=_joined(self.changes, more.changes),
            clouds=_joined(self.clouds, more.clouds),
            covers=_joined(self.covers, more.covers),
        )

    def add(self, name: str, sample: Sample, made: Prediction) -> None:
        """Count one sample of the set `name`: by slices where it is one of `slices.SLICED`."""
        whole = [Slice(name, *key) for key in slices.of_sample(sample)]
        if name not in slices.SLICED:
            whole = [key for key in whole if key.dimension == slices.EVERYTHING]
        if sample.change is not None:
            self._change(whole, name, sample, made)
        for index in (0, 1):
            self._classes(whole, sample, made, index)

    def _change(self, whole: Iterable[Slice], name: str, sample: Sample, made: Prediction) -> None:
        assert sample.change is not None
        change, valid = sample.change, ~sample.ignore

        def count(mask: NDArray[np.bool_]) -> Counts:
            return Counts.of(made.level, change=change, hidden=made.hidden, valid=mask)

        everything = count(valid)
        for one in whole:
            _put(self.changes[one], sample.site, everything)
        for dimension, value, mask in slices.of_pixels(sample) if name in slices.SLICED else ():
            _put(self.changes[Slice(name, dimension, value)], sample.site, count(valid & mask))

    def _classes(self, whole: Iterable[Slice], sample: Sample, made: Prediction, at: int) -> None:
        seen = sample.observed
        if sample.clouds is not None:
            sky = Confusion.of(made.clouds[at], sample.clouds[at], valid=seen, classes=len(Cloud))
            for one in whole:
                _put(self.clouds[one], sample.site, sky)
        if sample.covers is not None:
            clear = seen if sample.clouds is None else seen & (sample.clouds[at] == Cloud.CLEAR)
            land = Confusion.of(made.covers[at], sample.covers[at], valid=clear, classes=len(Cover))
            for one in whole:
                _put(self.covers[one], sample.site, land)


def pooled(sites: Mapping[str, Counts]) -> Counts:
    """All sites of a slice together."""
    return sum(sites.values(), start=Counts.empty())


def mean_over_sites(
    sites: Mapping[str, Counts], number: Callable[[Counts], float | None]
) -> float | None:
    """The mean of a number over the sites that have it."""
    found = [value for value in map(number, sites.values()) if value is not None]
    return float(np.mean(found)) if found else None


def _joined(
    one: Mapping[Slice, dict[str, _Record]], two: Mapping[Slice, dict[str, _Record]]
) -> defaultdict[Slice, dict[str, _Record]]:
    both: defaultdict[Slice, dict[str, _Record]] = defaultdict(dict)
    for table in (one, two):
        for key, sites in table.items():
            for site, counts in sites.items():
                _put(both[key], site, counts)
    return both


def _put(sites: dict[str, _Record], site: str, counts: _Record) -> None:
    sites[site] = sites[site] + counts if site in sites else counts
