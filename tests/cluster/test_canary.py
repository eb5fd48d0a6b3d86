"""A second model set at 25 %: runs take a side as a whole, exactly by their hash."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import onnx
import pytest
from sqlalchemy import select

from geodata_etl.simulate import SiteSpec, simulate_site, write_scene
from groundshift import keys
from groundshift.kube import INFERENCE_SERVICES, list_objects
from groundshift.ledger import tables
from groundshift.models import artifact_digest, list_models
from groundshift.runs import MODEL_NAMES, canary_bucket
from groundshift.serving.testing import write_test_models

PAIRS = 40
PERCENT = 25
START = datetime(2022, 3, 1, 10, 30, tzinfo=UTC)
SIZE_PX = 256


@dataclass(frozen=True)
class Sets:
    """The digests of two published model sets."""

    one: frozenset[str]
    two: frozenset[str]


@pytest.fixture(scope="module")
def sets(cluster, tmp_path_factory) -> Sets:
    """Test models t1 rolled out and t2 published."""
    one = write_test_models(tmp_path_factory.mktemp("one"))
    two = write_test_models(tmp_path_factory.mktemp("two"))
    for folder in two.iterdir():
        _change(folder)
    cluster.publish(one, "t1")
    cluster.publish(two, "t2")
    cluster.roll_out("t1")
    return Sets(*(frozenset(r.digest for r in list_models(store)) for store in (one, two)))


def _change(folder: Path) -> None:
    """The same rules under another digest."""
    artifact, record = folder / "model.onnx", folder / "model.json"
    model = onnx.load(artifact)
    model.doc_string = "another release"
    artifact.write_bytes(model.SerializeToString())
    said = json.loads(record.read_text()) | {"digest": artifact_digest(artifact.read_bytes())}
    record.write_text(json.dumps(said))


@dataclass(frozen=True)
class Series:
    """Scenes of one place, in order, uploaded."""

    name: str
    items: Sequence[str]

    def send(self, cluster: Any, items: Sequence[str]) -> None:
        for item in items:
            cluster.arrive(f"{self.name}/{item}.json")

    def wait(self, cluster: Any, items: Sequence[str]) -> None:
        first = self.items[0]
        wanted = {item: "skipped" if item == first else "done" for item in items}
        cluster.wait_scenes(wanted, timeout_s=1200)


def series(cluster: Any, folder: Path, *, name: str, seed: int, count: int) -> Series:
    site = simulate_site(
        SiteSpec(seed=seed, size_px=SIZE_PX, top=-400_000 - 2_000 * seed, left=35_000)
    )
    made = [
        write_scene(site.scene(START + timedelta(days=5 * n)), site, folder) for n in range(count)
    ]
    cluster.upload(folder, prefix=name)
    return Series(name, [path.stem for path in made])


@pytest.fixture(scope="module")
def pairs(cluster, tmp_path_factory) -> Series:
    folder = tmp_path_factory.mktemp("pairs")
    return series(cluster, folder, name="pairs", seed=31, count=PAIRS + 4)


def runs_of(cluster: Any, items: Sequence[str]) -> list[Any]:
    """Every run of these scenes, superseded ones too."""
    runs, scenes = tables.runs, tables.scenes
    query = (
        select(runs, scenes.c.stac_id)
        .join(scenes, scenes.c.id == runs.c.scene_id)
        .where(scenes.c.stac_id.in_(items))
    )
    with cluster.ledger.read() as connection:
        return list(connection.execute(query).all())


def digests(run: Any) -> frozenset[str]:
    return frozenset(model["digest"] for model in run.model_set)


def on_one_side(rows: Sequence[Any], sets: Sets) -> list[Any]:
    """The runs, each held to one whole model set."""
    for run in rows:
        assert digests(run) in (sets.one, sets.two), f"run {run.id} mixes {run.model_set}"
    return list(rows)


def test_a_canary_takes_exactly_its_share_and_no_run_mixes(cluster, sets, pairs, capsys) -> None:
    """Four scenes come before and while the three services move, forty after."""
    early, rest = pairs.items[:4], pairs.items[4:]
    with moments(cluster) as seen:
        pairs.send(cluster, early[:2])
        cluster.serve("t2", percent=PERCENT)
        pairs.send(cluster, early[2:])
        cluster.wait_release("t1", "t2", PERCENT)
    pairs.send(cluster, rest)
    pairs.wait(cluster, pairs.items)
    every = on_one_side(runs_of(cluster, pairs.items), sets)
    late = [r for r in every if r.current and r.kind == "change" and r.stac_id in rest]
    assert len(late) == len(rest)
    took = {run.id: digests(run) == sets.two for run in late}
    split = {run.id: canary_bucket(run.scene_id, run.baseline) < PERCENT for run in late}
    assert took == split
    for run in late:
        assert_scored_by_its_own_models(cluster, run)
    share = sum(took.values())
    mixed = Counter(_plain_digests(cluster, sets, 40))
    with capsys.disabled():
        print(
            f"\ncanary {PERCENT} %: {share} of {len(late)} pairs ran on it, as their hashes say; "
            f"the services moved {', '.join(f'{n} {s:.1f} s' for n, s in seen.items())} after the "
            f"patch; 40 requests of one scene at the plain address: {dict(mixed)}"
        )
    assert len(set(seen.values())) > 1
    assert len(mixed) == 2, "the plain address splits by request: why the choice is made per run"


def assert_scored_by_its_own_models(cluster: Any, run: Any) -> None:
    """Both dates' tiles stand under the digests of the run's own models."""
    cached = {
        model["name"]: model["digest"].removeprefix("sha256:")[:16] for model in run.model_set
    }
    scene_ids = (run.scene_id, *run.baseline[:1])
    for name in MODEL_NAMES[:2]:
        found = list(cluster.store.list(f"tiles/{name}/{cached[name]}-"))
        for scene_id in scene_ids:
            assert any(f"/{scene_id}/" in key for key in found), f"{name} {scene_id} of {run.id}"
    record = json.loads(cluster.store.get(keys.product(run.id, "run.json")))
    assert {m["digest"] for m in record["models"]} == digests(run)


def test_promotion_under_way_and_a_canary_that_never_starts(cluster, sets, pairs, tmp_path) -> None:
    """Patches fall into unfinished runs; none of them fails or mixes."""
    more = series(cluster, tmp_path, name="promoted", seed=32, count=9)
    more.send(cluster, more.items[:3])
    cluster.promote()
    more.send(cluster, more.items[3:5])
    cluster.wait_release("t2")
    more.wait(cluster, more.items[:5])
    cluster.serve("absent", percent=PERCENT)
    more.send(cluster, more.items[5:7])
    more.wait(cluster, more.items[:7])
    broken = [r for r in runs_of(cluster, more.items[5:7]) if r.current]
    assert {digests(run) for run in broken} == {sets.two}
    # back to the old models, in KServe's order: pause, revert at 0 %, release
    cluster.pause()
    cluster.serve("t1", percent=0)
    more.send(cluster, more.items[7:8])
    cluster.wait_ready_at("t1")
    cluster.promote()
    cluster.wait_release("t1")
    more.send(cluster, more.items[8:])
    more.wait(cluster, more.items)
    every = on_one_side(runs_of(cluster, more.items), sets)
    assert not [run for run in every if run.state == "failed"]
    (last,) = [r for r in every if r.current and r.stac_id == more.items[-1]]
    assert digests(last) == sets.one


@contextmanager
def moments(cluster: Any) -> Iterator[dict[str, float]]:
    """Seconds after the entry at which each service's status names a revision beside the old."""
    seen: dict[str, float] = {}
    stop, begun = threading.Event(), time.monotonic()

    def look() -> None:
        while not stop.wait(0.1):
            for service in list_objects(cluster.api, INFERENCE_SERVICES, cluster.namespace):
                status = service.get("status", {}).get("components", {}).get("predictor", {})
                if len({t.get("revisionName") for t in status.get("traffic", ())}) > 1:
                    name = service["metadata"]["name"]
                    seen.setdefault(name, round(time.monotonic() - begun, 1))

    thread = threading.Thread(target=look, name="moments")
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def _plain_digests(cluster: Any, sets: Sets, count: int) -> Iterator[str]:
    """Which set answered each of `count` requests at the service's own address."""
    body = {
        "inputs": [
            {"name": "image", "shape": [1, 6, 32, 32], "datatype": "UINT16", "data": [900] * 6144}
        ]
    }
    with cluster.gateway("segmenter-predictor") as client:
        for _ in range(count):
            answer: httpx.Response = client.post("/v2/models/segmenter/infer", json=body)
            digest = answer.raise_for_status().json()["parameters"]["digest"]
            yield "t2" if digest in sets.two else "t1"
