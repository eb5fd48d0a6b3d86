"""The contract of the shipped artifacts: what every client and runtime may count on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from geodata_etl.grid import HALO_PX
from training import corpus, measure
from training.evaluate import OnnxModel

MAX_BYTES = 4 * 2**20
NAMES = ["cloud-mask", "segmenter", "change-classifier"]
STORE = Path(__file__).parents[2] / "groundshift" / "model_store"


@pytest.fixture(scope="module")
def pair():
    return corpus.simulate(corpus.HELD_OUT_SEED + 1, size=128)


def _record(name: str):
    return json.loads((STORE / name / "model.json").read_text(encoding="utf-8"))


def _inputs(name: str, pair, *, batch: int = 1, blank=np.s_[0:0]):
    before, after = (np.repeat(s[None], batch, 0).copy() for s in (pair.before, pair.after))
    before[:, :, blank] = 0
    if name == "cloud-mask":
        return {"image": np.ascontiguousarray(before[:, :4])}
    if name == "segmenter":
        return {"image": before}
    segmenter = OnnxModel(STORE / "segmenter" / "model.onnx")
    dates = {"before": before, "after": after}
    return {**dates, **{f"{k}_probabilities": segmenter({"image": v}) for k, v in dates.items()}}


@pytest.mark.parametrize("name", NAMES)
def test_record_names_the_artifact_beside_it(name):
    path = STORE / name / "model.onnx"
    record = _record(name)
    assert record["digest"] == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert record["name"] == name
    assert path.stat().st_size < MAX_BYTES
    assert record["digest"] in (STORE / name / "card.md").read_text(encoding="utf-8")


def test_classifier_accepts_the_segmenter_it_ships_with():
    assert _record("change-classifier")["accepts_segmenters"] == [_record("segmenter")["digest"]]


@pytest.mark.parametrize("name", NAMES)
def test_nodata_comes_out_as_not_observed_and_nothing_else_does(name, pair):
    output = OnnxModel(STORE / name / "model.onnx")(_inputs(name, pair, blank=np.s_[:16]))
    lost = (pair.before.min(0) == 0) | (name == "change-classifier") & (pair.after.min(0) == 0)
    lost[:16] = True
    assert output.dtype == np.uint8
    for plane in output[0].reshape(-1, *lost.shape):
        np.testing.assert_array_equal(plane == 255, lost)


@pytest.mark.parametrize("name", NAMES)
def test_batch_mates_change_nothing(name, pair):
    model = OnnxModel(STORE / name / "model.onnx")
    one, two = model(_inputs(name, pair)), model(_inputs(name, pair, batch=2))
    np.testing.assert_array_equal(two[0], one[0])
    np.testing.assert_array_equal(two[1], one[0])


@pytest.mark.parametrize("name", NAMES)
def test_measured_influence_is_what_the_record_says_and_fits_the_halo(name):
    segmenter = OnnxModel(STORE / "segmenter" / "model.onnx")
    reach = measure.influence_of(name, OnnxModel(STORE / name / "model.onnx"), segmenter)
    assert reach.px == _record(name)["influence_px"] <= HALO_PX


def test_probabilities_of_a_pixel_sum_to_one(pair):
    levels = OnnxModel(STORE / "segmenter" / "model.onnx")(_inputs("segmenter", pair))[0]
    total = levels[:, pair.before.min(0) > 0].astype(int).sum(axis=0)
    assert np.abs(total - 254).max() <= 3
