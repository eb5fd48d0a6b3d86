"""Samples: pasted construction, null pastes, clouds, rules; their labels are what was done."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geodata_etl.bands import BANDS, Cloud, Cover
from training import clouds, corpus, nuisance, pastes, rules, samples
from training.cloudteacher import Opinion
from training.realdata import Pair, measure_shift

SIZE = 64
GRASS = np.array([900, 900, 600, 3300, 1800, 900], np.uint16)


def _meadow(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    grain = rng.normal(1, 0.02, (1, SIZE, SIZE))
    return np.round(GRASS[:, None, None] * grain).astype(np.uint16)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_every_labelled_pixel_differs_between_the_dates(seed):
    rng = np.random.default_rng(seed)
    meadow = _meadow(seed).astype(np.float32) / 10_000
    dates = [meadow.copy(), meadow.copy()]
    source = pastes.Crop(meadow, np.zeros((SIZE, SIZE), bool))
    change = pastes.place(rng, dates, [source, source])
    far = np.abs(dates[0] - dates[1]).max(axis=0) > 0.004
    assert far[change].mean() > 0.8 if change.any() else True


def test_a_field_is_ploughed_whole_and_what_was_built_in_it_stays():
    parcels = np.kron(np.arange(16).reshape(4, 4) % 2, np.ones((16, 16))).astype(np.float32)
    ground = _meadow(12).astype(np.float32) / 10_000 * (1 - 0.3 * parcels)
    source = pastes.Crop(ground, np.zeros((SIZE, SIZE), bool))
    whole = 0
    for seed in range(60):
        dates = [ground.copy(), ground.copy()]
        built = pastes.place(np.random.default_rng(seed), dates, [source, source])
        moved = np.abs(dates[0] - dates[1]).max(axis=0) > 0.05
        inner = moved.reshape(4, 16, 4, 16)[:, 4:12, :, 4:12].all(axis=(1, 3))
        untouched = ~built.reshape(4, 16, 4, 16).any(axis=(1, 3))
        whole += int((inner & untouched).sum())
        assert moved[built].mean() > 0.5 if built.any() else True
    assert whole > 20  # outlines alone cover 8 of them


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_clouds_brighten_and_shadows_darken(seed):
    ground = np.full((len(BANDS), SIZE, SIZE), 0.12, np.float32)
    clouded, mask = clouds.add_clouds(np.random.default_rng(seed), ground)
    assert set(np.unique(mask)) <= {*(int(c) for c in Cloud), clouds.UNSURE}
    if (mask == Cloud.CLOUD).any():
        assert clouded[0][mask == Cloud.CLOUD].mean() > 0.12
    if (mask == Cloud.SHADOW).any():
        assert clouded[3][mask == Cloud.SHADOW].mean() < 0.13  # a veil below "thin" may lie on it


def test_rules_know_meadow_and_lake_and_are_unsure_of_the_rest():
    stack = _meadow(2)
    stack[:, :20] = np.array([500, 450, 300, 200, 120, 80], np.uint16)[:, None, None]
    pair = Pair("here", stack, stack, None, (0.0, 0.0))
    label, _ = rules.cover_labels(pair)
    assert (label[:18] == Cover.WATER).all()
    assert (label[24:] == Cover.LOW_VEGETATION).mean() > 0.9


def test_fields_are_cropland_and_a_bright_site_is_not():
    before, after = _meadow(3), _meadow(4)
    after[:, :32] = np.array([1200, 1200, 1400, 2000, 2700, 2200], np.uint16)[:, None, None]
    after[:, 40:] = np.array([2600, 2700, 2900, 3200, 3600, 3300], np.uint16)[:, None, None]
    fields = rules.cropland(Pair("here", before, after, None, (0.0, 0.0)))
    assert fields[4:26, 4:-4].all()
    assert not fields[44:, 4:-4].any()


def test_nuisances_move_no_pixel_out_of_range():
    rng = np.random.default_rng(5)
    meadow = _meadow(6).astype(np.float32) / 10_000
    for _ in range(10):
        for date in nuisance.disturb(rng, meadow.copy(), meadow.copy()):
            assert np.isfinite(date).all()
            assert date.shape == meadow.shape


@pytest.mark.parametrize("moved", [(3, -2), (-1, 4)])
def test_measured_shift_undoes_a_known_one(moved):
    rng = np.random.default_rng(7)
    town = np.kron(rng.integers(500, 4000, (6, 40, 40)), np.ones((1, 6, 6))).astype(np.uint16)
    shifted = np.roll(town, moved, axis=(1, 2))
    assert measure_shift(town, shifted) == pytest.approx((-moved[0], -moved[1]), abs=0.3)


@pytest.mark.parametrize("name", ["cloud-mask", "segmenter", "change-classifier"])
def test_the_same_seed_draws_the_same_batch(name):
    source = samples.Source([], [corpus.simulate(s, size=96) for s in (1, 2)], SIZE, 0.0)
    one, two = (source.batch(name, np.random.default_rng(8), 3) for _ in range(2))
    for key in one:
        np.testing.assert_array_equal(one[key], two[key])
    assert one["target"].shape == one["weight"].shape == (3, SIZE, SIZE)


def test_half_of_the_pairs_are_shown_back_to_front():
    sample = {key: np.full((2, 2), n) for n, key in enumerate(["before", "after", "target"])}
    rng = np.random.default_rng(9)
    drawn = [samples.swap(rng, sample) for _ in range(100)]
    turned = [one for one in drawn if (one["before"] == sample["after"]).all()]
    assert 30 < len(turned) < 70
    assert all((one["after"] == sample["before"]).all() for one in turned)
    assert all((one["target"] == sample["target"]).all() for one in drawn)
    one_date = {"image": sample["before"], "target": sample["target"]}
    assert samples.swap(rng, one_date) is one_date


@pytest.mark.parametrize("bands", [4, 6])
def test_a_low_sun_dims_the_ground_and_leaves_blue_most(bands):
    meadow = _meadow(6).astype(np.float32)[:bands] / 10_000
    rng = np.random.default_rng(10)
    for _ in range(10):
        dim = nuisance.low_sun(rng, meadow)
        assert dim.shape == meadow.shape
        assert dim[3].mean() < 0.9 * meadow[3].mean()
        assert (dim[0] / meadow[0]).mean() >= (dim[3] / meadow[3]).mean() - 1e-6


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_an_overlooked_shadow_darkens_a_part_and_leaves_blue_most(seed):
    meadow = _meadow(6).astype(np.float32) / 10_000
    shaded = nuisance.cloud_shadow(np.random.default_rng(seed), meadow)
    left = shaded / meadow
    assert shaded.dtype == np.float32
    assert (shaded > 0).all()
    assert (left <= 1 + 1e-6).all()
    dark = left[3] < 0.9
    assert 0 < dark.mean() < 0.7
    assert (left[0][dark] > left[3][dark]).all()


def test_windows_with_shadow_are_sought_for_the_cloud_mask():
    pairs = [corpus.simulate(s, size=160, cloud_fraction=0.15) for s in range(1, 7)]
    shares = [
        np.mean([p.before_cloud == Cloud.SHADOW, p.after_cloud == Cloud.SHADOW]) for p in pairs
    ]
    every, one = next((s, p) for s, p in zip(shares, pairs, strict=True) if 0 < s < 0.15)
    source = samples.Source([], [one], 32, 0.0)
    drawn = [source.draw("cloud-mask", np.random.default_rng(n))["target"] for n in range(60)]
    found = np.mean([(target == Cloud.SHADOW).mean() for target in drawn])
    assert found > 1.3 * every


class _SeesCloudEverywhere:
    """A teacher that takes all that is bright, and all else, for cloud."""

    def opinion(self, image):
        everywhere = np.ones(image.shape[1:], bool)
        return Opinion(cloud=everywhere, shadow=~everywhere, clear=~everywhere)


def test_what_was_built_stays_clear_whatever_the_teacher_takes_it_for():
    meadow = np.tile(_meadow(11), (1, 4, 4))  # as large as the teacher wants it
    none, water = np.zeros(meadow.shape[1:], bool), np.zeros(meadow.shape[1:], np.uint8)
    pair = Pair("here", meadow, meadow, None, (0.0, 0.0))
    here = samples.Background(pair, (water, water), none, none, none)
    taught = samples.taught_clouds([here], _SeesCloudEverywhere(), count=12, seed=1)
    sites = [one for one in taught if (one.label == Cloud.CLEAR).any()]
    assert 2 <= len(sites) < 12
    for one in sites:
        assert (one.label == Cloud.CLEAR).mean() < 0.6
