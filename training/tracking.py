"""Every training as a run of MLflow: what went in, how it went, what came out. No server needed.

``MLFLOW_TRACKING_URI`` says where to; without it runs lie in ``mlflow.db`` and ``mlartifacts`` of
the work folder.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from groundshift.errors import Unavailable
from training.export import commit_of_code

log = logging.getLogger(__name__)
EXPERIMENT: Final = "groundshift"
_AT_ONCE: Final = 500
"""Numbers of one request: MLflow takes 1000."""


@dataclass
class Run:
    """One run that is being written."""

    client: Any
    """mlflow.MlflowClient."""
    run_id: str
    told: int = field(default=0, init=False)
    """Points of the history that MLflow has."""

    def points(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write the points that are new; a tracking server that is away for a while gets them
        with the next ones.
        """
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        numbers = [
            Metric(key, float(value), int(point["at_ms"]), int(point["step"]))
            for point in history[self.told :]
            for key, value in point.items()
            if key not in ("step", "at_ms")
        ]
        try:
            for first in range(0, len(numbers), _AT_ONCE):
                self.client.log_batch(self.run_id, metrics=numbers[first : first + _AT_ONCE])
        except MlflowException as error:
            log.warning("MLflow took no numbers (%s): they go with the next ones", error)
            return
        self.told = len(history)

    def child(
        self, name: str, *, params: Mapping[str, float], history: Sequence[Mapping[str, float]]
    ) -> None:
        """A run below this one that is over, as a whole."""
        made = self.client.create_run(
            self.client.get_run(self.run_id).info.experiment_id,
            run_name=name,
            tags={"mlflow.parentRunId": self.run_id, "mlflow.source.git.commit": commit_of_code()},
        )
        run = Run(self.client, made.info.run_id)
        for key, value in params.items():
            self.client.log_param(run.run_id, key, value)
        run.points(history)
        self.client.set_terminated(run.run_id, "FINISHED")

    def numbers(self, found: Mapping[str, float]) -> None:
        """Results that have no step."""
        for key, value in found.items():
            self.client.log_metric(self.run_id, key, float(value))

    def json(self, content: Mapping[str, Any], name: str) -> None:
        """A JSON file among the artifacts."""
        self.client.log_dict(self.run_id, dict(content), name)

    def bytes(self, content: bytes, folder: Path, name: str) -> None:
        """A file among the artifacts; it is written into `folder` first."""
        path = folder / Path(name).name
        path.write_bytes(content)
        self.client.log_artifact(self.run_id, str(path), str(Path(name).parent))

    def folder(self, path: Path, name: str) -> None:
        """A folder among the artifacts."""
        self.client.log_artifacts(self.run_id, str(path), name)


def reopen(uri: str, run_id: str) -> Run:
    """A run that goes on, from another process."""
    return Run(_client(uri), run_id)


def _client(uri: str) -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is sent from here unasked
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def tracking_uri(work: Path) -> str:
    """Where runs go: the environment's server, else a file in the work folder."""
    named = os.environ.get("MLFLOW_TRACKING_URI")
    return named or f"sqlite:///{(work / 'mlflow.db').absolute()}"


@contextmanager
def tracked(
    name: str, work: Path, *, params: Mapping[str, Any], tags: Mapping[str, str]
) -> Iterator[Run]:
    """A run: the one that was cut off in this work folder, else a new one.

    Raises Unavailable where the tracking server does not answer.
    """
    work.mkdir(parents=True, exist_ok=True)
    note = work / f"{name}.mlflow"
    run = _open(name, work, note, params=params, tags=tags)
    try:
        yield run
    except Exception:
        run.client.set_terminated(run.run_id, "FAILED")
        raise
    run.client.set_terminated(run.run_id, "FINISHED")
    note.unlink(missing_ok=True)


def _open(
    name: str, work: Path, note: Path, *, params: Mapping[str, Any], tags: Mapping[str, str]
) -> Run:
    uri = tracking_uri(work)
    try:
        client = _client(uri)
        if (known := _known(client, note)) is not None:
            client.set_terminated(known, "RUNNING")
            return Run(client, known)
        made = client.create_run(
            _experiment(client, uri, work),
            run_name=name,
            tags={"model": name, "mlflow.source.git.commit": commit_of_code(), **tags},
        )
        run_id = made.info.run_id
        for key, value in params.items():
            client.log_param(run_id, key, value)
    except _refusals() as error:
        raise Unavailable(
            f"MLflow at {uri} did not take a run: start it, or unset MLFLOW_TRACKING_URI to keep"
            f" runs in the work folder. {error}"
        ) from error
    note.write_text(run_id, encoding="utf-8")
    return Run(client, run_id)


def _refusals() -> tuple[type[Exception], ...]:
    from mlflow.exceptions import MlflowException

    return (MlflowException,)


def _known(client: Any, note: Path) -> str | None:
    """The run that this work folder left unfinished, where the server still has it."""
    from mlflow.exceptions import MlflowException

    if not note.exists():
        return None
    run_id = note.read_text(encoding="utf-8")
    try:
        client.get_run(run_id)
    except MlflowException:
        return None
    return run_id


def _experiment(client: Any, uri: str, work: Path) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    own = uri.startswith("sqlite:")  # a server knows where its artifacts go
    place = (work / "mlartifacts").absolute().as_uri() if own else None
    return str(client.create_experiment(EXPERIMENT, artifact_location=place))
