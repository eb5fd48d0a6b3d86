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
    """The address of a dashboard of this machine's user."""
    command = [sys.executable, "-m", "functions.cli", "dashboard", f"--api={api}", "--port=0"]
    with log.open("wb") as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stderr is not None
        said = (re.search(r"is on (http://[\d.:]+) over", line) for line in child.stderr)
        yield next(found[1] for found in said if found)
    finally:
        child.terminate()
        child.communicate()
