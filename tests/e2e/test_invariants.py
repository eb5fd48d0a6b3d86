"""Invariants 1, 2, 5 and 8 of the design: each can fail, and each is judged on the final state."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import geopandas
import pytest

from functions import reports
from functions.local import Embedded
from functions.testing import canonical_state
from groundshift import keys
from groundshift.events import new_event
from groundshift.ledger import runs, tables

Open = Callable[..., AbstractContextManager[Embedded]]
Announce = Callable[..., None]


def state_of(platform: Embedded) -> dict[str, Any]:
    return canonical_state(platform.platform.ledger, platform.platform.store)


def test_duplicates_change_nothing(
    open_platform: Open,
    announce_scenes: Announce,
    items: list[Path],
    undisturbed: dict[str, Any],
    tmp_path: Path,
) -> None:
    with open_platform(tmp_path) as platform:
        announce_scenes(platform, items, copies=3)
        announce_scenes(platform, items)
        platform.work(timeout_s=200)
        announce_scenes(platform, items)
        platform.work(timeout_s=200)
        assert state_of(platform) == undisturbed


@pytest.mark.parametrize("order", [(0, 3, 2, 1), (0, 2, 1, 3)])
def test_late_and_reordered_scenes_end_in_the_same_state(
    open_platform: Open,
    announce_scenes: Announce,
    items: list[Path],
    undisturbed: dict[str, Any],
    tmp_path: Path,
    order: tuple[int, ...],
) -> None:
    """The first scene is the site's alignment reference; the others come in any order."""
    with open_platform(tmp_path) as platform:
        for index in order:
            announce_scenes(platform, [items[index]])
            platform.work(timeout_s=200)
        assert state_of(platform) == undisturbed
        with platform.platform.ledger.read() as connection:
            every = runs.all_of(connection, "local")
    assert any(run.state == "superseded" for run in every), "a late scene re-plans later runs"


@pytest.mark.parametrize(("rows", "cols", "workers"), [(1, 1, 1), (2, 2, 3), (3, 5, 8)])
def test_the_split_does_not_change_a_bit(
    open_platform: Open,
    announce_scenes: Announce,
    items: list[Path],
    undisturbed: dict[str, Any],
    tmp_path: Path,
    rows: int,
    cols: int,
    workers: int,
) -> None:
    """Rasters bit for bit and equal polygons; the fixture's own blocks are 4 x 4."""
    options = {"block_tiles_rows": rows, "block_tiles_cols": cols, "detect_workers": workers}
    with open_platform(tmp_path, **options) as platform:
        announce_scenes(platform, items)
        platform.work(timeout_s=200)
        state = state_of(platform)
    for part in ("changes", "alerts", "runs", "scenes"):
        assert state[part] == undisturbed[part]
    assert products(state) == products(undisturbed)


def products(state: dict[str, Any]) -> dict[str, str]:
    return {key: digest for key, digest in state["artifacts"].items() if "/blocks/" not in key}


def test_every_scene_has_an_outcome_and_every_product_is_there(
    open_platform: Open, announce_scenes: Announce, items: list[Path], tmp_path: Path
) -> None:
    lost = tmp_path / "nowhere.json"
    with open_platform(tmp_path, allowed_roots=(items[0].parent, tmp_path)) as platform:
        announce_scenes(platform, [items[0], lost, items[1]])
        platform.work(timeout_s=200)
        ledger, store = platform.platform.ledger, platform.platform.store
        found = {gap.reason: gap.outcome for gap in reports.gaps(ledger, "local")}
        assert found == {"missing_file": "refused", "no_baseline": "skipped"}
        (run,) = [run for run in _current(platform) if run.kind == "change"]
        for name in keys.PRODUCTS:
            assert store.exists(keys.product(run.run_id, name))
        frame = geopandas.read_parquet(store.url(keys.product(run.run_id, "changes.parquet")))
    assert frame.crs.to_epsg() == 32631
    assert len(frame) == run.summary["polygons"]


def _current(platform: Embedded) -> list[runs.Run]:
    with platform.platform.ledger.read() as connection:
        return [run for run in runs.all_of(connection, "local") if run.current]


def test_no_scene_is_segmented_twice(
    open_platform: Open, announce_scenes: Announce, items: list[Path], tmp_path: Path
) -> None:
    with open_platform(tmp_path) as platform:
        announce_scenes(platform, items)
        platform.work(timeout_s=200)
        store = platform.platform.store
        for model in ("cloud-mask", "segmenter"):
            assert platform.models.calls[model] == len(list(store.list(f"tiles/{model}/")))


def test_the_feed_tells_each_version_of_an_alert_once(
    open_platform: Open, announce_scenes: Announce, items: list[Path], tmp_path: Path
) -> None:
    with open_platform(tmp_path) as platform:
        announce_scenes(platform, items, copies=2)
        platform.work(timeout_s=200)
        with platform.platform.ledger.read() as connection:
            rows = list(connection.execute(tables.feed.select().order_by(tables.feed.c.seq)))
            alerts = {r.id: r.version for r in connection.execute(tables.alerts.select())}
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    for alert, version in alerts.items():
        told = [row.version for row in rows if row.alert_id == alert]
        assert told == list(range(1, version + 1))


def test_a_model_that_changes_during_a_run_restarts_it_with_the_new_one(
    open_platform: Open,
    announce_scenes: Announce,
    items: list[Path],
    tmp_path: Path,
    other_models_url: str,
) -> None:
    """Planned with one model set, met by another: no product mixes the two (invariant 4)."""
    with open_platform(tmp_path) as platform:
        announce_scenes(platform, items[:2])
        platform.work(timeout_s=200)
    with open_platform(tmp_path, models_url=other_models_url) as platform:
        with platform.platform.ledger.transaction() as tx:
            stale = [run for run in runs.all_of(tx.connection, "local") if run.kind == "change"]
            _plan_again(tx, stale[0])
        for key in list(platform.platform.store.list(f"runs/{stale[0].run_id}/")):
            platform.platform.store.delete(key)
        platform.work(timeout_s=200)
        current = [run for run in _current(platform) if run.kind == "change"]
    digests = {hashlib.sha256(repr(run.model_set).encode()).hexdigest() for run in current}
    assert [run.run_id for run in current] != [stale[0].run_id]
    assert len(digests) == 1


def _plan_again(tx: Any, run: runs.Run) -> None:
    """As if the platform had died right after planning: the run waits for its blocks."""
    from dataclasses import replace

    from groundshift.events import BlockReady

    blocks = list(runs.blocks_of(tx.connection, run.run_id))
    runs.plan(tx, replace(run, params={**run.params}, attempt=run.attempt + 1), blocks)
    for block in blocks:
        subject = f"{run.run_id}/{block}"
        data = BlockReady(run_id=run.run_id, block=block)
        tx.say(data, source="plan", subject=subject, attempt=run.attempt + 1)


def test_an_event_that_no_stage_takes_is_left_alone(open_platform: Open, tmp_path: Path) -> None:
    from groundshift.events import SceneRefused

    with open_platform(tmp_path) as platform:
        with platform.platform.ledger.transaction() as tx:
            said = SceneRefused(href="x", reason="missing_file", message="m")
            tx.emit(new_event(said, source="test", subject="x", time=tx.now))
        platform.work(timeout_s=30)
        assert reports.status(platform.platform.ledger, "local")["deliveries"] == {}
