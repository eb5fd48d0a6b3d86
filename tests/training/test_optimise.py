"""Variants: what is quantised, what is kept, what they lose, what is written about them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from groundshift.models import list_models, read_artifact
from groundshift.registry import read_set
from training import corpus, gate, optimise, triton_store, variant_report, variant_store, variants
from training.evaluate import OnnxModel
from training.evaluation.predict import Prediction
from training.quantise import between_convolutions, folded, int8
from training.variant_store import Calibration

STORE = Path(__file__).parents[2] / "groundshift" / "model_store"
EDGE = STORE.with_name("model_store_edge")
NAMES = ["cloud-mask", "segmenter", "change-classifier"]


def _pair(seed: int = corpus.HELD_OUT_SEED + 3):
    drawn = corpus.simulate(seed, size=96, cloud_fraction=0.0)
    return drawn.before[None], drawn.after[None]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    """Both variants of the shipped set, calibrated on two small pairs."""
    drawn = Calibration((_pair(1), _pair(2)), ("two simulated pairs",))
    return variant_store.build(STORE, tmp_path_factory.mktemp("variants"), drawn)


def _model(store: Path, name: str) -> OnnxModel:
    return OnnxModel(store / name / "model.onnx")


def _graph_of_four() -> onnx.ModelProto:
    """Sqrt -> Conv -> Relu -> Conv -> Conv -> Sigmoid, without a name on any node."""
    weights = [
        numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), f"w{n}") for n in (1, 3, 4)
    ]
    chain = ["Sqrt", "Conv", "Relu", "Conv", "Conv", "Sigmoid"]
    nodes = [
        helper.make_node(op, [f"t{n}", *([f"w{n}"] if op == "Conv" else [])], [f"t{n + 1}"])
        for n, op in enumerate(chain)
    ]
    shape = ["N", 1, "H", "W"]
    graph = helper.make_graph(
        nodes,
        "four",
        [helper.make_tensor_value_info("t0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("t6", TensorProto.FLOAT, shape)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_what_stands_between_convolutions_is_found_by_structure():
    model = _graph_of_four()
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}-{number}"
    assert between_convolutions(model.graph) == {"Relu-2", "Conv-3"}
    assert between_convolutions(model.graph, lead=2) == frozenset()


def test_first_and_last_convolution_stay_float_even_without_names():
    feeds = [{"t0": np.random.default_rng(n).random((1, 1, 8, 8), np.float32)} for n in range(2)]
    model = onnx.load_from_string(int8(_graph_of_four().SerializeToString(), feeds))
    made_by = {output: node.op_type for node in model.graph.node for output in node.output}
    weights = [made_by.get(n.input[1]) for n in model.graph.node if n.op_type == "Conv"]
    assert weights == [None, "DequantizeLinear", None]


def test_the_shipped_cloud_mask_keeps_two_convolutions_and_the_last():
    model = onnx.load(EDGE / "cloud-mask" / "model.onnx")
    made_by = {output: node.op_type for node in model.graph.node for output in node.output}
    kept = [
        made_by.get(node.input[1]) != "DequantizeLinear"
        for node in model.graph.node
        if node.op_type == "Conv"
    ]
    assert kept == [True, True, *[False] * (len(kept) - 3), True]


@pytest.mark.parametrize("name", NAMES)
def test_a_folded_graph_answers_as_its_base_within_a_level(name, made):
    for feed in (variant_store.feeds(STORE, _pair())[name],):
        base, variant = (
            _model(store, name)(feed).astype(int) for store in (STORE, made["fp32-folded"])
        )
        assert np.abs(base - variant).max() <= 1
        assert (base == variant).mean() > 0.9999


def test_folding_takes_the_softmax_apart_and_keeps_to_plain_operators():
    artifact = read_artifact(next(r for r in read_set(STORE) if r.name == "segmenter"))
    model = onnx.load_from_string(folded(artifact))
    assert "Softmax" not in {node.op_type for node in model.graph.node}
    assert [opset.domain for opset in model.opset_import] == [""]


@pytest.mark.parametrize("name", NAMES)
def test_static_int8_agrees_with_its_base(name, made):
    feed = variant_store.feeds(STORE, _pair())[name]
    base, variant = (
        _model(store, name)(feed).astype(int) for store in (STORE, made["int8-static"])
    )
    if name == "cloud-mask":
        assert (base == variant).mean() > 0.97
    else:
        assert np.abs(base - variant).mean() < 3


@pytest.mark.parametrize("name", NAMES)
def test_static_int8_does_not_depend_on_batch_mates(name, made):
    model = _model(made["int8-static"], name)
    one = variant_store.feeds(STORE, _pair())[name]
    other = variant_store.feeds(STORE, _pair(corpus.HELD_OUT_SEED + 4))[name]
    both = {key: np.concatenate([x, other[key]]) for key, x in one.items()}
    np.testing.assert_array_equal(model(both)[:1], model(one))


def test_a_variant_is_a_set_of_its_own(made):
    base = {r.name: r for r in read_set(STORE)}
    stores = [made["fp32-folded"], made["int8-static"]]
    for store, kind in zip(stores, ("fp32-folded", "int8-static"), strict=True):
        records = {r.name: r for r in read_set(store)}  # digests, and the classifier's segmenter
        assert {r.variant for r in records.values()} == {kind}
        for name, record in records.items():
            assert record.raw["base"]["digest"] == base[name].digest != record.digest
            assert record.influence_px is not None
            assert record.influence_px <= record.halo
    classifier = next(r for r in list_models(made["int8-static"]) if r.accepts_segmenters)
    assert not classifier.accepts(base["segmenter"].digest)


def test_the_shipped_edge_set_is_small_and_whole():
    base = {r.name: r for r in read_set(STORE)}
    for record in read_set(EDGE):
        assert record.variant == "int8-static"
        assert record.raw["base"]["digest"] == base[record.name].digest, "run groundshift optimise"
        assert record.artifact.stat().st_size < base[record.name].artifact.stat().st_size
        assert record.digest in record.card
        assert record.raw["metrics"]["against_base"]


def _prediction(level, hidden) -> Prediction:
    plane = np.zeros((2, 2), np.uint8)
    return Prediction(
        level=np.array(level, np.uint8),
        hidden=np.array(hidden),
        clouds=(plane, plane),
        covers=(plane, plane),
        threshold=100,
    )


def test_agreement_counts_what_both_call_and_what_both_show():
    clear = [[False, False], [False, False]]
    agreement = variants.Agreement()
    agreement.add(
        _prediction([[200, 200], [0, 0]], clear),
        _prediction([[200, 0], [0, 0]], [[False, False], [False, True]]),
    )
    assert agreement.as_dict() == {"same_share": 0.5, "dice": round(2 / 3, 4)}
    assert variants.Agreement().as_dict() == {"same_share": 0.0, "dice": 1.0}


def test_speed_is_told_of_both(made):
    feed = variant_store.feeds(STORE, _pair())["cloud-mask"]
    took = variants.speed(STORE / "cloud-mask", made["int8-static"] / "cloud-mask", feed, rounds=3)
    assert min(took.base_s, took.variant_s, took.ratio) > 0


def test_a_tile_is_made_of_what_is_smaller():
    x = np.arange(4, dtype=np.uint16).reshape(1, 1, 2, 2)
    (large,) = variants.tile({"image": x}, edge=5).values()
    assert large.shape == (1, 1, 5, 5)
    np.testing.assert_array_equal(large[0, 0, :2, 2:4], x[0, 0])


def test_a_triton_repository_lets_no_server_batch(made, tmp_path):
    triton_store.write(made["fp32-folded"], tmp_path)
    for record in read_set(made["fp32-folded"]):
        folder = tmp_path / record.name
        assert (folder / "1" / "model.onnx").read_bytes() == read_artifact(record)
        said = (folder / "config.pbtxt").read_text()
        assert "max_batch_size: 0" in said
        assert "dynamic_batching" not in said
        assert record.digest in said
        assert said.count("{") == said.count("}")
        assert said.count("[") == said.count("]")
    said = triton_store.config(record, tensorrt=True)
    assert 'name: "before", data_type: TYPE_UINT16, dims: [ 1, 6, 512, 512 ]' in said
    assert 'name: "change", data_type: TYPE_UINT8, dims: [ 1, 512, 512 ]' in said
    assert '"tensorrt"' in said


def test_the_page_is_made_of_the_table_beside_it():
    folder = STORE.parents[1] / "docs" / "models"
    found = json.loads((folder / "variants.json").read_text())
    assert variant_report.page(found) == (folder / "variants.md").read_text()
    shipped = {r.name: r.digest for r in read_set(EDGE)}
    told = found["variants"]["int8-static"]["models"]
    assert {name: row["digest"] for name, row in told.items()} == shipped
    assert found["variants"]["int8-static"]["gate"]["ships"]


@pytest.mark.parametrize("ships", [True, False])
def test_the_gate_decides_what_goes_to_devices(ships, made, tmp_path, monkeypatch):
    found = {"variants": {"int8-static": {"gate": {"ships": ships}}}}
    monkeypatch.setattr(optimise, "run", lambda *_, **__: found)
    monkeypatch.setattr(optimise, "_show", lambda *_: None)
    monkeypatch.setattr(variant_store, "calibration", lambda _: None)
    asked = ["--out", str(made["int8-static"].parent), "--edge", str(tmp_path), "--json"]
    said = CliRunner().invoke(optimise.app, asked)
    assert said.exit_code == (0 if ships else 1)
    assert json.loads(said.stdout) == found
    shipped = [record.digest for record in read_set(tmp_path)] if ships else []
    assert shipped == ([r.digest for r in read_set(made["int8-static"])] if ships else [])
    assert ships or not list(tmp_path.iterdir())


def test_what_its_base_fails_too_does_not_keep_a_variant_back():
    def verdict(*failed: tuple[str, str]) -> gate.Verdict:
        findings = tuple(gate.Finding(rule, name, gate.FAILS, {}, name) for rule, name in failed)
        return gate.Verdict(not failed, {}, {}, findings, gate.Rules())

    swapped, slice_ = ("template", "swapped dates, mask"), ("slice", "simulated / biome: desert")
    assert optimise._ruling(verdict(swapped), {swapped[1]})["ships"]
    assert not optimise._ruling(verdict(swapped), set())["ships"]
    assert not optimise._ruling(verdict(swapped, slice_), {swapped[1], slice_[1]})["ships"]
