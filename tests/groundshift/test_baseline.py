from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodata_etl.grid import Extent
from groundshift.baseline import Candidate, Rules, Skip, choose_baseline, season_distance_days

START = datetime(2024, 6, 1, 10, 30, tzinfo=UTC)
GROUND = Extent(0, 0, 100, 100)


def scene(days: float, name: str = "s", **changes: object) -> Candidate:
    values: dict[str, object] = {
        "scene_id": name,
        "acquired": START + timedelta(days=days),
        "extent": GROUND,
        "valid_fraction": 1.0,
        "shift_spread_px": 0.0,
    }
    return Candidate(**{**values, **changes})  # type: ignore[arg-type]


def test_the_most_recent_scene_leads_the_baseline() -> None:
    choice = choose_baseline(
        scene(30), [scene(0, "old"), scene(20, "new"), scene(10, "mid")], Rules()
    )
    assert choice.baseline == ("new", "mid", "old")
    assert choice.skip is None


def test_no_more_scenes_than_the_rules_allow() -> None:
    others = [scene(day, f"s{day}") for day in range(0, 300, 10)]
    assert len(choose_baseline(scene(400), others, Rules(size=3)).baseline) == 3


def test_same_season_beats_a_few_months_of_recency() -> None:
    summer_before, winter = scene(0, "summer"), scene(200, "winter")
    assert choose_baseline(scene(365), [winter, summer_before], Rules(size=1)).baseline == (
        "summer",
    )


@pytest.mark.parametrize(
    ("skip", "subject", "others", "rules"),
    [
        (Skip.NO_BASELINE, scene(0), [], Rules()),
        (Skip.NO_BASELINE, scene(0), [scene(5, "later")], Rules()),
        (Skip.NO_BASELINE, scene(0), [scene(-0.1, "same overpass")], Rules()),
        (
            Skip.LOW_OVERLAP,
            scene(30),
            [scene(0, "beside", extent=Extent(0, 95, 100, 195))],
            Rules(min_overlap_fraction=0.1),
        ),
        (
            Skip.LOW_OVERLAP,
            scene(30),
            [scene(0, "apart", extent=Extent(500, 500, 600, 600))],
            Rules(min_overlap_fraction=0.0001),
        ),
        (Skip.OUT_OF_SEASON, scene(180), [scene(0, "winter")], Rules(season_max_days=60)),
        (Skip.TOO_LITTLE_DATA, scene(30, valid_fraction=0.0), [scene(0, "a")], Rules()),
        (Skip.MISALIGNED, scene(30, shift_spread_px=3.0), [scene(0, "a")], Rules()),
        (Skip.MISALIGNED, scene(30), [scene(0, "a", shift_spread_px=3.0)], Rules()),
    ],
)
def test_each_gate_reason(
    skip: Skip, subject: Candidate, others: list[Candidate], rules: Rules
) -> None:
    choice = choose_baseline(subject, others, rules)
    assert (choice.skip, choice.baseline) == (skip, ())
    assert choice.detail


def test_every_reason_has_a_case() -> None:
    marks = test_each_gate_reason.pytestmark[0]  # type: ignore[attr-defined]
    assert {case[0] for case in marks.args[1]} == set(Skip)


@given(st.permutations([scene(day, f"s{day}") for day in range(0, 90, 7)]))
def test_the_order_of_arrival_plays_no_part(others: list[Candidate]) -> None:
    expected = choose_baseline(scene(100), sorted(others, key=lambda o: o.order), Rules())
    assert choose_baseline(scene(100), others, Rules()) == expected


@given(st.datetimes(), st.datetimes())
def test_season_distance_is_a_distance_within_half_a_year(a: datetime, b: datetime) -> None:
    assert 0 <= season_distance_days(a, b) <= 183
    assert season_distance_days(a, b) == season_distance_days(b, a)
    assert season_distance_days(a, a) == 0
