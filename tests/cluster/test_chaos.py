"""Ten rounds in which something dies at a random moment; the end is that of the quiet run.

The seed is printed; GROUNDSHIFT_CHAOS_SEED repeats it.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from functions.commands.common import BATCH_BACKOFF
from functions.commands.submit import scene_arrived
from functions.local import embedded
from geodata_etl.simulate import SiteSpec, simulate_site, write_scene
from groundshift.runs import MODEL_NAMES
from groundshift.serving.testing import write_test_models
from groundshift.settings import Settings

ROUNDS = 10
START = datetime(2023, 4, 1, 10, 30, tzinfo=UTC)
LATEST_S = 20.0
"""Longest wait in a round until something dies."""


@pytest.fixture(scope="module")
def models(cluster, tmp_path_factory) -> Path:
    store = write_test_models(tmp_path_factory.mktemp("models"))
    cluster.publish(store, "t1")
    cluster.roll_out("t1")
    return store


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> list[list[Path]]:
    """Three scenes of another place for each round."""
    return [_place(tmp_path_factory.mktemp("chaos"), index) for index in range(ROUNDS)]


def _place(folder: Path, index: int) -> list[Path]:
    site = simulate_site(
        SiteSpec(seed=50 + index, size_px=500, top=-300_000 - 3_000 * index, left=42_000)
    )
    return [write_scene(site.scene(START + timedelta(days=40 * n)), site, folder) for n in range(3)]


@pytest.fixture(scope="module")
def quiet(models, places, platform_state, tmp_path_factory) -> dict[str, Any]:
    """What the embedded run of all the places leaves behind, where nothing dies."""
    items = [item for place in places for item in place]
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("quiet"),
        model_dir=models,
        allowed_roots=tuple({item.parent for item in items}),
        backoff_scale=BATCH_BACKOFF,
    )
    with embedded(settings) as platform:
        platform.announce([scene_arrived(str(item), {}) for item in items])
        platform.work(timeout_s=900)
        return platform_state(platform.platform.ledger, platform.platform.store)


def test_whatever_dies_the_end_is_that_of_the_quiet_run(
    cluster, places, quiet, platform_state, capsys
) -> None:
    seed = int(os.environ.get("GROUNDSHIFT_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    chance = random.Random(seed)
    rounds = list(_kinds(cluster).items())
    said = []
    for index, place in enumerate(places):
        cluster.upload(place[0].parent, prefix=place[0].parent.name)
        kind, kill = rounds[index % len(rounds)]
        after = chance.uniform(0.5, LATEST_S)
        timer = threading.Timer(after, kill)
        timer.start()
        for item in place:
            cluster.arrive(f"{item.parent.name}/{item.name}")
        timer.join()
        outcomes = ["skipped", "done", "done"]
        wanted = {item.stem: o for item, o in zip(place, outcomes, strict=True)}
        cluster.wait_scenes(wanted, timeout_s=600)
        said.append(f"{kind} after {after:.1f} s")
    with capsys.disabled():
        print(f"\nchaos, seed {seed}: " + "; ".join(said))
    sites = {row["id"] for row in quiet["sites"]}
    found = platform_state(cluster.ledger, cluster.store, sites)
    for part in quiet:
        assert found[part] == quiet[part], part


def _kinds(cluster: Any) -> dict[str, Callable[[], object]]:
    """What may die, by name."""

    def pods(namespace: str, selector: str) -> Callable[[], object]:
        command = ("-n", namespace, "delete", "pod", "-l", selector, "--force", "--grace-period=0")
        return lambda: cluster.kubectl(*command, "--ignore-not-found", check=False)

    own = cluster.namespace
    model = f"serving.kserve.io/inferenceservice={MODEL_NAMES[1]}"
    return {
        "detect pods": pods(own, "serving.knative.dev/service=detect"),
        "event dispatcher": pods("knative-eventing", "messaging.knative.dev/role=dispatcher"),
        "relay": pods(own, "app.kubernetes.io/name=relay"),
        "model server": pods(own, model),
        "database connections": lambda: _cut_connections(cluster),
        "S3 server": lambda: cluster.restart_s3(),
        "every function": pods(own, "serving.knative.dev/service in (ingest,plan,assemble,track)"),
    }


def _cut_connections(cluster: Any) -> None:
    engine = create_engine(cluster.settings.database_url)
    try:
        with engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
                )
            )
    finally:
        engine.dispose()
