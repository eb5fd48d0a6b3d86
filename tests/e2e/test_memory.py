"""Memory of the one-shot job: bounded, and flat in the size of the scene.

About 5 minutes on 2 cores: 10980 x 10980 x 6 against 4096 x 4096 x 6, 7.2 x the pixels.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "memory.py"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def peaks_mib() -> tuple[int, int]:
    """Peak resident set of `detect` on the small and on the full scene."""
    command = [sys.executable, str(BENCHMARK), "--sizes", "4096", "10980"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    return measured["4096"]["peak_mib"], measured["10980"]["peak_mib"]


def test_a_full_scene_takes_under_2_gib(peaks_mib: tuple[int, int]) -> None:
    assert max(peaks_mib) < 2048


def test_a_full_scene_takes_no_more_than_a_small_one(peaks_mib: tuple[int, int]) -> None:
    small, full = peaks_mib
    assert full < 1.25 * small
