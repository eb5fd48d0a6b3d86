"""Template tests: each fails for the model it is there to catch."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from geodata_etl.bands import NOT_OBSERVED
from geodata_etl.grid import CORE_PX, Tile
from training.evaluation import templates
from training.evaluation.bench import open_bench
from training.evaluation.templates import TEMPLATES, Result

BY_NAME = {template.name: template for template in TEMPLATES}


def far(before, after):
    return np.abs(after.astype(int) - before).mean(axis=0)


def symmetric(before, after):
    return far(before, after) > 400


class Stub:
    """A bench whose two answers are functions."""

    def __init__(self, called=symmetric, compare=None):
        self.called, self.compare = called, compare


def plane(value):
    return np.full((CORE_PX, CORE_PX), value, np.uint8)


def result(**more):
    planes = {"change": plane(0), "observed": plane(1), "before_class": plane(0)}
    return SimpleNamespace(**(planes | {"after_class": plane(0)} | more))


def holds(name, bench):
    template = BY_NAME[name]
    return template.run(bench) <= template.tolerance


def test_identical_dates_catch_a_model_that_sees_change_in_one_picture():
    assert holds("identical dates", Stub())
    assert not holds("identical dates", Stub(lambda before, after: after[2] > 1200))


def test_swapping_catches_a_model_that_knows_one_direction():
    brighter = Stub(lambda before, after: (after.astype(int) - before).mean(axis=0) > 400)
    assert holds("swapped dates, mask", Stub())
    assert not holds("swapped dates, mask", brighter)


def test_swapping_catches_classes_that_depend_on_the_other_date():
    leaking = Stub(compare=lambda before, after: result(before_class=plane(1)))
    assert holds("swapped dates, classes", Stub(compare=lambda before, after: result()))
    assert not holds("swapped dates, classes", leaking)


def test_light_catches_a_model_on_a_razors_edge():
    def fine(before, after):
        return far(before, after).astype(int) % 8 < 4

    for name in ("brightness of both dates", "gain of one date"):
        assert not holds(name, Stub(fine))


def test_a_pasted_building_catches_a_blind_model():
    blind = Stub(lambda before, after: np.zeros(before.shape[1:], bool))
    assert BY_NAME["pasted building"].run(blind) == 1.0
    assert (
        BY_NAME["pasted building"].run(Stub(lambda before, after: far(before, after) > 150)) < 0.5
    )


@pytest.mark.parametrize(
    "wrong",
    [result(), result(observed=plane(0))],
    ids=["unchanged", "a level without observation"],
)
def test_a_cloud_catches_ground_that_is_called_unchanged(wrong):
    right = result(observed=plane(0), change=plane(NOT_OBSERVED))
    assert holds("half under cloud", Stub(compare=lambda before, after: right))
    assert BY_NAME["half under cloud"].run(Stub(compare=lambda before, after: wrong)) == 1.0


def test_translation_catches_an_answer_that_knows_the_place():
    def placed(before, after, tile=None):
        return result(change=plane(7 if tile else 0))

    assert not holds("translated by whole tiles", Stub(compare=placed))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    pytest.importorskip("onnx")
    from groundshift.serving.testing import write_test_models

    return write_test_models(tmp_path_factory.mktemp("rules"))


def test_the_bench_asks_the_platforms_own_tile_function(store):
    """Rule models: cloud over 0.3, change by 4 x the mean difference (p = .5 at 0.125)."""
    before = np.full((6, 96, 96), 1000, np.uint16)
    after = before.copy()
    after[:, 20:40, 20:40] = 2600
    after[:4, 60:90, 60:90] = 6000
    with open_bench(store) as bench:
        here = bench.compare(before, after)
        assert (here.change[20:40, 20:40] > 127).all()
        assert (here.observed[60:90, 60:90] == 0).all()
        assert (here.change[60:90, 60:90] == NOT_OBSERVED).all()
        assert (here.observed[96:] == 0).all()
        there = bench.compare(before, after, Tile(0, 1))
        assert (there.observed == 0).all()


def test_the_results_land_in_every_record_and_leave_the_digest(store, monkeypatch):
    monkeypatch.setattr(templates, "TEMPLATES", (BY_NAME["identical dates"],))
    digests = {p: json.loads(p.read_text())["digest"] for p in store.glob("*/model.json")}
    written = templates.write(store)
    assert written == {"identical dates": {"measured": 0.0, "tolerance": 0.0, "passed": True}}
    for path, digest in digests.items():
        record = json.loads(path.read_text())
        assert record["metamorphic"] == written
        assert record["digest"] == digest


def test_a_result_passes_up_to_its_tolerance():
    assert Result("", "", "", 0.25, 0.25).passed
    assert not Result("", "", "", 0.2501, 0.25).passed
