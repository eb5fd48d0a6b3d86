"""Numbers out of histograms, against what can be counted by hand or pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.evaluation import metrics
from training.evaluation.counts import LEVELS, Confusion, Counts, Outcome

LEVEL = arrays(np.uint8, (4, 6), elements=st.integers(0, 255))
MASK = arrays(np.bool_, (4, 6))


def counted(level, change, hidden=None, valid=None):
    nothing = np.zeros(level.shape, bool)
    hidden = nothing if hidden is None else hidden
    return Counts.of(
        level, change=change, hidden=hidden, valid=~nothing if valid is None else valid
    )


@given(LEVEL, MASK, MASK, MASK, st.integers(0, 254))
def test_every_pixel_lands_in_the_outcome_it_has(level, change, hidden, valid, threshold):
    counts = counted(level, change, hidden, valid)
    seen = valid & (level != 255)
    called = (level >= threshold) & ~hidden
    assert counts.platform(threshold) == Outcome(
        int((called & change & seen).sum()),
        int((called & ~change & seen).sum()),
        int((~called & change & seen).sum()),
        int((~called & ~change & seen).sum()),
    )
    bare = level >= threshold
    assert counts.classifier(threshold).hits == int((bare & change & seen).sum())


@given(LEVEL, MASK, MASK)
def test_parts_add_up_to_the_whole(level, change, hidden):
    whole = counted(level, change, hidden)
    left, right = (counted(level[:, at], change[:, at], hidden[:, at]) for at in np.s_[:2, 2:])
    np.testing.assert_array_equal((left + right).pixels, whole.pixels)
    np.testing.assert_array_equal((Counts.empty() + whole).pixels, whole.pixels)


@given(LEVEL, MASK)
def test_auroc_is_the_chance_to_rank_a_pair_rightly(level, change):
    seen = level != 255
    high, low = level[change & seen].astype(int), level[~change & seen].astype(int)
    got = metrics.auroc(counted(level, change).everything)
    if not len(high) or not len(low):
        assert got is None
        return
    pairs = np.sign(high[:, None] - low[None, :])
    assert got == pytest.approx(float((pairs + 1).mean() / 2))


def histogram(**at):
    """unchanged_L=n, changed_L=n."""
    made = np.zeros((2, LEVELS), np.int64)
    for key, pixels in at.items():
        kind, level = key.split("_")
        made[int(kind == "changed"), int(level)] = pixels
    return made


def test_the_budget_is_spent_on_the_most_probable_ground_and_cuts_a_level_in_part():
    ground = histogram(unchanged_0=900, unchanged_200=40, changed_200=40, changed_250=20)
    reviewed = metrics.at_budget(ground, 0.06)  # 60 px: 20 at 250, half of the 80 at 200
    assert reviewed["precision"] == pytest.approx((20 + 20) / 60)
    assert reviewed["recall"] == pytest.approx(40 / 60)
    assert reviewed["level"] == 200
    assert metrics.at_budget(ground, 0.02) == {"precision": 1.0, "recall": 20 / 60, "level": 250}


def test_a_budget_over_the_change_rate_cannot_be_precise():
    perfect = histogram(unchanged_0=995, changed_254=5)
    assert metrics.at_budget(perfect, 0.01)["precision"] == pytest.approx(0.5)


def test_area_bias_has_the_sign_of_what_is_reported_too_much():
    assert metrics.area_bias(Outcome(10, 10, 0, 80)) == pytest.approx(1.0)
    assert metrics.area_bias(Outcome(5, 0, 5, 90)) == pytest.approx(-0.5)
    assert metrics.area_bias(Outcome(5, 5, 5, 85)) == pytest.approx(0.0)
    assert metrics.area_bias(Outcome(0, 5, 0, 95)) is None


def test_promises_that_hold_have_no_calibration_error_and_broken_ones_do():
    kept = histogram(unchanged_127=50, changed_127=50)
    broken = histogram(unchanged_127=100)
    assert metrics.calibration_error(metrics.reliability(kept)) == pytest.approx(0, abs=1e-9)
    assert metrics.calibration_error(metrics.reliability(broken)) == pytest.approx(0.5)
    middle = metrics.reliability(kept)[7]
    assert (middle.pixels, middle.changed) == (100, 0.5)
    assert sum(b.pixels for b in metrics.reliability(kept)) == 100


def test_average_precision_of_a_perfect_and_of_a_blind_ranking():
    assert metrics.average_precision(histogram(unchanged_3=90, changed_200=10)) == 1
    assert metrics.average_precision(histogram(unchanged_9=90, changed_9=10)) == pytest.approx(0.1)
    assert metrics.average_precision(histogram(unchanged_9=90)) is None


def test_a_slice_of_changed_pixels_alone_has_a_recall_and_no_f1():
    level = np.array([[200, 10]], np.uint8)
    one = metrics.describe(counted(level, np.array([[True, True]])), 127)["platform"]
    assert (one["recall"], one["f1"], one["precision"], one["auroc"]) == (0.5, None, None, None)
    none = metrics.describe(counted(level, np.array([[False, False]])), 127)["platform"]
    assert (none["false_share"], none["f1"], none["recall"]) == (0.5, None, None)


def test_hidden_change_is_missed_by_the_platform_and_not_by_the_classifier():
    level, change = np.array([[250, 250, 0]], np.uint8), np.array([[True, True, False]])
    counts = counted(level, change, hidden=np.array([[True, False, False]]))
    both = metrics.describe(counts, 127)
    assert (both["platform"]["recall"], both["classifier"]["recall"]) == (0.5, 1.0)
    assert both["shown_share"] == pytest.approx(2 / 3, abs=1e-4)


def test_confusion_counts_known_classes_and_holds_the_first_against_the_rest():
    truth = np.array([[0, 1, 2, 255]], np.uint8)
    predicted = np.array([[0, 2, 2, 1]], np.uint8)
    made = Confusion.of(predicted, truth, valid=np.ones((1, 4), bool), classes=3)
    assert made.accuracy == pytest.approx(2 / 3)
    assert made.iou() == (1.0, 0.0, 0.5)
    assert made.against_first() == Outcome(2, 0, 0, 1)
    assert made.outcome() == Outcome(2, 0, 1, 0)
