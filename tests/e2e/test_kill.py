"""SIGKILL at random moments of a run, and SIGTERM: nothing is lost, nothing is left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from functions.local import Embedded
from functions.testing import canonical_state

Open = Callable[..., AbstractContextManager[Embedded]]

_KILLS = 3
"""Times that each run is cut off before it may finish."""
_MOST_SETTLED = 5
"""A kill waits for up to so many deliveries since its start: counted in work, not in seconds, so
that a fast machine does not finish first and a slow one gets further than its imports. Three of
them together stay below what a run has."""
_LONGEST_DELAY_S = 1.0
"""And then falls at any moment of what is at work by now."""


_SLOW = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 22)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [0, 1, *_SLOW])
def test_a_killed_platform_goes_on_where_it_was(
    seed: int,
    open_platform: Open,
    announce_scenes: Callable[..., None],
    items: list[Path],
    models_url: str,
    undisturbed: dict[str, Any],
    tmp_path: Path,
) -> None:
    """Two seeds by default, twenty more with `make test-slow`."""
    rng = random.Random(seed)
    with open_platform(tmp_path) as platform:
        announce_scenes(platform, items)
    killed = sum(_start_and_kill(tmp_path, items, models_url, rng) for _ in range(_KILLS))
    assert killed, f"seed {seed}: every kill came after the end; nothing was tested"
    with open_platform(tmp_path) as platform:
        platform.work(timeout_s=250)
        assert canonical_state(platform.platform.ledger, platform.platform.store) == undisturbed


def _start_and_kill(folder: Path, items: list[Path], models_url: str, rng: random.Random) -> bool:
    """Start `groundshift work` and kill it; whether it was still at work."""
    environment = {
        **os.environ,
        "GROUNDSHIFT_MODELS_URL": models_url,
        "GROUNDSHIFT_BACKOFF_SCALE": "0.02",
        "GROUNDSHIFT_MIN_AREA_PX": "400",
        "GROUNDSHIFT_ALLOWED_ROOTS": json.dumps([str(items[0].parent)]),
    }
    command = [sys.executable, "-m", "functions.cli", "work", "--data", str(folder), "--json"]
    goal = _settled(folder) + rng.randint(0, _MOST_SETTLED)
    delay = rng.uniform(0.0, _LONGEST_DELAY_S)
    with (folder / "work.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        while process.poll() is None and _settled(folder) < goal:
            time.sleep(0.01)
        try:
            process.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    code = process.wait()
    assert code in (0, -signal.SIGKILL), (folder / "work.log").read_text()[-2000:]
    return code == -signal.SIGKILL


def _settled(folder: Path) -> int:
    """How many deliveries have ended, as the ledger's file says to anyone who looks."""
    with closing(sqlite3.connect(f"file:{folder / 'ledger.db'}?mode=ro", uri=True)) as ledger:
        (count,) = ledger.execute("SELECT count(*) FROM deliveries WHERE state = 'done'").fetchone()
    return int(count)


def test_a_terminated_detect_leaves_nothing_behind(
    items: list[Path], model_store: Path, tmp_path: Path
) -> None:
    out, log = tmp_path / "out", tmp_path / "detect.log"
    command = [sys.executable, "-m", "functions.cli", "detect", *map(str, items[:2])]
    env = {**os.environ, "GROUNDSHIFT_MODEL_DIR": str(model_store)}
    with log.open("wb") as said:
        process = subprocess.Popen([*command, f"--out={out}"], env=env, stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + 120
        while not list(out.glob(".groundshift-*/objects/**/*")):  # it is at work
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 128 + signal.SIGTERM, log.read_text()
    finally:
        process.kill()
    assert list(out.iterdir()) == []
    assert children
    assert psutil.wait_procs(children, timeout=30)[1] == []
