"""Training itself; needs torch (`make test-training`)."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's older ONNX exporter
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

torch = pytest.importorskip("torch")
pytest.importorskip("segmentation_models_pytorch")
NAMES = ["cloud-mask", "segmenter", "change-classifier"]


def _source():
    from training import corpus, samples

    return samples.Source([], [corpus.simulate(s, size=96) for s in (1, 2)], 64, 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_exported_graph_gives_what_the_network_gives_on_any_size(name, tmp_path):
    from training import export, nets
    from training.evaluate import OnnxModel

    torch.manual_seed(0)
    net = nets.build(name).eval()
    export.export_onnx(name, net, tmp_path / "model.onnx")
    model = OnnxModel(tmp_path / "model.onnx")
    names = [t["name"] for t in export.CONTRACT[name][0]]
    for size, batch in ((32, 1), (96, 3)):
        inputs = nets.dummy_inputs(name, size=size, batch=batch)
        with torch.no_grad():
            expected = net(*inputs).numpy()
        got = model(dict(zip(names, (x.numpy() for x in inputs), strict=True)))
        assert got.dtype == np.uint8
        assert got.shape == expected.shape
        assert np.abs(got.astype(int) - expected).max() <= 1


def test_training_lowers_the_loss_and_resumes_where_it_stopped(tmp_path):
    from training import loop, nets

    torch.manual_seed(0)
    net = nets.build("segmenter")
    recipe = loop.Recipe(steps=4, batch=2, seed=1)
    assert loop.train("segmenter", net, _source(), recipe, checkpoint=tmp_path / "c.pt") == 4
    again = nets.build("segmenter")
    longer = loop.Recipe(steps=6, batch=2, seed=1)
    assert loop.train("segmenter", again, _source(), longer, checkpoint=tmp_path / "c.pt") == 6


def test_students_of_another_start_are_not_taken_for_these(tmp_path):
    from groundshift.errors import Misconfigured
    from training import loop, nets

    recipe, kept = loop.Recipe(steps=1, batch=2), tmp_path / "c.pt"

    def train(start):
        net = nets.build("segmenter")
        return loop.train(
            "segmenter", net, _source(), recipe, checkpoint=kept, facts={"start": start}
        )

    assert train("one") == 1
    with pytest.raises(Misconfigured, match="start one, not other"):
        train("other")


def test_the_same_seed_gives_the_same_weights(tmp_path):
    from training import loop, nets

    weights = []
    for run in ("a", "b"):
        torch.manual_seed(3)
        net = nets.build("cloud-mask")
        recipe = loop.Recipe(steps=2, batch=2, seed=3)
        loop.train("cloud-mask", net, _source(), recipe, checkpoint=tmp_path / f"{run}.pt")
        weights.append(net.state_dict())
    for key in weights[0]:
        assert torch.equal(weights[0][key], weights[1][key])


def test_calibration_spends_the_budget(tmp_path):
    from training import calibrate, corpus, nets
    from training.realdata import Pair

    torch.manual_seed(0)
    pair = corpus.simulate(1, size=128)
    real = Pair("here", pair.before, pair.after, None, (0.0, 0.0))
    classifier = nets.build("change-classifier").eval()
    segmenter = nets.build("segmenter").eval()
    calibrate.set_bias(classifier, segmenter, [real], budget=0.1)
    dates = [torch.from_numpy(s)[None] for s in (pair.before, pair.after)]
    with torch.no_grad():
        logits = classifier.logits(*dates, *(segmenter(d) for d in dates)).numpy()[0, 0]
    assert (logits[real.valid] > 0).mean() == pytest.approx(0.1, abs=0.005)


def test_the_command_trains_all_three_into_a_store(tmp_path):
    from typer.testing import CliRunner

    from training.cli import app

    store, work = tmp_path / "store", tmp_path / "work"
    for name in ("segmenter", "change-classifier", "cloud-mask"):  # the last needs no other
        arguments = [name, "--smoke", "--out", str(store), "--work", str(work)]
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0
        record = json.loads((store / name / "model.json").read_text(encoding="utf-8"))
        assert record["name"] == name
        assert (store / name / "card.md").exists()


def test_without_torch_the_command_names_the_cure(monkeypatch):
    import importlib.util

    from groundshift.errors import Misconfigured
    from training.cli import require_torch

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Misconfigured, match=r"groundshift\[training\]"):
        require_torch()
