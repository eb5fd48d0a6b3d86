"""Blocks on a Dask cluster: the workers compute and store them, the ledger stays in one process.

Two kinds of tasks: what the first two models say of a scene over a block, and the block itself,
which waits for that of its scene and of its baseline. So no worker asks a model what another one is
asking already, and a long history of a small site keeps every worker busy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import RLock
from typing import Any, Final, Self
from uuid import uuid4

import orjson
from distributed import Client, Future, KilledWorker
from distributed.comm.core import CommClosedError

from functions.blocks import BlockTask, Tools, ensure_artifact, ensure_layers
from functions.heap import bound_heap, trim_heap
from functions.local import open_models
from groundshift import __version__
from groundshift.errors import GroundshiftError, Misconfigured, Unavailable
from groundshift.opening import open_store
from groundshift.ports import ModelClient, ObjectStore
from groundshift.runs import MODEL_NAMES
from groundshift.settings import Settings
from groundshift.tiles import SingleFlight

_CONNECT_S: Final = 30.0
_SENT: Final = frozenset(
    {
        "data_dir",
        "detect_workers",
        "infer_timeout_s",
        "max_in_flight",
        "models_url",
        "object_root",
        "s3_endpoint",
        "s3_region",
        "s3_retry_s",
    }
)
"""Settings that the workers are told; keys they have of their own, and a ledger not at all."""
_RUNNING: Final = "pending"
_WELL: Final = frozenset({_RUNNING, "finished"})


@dataclass(frozen=True)
class _WorkerTools:
    """What a worker makes blocks with, once per process."""

    settings: Settings
    store: ObjectStore
    models: ModelClient
    flights: SingleFlight = field(default_factory=SingleFlight)


@lru_cache(maxsize=2)
def _tools(sent: bytes) -> _WorkerTools:
    """The tools of this worker: the settings that were sent, the keys of its own environment."""
    bound_heap()
    settings = Settings(**orjson.loads(sent))
    return _WorkerTools(settings, open_store(settings), open_models(settings.models_url, settings))


def _layers_there(task: BlockTask, sent: bytes) -> None:
    """On a worker."""
    ensure_layers(task, _tools(sent))
    trim_heap()


def _block_there(task: BlockTask, sent: bytes, after: Sequence[None]) -> None:  # noqa: ARG001 Dask waits for them
    """On a worker."""
    ensure_artifact(task, _tools(sent))
    trim_heap()


def _trouble(sent: bytes, probe: str, version: str) -> str:
    """On a worker: what keeps it from making blocks; empty where nothing does."""
    if version != __version__:
        return f"runs groundshift {__version__}"
    try:
        tools = _tools(sent)
        if not tools.store.exists(probe):
            return f"does not see the objects in {tools.settings.objects}"
        for name in MODEL_NAMES:
            tools.models.resolve(name)
    except GroundshiftError as error:
        return str(error)
    return ""


class DaskScorer:
    """A `Scorer` that has the workers of a Dask cluster make the blocks. Safe for threads."""

    def __init__(self, address: str, settings: Settings, *, models_url: str) -> None:
        """Connect to the scheduler at `address` (``tcp://host:8786``). Raises Unavailable."""
        given = settings.model_copy(
            update={"models_url": models_url, "object_root": _absolute(settings.objects)}
        )
        self._sent = orjson.dumps(given.model_dump(mode="json", include=set(_SENT)))
        self._address, self._lock = address, RLock()
        self._layers: dict[tuple[str, str], dict[str, tuple[BlockTask, Future[None]]]] = {}
        self._open = self._connected()

    @property
    def threads(self) -> int:
        """Of all workers together."""
        with self._errors():
            return sum(self._client.nthreads().values())  # type: ignore[no-untyped-call]

    def check(self, store: ObjectStore) -> None:
        """Raises Misconfigured unless there are workers that see what they need."""
        probe = f"probes/{uuid4().hex}"
        store.put(probe, b"")
        try:
            with self._errors():
                said: Mapping[str, str] = self._client.run(_trouble, self._sent, probe, __version__)
        finally:
            store.delete(probe)
        if not said:
            raise Misconfigured("the Dask cluster has no worker: start some with `dask worker`")
        troubles = [f"{worker} {trouble}" for worker, trouble in said.items() if trouble]
        if troubles:
            raise Misconfigured(
                f"workers that cannot make blocks: {'; '.join(troubles)}. Every worker needs this "
                f"version ({__version__}), the objects under the same path or on S3 (with keys in "
                "its own environment), and the models at the same address (GROUNDSHIFT_MODELS_URL)"
            )

    def __call__(self, task: BlockTask, tools: Tools) -> None:
        """Have a worker make the block unless its artifact stands. Raises what the worker did."""
        with tools.flights(task.key):
            if tools.store.exists(task.key):
                return
            try:
                with self._errors():
                    made = self._submit(_block_there, task, self._sent, self._before(task))
                    made.result()
            finally:
                self._forget(task)

    def close(self) -> None:
        """Leave the cluster; what its workers still do is forgotten."""
        self._open.close()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _before(self, task: BlockTask) -> list[Future[None]]:
        """What the block waits for: its scene's layers, and those of its baseline under way."""
        name = str(task.block)
        with self._lock:
            own = self._layers.setdefault(_scene(task, task.run.scene_id), {})
            if name not in own or own[name][1].status not in _WELL:
                own[name] = task, self._submit(_layers_there, task, self._sent)
            waited = [own[name][1]]
            for scene_id in task.run.baseline:
                waited += self._under_way(_scene(task, scene_id), task)
        return waited

    def _under_way(self, scene: tuple[str, str], task: BlockTask) -> Iterator[Future[None]]:
        """Layers of a scene over the task's ground that a worker has in hand."""
        for other, future in self._layers.get(scene, {}).values():
            if future.status == _RUNNING and not (other.block.core & task.block.core).empty:
                yield future

    def _forget(self, task: BlockTask) -> None:
        """The scene's layers are in the store, or to be made anew by who needs them."""
        scene = _scene(task, task.run.scene_id)
        with self._lock:
            known = self._layers.get(scene, {})
            known.pop(str(task.block), None)
            if not known:
                self._layers.pop(scene, None)

    @property
    def _client(self) -> Client:
        """The connection; another one where the scheduler went away."""
        with self._lock:
            if self._open.status == "closed":
                self._layers.clear()  # they were the old connection's
                self._open = self._connected()
            return self._open

    def _connected(self) -> Client:
        try:
            return Client(self._address, timeout=_CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            raise Unavailable(
                f"no Dask scheduler at {self._address}: {error}; start one with `dask scheduler`, "
                "or leave --scheduler out to use this machine's threads"
            ) from error

    def _submit(self, function: Any, *arguments: Any) -> Future[None]:
        return self._client.submit(function, *arguments, pure=False)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (CancelledError, CommClosedError, KilledWorker, TimeoutError) as error:
            raise Unavailable(
                f"the Dask cluster lost a block ({type(error).__name__}: {error}); "
                "are its scheduler and workers alive, with memory enough?"
            ) from error


def _absolute(objects: str) -> str:
    return objects if "://" in objects else str(Path(objects).resolve())


def _scene(task: BlockTask, scene_id: str) -> tuple[str, str]:
    """What layers belong to: the models that say them, and the scene."""
    models = orjson.dumps([dict(model) for model in task.run.model_set])
    return models.decode(), scene_id
