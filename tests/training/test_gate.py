"""The gate on made-up counts: an inferior slice is caught, noise is not, and it says why."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from training import gate
from training.evaluation.counts import LEVELS, Confusion, Counts
from training.evaluation.run import Evaluation, Plan
from training.evaluation.slices import EVERYTHING, OSCD, SIMULATED, Slice
from training.evaluation.templates import Result

WHOLE = Slice(SIMULATED, EVERYTHING, "")
DESERT = Slice(SIMULATED, "biome", "desert")
SMALL = Slice(SIMULATED, "change size", "under 0.1 ha")
RULES = gate.Rules(draws=500)
PASSED = Result("identical dates", "no change", "share called", 0.0, 0.0)


def counts(hits, false_alarms, misses, rejections):
    pixels = np.zeros((2, 2, LEVELS), np.int64)
    pixels[0, 1, 200], pixels[0, 1, 20] = hits, misses
    pixels[0, 0, 200], pixels[0, 0, 20] = false_alarms, rejections
    return Counts(pixels)


def site(rng, recall, false_share=0.005, *, spread=0.03):
    found = float(np.clip(recall + rng.normal(0, spread), 0, 1))
    hits, false_alarms = round(1000 * found), round(40_000 * false_share)
    return counts(hits, false_alarms, 1000 - hits, 40_000 - false_alarms)


def evaluation(seed, *, sites=24, **recalls):
    """A model set with a recall per slice; every one differs from site to site by chance."""
    rng = np.random.default_rng(seed)
    made = Evaluation({"change-classifier": f"sha256:{seed:064x}"}, threshold=127)
    for key in (WHOLE, DESERT):
        recall = recalls.get(key.value or "whole", 0.7)
        made.tally.changes[key] = {f"s{n}": site(rng, recall) for n in range(sites)}
    return made


def failed(verdict):
    return {f.subject for f in verdict.failed}


@pytest.mark.parametrize("seed", range(10))
def test_noise_is_no_inferiority(seed):
    verdict = gate.verdict(evaluation(seed), evaluation(seed + 100), [PASSED], RULES)
    assert verdict.accepted, verdict.reason


def test_a_set_against_itself_holds_everywhere():
    one = evaluation(1)
    verdict = gate.verdict(one, one, [PASSED], RULES)
    assert verdict.accepted
    assert {f.status for f in verdict.findings} == {gate.HOLDS}


@pytest.mark.parametrize("seed", range(5))
def test_an_inferior_slice_is_caught_even_where_the_whole_is_better(seed):
    worse = evaluation(seed, whole=0.8, desert=0.55)
    verdict = gate.verdict(worse, evaluation(seed + 100), [PASSED], RULES)
    assert not verdict.accepted
    assert failed(verdict) == {str(DESERT)}
    (finding,) = verdict.failed
    assert finding.rule == "slice"
    assert finding.numbers["difference"] < -finding.numbers["margin"]
    assert str(DESERT) in verdict.reason


def wild(seeds, *, of, sites=10, turned=0):
    """Two sets that do well where the other does badly: a wide interval, its middle on zero."""
    made = []
    for number, seed in enumerate(seeds):
        rng = np.random.default_rng(seed)
        one = Evaluation({"change-classifier": f"sha256:{seed:064x}"}, threshold=127)
        recalls = [(0.9, 0.5), (0.5, 0.9)][(number + turned) % 2]
        for key in of:
            one.tally.changes[key] = {
                f"s{seed // 10}-{n}": site(rng, recalls[n % 2], spread=0.1) for n in range(sites)
            }
        made.append(one)
    return made


def test_a_real_set_must_be_shown_not_inferior_and_its_slices_only_not_inferior_by_proof():
    whole, city = Slice(OSCD, EVERYTHING, ""), Slice(OSCD, "season", "same season")
    one, two = wild((1, 2), of=(whole, city))
    found = gate.verdict(one, two, (), RULES)
    assert {f.subject: f.status for f in found.findings} == {
        str(whole): gate.FAILS,
        str(city): gate.OPEN,
    }


@dataclass
class Looks:
    """Measures what it is told to, and keeps how often it was asked."""

    given: dict[str, list[Evaluation]]
    plans: list[Plan] = field(default_factory=list)

    def __call__(self, store, plan):
        self.plans.append(plan)
        return self.given[store.name][plan.look - 1]


def contest(one, two, looks, *, tested=(PASSED,)):
    new, old = gate.Contestant(Path("new"), one), gate.Contestant(Path("old"), two)
    return gate.decide(new, old, tested, Plan(sites=10), RULES, measure=looks)


def test_what_the_simulator_leaves_open_is_decided_on_further_sites():
    one, two = wild((11, 12), of=(WHOLE, DESERT))
    assert {f.status for f in gate.verdict(one, two, (), RULES).findings} == {gate.OPEN}
    looks = Looks({"new": [evaluation(3, sites=200)], "old": [evaluation(4, sites=200)]})
    verdict = contest(one, two, looks)
    assert verdict.accepted, verdict.reason
    assert {f.numbers["sites"] for f in verdict.findings if f.rule != "template"} == {210}
    assert [(p.look, p.sites, p.data) for p in looks.plans] == [(1, 10, None)] * 2


def test_what_is_still_open_after_the_last_look_refuses():
    one, two = wild((21, 22), of=(WHOLE, DESERT))
    further = [wild((10 * n + 1, 10 * n + 2), of=(WHOLE, DESERT)) for n in (3, 4)]
    looks = Looks({"new": [f[0] for f in further], "old": [f[1] for f in further]})
    verdict = contest(one, two, looks)
    assert [(p.look, p.sites) for p in looks.plans] == [(1, 10), (1, 10), (2, 20), (2, 20)]
    assert failed(verdict) == {str(WHOLE), str(DESERT)}
    assert "not shown not to be inferior" in verdict.reason


def test_a_set_that_is_refused_anyway_is_not_looked_at_again():
    one, two = wild((51, 52), of=(DESERT,))
    broken = Result("identical dates", "no change", "share called", 0.1, 0.0)
    assert failed(contest(one, two, Looks({}), tested=[broken])) == {"identical dates"}


def test_few_sites_only_inform():
    verdict = gate.verdict(
        evaluation(1, sites=5, desert=0.1), evaluation(2, sites=5), [PASSED], RULES
    )
    assert verdict.accepted
    assert {f.status for f in verdict.findings if f.rule != "template"} == {gate.INFORMS}


def test_a_failed_template_test_refuses_with_its_numbers():
    broken = Result("swapped dates, mask", "the mask stays", "1 - overlap", 0.4, 0.25)
    one = evaluation(1)
    verdict = gate.verdict(one, one, [PASSED, broken], RULES)
    assert not verdict.accepted
    assert failed(verdict) == {"swapped dates, mask"}
    assert "0.4" in verdict.reason
    assert "0.25" in verdict.reason


def test_without_a_champion_the_template_tests_decide():
    assert gate.verdict(evaluation(1), None, [PASSED], RULES).accepted
    broken = Result("identical dates", "no change", "share called", 0.1, 0.0)
    assert not gate.verdict(evaluation(1), None, [broken], RULES).accepted


def test_slices_of_one_kind_of_pixel_are_judged_by_what_they_have():
    one, two = evaluation(1), evaluation(2)
    quiet = Slice(SIMULATED, "unchanged class", "bare")
    for made, lost, loud in ((one, 400, 900), (two, 100, 20)):
        made.tally.changes[SMALL] = {f"s{n}": counts(500 - lost, 0, lost, 0) for n in range(12)}
        made.tally.changes[quiet] = {f"s{n}": counts(0, loud, 0, 40_000 - loud) for n in range(12)}
    verdict = gate.verdict(one, two, (), RULES)
    measures = {f.subject: f.numbers["measure"] for f in verdict.failed}
    assert measures == {str(SMALL): "recall", str(quiet): "quiet"}


def test_where_the_ground_is_veiled_silence_is_no_fault_and_false_alarms_are():
    snow = Slice("snow", EVERYTHING, "")
    silent, loud, champion = evaluation(1), evaluation(1), evaluation(1)
    champion.tally.changes[snow] = {f"s{n}": counts(500, 40, 500, 40_000) for n in range(10)}
    silent.tally.changes[snow] = {f"s{n}": counts(0, 0, 1000, 40_040) for n in range(10)}
    loud.tally.changes[snow] = {f"s{n}": counts(900, 900, 100, 39_140) for n in range(10)}
    assert gate.verdict(silent, champion, (), RULES).accepted
    assert failed(gate.verdict(loud, champion, (), RULES)) == {"snow"}


def test_a_worse_cloud_mask_and_a_worse_segmenter_are_caught():
    def confusion(right, wrong):
        return Confusion(np.array([[right, wrong], [wrong, right]], np.int64))

    for table in ("clouds", "covers"):
        one, two = evaluation(1), evaluation(1)
        getattr(one.tally, table)[WHOLE] = {f"s{n}": confusion(800, 200) for n in range(12)}
        getattr(two.tally, table)[WHOLE] = {f"s{n}": confusion(900, 100) for n in range(12)}
        verdict = gate.verdict(one, two, (), RULES)
        assert [f.rule for f in verdict.failed] == ["set"]
        assert gate.verdict(two, one, (), RULES).accepted


def test_sets_keep_their_names_and_sites_that_only_one_saw_do_not_count():
    one, two = evaluation(1), evaluation(1)
    cities = Slice(OSCD, EVERYTHING, "")
    for made, first in ((one, 0), (two, 4)):
        made.tally.changes[cities] = {f"c{n}": counts(9, 1, 1, 99) for n in range(first, 12)}
    (finding,) = [f for f in gate.verdict(one, two, (), RULES).findings if f.subject == OSCD]
    assert finding.numbers["sites"] == 8


def test_the_record_is_json_and_says_the_rules():
    record = gate.verdict(evaluation(1), evaluation(2), [PASSED], RULES).as_dict()
    again = json.loads(json.dumps(record))
    assert again["rules"]["min_sites"] == RULES.min_sites
    assert again["challenger"] != again["champion"]
    assert {"rule", "subject", "status", "numbers", "sentence"} <= again["findings"][0].keys()


def test_judging_runs_both_stores_over_the_same_sites(tmp_path):
    pytest.importorskip("onnx")
    from groundshift.serving.testing import write_test_models

    store = write_test_models(tmp_path / "rules")
    verdict = gate.judge(store, store, plan=Plan(sites=2, size_px=64, failure_sites=0))
    assert verdict.challenger == verdict.champion
    compared = [f for f in verdict.findings if f.rule != "template"]
    assert compared
    assert all(f.numbers["difference"] == 0 for f in compared)
    assert {f.rule for f in verdict.failed} <= {"template"}
