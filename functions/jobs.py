"""The embedded JobSink: what a Job does on a cluster, as a process of its own, one at a time.

What was accepted stands in the ledger, so that a platform that dies goes on with it at its next
start. Nothing waits for a training: the dispatcher only sees that it was accepted.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from groundshift.codec import encode
from groundshift.errors import GroundshiftError
from groundshift.events import RetrainDue
from groundshift.exclusive import exclusive
from groundshift.ledger import Ledger, trainings
from groundshift.ledger.trainings import Outcome, Training
from groundshift.manifests import JobSpec
from groundshift.settings import Settings

if TYPE_CHECKING:
    from functions.platform import Platform
    from groundshift.events import Event

log = logging.getLogger(__name__)

_NEEDED: Final = ("torch", "mlflow", "onnx")
"""Modules of the training extra."""
_CURE: Final = (
    "the training extra is not installed here: pip install 'groundshift[training]', then "
    "`groundshift retrain` or the next `groundshift up` makes it"
)
_POLL_S: Final = 0.2
_BACKOFF_S: Final = 10.0
"""First wait after a process that died: a Job's, doubled each time."""
_STOP_S: Final = 20.0
_TAIL_BYTES: Final = 1500


def accept(event: Event, platform: Platform) -> None:
    """What a JobSink's address does: take note. Raises NotFound for a training it cannot be."""
    with platform.ledger.transaction() as tx:
        trainings.accept(tx, RetrainDue.of(event).training_id)


@dataclass(frozen=True)
class LocalJobs:
    """Makes what was accepted, in a thread, each as a process with the JobSink's arguments."""

    settings: Settings
    ledger: Ledger
    job: JobSpec
    backoff_s: float = _BACKOFF_S
    _wake: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make trainings until the context ends; one under way then is made again at the next."""
        undo = self.ledger.subscribe(self._wake.set)
        thread = threading.Thread(target=self._run, name="jobs")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._wake.set()
            thread.join()
            undo()

    def make_waiting(self) -> int:
        """Make everything that was accepted, and return: how many."""
        made = 0
        while not self._stop.is_set() and (training := self._next()) is not None:
            self._make(training)
            made += 1
        return made

    def _run(self) -> None:
        resumed = not self._installed()
        while not self._stop.is_set():
            self._wake.clear()
            try:
                if not resumed:
                    with self.ledger.transaction() as tx:
                        trainings.resume(tx)
                    resumed = True
                self.make_waiting()
            except (GroundshiftError, OSError) as error:  # a ledger that is away, a full disk
                log.warning("no training could be made: %s", error)
            self._wake.wait(self.settings.dispatch_poll_s)

    def _installed(self) -> bool:
        if self.settings.retrain_command:
            return True
        return all(importlib.util.find_spec(name) for name in _NEEDED)

    def _next(self) -> Training | None:
        """The oldest that was accepted, unless a training runs beside this platform."""
        with self.ledger.read() as connection:
            waiting = trainings.in_state(connection, "accepted", "running")
        if not waiting:
            return None
        with exclusive(self._folder / "lock") as free:
            return waiting[0] if free else None

    @property
    def _folder(self) -> Path:
        return self.settings.data_dir / "training"

    def _make(self, training: Training) -> None:
        """Run it to its end; a process that dies is started again as often as a Job's pod."""
        if not self._installed():
            self._conclude(training, Outcome("parked", "not_installed", _CURE))
            return
        deadline = time.monotonic() + self.job.deadline_s
        for attempt in range(1 + self.job.retries):
            why = self._attempt(training, deadline)
            if self._stop.is_set() or self._ended(training):
                return
            log.warning("training %s, attempt %d: %s", training.id, attempt + 1, why)
            if time.monotonic() >= deadline:
                break
            if attempt < self.job.retries:
                self._stop.wait(self.backoff_s * 2**attempt)
        if not self._stop.is_set():
            self._conclude(training, Outcome("failed", "crashed", why))

    def _ended(self, training: Training) -> bool:
        with self.ledger.read() as connection:
            return trainings.get(connection, training.id).state not in trainings.OPEN

    def _conclude(self, training: Training, outcome: Outcome) -> None:
        owner = trainings.owner_here(self.settings.data_dir)
        with self.ledger.transaction() as tx:
            if tx.take_lease(trainings.JOB, owner=owner, seconds=1):  # else somebody trains it
                trainings.conclude(tx, training.id, outcome, owner=owner)

    def _attempt(self, training: Training, deadline: float) -> str:
        """Start a process and wait for its end; why it ended, with its last words."""
        folder = self._folder / training.id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "event").write_bytes(encode(training.event, mode="structured")[1])
        own = () if self.settings.retrain_command else ("--exit-with-stdin",)
        program = self.settings.retrain_command or (sys.executable, "-m", "functions.cli")
        environment = {
            **os.environ,
            "K_EVENT_PATH": str(folder),
            "GROUNDSHIFT_DATA_DIR": str(self.settings.data_dir),
        }
        with (folder / "log").open("ab") as words:
            try:
                process = subprocess.Popen(
                    [*program, *self.job.args, *own],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=words,
                    stderr=words,
                )
            except OSError as error:
                return f"{program[0]}: {error}: check GROUNDSHIFT_RETRAIN_COMMAND"
            why = self._wait(process, deadline)
        return f"{why}; its last words, of {folder / 'log'}:\n{_tail(folder / 'log')}"

    def _wait(self, process: subprocess.Popen[bytes], deadline: float) -> str:
        """Until the process ends, the deadline or the platform's end; how it ended."""
        with process:
            while process.poll() is None:
                late = time.monotonic() >= deadline
                if late or self._stop.is_set():
                    _end(process)
                    return f"not done after {self.job.deadline_s} s" if late else "interrupted"
                self._stop.wait(_POLL_S)
        return f"its process ended with {process.returncode}"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _tail(file: Path) -> str:
    with file.open("rb") as words:
        words.seek(max(0, file.stat().st_size - _TAIL_BYTES))
        return words.read().decode("utf-8", "replace").strip()
