"""`groundshift up` as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

import httpx

LONGEST_S: Final = 120.0
"""Longest wait for anything; a machine that is slow is not wrong."""


class Up:
    """A running `groundshift up`; ends with SIGKILL where nothing else ended it."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.log = folder.parent / f"{folder.name}.log"
        names = {f"GROUNDSHIFT_{key.upper()}": str(value) for key, value in settings.items()}
        command = [sys.executable, "-m", "functions.cli", "up", f"--data={folder}", "--port=0"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **names}, stdout=log, stderr=log
            )
        address = until(lambda: re.search(r"is up on (http://[\d.:]+)\.\s", self.said()), self)
        self.http = httpx.Client(base_url=address[1], timeout=60, trust_env=False)

    def said(self) -> str:
        return self.log.read_text()

    def status(self) -> Any:
        return self.http.get("/status").raise_for_status().json()

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(LONGEST_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def until(look: Callable[[], Any], up: Up) -> Any:
    """What `look` gives once it gives something; fails with the log where `up` ended before."""
    deadline = time.monotonic() + LONGEST_S
    while not (found := look()):
        assert up.process.poll() is None, f"it ended with {up.process.returncode}: {up.said()}"
        assert time.monotonic() < deadline, f"nothing after {LONGEST_S} s: {up.said()}"
        time.sleep(0.05)
    return found
