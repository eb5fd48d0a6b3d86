"""The embedded runtime: every stage in this process, the model server in one of its own.

It follows the Triggers of ``knative/base`` and starts the ServingRuntime of ``kserve/base``; state
lies in SQLite and a folder, so that it goes on where it was, however it ended.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp

from functions.app import create_app
from functions.dispatch import Dispatcher
from functions.heap import bound_heap
from functions.jobs import LocalJobs, accept
from functions.metrics import DispatchMetrics
from functions.platform import Platform
from functions.stages import DEAD_LETTER, JOBS, STAGES, TABLE
from functions.transport import AppTransport
from groundshift.adapters.kserve_cluster import SCHEME, KServeClusterClient
from groundshift.adapters.kserve_http import KServeClient
from groundshift.events import Event
from groundshift.ledger import arrivals
from groundshift.manifests import Topology, load, topology
from groundshift.modelserver_process import ModelServerProcess, runtime_args
from groundshift.opening import open_ledger, open_store
from groundshift.ports import IN_PROCESS
from groundshift.settings import Settings

if TYPE_CHECKING:
    from groundshift.adapters.inprocess import InProcessClient

_WATCH_S: Final = 0.25
"""How often a watcher is told how far the work is."""
IDLE_TIMEOUT_S: Final = 24 * 3600.0


@dataclass(frozen=True)
class Embedded:
    """A platform in this process."""

    platform: Platform
    metrics: DispatchMetrics
    models: KServeClient | KServeClusterClient | InProcessClient
    """The client of the models, with its counts."""
    server: ModelServerProcess | None
    """The model server, where this process started it."""
    topology: Topology = field(default_factory=topology)
    """The Services and Triggers that it follows."""

    def dispatcher(self) -> Dispatcher:
        """A dispatcher over the stages' apps; to be made on the loop that runs it."""
        return Dispatcher(
            self.platform.ledger,
            self.topology,
            AppTransport(self._apps(self.topology)),
            settings=self.platform.settings,
            metrics=self.metrics,
        )

    @contextmanager
    def jobs(self) -> Iterator[None]:
        """Make what the JobSinks accepted, beside everything else, until the context ends."""
        p = self.platform
        with ExitStack() as stack:
            for job in self.topology.jobs.values():
                stack.enter_context(LocalJobs(p.settings, p.ledger, job).running())
            yield

    def announce(self, events: Sequence[Event]) -> list[str]:
        """Commit to scenes, in this order; the ids of their arrivals."""
        with self.platform.ledger.transaction() as tx:
            return [arrivals.announce(tx, event) for event in events]

    def work(
        self,
        *,
        watch: Callable[[], None] | None = None,
        timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        """Handle everything that waits, then return; `watch` is called a few times a second.

        Raises Unavailable after `timeout_s`; SystemExit on SIGTERM, as soon as what is under way
        in its threads has ended.
        """

        async def run() -> None:
            with _cancelled_by_sigterm():
                await self.dispatcher().run_until_idle(timeout_s=timeout_s)

        with _watching(watch):
            try:
                asyncio.run(run())
            except asyncio.CancelledError:
                sys.exit(128 + signal.SIGTERM)

    def _apps(self, topology: Topology) -> dict[str, ASGIApp]:
        handlers = {name: TABLE[name].handler() for name in (*STAGES, DEAD_LETTER)}
        handlers |= dict.fromkeys(JOBS, accept)
        limit = self.platform.settings.max_event_bytes
        stages = {s.name: s.stage for s in topology.services.values() if s.stage in handlers}
        stages |= {name: name for name in topology.jobs if name in JOBS}
        return {
            name: create_app(stage, self.platform, handlers, max_event_bytes=limit)
            for name, stage in stages.items()
            if stage is not None
        }


@contextmanager
def embedded(settings: Settings) -> Iterator[Embedded]:
    """Open the embedded platform of a data folder; its model server ends with the context."""
    bound_heap()
    with ExitStack() as stack:
        server = None
        if not settings.models_url:
            server = stack.enter_context(model_server(settings))
        models = open_models(server.url if server else settings.models_url, settings)
        stack.callback(models.close)
        ledger = stack.enter_context(open_ledger(settings))
        platform = Platform(settings, ledger, open_store(settings), models)
        yield Embedded(platform, DispatchMetrics(), models, server)


def model_server(settings: Settings, *, port: int = 0) -> ModelServerProcess:
    """The model server of ``kserve/base`` as a process of its own, not started yet."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return ModelServerProcess(
        settings.models,
        port=port,
        log_file=settings.data_dir / "models.log",
        runtime_args=runtime_args(load("kserve")),
    )


def open_models(
    url: str, settings: Settings
) -> KServeClient | KServeClusterClient | InProcessClient:
    """The client of the models at `url`: http://..., kserve://NAMESPACE, or `IN_PROCESS`."""
    if url == IN_PROCESS:
        from groundshift.adapters.inprocess import InProcessClient  # the functions' image has none

        return InProcessClient(settings.models)
    in_flight, timeout_s = settings.max_in_flight, settings.infer_timeout_s
    if url.startswith(f"{SCHEME}:"):
        return KServeClusterClient.of_url(url, max_in_flight=in_flight, timeout_s=timeout_s)
    return KServeClient(url, max_in_flight=in_flight, timeout_s=timeout_s)


@contextmanager
def _cancelled_by_sigterm() -> Iterator[None]:
    """SIGTERM cancels the task in here, as asyncio does for Ctrl-C.

    An exception out of a plain signal handler can land in a destructor, where it is lost.
    """
    task = asyncio.current_task()
    if task is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _watching(watch: Callable[[], None] | None) -> Iterator[None]:
    if watch is None:
        yield
        return
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(_WATCH_S):
            watch()

    watcher = threading.Thread(target=look, name="watch")
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        watch()
