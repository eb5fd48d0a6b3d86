"""A real pair through Broker, functions and InferenceServices gives the embedded run's bits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from functions.commands.common import BATCH_BACKOFF
from functions.commands.submit import scene_arrived
from functions.local import embedded
from groundshift.events import Event
from groundshift.ledger import tables
from groundshift.ledger.arrivals import arrival_id
from groundshift.settings import Settings

CITY = "saclay_e"
ITEMS = (f"{CITY}_20160315", f"{CITY}_20170829")


@pytest.fixture(scope="module")
def scenes(data: Path) -> Path:
    folder = data / "oscd" / CITY
    if not folder.is_dir():
        pytest.skip(f"real imagery is not at {folder}: set GROUNDSHIFT_DATA")
    return folder


@pytest.fixture(scope="module")
def expected(
    scenes: Path, platform_state, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the embedded run of the same scenes with the same models leaves behind."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("embedded"),
        allowed_roots=(scenes,),
        backoff_scale=BATCH_BACKOFF,
    )
    with embedded(settings) as platform:
        platform.announce([scene_arrived(str(scenes / f"{item}.json"), {}) for item in ITEMS])
        platform.work(timeout_s=600)
        return platform_state(platform.platform.ledger, platform.platform.store)


def test_a_real_pair_is_bit_for_bit_the_embedded_run(
    cluster, scenes, expected, platform_state, capsys
) -> None:
    cluster.roll_out("v1")
    cluster.upload(scenes, prefix=CITY)
    began = time.monotonic()
    first = cluster.arrive(f"{CITY}/{ITEMS[0]}.json")
    cluster.wait_scenes({ITEMS[0]: "skipped"})
    middle = time.monotonic()
    cluster.arrive(f"{CITY}/{ITEMS[1]}.json")
    cluster.wait_scenes({ITEMS[0]: "skipped", ITEMS[1]: "done"})
    seconds = time.monotonic() - middle
    sites = {row["id"] for row in expected["sites"]}
    found = platform_state(cluster.ledger, cluster.store, sites)
    for part in ("sites", "scenes", "runs", "changes", "alerts", "items"):
        assert found[part] == expected[part], part
    assert found["artifacts"].keys() == expected["artifacts"].keys()
    differ = [k for k, v in found["artifacts"].items() if v != expected["artifacts"][k]]
    assert not differ, f"other bytes in {differ}"
    assert found["changes"]
    with capsys.disabled():
        print(
            f"\n{CITY}: {len(found['artifacts'])} objects, {len(found['changes'])} changes: bit "
            f"for bit; event to first work {_wake_s(cluster, first):.1f} s, first scene "
            f"{middle - began:.0f} s, second scene to alerts {seconds:.0f} s"
        )


def _wake_s(cluster: Any, event: Event) -> float:
    """Seconds from an event to the first row that ingest wrote for it."""
    table = tables.arrivals
    query = select(table.c.created).where(table.c.id == arrival_id(event))
    with cluster.ledger.read() as connection:
        began = connection.execute(query).scalar_one()
    return float((began - event.time).total_seconds())
