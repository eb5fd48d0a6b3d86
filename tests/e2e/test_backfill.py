"""History replayed: by threads and by a Dask cluster, again and after a kill, it is one state."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from distributed import LocalCluster
from prometheus_client.parser import text_string_to_metric_families

from functions.commands.backfill import Backfilled, backfill
from functions.local import Embedded
from functions.testing import canonical_state
from groundshift.errors import Misconfigured, Unavailable

Open = Callable[..., AbstractContextManager[Embedded]]

# Dask leaves sockets of connections that ended to the garbage collector
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
    ),
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, models_url: str) -> dict[str, str]:
    """The settings of the e2e platforms, for this process and its children."""
    given = {
        "GROUNDSHIFT_MODELS_URL": models_url,
        "GROUNDSHIFT_MIN_AREA_PX": "400",
        "GROUNDSHIFT_DISPATCH_POLL_S": "0.2",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **given}


@pytest.fixture(scope="module")
def cluster(models_url: str) -> Iterator[str]:
    """A scheduler with two workers, each a process of one thread."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as made:
        yield made.scheduler_address


@pytest.fixture
def state(open_platform: Open) -> Callable[[Path], dict[str, Any]]:
    def of(folder: Path) -> dict[str, Any]:
        with open_platform(folder) as platform:
            return canonical_state(platform.platform.ledger, platform.platform.store)

    return of


def deliveries(done: Backfilled) -> int:
    """How many were made, ever."""
    assert set(done.status["deliveries"]) == {"done"}, done.status
    return int(done.status["deliveries"]["done"])


def test_threads_end_where_submit_and_work_end(
    items: list[Path], tmp_path: Path, undisturbed: dict[str, Any], state: Any
) -> None:
    folder = items[0].parent
    done = backfill([str(folder)], data_dir=tmp_path, quiet=True)
    assert (done.scenes, done.new, done.workers) == (len(items), len(items), 0)
    assert (f"{done.first:%Y-%m-%d}", f"{done.last:%Y-%m-%d}") == ("2024-05-01", "2024-10-28")
    assert state(tmp_path) == undisturbed
    assert "superseded" not in done.status["runs"], "in order, nothing is planned twice"
    again = backfill([str(folder)], data_dir=tmp_path, quiet=True)
    assert (again.scenes, again.new) == (len(items), 0)
    assert deliveries(again) == deliveries(done), "again, nothing is done"


def asked(models_url: str, name: str) -> float:
    """Images that a model of the server was asked about, ever."""
    text = httpx.get(f"{models_url}/metrics", trust_env=False).raise_for_status().text
    family = "groundshift_inference_images"
    return sum(
        sample.value
        for metric in text_string_to_metric_families(text)
        if metric.name == family
        for sample in metric.samples
        if sample.name == f"{family}_total" and sample.labels["model_name"] == name
    )


def test_a_dask_cluster_ends_where_submit_and_work_end(
    items: list[Path],
    tmp_path: Path,
    undisturbed: dict[str, Any],
    state: Any,
    cluster: str,
    models_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The list is newest first: history is in order whatever was said.

    This process asks for no pixel, and no worker for what another one has in hand.
    """
    monkeypatch.setattr("groundshift.adapters.kserve_http.KServeClient.infer", None)
    names = ("cloud-mask", "segmenter")
    before = {name: asked(models_url, name) for name in names}
    hrefs = [str(item) for item in reversed(items)]
    done = backfill(hrefs, data_dir=tmp_path, scheduler=cluster, quiet=True)
    assert (done.new, done.workers) == (len(items), 2)
    assert state(tmp_path) == undisturbed
    assert done.status["runs"] == {"done": len(items)}, "nothing is planned twice"
    for name in names:
        stored = list((tmp_path / "objects" / "tiles" / name).glob("*/*/*"))
        assert len(stored) == asked(models_url, name) - before[name] > 0
    again = backfill(hrefs, data_dir=tmp_path, scheduler=cluster, quiet=True)
    assert (again.new, deliveries(again)) == (0, deliveries(done))


@pytest.mark.slow
def test_killed_and_called_again_it_goes_on(
    items: list[Path],
    tmp_path: Path,
    undisturbed: dict[str, Any],
    state: Any,
    cluster: str,
    environment: dict[str, str],
) -> None:
    """Killed once a run has its first block, with others still to come."""
    command = [sys.executable, "-m", "functions.cli", "backfill", str(items[0].parent)]
    command += ["--data", str(tmp_path), "--scheduler", cluster, "--json"]
    log = tmp_path / "backfill.log"
    with log.open("wb") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("objects/runs/*/blocks/*")):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert len(list(tmp_path.glob("objects/runs/*/run.json"))) < len(items) - 1
    process = subprocess.run(command, env=environment, capture_output=True, check=True)
    done = json.loads(process.stdout)
    assert (done["scenes"], done["new"]) == (len(items), 0)
    assert state(tmp_path) == undisturbed


# ---- what cannot work is said before anything is done


def test_a_scheduler_that_is_not_there_is_named(
    items: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.dask_blocks._CONNECT_S", 0.5)
    with pytest.raises(Unavailable, match=r"no Dask scheduler at tcp://127\.0\.0\.1:9"):
        backfill([str(items[0])], data_dir=tmp_path, scheduler="tcp://127.0.0.1:9", quiet=True)


def test_a_cluster_without_workers_is_said_so(items: list[Path], tmp_path: Path) -> None:
    with (
        LocalCluster(n_workers=0, processes=True, dashboard_address=":0") as empty,
        pytest.raises(Misconfigured, match="no worker"),
    ):
        backfill([str(items[0])], data_dir=tmp_path, scheduler=empty.scheduler_address, quiet=True)


def test_workers_that_do_not_see_the_objects_are_named(
    items: list[Path], tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a folder of this machine is none of theirs."""
    monkeypatch.setattr(
        "groundshift.adapters.files.FileObjectStore.put", lambda *_: None
    )  # here only: the workers are other processes
    with pytest.raises(Misconfigured, match="does not see the objects"):
        backfill([str(items[0])], data_dir=tmp_path, scheduler=cluster, quiet=True)


def test_sources_that_hold_no_item_are_named(tmp_path: Path, items: list[Path]) -> None:
    shutil.copy(items[0].with_name(f"{items[0].stem}_10m.tif"), tmp_path / "only.tif")
    for source, why in ((tmp_path, "no STAC Item there"), (tmp_path / "gone", "no such file")):
        with pytest.raises(Misconfigured, match=why):
            backfill([str(source)], data_dir=tmp_path / "data", quiet=True)
    assert not (tmp_path / "data").exists()
