"""Idle, every function is at zero pods; the next scene wakes what it needs."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from functions.stages import STAGES
from geodata_etl.simulate import SiteSpec, simulate_site, write_scene
from groundshift.ledger import tables

KNATIVE = "serving.knative.dev__service"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scene of a place that no other test looks at."""
    folder = tmp_path_factory.mktemp("idle")
    site = simulate_site(SiteSpec(seed=21, size_px=500, top=-250_000, left=30_000))
    return write_scene(site.scene(datetime(2024, 6, 1, 10, 30, tzinfo=UTC)), site, folder)


def test_an_idle_platform_has_no_function_pods_and_wakes_for_a_scene(
    cluster, scene, capsys
) -> None:
    def asleep() -> bool:
        return not any(cluster.pods(**{KNATIVE: stage}) for stage in STAGES)

    cluster.wait_for("every function at zero pods", asleep, timeout_s=400)
    cluster.upload(scene.parent, prefix="idle")
    began = time.monotonic()
    event = cluster.arrive(f"idle/{scene.name}")
    answered = time.monotonic() - began
    cluster.wait_scenes({scene.stem: "skipped"})
    total = time.monotonic() - began
    table = tables.arrivals
    with cluster.ledger.read() as connection:
        query = select(table.c.created).where(table.c.href == event.data["href"])
        first_work = connection.execute(query).scalar_one() - event.time
    with capsys.disabled():
        print(
            f"\nfrom zero pods: event to first work {first_work.total_seconds():.1f} s, ingest "
            f"{answered:.1f} s, four functions and three models {total:.1f} s"
        )
