"""Which earlier scenes a scene is compared with, and when it is not compared at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from geodata_etl.grid import Extent

_DAYS_PER_YEAR: Final = 365.2425
_MIN_AGE: Final = timedelta(hours=12)
"""Scenes of one overpass are one look at the ground: neither is the other's baseline."""


class Skip(StrEnum):
    """Why a scene was not compared; each reason has a test.

    Below each value, a sentence with what was found and then what helps: the documentation's table
    is made of them.
    """

    NO_BASELINE = "no_baseline"
    """No earlier scene of the site. Submit one; it may come later than this one."""
    LOW_OVERLAP = "low_overlap"
    """Earlier scenes exist, but none shares enough valid ground. Submit one that does, or lower
    `GROUNDSHIFT_MIN_OVERLAP_FRACTION`."""
    OUT_OF_SEASON = "out_of_season"
    """The scenes that overlap are all too far away in the year. Raise
    `GROUNDSHIFT_SEASON_MAX_DAYS`, or wait for a scene of the season."""
    TOO_LITTLE_DATA = "too_little_data"
    """The scene itself holds too few valid pixels. Nothing to do; the next scene will tell."""
    MISALIGNED = "misaligned"
    """The windows of the shift measurement disagree by more than a pair may bear. Correct the
    scene's georeference, or raise `GROUNDSHIFT_MAX_SHIFT_SPREAD_PX`."""


@dataclass(frozen=True)
class Candidate:
    """What the choice needs to know of a scene."""

    scene_id: str
    acquired: datetime
    extent: Extent
    valid_fraction: float
    """Share of pixels of the extent that hold data, 0..1."""
    shift_spread_px: float
    """Disagreement of the windows that measured the shift, pixels; 0 where none was needed."""

    @property
    def order(self) -> tuple[datetime, str]:
        """The order of a site's scenes: acquisition time, then id."""
        return self.acquired, self.scene_id


@dataclass(frozen=True)
class Rules:
    """The gate and the weights of the choice."""

    size: int = 3
    """At most this many scenes form a baseline."""
    min_overlap_fraction: float = 0.1
    """Least share of the scene's extent that a candidate must cover with data."""
    season_max_days: float = 183.0
    """Greatest distance between days of the year; 183 never gates."""
    min_valid_fraction: float = 0.001
    max_shift_spread_px: float = 1.0


@dataclass(frozen=True)
class Choice:
    """The outcome: a baseline, most recent scene first, or the reason why there is none."""

    baseline: tuple[str, ...]
    skip: Skip | None = None
    detail: str = ""


def season_distance_days(a: datetime, b: datetime) -> float:
    """Distance between two dates within the year, days, 0..183."""
    apart = abs(a.timetuple().tm_yday - b.timetuple().tm_yday)
    return min(apart, _DAYS_PER_YEAR - apart)


def overlap_fraction(scene: Candidate, other: Candidate) -> float:
    """Share of the scene's extent that `other` covers with data (its valid fraction taken even)."""
    shared = scene.extent & other.extent
    if shared.empty:
        return 0.0
    area = scene.extent.height * scene.extent.width
    return shared.height * shared.width / area * other.valid_fraction


def choose_baseline(scene: Candidate, others: Sequence[Candidate], rules: Rules) -> Choice:
    """Choose up to `rules.size` earlier scenes by recency, season and overlap.

    A pure function of the set of scenes: the order in which they arrived plays no part, so a late
    scene leads to the same choice as an early one.
    """
    if scene.valid_fraction < rules.min_valid_fraction:
        return _skip(Skip.TOO_LITTLE_DATA, f"{scene.valid_fraction:.2%} of its pixels hold data")
    if scene.shift_spread_px > rules.max_shift_spread_px:
        return _skip(Skip.MISALIGNED, f"its windows disagree by {scene.shift_spread_px:.2f} px")
    earlier = [o for o in others if scene.acquired - o.acquired >= _MIN_AGE]
    if not earlier:
        return _skip(Skip.NO_BASELINE, "no earlier scene of the site")
    near = [o for o in earlier if overlap_fraction(scene, o) >= rules.min_overlap_fraction]
    if not near:
        return _skip(Skip.LOW_OVERLAP, f"none of {len(earlier)} earlier scenes covers enough of it")
    in_season = [
        o for o in near if season_distance_days(scene.acquired, o.acquired) <= rules.season_max_days
    ]
    if not in_season:
        return _skip(Skip.OUT_OF_SEASON, f"{len(near)} earlier scenes, all out of season")
    usable = [o for o in in_season if o.shift_spread_px <= rules.max_shift_spread_px]
    if not usable:
        return _skip(Skip.MISALIGNED, f"none of {len(in_season)} earlier scenes is aligned")
    best = sorted(usable, key=lambda o: (_cost(scene, o), o.order))[: rules.size]
    return Choice(tuple(o.scene_id for o in sorted(best, key=lambda o: o.order, reverse=True)))


def _skip(reason: Skip, detail: str) -> Choice:
    return Choice((), reason, detail)


def _cost(scene: Candidate, other: Candidate) -> float:
    """Lower is better: a year of age, a season of distance or half the overlap weigh the same."""
    age_days = (scene.acquired - other.acquired) / timedelta(days=1)
    season = season_distance_days(scene.acquired, other.acquired)
    missing = 1.0 - overlap_fraction(scene, other)
    return age_days / _DAYS_PER_YEAR + season / (_DAYS_PER_YEAR / 4) + 2.0 * missing
