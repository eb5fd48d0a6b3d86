"""The search for hyper-parameters, from the command to the best one's line. Needs torch and Ray."""

from __future__ import annotations

import json
import logging

import pytest

pytestmark = [
    pytest.mark.training,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # Ray's and MLflow's own
]
pytest.importorskip("torch")
pytest.importorskip("ray")
pytest.importorskip("mlflow")

from typer.testing import CliRunner  # noqa: E402

from groundshift.errors import Misconfigured  # noqa: E402
from training import loop, pipeline, tracking  # noqa: E402
from training import tune as searching  # noqa: E402
from training.cli import app, tune_app  # noqa: E402


def job(folder, name="segmenter"):
    return pipeline.Job(name, folder, folder, loop.Recipe(steps=2), simulated=4, size=32)


def test_only_the_classifier_is_searched_for_a_paste_share(tmp_path):
    assert "paste_share" in searching.space(job(tmp_path, "change-classifier"))
    assert set(searching.space(job(tmp_path))) < set(searching.OPTIONS)


def test_the_best_is_said_as_options_that_the_training_command_has():
    found = searching.Found(0.5, {"rate": 0.00123, "batch": 8.0, "real_share": 0.5}, 3)
    line = found.command("segmenter")
    assert line == "groundshift train segmenter --rate 0.00123 --batch 8 --real-share 0.5"
    help_text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    assert all(f"--{name.replace('_', '-')}" in help_text for name in searching.OPTIONS)


def test_the_classifier_needs_a_segmenter_before_anything_starts(tmp_path):
    with pytest.raises(Misconfigured, match="segmenter first"):
        searching.search(job(tmp_path, "change-classifier"), searching.Search(), data=None)


def test_a_search_tries_and_tells(tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    caplog.set_level(logging.ERROR)
    arguments = ["segmenter", "--smoke", "--threads", "1", "--work", str(tmp_path)]
    result = CliRunner().invoke(tune_app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "best of 2 trials" in result.output
    assert "groundshift train segmenter --rate" in result.output
    best = json.loads((tmp_path / "segmenter.tuned.json").read_text())
    assert best["trials"] == 2
    client = tracking.reopen(tracking.tracking_uri(tmp_path), "").client
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id])
    (run,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    trials = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert run.data.metrics["score"] == pytest.approx(best["score"])
    assert run.data.metrics["rate"] == pytest.approx(best["rate"])
    assert [trial.data.tags["mlflow.parentRunId"] for trial in trials] == [run.info.run_id] * 2
    assert max(trial.data.metrics["score"] for trial in trials) == pytest.approx(best["score"])
    assert all(float(trial.data.params["rate"]) > 0 for trial in trials)
    assert all(client.get_metric_history(t.info.run_id, "loss") for t in trials)
