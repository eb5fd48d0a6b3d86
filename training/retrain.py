"""``groundshift retrain``: a training that was asked for, to its end. What the JobSink's Job runs.

Trains the three models, holds them against the champion, registers them as the challenger where the
gate lets them, and writes in the ledger what came of it: `model.registered` is committed with it.
Whatever runs twice finds the outcome there and does nothing.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Protocol

import orjson
import typer

from groundshift import keys
from groundshift.codec import decode
from groundshift.errors import Conflict, GroundshiftError, Misconfigured, NotFound, Unavailable
from groundshift.events import RetrainDue
from groundshift.exclusive import exclusive
from groundshift.ledger import Ledger, trainings
from groundshift.ledger.trainings import Outcome, Training
from groundshift.opening import open_ledger, open_registry, open_store, settings_of
from groundshift.ports import ObjectStore, Registry
from groundshift.registry import CHALLENGER, CHAMPION, digest_of, read_set
from groundshift.settings import Settings

log = logging.getLogger(__name__)

ORDER: Final = ("cloud-mask", "segmenter", "change-classifier")
"""The order in which models are made: the classifier needs the segmenter."""
NEEDED: Final = ("torch", "mlflow", "onnx")
"""Modules of the training extra without which nothing can be trained and registered."""
EVENT_PATH: Final = "K_EVENT_PATH"
"""Where JobSink says that the event's folder lies; the file in it is ``event``."""
_STRUCTURED: Final = {"content-type": "application/cloudevents+json"}
_TAIL_LINES: Final = 12
_STOP_S: Final = 15.0

app = typer.Typer(help="Train, judge and register what was asked for (needs the training extra).")


class Verdict(Protocol):
    """What the gate says; `training.gate.Verdict`."""

    @property
    def accepted(self) -> bool:
        """Whether the challenger may be tried."""
        ...

    @property
    def reason(self) -> str:
        """One line."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """The whole report, JSON-ready."""
        ...


@dataclass(frozen=True)
class Steps:
    """What a retraining does; tests put quicker ones in their place."""

    train: Callable[[str, Path, Path], None]
    """(model, store to write into, work folder)."""
    judge: Callable[[Path, Path], Verdict]
    """(challenger's store, champion's store)."""


@dataclass(frozen=True)
class Place:
    """Where it happens."""

    settings: Settings
    ledger: Ledger
    store: ObjectStore
    registry: Registry


@app.callback(invoke_without_command=True)
def retrain(
    training: Annotated[
        str | None,
        typer.Option(help="Which one; default: the event's, else the oldest that waits."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of the ledger and the objects.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    exit_with_stdin: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Make a training that is due: train, judge, register the challenger, say so."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    require()
    if exit_with_stdin:
        _end_with_stdin()
    settings = settings_of(data)
    lock = settings.data_dir / "training" / "lock"
    with exclusive(lock) as free, open_ledger(settings) as ledger:
        if not free:
            raise Conflict(f"a training runs in {lock.parent} already: wait for its end")
        place = Place(settings, ledger, open_store(settings), open_registry(settings))
        outcome = run(training or wanted(ledger), place, steps_of(settings))
    _show(outcome, as_json=json)


def require() -> None:
    """Raise Misconfigured where the training extra is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Misconfigured(
            f"retraining needs {', '.join(missing)}: pip install 'groundshift[training]'"
        )


def wanted(ledger: Ledger) -> str:
    """The training of the event that JobSink left, else the oldest that waits. Raises NotFound."""
    if folder := os.environ.get(EVENT_PATH):
        body = Path(folder, "event").read_bytes()
        return RetrainDue.of(decode(_STRUCTURED, body)).training_id
    with ledger.read() as connection:
        waiting = trainings.in_state(connection, *trainings.WAITING)
    if not waiting:
        raise NotFound(
            "no training is due: labels ask for one (GROUNDSHIFT_RETRAIN_MIN_LABELS), or a drift"
        )
    return waiting[0].id


