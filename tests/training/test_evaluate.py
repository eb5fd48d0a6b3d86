"""Metrics and the yardstick, on arrays small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodata_etl.bands import BANDS
from training import evaluate


def _mask(*values: int) -> np.ndarray:
    return np.array([values], dtype=bool)


def test_scores_count_hits_false_alarms_and_misses_over_valid_pixels_only():
    counted = evaluate.score(
        predicted=_mask(1, 1, 0, 0, 1), truth=_mask(1, 0, 1, 0, 1), valid=_mask(1, 1, 1, 1, 0)
    )
    assert (counted.hits, counted.false_alarms, counted.misses) == (1, 1, 1)
    assert counted.f1 == pytest.approx(0.5)


def test_calling_nothing_is_right_only_where_there_was_nothing():
    seen = _mask(1, 1)
    assert evaluate.score(_mask(0, 0), _mask(0, 0), seen).f1 == 1
    assert evaluate.score(_mask(0, 0), _mask(0, 1), seen).f1 == 0


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_f1_is_the_harmonic_mean_and_stays_within_0_and_1(hits, false_alarms, misses):
    s = evaluate.Scores(hits, false_alarms, misses)
    assert 0 <= s.f1 <= 1
    if hits:
        assert s.f1 == pytest.approx(2 * s.precision * s.recall / (s.precision + s.recall))


def _scene(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(800, 1200, (len(BANDS), 64, 64)).astype(np.uint16)


def test_cva_otsu_finds_a_bright_square_and_ignores_what_is_not_valid():
    before = _scene(0)
    after = before.copy()
    after[:, 10:20, 10:20] += 3000
    after[:, 40:50, 40:50] += 3000
    valid = np.ones((64, 64), bool)
    valid[40:50, 40:50] = False
    changed = evaluate.cva_otsu(before, after, valid)
    assert changed[10:20, 10:20].all()
    assert not changed[40:50, 40:50].any()
    assert changed.sum() < 120


def test_cva_otsu_calls_nothing_where_nothing_is_valid_or_nothing_differs():
    before = _scene(1)
    assert not evaluate.cva_otsu(before, before, np.ones((64, 64), bool)).any()
    assert not evaluate.cva_otsu(before, _scene(2), np.zeros((64, 64), bool)).any()


class _Echo:
    """A model that gives the first band back."""

    def __call__(self, inputs):
        assert inputs["image"].shape[-2:] == (512, 512)
        return (inputs["image"][:, 0] // 256).astype(np.uint8)


@pytest.mark.parametrize("shape", [(448, 448), (449, 30), (900, 460)])
def test_tiling_puts_every_pixel_back_where_it_was(shape):
    rng = np.random.default_rng(3)
    image = rng.integers(1, 65000, (2, *shape)).astype(np.uint16)
    whole = evaluate.tiled(_Echo(), {"image": image})
    np.testing.assert_array_equal(whole, (image[0] // 256).astype(np.uint8))
