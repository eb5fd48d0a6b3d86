"""One server program: started, waited for, stopped, killed, started again."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

_LOOK_S: Final = 0.1
_START_S: Final = 90.0
_STOP_S: Final = 30.0


class Missing(Exception):
    """A program is not here; the text says which, and how to get it."""


def free_port() -> int:
    """A port of loopback that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server(ABC):
    """A child process with a folder of its own. Subclasses say how it starts and when it is up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """What is run."""

    def environment(self) -> Mapping[str, str] | None:
        """Its environment; None: ours."""
        return None

    def user(self) -> int | None:
        """Whom it runs as; None: as we do."""
        return None

    def ready(self) -> bool:
        """Whether it serves; default: whether something listens on its port."""
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def start(self) -> None:
        """Start it and wait until it serves. Raises RuntimeError with the end of its log."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                user=self.user(),
                cwd=self.folder,
            )
        deadline = time.monotonic() + _START_S
        while not self.ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.command()[0]} does not serve: {self._said()}")
            time.sleep(_LOOK_S)

    def stop(self) -> None:
        """Ask it to end, and wait; kill it where it does not."""
        if self._process is None:
            return
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process.wait()
        self._process = None

    stop_signal = signal.SIGTERM

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _said(self) -> str:
        return (self.folder / "log").read_bytes()[-2000:].decode(errors="replace")
