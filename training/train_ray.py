"""The same training in Ray Train's workers: on one machine or on a cluster.

Each worker runs `training.loop` on samples of its own and shares its gradients (DDP). The first
one's checkpoints go to the run's storage; when a worker dies Ray starts the team again from the
last one, and when the whole command dies, giving it again goes on from there too.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from groundshift.errors import Unavailable
from groundshift.opening import settings_of
from training import loop, pipeline, tracking, validation
from training.nets import Segmenter
from training.storage import open_files

if TYPE_CHECKING:
    from training.pipeline import Job

log = logging.getLogger(__name__)
_FAILURES: Final = 5
"""Times that a team may lose a worker before the run fails."""
_OBJECT_STORE_BYTES: Final = 100 * 2**20
"""Of a Ray that this command starts: weights and numbers alone travel through it."""
_FILE: Final = "checkpoint.pt"
_ENVIRONMENT: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent from here unasked
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_METRICS_ENABLED": "0",  # they are for Ray's dashboard, which is not started
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # a busy machine imports torch in minutes
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # it is for clouds that announce it
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's coming default: leave the GPUs' variable
}


@dataclass(frozen=True)
class Task:
    """What a worker is told; it finds its data itself, so that it can be on any machine."""

    job: Job
    data: Path | None
    start: bytes | None
    """The work folder's checkpoint, where there is one."""
    segmenter: bytes | None
    """The segmenter's weights, for the change classifier."""


@dataclass
class StorageKeeper:
    """Checkpoints through Ray to the run's storage."""

    task: Task
    rank: int
    told: int = field(default=0, init=False)
    """Points of the history that the driver has."""

    def load(self) -> dict[str, Any] | None:
        """The newer one of Ray's last checkpoint and the work folder's."""
        import ray.train

        found = [_unpacked(self.task.start)] if self.task.start is not None else []
        if (checkpoint := ray.train.get_checkpoint()) is not None:
            with checkpoint.as_directory() as folder:
                found.append(loop.read(Path(folder) / _FILE))
        newest = max(found, key=lambda one: int(one["done"]), default=None)
        self.told = 0 if newest is None else len(newest.get("state", {}).get("history", []))
        return newest

    def save(self, checkpoint: Mapping[str, Any], state: loop.State) -> None:
        """Report it; every worker has to, and waits for the others."""
        import ray.train

        new, self.told = state.history[self.told :], len(state.history)
        said = {"done": state.done, "loss": state.loss, "best": state.best, "points": new}
        with tempfile.TemporaryDirectory() as folder:
            kept = None
            if self.rank == 0:
                loop.write(Path(folder) / _FILE, checkpoint)
                kept = ray.train.Checkpoint.from_directory(folder)
            ray.train.report(said, checkpoint=kept)


def fit(job: Job, data: Path | None, tracked: tracking.Run, *, dataset: str) -> loop.State:
    """Train in ``job.workers`` workers; the last checkpoint lies in the work folder then.

    `dataset`: the version of what the job and `data` name.

    Raises Unavailable where the Ray cluster cannot be reached or the workers kept dying.
    """
    with session(job.address, workers=job.workers):
        found = _fit(job, data, tracked, run_name(job, dataset))
    loop.write(pipeline.checkpoint(job), found)
    return loop.State(**found["state"])


