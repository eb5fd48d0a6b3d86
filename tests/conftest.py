"""Before anything is imported: BLAS threads on top of ours cost the suite minutes, and the width of
tables is read once."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["COLUMNS"] = "120"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was run again is shown, whatever came of it: it may be a fault that comes and goes."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.write_sep("_", f"{report.nodeid} was run again after")
        terminalreporter.write_line(report.longreprtext)
