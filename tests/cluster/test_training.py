"""Trainings on the cluster: a JobSink's Job to its outcome, and Ray through a worker's death.

They need the image `groundshift-training`, and the first one MLflow (knative/components/mlflow).
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import delete, select

from groundshift.codec import encode
from groundshift.events import DriftFound, event_type
from groundshift.ledger import tables, trainings

RAYJOB = Path(__file__).parent / "rayjob"
OF_SINK = "sinks.knative.dev/job-sink-name=training"
WORKERS = {"ray.io__node-type": "worker"}
DRIFT = DriftFound(drift_id="test", kind="input", measure="red", value=2.0, limit=1.0)


def there(cluster: Any, kind: str, name: str = "") -> bool:
    """Whether the cluster has a kind, and an object of that name."""
    return bool(cluster.kubectl("get", kind, *([name] if name else []), "-o", "name", check=False))


@pytest.fixture
def no_training(cluster) -> None:
    """Nothing was trained here yet: the same labels would make no second training."""
    if not there(cluster, "service", "mlflow"):
        pytest.skip("no MLflow here: apply knative/components/mlflow with the overlay")
    due = tables.outbox.c.type == event_type("retrain.due")
    said = select(tables.outbox.c.seq).where(due)
    with cluster.ledger.transaction() as tx:
        tx.execute(delete(tables.trainings))
        tx.execute(delete(tables.deliveries).where(tables.deliveries.c.seq.in_(said)))
        tx.execute(delete(tables.outbox).where(due))
    cluster.kubectl("delete", "jobs", "-l", OF_SINK, "--ignore-not-found")


def jobs(cluster: Any) -> list[dict[str, Any]]:
    found = json.loads(cluster.kubectl("get", "jobs", "-l", OF_SINK, "-o", "json"))
    return list(found["items"])


def known(cluster: Any) -> list[trainings.Training]:
    with cluster.ledger.read() as connection:
        return trainings.in_state(connection)


@pytest.mark.usefixtures("no_training")
def test_a_drift_becomes_one_job_with_one_outcome_though_its_pod_dies(cluster, capsys) -> None:
    began = time.monotonic()
    name = uuid4().hex
    with cluster.ledger.transaction() as tx:  # as the monitor will say it, and twice
        for attempt in (1, 2):
            tx.say(DRIFT, source="monitor", subject=name, attempt=attempt)
    (job,) = cluster.wait_for("a Job for retrain.due", lambda: jobs(cluster), timeout_s=600)
    label = {"batch.kubernetes.io__job-name": job["metadata"]["name"]}
    cluster.wait_for("a training that runs", lambda: state(cluster) == "running", timeout_s=600)
    (pod,) = cluster.pods(**label)
    cluster.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=1")
    cluster.wait_for("its end", lambda: state(cluster) in trainings.ENDED, timeout_s=1500)
    (ended,) = known(cluster)
    assert ended.state in ("registered", "refused"), ended.message
    assert json.loads(cluster.store.get(ended.report))["set_digest"] == ended.set_digest
    headers, body = encode(ended.event)  # the event once more, as at-least-once delivery may
    assert httpx.post(cluster.broker, content=body, headers=headers, timeout=900).status_code == 202
    cluster.wait_for("everything handled", cluster.quiet, timeout_s=600)
    assert [one["metadata"]["name"] for one in jobs(cluster)] == [job["metadata"]["name"]]
    assert known(cluster) == [ended]
    with capsys.disabled():
        print(f"\ndrift to {ended.state}: {time.monotonic() - began:.0f} s; {ended.message}")


def state(cluster: Any) -> str:
    return next((one.state for one in known(cluster)), "")


@pytest.fixture
def rayjob(cluster) -> Iterator[None]:
    """The training on Ray, applied; it and what KubeRay made of it go again."""
    if not there(cluster, "crd", "rayjobs.ray.io"):
        pytest.skip("no KubeRay here")
    rendered = subprocess.run(
        ["kubectl", "kustomize", str(RAYJOB)], capture_output=True, text=True, check=True
    ).stdout
    cluster.kubectl("apply", "-f", "-", stdin=rendered)
    try:
        yield
    finally:
        cluster.kubectl("delete", "-f", "-", "--ignore-not-found", "--wait=false", stdin=rendered)


@pytest.mark.usefixtures("rayjob")
def test_a_training_on_ray_ends_well_though_a_worker_dies(cluster, capsys) -> None:
    began = time.monotonic()

    def said(path: str) -> str:
        return str(cluster.kubectl("get", "rayjob", "training", "-o", f"jsonpath={{{path}}}"))

    cluster.wait_for(
        "the job on Ray", lambda: said(".status.jobStatus") == "RUNNING", timeout_s=900
    )
    started = time.monotonic() - began
    victim = cluster.pods(**WORKERS)[0]["metadata"]["name"]
    cluster.kubectl("delete", "pod", victim, "--grace-period=0", "--force")

    def ended() -> str:
        status = said(".status.jobStatus")
        return status if status in ("SUCCEEDED", "FAILED", "STOPPED") else ""

    outcome = cluster.wait_for("the end of the job on Ray", ended, timeout_s=1500)
    logs = cluster.kubectl("logs", "-l", "groundshift.io/ray=submitter", "--tail=200", check=False)
    assert outcome == "SUCCEEDED", logs
    assert "cloud-mask sha256:" in logs
    with capsys.disabled():
        total = time.monotonic() - began
        print(f"\nRay: running after {started:.0f} s, done after {total:.0f} s; killed {victim}")