def run(training_id: str, place: Place, steps: Steps) -> Outcome | None:
    """Make a training; what came of it, None where it had ended before.

    Raises NotYet while another is under way. What may be well a little later (Unavailable) is
    raised and leaves the training open, so that the job's next attempt goes on.
    """
    owner = trainings.owner_here(place.settings.data_dir)
    with place.ledger.transaction() as tx:
        training = trainings.start(
            tx, training_id, owner=owner, seconds=place.settings.retrain_deadline_s
        )
    if training is None:
        return None
    try:
        outcome = _outcome(training, place, steps)
    except Unavailable:
        raise
    except GroundshiftError as error:
        outcome = Outcome("failed", type(error).__name__, str(error))
    with place.ledger.transaction() as tx:
        trainings.conclude(tx, training_id, outcome, owner=owner)
    log.info("training %s: %s, %s", training_id, outcome.state, outcome.message)
    return outcome


def _outcome(training: Training, place: Place, steps: Steps) -> Outcome:
    """Train, judge, register. Raises GroundshiftError."""
    work = place.settings.data_dir / "training" / training.id
    challenger = work / "models"
    for name in ORDER:
        steps.train(name, challenger, work / "state")
    digest = digest_of(read_set(challenger))
    with tempfile.TemporaryDirectory() as folder:
        verdict = steps.judge(challenger, champion(place, Path(folder)))
    report = keys.gate_report(training.id)
    document = {"training": training.id, "set_digest": digest, **verdict.as_dict()}
    place.store.put(report, orjson.dumps(document, default=str))
    if not verdict.accepted:
        return Outcome("refused", "gate", verdict.reason, set_digest=digest, report=report)
    tags = {"training_id": training.id, "cause": training.cause, "gate": verdict.reason}
    made = place.registry.register(challenger, tags=tags)
    place.registry.alias(made.version, CHALLENGER)
    return Outcome(
        "registered", "passed", verdict.reason,
        set_digest=made.digest, version=made.version, report=report,
    )  # fmt: skip


def champion(place: Place, folder: Path) -> Path:
    """The store of the champion: the registry's where it has one, else the models in service."""
    try:
        place.registry.fetch(CHAMPION, folder)
    except NotFound:
        return place.settings.models
    return folder


def steps_of(settings: Settings) -> Steps:
    """The command of the settings, and the gate."""
    command = settings.train_command or (sys.executable, "-m", "training")
    environment = {
        **os.environ,
        "GROUNDSHIFT_DATA_DIR": str(settings.data_dir),
        "MLFLOW_TRACKING_URI": settings.tracking,
    }

    def train(name: str, store: Path, work: Path) -> None:
        given = ["--out", str(store), "--work", str(work), "--labels", settings.objects]
        call([*command, name, *given], environment)

    def judge(challenger: Path, current: Path) -> Verdict:
        from training import gate, realdata  # seconds, and only now
        from training.evaluation.run import Plan
        from training.evaluation.verified import held_out

        plan = Plan(data=realdata.data_root(), labels=held_out(settings))
        return gate.judge(challenger, current, plan=plan)

    return Steps(train, judge)


def call(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run a program, its words on standard error. Raises Misconfigured with its last ones."""
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise Misconfigured(f"{command[0]}: {error}: check GROUNDSHIFT_TRAIN_COMMAND") from error
    try:
        for line in process.stdout or ():
            sys.stderr.write(line)
            tail.append(line.rstrip())
        code = process.wait()
    finally:
        _end(process)
    if code:
        raise Misconfigured(f"{' '.join(command)} ended with {code}: " + "\n".join(tail))


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _end_with_stdin() -> None:
    """End when the parent has gone, however it went: its end of the pipe closes."""

    def watch() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="stdin", daemon=True).start()


def _show(outcome: Outcome | None, *, as_json: bool) -> None:
    if as_json:
        typer.echo(orjson.dumps(None if outcome is None else asdict(outcome)).decode())
    elif outcome is None:
        typer.echo("This training has ended before.")
    else:
        typer.echo(f"{outcome.state} ({outcome.reason}): {outcome.message}")
