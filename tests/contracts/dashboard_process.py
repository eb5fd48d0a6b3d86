"""`groundshift dashboard` as a child process, over an API that a test serves."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def dashboard(api: str, log: Path) -> Iterator[str]:
    """The address of a dashboard of this machine's user.

    What it says goes to a file: a pipe that nobody empties stops it in the middle of a request
    once it is full.
    """
    command = [sys.executable, "-m", "functions.cli", "dashboard", f"--api={api}", "--port=0"]
    with log.open("wb") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        yield _address(child, log)
    finally:
        child.terminate()
        child.wait()


def _address(child: subprocess.Popen[bytes], log: Path) -> str:
    while (found := re.search(r"is on (http://[\d.:]+) over", log.read_text())) is None:
        try:
            raise AssertionError(f"ended with {child.wait(0.1)}: {log.read_text()}")
        except subprocess.TimeoutExpired:
            continue
    return found[1]
