"""Relative radiometry, ranking and the labels of clouds, on arrays whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from geodata_etl.bands import BANDS, Cloud
from training import classical, clouds, cloudteacher, evaluate

SIZE = 96


def _town(seed: int) -> np.ndarray:
    """Bare and built ground: reflectance x 10000."""
    rng = np.random.default_rng(seed)
    tones = rng.uniform(600, 3000, (SIZE // 4, SIZE // 4))
    ground = np.kron(tones, np.ones((4, 4)))
    slopes = np.linspace(0.8, 1.2, len(BANDS))[:, None, None]
    grain = rng.normal(0, 15, (len(BANDS), SIZE, SIZE))
    return np.clip(ground * slopes + 100 + grain, 1, None).astype(np.uint16)


def test_levelling_undoes_gain_and_haze_and_leaves_change_alone():
    before = _town(1)
    again = before + np.random.default_rng(2).normal(0, 15, before.shape)
    again[:, 40:56, 40:56] += 1500  # something was built
    after = np.clip(again * 1.2 + 150, 1, None).astype(np.uint16)
    valid = np.ones((SIZE, SIZE), bool)
    level = classical.levelled(before, after, valid).astype(int)
    still = np.ones((SIZE, SIZE), bool)
    still[38:58, 38:58] = False
    assert np.abs(level - before)[:, still].mean() < 40
    assert (level - before)[:, 44:52, 44:52].mean() == pytest.approx(1500, rel=0.1)


def test_ground_without_steady_pixels_is_left_as_it_was():
    before, after = _town(3), _town(4)
    valid = np.zeros((SIZE, SIZE), bool)
    valid[:16, :16] = True  # too few to say anything
    assert classical.levelled(before, after, valid) is after


def test_what_changed_is_improbable_not_to_have():
    before = _town(5)
    after = (before * 0.9 + np.random.default_rng(6).normal(0, 15, before.shape)).astype(np.uint16)
    after[:, 10:26, 10:26] += 1200
    p = classical.no_change_probability(before, after, np.ones((SIZE, SIZE), bool))
    assert np.median(p[40:]) > 20 * p[12:24, 12:24].max()


@pytest.mark.parametrize(
    ("scores", "expected"), [([1, 2, 3, 4], 1.0), ([4, 3, 2, 1], 0.0), ([5, 5, 5, 5], 0.5)]
)
def test_auroc_counts_ties_half(scores, expected):
    truth = np.array([0, 0, 1, 1], bool)
    assert evaluate.auroc(np.array(scores, np.uint8), truth) == expected


def test_a_teachers_cloud_is_a_veil_and_takes_no_thick_cloud_away():
    label = np.array([[Cloud.CLEAR, Cloud.CLOUD, Cloud.SHADOW, clouds.UNSURE]], np.uint8)
    everywhere, nowhere = np.ones((1, 4), bool), np.zeros((1, 4), bool)
    assert clouds.advised(label, everywhere, nowhere).tolist() == [
        [Cloud.THIN, Cloud.CLOUD, Cloud.THIN, Cloud.THIN]
    ]
    assert clouds.advised(label, nowhere, everywhere).tolist() == [
        [Cloud.CLEAR, Cloud.CLOUD, Cloud.SHADOW, Cloud.SHADOW]
    ]


def test_a_cloud_gets_a_rim_of_the_width_asked_for():
    label = np.zeros((21, 21), np.uint8)
    label[10, 10] = Cloud.CLOUD
    rimmed = clouds.rimmed(label, px=3)
    assert (rimmed == Cloud.THIN).sum() == 7 * 7 - 1
    assert rimmed[10, 10] == Cloud.CLOUD
    np.testing.assert_array_equal(clouds.rimmed(label, px=0), label)


def test_without_the_teachers_package_there_is_no_teacher(monkeypatch):
    monkeypatch.setattr(cloudteacher, "PACKAGE", "no_such_package")
    assert cloudteacher.find() is None
