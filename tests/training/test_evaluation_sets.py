"""Slices, and the failure-mode sets: each shows what its row says, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from geodata_etl.bands import BANDS, Cloud, Cover
from training import corpus
from training.dataset import Sample
from training.evaluation import failures, simulated, slices
from training.evaluation.failures import MODES
from training.evaluation.predict import Prediction
from training.evaluation.run import Plan
from training.evaluation.slices import Slice
from training.evaluation.tally import Tally, mean_over_sites, pooled

EDGE = 24


def made_up(site="a", *, change=None, **more):
    stack = np.full((len(BANDS), EDGE, EDGE), 900, np.uint16)
    change = np.zeros((EDGE, EDGE), bool) if change is None else change
    return Sample(
        name=site,
        site=site,
        sensor="sentinel-2",
        dates=(date(2023, 12, 20), date(2024, 1, 10)),
        licence="Apache-2.0",
        lineage="made up",
        before=stack,
        after=stack,
        ignore=np.zeros((EDGE, EDGE), bool),
        change=change,
        **more,
    )


def answered(level, hidden=None):
    nothing = np.zeros((EDGE, EDGE), np.uint8)
    hidden = np.zeros((EDGE, EDGE), bool) if hidden is None else hidden
    return Prediction(level, hidden, (nothing, nothing), (nothing, nothing), threshold=127)


def squares(*edges):
    mask = np.zeros((EDGE, EDGE), bool)
    left = 0
    for edge in edges:
        mask[:edge, left : left + edge] = True
        left += edge + 1
    return mask


def test_a_sample_falls_into_the_slices_of_its_facts():
    clouds = np.zeros((EDGE, EDGE), np.uint8)
    clouds[: EDGE // 2] = Cloud.CLOUD
    sample = made_up(clouds=(clouds, np.zeros_like(clouds)), traits={"biome": "desert"})
    found = dict(slices.of_sample(sample))
    assert found["season"] == "same season"  # 21 days apart, over the turn of the year
    assert found["sky"] == slices.CLOUDIEST
    assert found["biome"] == "desert"
    assert (found["site"], found["sensor"]) == ("a", "sentinel-2")


def test_each_change_counts_in_the_slice_of_its_own_size():
    sample = made_up(change=squares(2, 5, 12))
    found = {value: int(mask.sum()) for _, value, mask in slices.of_pixels(sample)}
    assert found == {"under 0.1 ha": 4, "0.1 to 0.5 ha": 25, "0.5 to 2.5 ha": 144}


def test_class_pairs_hold_changed_pixels_and_unchanged_classes_the_rest():
    change = squares(4)
    before = np.full((EDGE, EDGE), Cover.BARE, np.uint8)
    after = np.where(change, np.uint8(Cover.BUILT), before)
    masks = {
        key[:2]: key[2] for key in slices.of_pixels(made_up(change=change, covers=(before, after)))
    }
    np.testing.assert_array_equal(masks["from -> to", "bare -> built"], change)
    np.testing.assert_array_equal(masks["unchanged class", "bare"], ~change)


def test_a_tally_keeps_sites_apart_and_pools_them_on_demand():
    change = squares(5)
    tally = Tally()
    for site, level in (("a", 0), ("b", 200), ("b", 200)):
        answer = answered(np.full((EDGE, EDGE), level, np.uint8))
        tally.add(slices.LABELS, made_up(site, change=change), answer)
    sites = tally.changes[Slice(slices.LABELS, slices.EVERYTHING, "")]
    assert {site: c.classifier(127).hits for site, c in sites.items()} == {"a": 0, "b": 50}
    assert pooled(sites).classifier(127).hits == 50
    assert mean_over_sites(sites, lambda c: c.classifier(127).hits) == 25


def test_a_set_about_one_thing_counts_as_a_whole_only():
    tally = Tally()
    tally.add("snow", made_up(change=squares(5)), answered(np.zeros((EDGE, EDGE), np.uint8)))
    assert set(tally.changes) == {Slice("snow", slices.EVERYTHING, "")}


def test_held_out_sites_are_drawn_from_seeds_that_never_train():
    one, again = (list(simulated.held_out(2, size=64)) for _ in range(2))
    assert [s.digest for s in one] == [s.digest for s in again]
    assert {s.name for s in one} == {f"seed-{corpus.HELD_OUT_SEED + n}" for n in range(2)}
    for sample in one:
        assert sample.clouds is not None
        clear = (sample.clouds[0] == Cloud.CLEAR) & (sample.clouds[1] == Cloud.CLEAR)
        assert not (~sample.ignore & ~clear).any()


def test_a_further_look_sees_other_sites():
    plan = Plan(sites=2, size_px=64, failure_sites=1, data=Path("real"))
    plans = [plan, plan.further(1), plan.further(2)]
    assert [(p.sites, p.failure_sites, p.data) for p in plans[1:]] == [(2, 1, None), (4, 2, None)]
    seen = [s.site for p in plans for s in simulated.held_out(p.sites, size=64, look=p.look)]
    mode = MODES[0]
    seen += [s.site for p in plans for s in failures.samples(mode, 1, size=64, look=p.look)]
    assert len(set(seen)) == len(seen) == 8 + 3


@pytest.fixture(scope="module")
def shown():
    return {m.name: list(islice(failures.samples(m, 2, size=128), 2)) for m in MODES}


def test_every_failure_mode_makes_its_samples_from_sites_of_its_own(shown):
    sites = [sample.site for samples in shown.values() for sample in samples]
    assert len(set(sites)) == len(sites) == 2 * len(MODES)
    for name, samples in shown.items():
        assert all(name in sample.lineage for sample in samples)
        assert all((~sample.ignore).any() for sample in samples)


def counts(sample):
    return ~sample.ignore


def test_each_sky_shows_what_its_row_says(shown):
    for sample in shown["thin cloud"]:
        after = sample.clouds[1]
        assert (after == Cloud.THIN).mean() > 0.25
        assert not (counts(sample) & (after == Cloud.CLOUD)).any()
    for sample in shown["shadow"]:
        assert (sample.clouds[1] == Cloud.SHADOW).mean() > 0.1
        assert set(np.unique(sample.clouds[1][counts(sample)])) <= {Cloud.CLEAR, Cloud.SHADOW}
    for sample in shown["cloud edge"]:
        assert not (counts(sample) & (sample.clouds[1] == Cloud.CLOUD)).any()
    for name in ("crop rotation", "leaf-off", "haze", "misregistration", "snow"):
        assert all((sample.clouds[1] == Cloud.CLEAR).all() for sample in shown[name])


def test_rotation_is_a_year_apart_and_leaf_off_half_a_year(shown):
    assert all(sample.season_days <= 1 for sample in shown["crop rotation"])
    assert all(sample.season_days > 150 for sample in shown["leaf-off"])


def test_soil_water_and_snow_differ_where_they_should(shown):
    for sample in shown["bright soil"]:
        bare = [cover == Cover.BARE for cover in sample.covers]
        same = bare[0] & bare[1] & ~sample.change
        gain = sample.after[2][same].astype(float).mean() / sample.before[2][same].mean()
        assert gain > 1.1
    for sample in shown["water turbidity"]:
        wet = [cover == Cover.WATER for cover in sample.covers]
        assert wet[0].sum() > 300
        red = sample.after[2][wet[0] & wet[1]].mean() - sample.before[2][wet[0] & wet[1]].mean()
        assert red > 100
    for sample in shown["snow"]:
        assert np.median(sample.after[1]) > 2 * np.median(sample.before[1])


def test_a_mode_that_no_site_shows_says_so():
    never = replace(MODES[0], make=lambda draw: None)
    with pytest.raises(RuntimeError, match="0 of 1 sites"):
        list(failures.samples(never, 1, size=64))
