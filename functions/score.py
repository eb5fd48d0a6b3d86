"""Runs over a simulated site, held against its exact truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from scipy.ndimage import label

from geodata_etl.bands import NOT_OBSERVED
from geodata_etl.grid import grid_of_transform
from geodata_etl.simulate import Site
from groundshift.labels import to_utm

_FOUND_SHARE = 0.3
"""Share of a known change's observed pixels that a run must mark to have found it, and of an
alert's pixels that changed where it is true."""
_MIN_OBSERVED_PX = 20
"""A known change counts where at least so many of its pixels were observed."""


@dataclass(frozen=True)
class Score:
    """Counts over pixels and over known changes, summed over runs."""

    predicted_px: int = 0
    """Pixels marked as changed."""
    true_px: int = 0
    """Of those, pixels that did change between some scene of the baseline and the scene."""
    wanted_px: int = 0
    """Observed pixels that changed since the newest scene of the baseline."""
    found_px: int = 0
    """Of those, pixels marked as changed."""
    known: int = 0
    """Known changes since the newest scene of the baseline that were observed."""
    found: int = 0
    """Of those, changes that the run marked."""

    @property
    def precision(self) -> float:
        """Share of the marked pixels that did change; 0 where none is marked."""
        return self.true_px / self.predicted_px if self.predicted_px else 0.0

    @property
    def recall(self) -> float:
        """Share of the changed, observed pixels that were marked; 0 where nothing changed."""
        return self.found_px / self.wanted_px if self.wanted_px else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0

    @property
    def recall_of_changes(self) -> float:
        """Share of the known changes that were found."""
        return self.found / self.known if self.known else 0.0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.predicted_px + other.predicted_px,
            self.true_px + other.true_px,
            self.wanted_px + other.wanted_px,
            self.found_px + other.found_px,
            self.known + other.known,
            self.found + other.found,
        )


def score_run(
    site: Site,
    change_tif: str,
    *,
    threshold_level: int,
    baseline: Sequence[datetime],
    after: datetime,
) -> Score:
    """Hold one run's change raster against the truth of its dates.

    `baseline` are the dates of its scenes, newest first. The composite takes a pixel from any of
    them, so that a mark is right if the ground changed since the oldest one, and missing only if
    it changed since the newest.
    """
    with rasterio.open(change_tif) as dataset:
        level = dataset.read(1)
        grid = grid_of_transform(
            dataset.crs.to_epsg(), dataset.transform, dataset.height, dataset.width
        )
    inside = grid.extent.slices_in(site.grid.extent)
    since_newest = site.change_mask(baseline[0], after)[inside] == 1
    since_oldest = site.change_mask(baseline[-1], after)[inside] == 1
    observed = level != NOT_OBSERVED
    marked = observed & (level >= threshold_level)
    wanted = since_newest & observed
    known, found = _changes(wanted, marked)
    return Score(
        predicted_px=int(marked.sum()),
        true_px=int((marked & (since_oldest | since_newest)).sum()),
        wanted_px=int(wanted.sum()),
        found_px=int((wanted & marked).sum()),
        known=known,
        found=found,
    )


def first_in_queue(
    site: Site, alerts: Sequence[Mapping[str, Any]], *, since: datetime, most: int = 20
) -> tuple[int, int]:
    """(true, all) of the `most` alerts that an analyst is shown first.

    `alerts` as `functions.reports.alert_list` gives them. One is true where ground of it changed
    between `since` and the scene that raised it.
    """
    shown = sorted(alerts, key=lambda a: (-a["score"], a["id"]))[:most]
    return sum(_is_true(site, alert, since) for alert in shown), len(shown)


def _is_true(site: Site, alert: Mapping[str, Any], since: datetime) -> bool:
    changed = site.change_mask(since, datetime.fromisoformat(alert["first_seen"])) == 1
    outline = to_utm(alert["geometry"], epsg=site.grid.epsg)
    inside = geometry_mask([outline], changed.shape, site.grid.transform, invert=True)
    return bool(inside.any() and changed[inside].mean() >= _FOUND_SHARE)


def _changes(wanted: NDArray[np.bool_], marked: NDArray[np.bool_]) -> tuple[int, int]:
    """(known, found) connected groups of changed ground."""
    groups, number = label(wanted, np.ones((3, 3)))
    sizes = np.bincount(groups.ravel(), minlength=number + 1)[1:]
    hits = np.bincount(groups[marked].ravel(), minlength=number + 1)[1:]
    counted = sizes >= _MIN_OBSERVED_PX
    return int(counted.sum()), int((counted & (hits >= _FOUND_SHARE * sizes)).sum())
