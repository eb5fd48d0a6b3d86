"""What MLflow is told of a training, in a file of the work folder. Needs mlflow."""

from __future__ import annotations

import pytest

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("ignore"),  # MLflow's own
]
pytest.importorskip("mlflow")
pytest.importorskip("torch")

from groundshift.errors import Unavailable  # noqa: E402
from training import tracking  # noqa: E402


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """One work folder: making MLflow's tables takes seconds."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def points(*steps):
    return [{"step": s, "at_ms": 1_700_000_000_000 + s, "loss": 1 / s} for s in steps]


def values(run, key):
    return [(m.step, m.value) for m in run.client.get_metric_history(run.run_id, key)]


def test_a_run_holds_what_went_in_how_it_went_and_what_came_out(work, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "card.md").write_text("# a model\n")
    with tracking.tracked("a", work, params={"rate": 0.1}, tags={"dataset": "abc"}) as run:
        run.points(points(10, 20))
        run.points(points(10, 20, 30))
        run.numbers({"final_score": 0.5})
        run.json({"classes": ["x"]}, "confusion.json")
        run.bytes(b"picture", tmp_path, "pictures/a.png")
        run.folder(folder, "model")
    found = run.client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"rate": "0.1"}
    assert found.data.tags["dataset"] == "abc"
    assert found.data.tags["mlflow.source.git.commit"]
    assert values(run, "loss") == [(10, 0.1), (20, 0.05), (30, pytest.approx(1 / 30))]
    names = {item.path for item in run.client.list_artifacts(run.run_id)}
    assert names == {"confusion.json", "pictures", "model"}
    assert (work / "mlflow.db").exists()


def test_a_run_that_was_cut_off_goes_on_and_tells_nothing_twice(work):
    opened = tracking.tracked("b", work, params={}, tags={})
    run = opened.__enter__()  # and is never left, as in a process that is killed
    run.points(points(10, 20))
    with tracking.tracked("b", work, params={}, tags={}) as again:
        again.points(points(10, 20, 30))
    assert again.run_id == run.run_id
    assert [step for step, _ in values(again, "loss")] == [10, 20, 30]
    with tracking.tracked("b", work, params={}, tags={}) as new:
        pass
    assert new.run_id != run.run_id


def test_a_run_that_fails_is_marked_so_and_goes_on_when_it_is_tried_again(work):
    def fail():
        with tracking.tracked("c", work, params={}, tags={}) as run:
            runs.append(run)
            raise ZeroDivisionError

    runs = []
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fail()
    assert len({run.run_id for run in runs}) == 1
    assert runs[0].client.get_run(runs[0].run_id).info.status == "FAILED"


def test_a_server_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with (
        pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"),
        tracking.tracked("d", tmp_path, params={}, tags={}),
    ):
        pass