@contextmanager
def session(address: str | None, *, workers: int) -> Iterator[None]:
    """A connection to the Ray cluster at `address`, or a Ray of its own that ends with it."""
    own: dict[str, Any] = {}
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    if address is None:
        _protect()
        own = {
            "num_cpus": max(workers + 1, os.cpu_count() or 1),
            "object_store_memory": _OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    import ray

    try:
        ray.init(
            address=address or "local",
            logging_level=logging.ERROR,
            runtime_env={
                "worker_process_setup_hook": _quiet(),
                "env_vars": {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")},
            },
            **own,
        )
    except ConnectionError as error:
        raise Unavailable(
            f"no Ray cluster at {address}: leave the address out to start one for this run"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _protect() -> None:
    """Keep the token of the Ray that is started in memory: Ray would write it into the home."""
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _quiet() -> Callable[[], None]:
    """Runs first in every process of Ray's: its helpers report each second without a dashboard."""

    def quiet() -> None:
        logging.getLogger("ray.train").setLevel(logging.ERROR)

    return quiet  # not a function of this module: Ray would import torch for it everywhere


def _fit(job: Job, data: Path | None, tracked: tracking.Run, name: str) -> dict[str, Any]:
    from ray.train import CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    place, files = open_files(job.storage or str(job.work / "ray"), settings_of())
    trainer = TorchTrainer(
        _work,
        train_loop_config={"task": _task(job, data)},
        scaling_config=ScalingConfig(num_workers=job.workers, use_gpu=torch.cuda.is_available()),
        run_config=RunConfig(
            name=name,
            storage_path=place,
            storage_filesystem=files,
            failure_config=FailureConfig(max_failures=_FAILURES),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            callbacks=[_curves(tracked, job.work)],
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as error:
        raise Unavailable(
            f"Ray's workers failed more than {_FAILURES} times: the same command goes on from the"
            f" last checkpoint. {error}"
        ) from error
    with result.checkpoint.as_directory() as folder:
        return loop.read(Path(folder) / _FILE)


def run_name(job: Job, dataset: str) -> str:
    """The run's folder in the storage: the same for the same training, whoever asks for it."""
    said = {**asdict(job.recipe), "width": job.width, "size": job.size, "dataset": dataset}
    said |= {"real": job.real_share, "paste": job.paste_share}
    del said["threads"]
    digest = hashlib.sha256(repr(sorted(said.items())).encode()).hexdigest()
    return f"{job.name}-{digest[:12]}"


def _task(job: Job, data: Path | None) -> Task:
    path = pipeline.checkpoint(job)
    pipeline.segmenter_of(job)  # says what is missing before workers start
    wanted = job.name == "change-classifier"
    return Task(
        pipeline.absolute(job),
        None if data is None else data.absolute(),
        path.read_bytes() if path.exists() else None,
        (job.work / "segmenter.pt").read_bytes() if wanted else None,
    )


def _unpacked(content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    return found


def _work(config: Mapping[str, Any]) -> None:
    """What each worker does."""
    import ray.train

    logging.getLogger("ray.train").setLevel(logging.WARNING)  # Ray prints what this loop says
    task: Task = config["task"]
    job, context = task.job, ray.train.get_context()
    rank = context.get_world_rank()
    found = pipeline.gather(job, task.data)
    segmenter = _segmenter(task)
    judge = validation.Validation(job.name, found.validation, segmenter)
    course = loop.Course(
        job.name,
        pipeline.network(job),
        loop.drawer(job.name, found.source, segmenter),
        job.recipe,
        keeper=StorageKeeper(task, rank),
        team=team(rank, context.get_world_size()),
        judge=judge if judge.samples else None,
        facts=pipeline.facts(job, found),
    )
    course.run()


def team(rank: int, size: int) -> loop.Team:
    """This worker as one of a team, within Ray Train."""
    import ray.train.torch
    from torch import distributed

    device = ray.train.torch.get_device()

    def agree(number: float) -> float:
        if size == 1:
            return number
        said = torch.tensor([number], dtype=torch.float64, device=device)
        distributed.broadcast(said, src=0)
        return float(said.item())

    return loop.Team(rank, size, device.type, ray.train.torch.prepare_model, agree)


def _segmenter(task: Task) -> Segmenter | None:
    if task.segmenter is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "segmenter.pt").write_bytes(task.segmenter)
        return pipeline.trained_segmenter(Path(folder))


def _curves(tracked: tracking.Run, work: Path) -> Any:
    """A callback in Ray's controller, which is on the driver's machine: points go to MLflow."""
    from ray.train import UserCallback

    uri, run_id = tracking.tracking_uri(work), tracked.run_id

    class Curves(UserCallback):  # type: ignore[misc]  # ray is not there where types are checked
        """Writes each report's new points."""

        def __init__(self) -> None:
            self.history: list[Mapping[str, float]] = []
            self.run: tracking.Run | None = None

        def after_report(self, run_context: Any, metrics: Any, checkpoint: Any) -> None:  # noqa: ARG002
            """Take what the first worker said."""
            self.history += metrics[0]["points"]
            self.run = self.run or tracking.reopen(uri, run_id)
            self.run.points(self.history)

    return Curves()
