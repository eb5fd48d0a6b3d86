"""The model server as a child process: started, watched, restarted and never left behind.

The parent binds the socket and hands it down. So the port is free for certain and stays the same
over restarts, and a request that comes while the server is away waits in the socket's queue. The
child ends when its standard input closes, which happens however the parent goes, SIGKILL included.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import httpx

from groundshift.errors import Misconfigured, Unavailable

log = logging.getLogger(__name__)

_POLL_S: Final = 0.05
_STOP_S: Final = 20.0
"""Longest wait for the server to answer what it has; then it is killed."""
_TAIL_BYTES: Final = 2000
_OWN: Final = ("--model-dir", "--model-name", "--host", "--port", "--threads", "--listen-fd")
"""What a ServingRuntime says for its pod and a local process says for itself."""


def runtime_args(manifests: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The model server's arguments in the ServingRuntime among `manifests` (``kserve/base``).

    Raises Misconfigured where there is not exactly one runtime with KServe's container.
    """
    found = [
        tuple(container.get("args") or ())
        for manifest in manifests
        if manifest.get("kind") == "ServingRuntime"
        for container in manifest["spec"]["containers"]
        if container["name"] == "kserve-container"
    ]
    if len(found) != 1:
        raise Misconfigured(
            f"{len(found)} ServingRuntimes with a kserve-container among the manifests; "
            "kserve/base holds exactly one"
        )
    return found[0]


class ModelServerProcess:
    """``python -m groundshift.serving`` over `model_dir`, from `start` to `stop`.

    A context manager. `runtime_args` are the arguments of the ServingRuntime in ``kserve/base``
    (see `runtime_args`); those that belong to the pod (model, address, threads) are replaced.
    """

    def __init__(
        self,
        model_dir: Path,
        *,
        port: int = 0,
        threads: int = 0,
        log_file: Path | None = None,
        runtime_args: Sequence[str] = (),
        ready_s: float = 120.0,
        max_restarts: int = 5,
        backoff_s: float = 0.5,
    ) -> None:
        """Nothing is started yet.

        `port` 0: any free one; `threads` 0: one per CPU; `log_file`: what the server writes is
        added to it (None: kept until the end, for error messages); `ready_s`: the longest start;
        `max_restarts`: failed starts in a row until it gives up.
        """
        own = [f"--model-dir={model_dir}", f"--threads={threads}", "--exit-with-stdin"]
        kept = [arg for arg in runtime_args if arg.partition("=")[0] not in _OWN]
        self._command = [sys.executable, "-m", "groundshift.serving", *kept, *own]
        self._wanted_port = port
        self._log_file = log_file
        self._ready_s = ready_s
        self._max_restarts = max_restarts
        self._backoff_s = backoff_s
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._settled = threading.Event()
        self._failure: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._restarts = 0

    @property
    def url(self) -> str:
        """Base address; the same over restarts."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id of the server that runs now."""
        return None if self._process is None else self._process.pid

    @property
    def restarts(self) -> int:
        """How often the server died and was started again."""
        return self._restarts

    @property
    def failure(self) -> str | None:
        """Why it was given up, with the log's tail; None while it runs or comes back."""
        return self._failure

    def start(self) -> Self:
        """Start, and return once every model answers.

        Raises Misconfigured where the port is taken, Unavailable with the log's tail where the
        server does not come up.
        """
        self._listener = _bound(self._wanted_port)
        self._port = self._listener.getsockname()[1]
        self._log = _opened(self._log_file)
        self._thread = threading.Thread(target=self._supervise, name="model server", daemon=True)
        self._thread.start()
        self._settled.wait()
        if self._failure is not None:
            self.stop()
            raise Unavailable(self._failure)
        return self

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until every model answers (again). Raises Unavailable after `timeout_s`."""
        if not self._ready.wait(timeout_s):
            raise Unavailable(self._failure or f"the model server is not up after {timeout_s:g} s")

    def stop(self) -> None:
        """End the server: requests in it are answered first. May be called twice."""
        if self._thread is None:
            return
        self._stopping.set()
        with self._lock:
            if self._process is not None:
                self._process.terminate()
        self._thread.join()
        self._listener.close()
        self._log.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _supervise(self) -> None:
        failed_starts = 0
        while process := self._spawn():
            ready = self._await_ready(process)
            self._wait(process)
            self._ready.clear()
            failed_starts = 0 if ready else failed_starts + 1
            if self._stopping.is_set():
                break
            if failed_starts > (self._max_restarts if self._settled.is_set() else 0):
                self._give_up(process)
                break
            self._restarts += 1
            log.warning("the model server ended with %s; starting it again", process.returncode)
            self._stopping.wait(self._backoff_s * 2**failed_starts)

    def _spawn(self) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._stopping.is_set():
                return None
            fd = self._listener.fileno()
            self._process = subprocess.Popen(
                [*self._command, f"--listen-fd={fd}"],
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(fd,),
            )
            return self._process

    def _await_ready(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + self._ready_s
        while process.poll() is None and not self._stopping.is_set():
            if _answers(self.url):
                self._ready.set()
                self._settled.set()
                return True
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                return False
            self._stopping.wait(_POLL_S)
        return False

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end, at most `_STOP_S` once it was asked for."""
        while process.poll() is None:
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                if self._stopping.is_set():
                    process.kill()
        if process.stdin is not None:
            process.stdin.close()

    def _give_up(self, process: subprocess.Popen[bytes]) -> None:
        self._failure = (
            f"the model server ended with {process.returncode} before it was ready; "
            f"its last words:\n{_tail(self._log)}"
        )
        log.error("%s", self._failure)
        self._listener.close()  # whoever waits in the socket's queue learns it now
        self._settled.set()


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise Misconfigured(
            f"port {port} of this machine is taken ({error.strerror}); give another, or 0"
        ) from error
    return listener


def _opened(path: Path | None) -> BinaryIO:
    if path is None:
        return tempfile.TemporaryFile()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab+")


def _tail(file: BinaryIO) -> str:
    file.seek(0, 2)
    file.seek(max(0, file.tell() - _TAIL_BYTES))
    return file.read().decode("utf-8", "replace")


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready", timeout=1.0, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
