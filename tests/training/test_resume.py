"""A training that is killed goes on: the process itself, and Ray's workers. Needs torch."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import psutil
import pytest

pytestmark = [
    pytest.mark.training,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # torch's ONNX exporter, Ray's and MLflow's own
]

torch = pytest.importorskip("torch")
pytest.importorskip("ray")
pytest.importorskip("mlflow")

from groundshift.errors import Misconfigured  # noqa: E402
from training import loop, pipeline, tracking, train_ray  # noqa: E402

DEADLINE_S = 240


def until(said, what):
    """Wait for a condition, watching nothing but it."""
    end = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < end, f"{said} did not happen"
        time.sleep(0.05)


def job(folder, *, steps=6, every=2, name="segmenter", **more):
    recipe = loop.Recipe(steps=steps, batch=4, every=every, seed=3)
    return pipeline.Job(
        name, folder / "work", folder / "store", recipe, simulated=5, size=32, **more
    )


def version(one):
    return pipeline.gather(one, None).manifest.version


def weights(one):
    return loop.read(pipeline.checkpoint(one))["net"]


def same(one, two):
    return all(torch.equal(one[key], two[key]) for key in one)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    with tracking.tracked("segmenter", folder, params={}, tags={}) as run:
        yield run


def test_the_command_goes_on_after_a_kill(tmp_path):
    arguments = [
        *(sys.executable, "-m", "training", "cloud-mask", "--simulated", "5"),
        *("--steps", "400", "--every", "10", "--batch", "2", "--threads", "1"),
        *("--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")),
    ]
    environment = {**os.environ, "GROUNDSHIFT_DATA": str(tmp_path / "none")}  # no real imagery
    kept = tmp_path / "work" / "cloud-mask.pt"
    first = subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL)
    until("the first checkpoint", lambda: kept.exists() or first.poll() is not None)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert first.returncode == -signal.SIGKILL
    before = loop.read(kept)
    assert 0 < before["done"] < 400

    shorter = [*arguments, "--steps", str(before["done"] + 10)]
    second = subprocess.run(shorter, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert f"goes on at step {before['done']}" in second.stderr
    after = loop.read(kept)
    assert after["done"] == before["done"] + 10
    assert after["state"]["spent_s"] > before["state"]["spent_s"]
    record = json.loads((tmp_path / "out" / "cloud-mask" / "model.json").read_text())
    assert record["training"]["steps"] == after["done"]
    steps = [point["step"] for point in after["state"]["history"] if "loss" in point]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize(
    ("change", "told"), [({"simulated": 6}, "dataset"), ({"width": 1.5}, "width")]
)
def test_a_checkpoint_of_another_training_is_not_gone_on_from(tmp_path, change, told):
    def run(one):
        found = pipeline.gather(one, None)
        loop.Course(
            *(one.name, pipeline.network(one), loop.drawer(one.name, found.source, None)),
            *(one.recipe, loop.FileKeeper(pipeline.checkpoint(one)), loop.alone()),
            facts=pipeline.facts(one, found),
        ).run()

    first = job(tmp_path, steps=1)
    run(first)
    run(first)
    with pytest.raises(Misconfigured, match=f"{told}.*--work"):
        run(replace(first, **change))


def test_one_worker_gives_the_weights_of_a_run_without_ray_bit_for_bit(tmp_path, tracked):
    alone = job(tmp_path / "alone")
    again = job(tmp_path / "again")
    in_ray = job(tmp_path / "ray", workers=1)
    for one in (alone, again):
        found = pipeline.gather(one, None)
        loop.Course(
            one.name,
            pipeline.network(one),
            loop.drawer(one.name, found.source, None),
            one.recipe,
            keeper=loop.FileKeeper(pipeline.checkpoint(one)),
            team=loop.alone(),
        ).run()
    state = train_ray.fit(in_ray, None, tracked, dataset=version(in_ray))
    assert state.done == alone.recipe.steps
    assert same(weights(alone), weights(again))
    assert same(weights(alone), weights(in_ray))
    assert not workers()


def workers():
    """Ray's training workers below this process."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if "RayTrainWorker" in _title(process)
    ]


def _title(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_a_killed_worker_is_replaced_and_the_team_goes_on(tmp_path, tracked, caplog):
    caplog.set_level(logging.INFO)
    one = job(tmp_path, steps=120, every=5, workers=2)
    place = tmp_path / "work" / "ray" / train_ray.run_name(one, version(one))
    killed = []

    def kill():
        until("a checkpoint", lambda: list(place.glob("checkpoint_*")))
        victim = workers()[-1]
        killed.append((victim.pid, {path.name for path in place.glob("checkpoint_*")}))
        victim.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    state = train_ray.fit(one, None, tracked, dataset=version(one))
    killer.join()
    ((pid, seen),) = killed
    assert seen
    assert not psutil.pid_exists(pid)
    assert state.done == 120
    steps = [int(point["step"]) for point in state.history if "loss" in point]
    assert steps == list(range(10, 121, 10))  # no step twice, none left out
    assert not workers()
