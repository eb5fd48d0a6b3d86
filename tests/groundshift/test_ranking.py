"""The order of the review queue."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from groundshift import ranking


def row(*, probability=0.6, area_m2=2_000.0, state="first"):
    return SimpleNamespace(probability=probability, area_m2=area_m2, state=state)


def test_a_sure_small_alert_comes_before_an_unsure_large_one():
    assert ranking.score(row(probability=0.95)) > ranking.score(
        row(probability=0.6, area_m2=1e6, state="confirmed")
    )


def test_size_and_support_decide_between_equally_sure_ones():
    assert ranking.score(row(area_m2=50_000)) > ranking.score(row(area_m2=2_000))
    order = [ranking.score(row(state=s)) for s in ("confirmed", "provisional", "first")]
    assert order == sorted(order, reverse=True)
    assert len(set(order)) == 3


@given(st.floats(0, 1), st.floats(0, 1e9), st.sampled_from(["first", "confirmed", "finished"]))
def test_a_score_lies_between_nothing_and_one(probability, area, state):
    assert 0 <= ranking.score(row(probability=probability, area_m2=area, state=state)) <= 1
    assert ranking.score(row(probability=probability, area_m2=area, state="withdrawn")) == 0
