"""The model server's process: arguments, socket, signals; kserve only once all of that stands."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from groundshift.errors import GroundshiftError, Misconfigured, NotFound
from groundshift.models import MAX_ARTIFACT_BYTES, ModelRecord, list_models

log = logging.getLogger(__name__)

EXIT_MISCONFIGURED = 4
"""Exit status where the models or the address are wrong: the command line's platform error."""


@dataclass(frozen=True)
class ServeOptions:
    """How to serve a model store."""

    model_dir: Path
    """A store, or one model's folder (what KServe mounts at /mnt/models)."""
    model_name: str | None = None
    """Serve this model only; it must be there."""
    host: str = "127.0.0.1"
    port: int = 8080
    """0: any free one."""
    listen_fd: int | None = None
    """A bound socket inherited from the parent, instead of host and port."""
    threads: int = 0
    """Inferences at once; 0: one per CPU this process may use."""
    queue: int = 32
    """Requests that may wait for a thread; further ones get 503."""
    max_body_mib: int = 32
    max_model_mib: int = MAX_ARTIFACT_BYTES >> 20
    provider: str = "cpu"
    """What computes: ``cpu``, ``cuda`` or ``openvino``."""
    exit_with_stdin: bool = False
    """End as soon as standard input closes, i.e. when the parent is gone, however it went."""

    @property
    def workers(self) -> int:
        """Threads, the automatic number resolved."""
        if self.threads:
            return self.threads
        if hasattr(os, "sched_getaffinity"):  # Linux: what a cpuset or taskset leaves
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1


def serve(options: ServeOptions) -> None:
    """Serve until SIGTERM.

    Raises NotFound or Misconfigured: no such model, a wrong artifact, an address in use.
    """
    records = _records(options)
    with _listener(options) as listener, _hidden_arguments():
        from groundshift.serving.gate import Limits
        from groundshift.serving.metrics import ServerMetrics
        from groundshift.serving.server import OnnxModel, TileServer

        metrics = ServerMetrics()
        pool = ThreadPoolExecutor(options.workers, thread_name_prefix="infer")
        limits = Limits(
            in_flight=options.workers + options.queue, body_bytes=options.max_body_mib << 20
        )
        models = [
            OnnxModel(
                record,
                pool=pool,
                metrics=metrics,
                max_bytes=options.max_model_mib << 20,
                provider=options.provider,
            )
            for record in records
        ]
        log.info("serving %s at %s", [m.name for m in models], listener.getsockname())
        TileServer(listener, limits=limits, metrics=metrics).start(models)


def main(argv: Sequence[str] | None = None) -> None:
    """``python -m groundshift.serving``."""
    options = parse(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")  # kserve's own
    for noisy in ("kserve.trace", "httpx", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Python as process 1 ignores SIGTERM; uvicorn's own handler comes seconds later, and gives
    # the signal back once its requests are answered.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    if options.exit_with_stdin:
        threading.Thread(target=_follow_stdin, name="parent watch", daemon=True).start()
    try:
        serve(options)
    except GroundshiftError as error:
        log.critical("cannot serve: %s", error)
        logging.shutdown()
        os._exit(EXIT_MISCONFIGURED)


def parse(argv: Sequence[str]) -> ServeOptions:
    """Options from a command line; exits with 2 on bad usage."""
    parser = argparse.ArgumentParser(
        prog="groundshift.serving", description="Serve ONNX models over KServe v2."
    )
    add = parser.add_argument
    add("--model-dir", type=Path, required=True, help="a model store, or one model's folder")
    add("--model-name", help="serve this model only")
    add("--host", default=ServeOptions.host, help="address to listen at")
    add("--port", type=int, default=ServeOptions.port, help="0: any free one")
    add("--listen-fd", type=int, help="a bound socket to use instead")
    add("--threads", type=_whole, default=0, help="inferences at once; 0: one per CPU")
    add("--queue", type=_whole, default=ServeOptions.queue, help="requests that may wait")
    add("--max-body-mib", type=_whole, default=ServeOptions.max_body_mib)
    add("--max-model-mib", type=_whole, default=ServeOptions.max_model_mib)
    providers = ("cpu", "cuda", "openvino")
    add("--provider", choices=providers, default=ServeOptions.provider, help="what computes")
    add("--exit-with-stdin", action="store_true", help="end when standard input closes")
    return ServeOptions(**vars(parser.parse_args(argv)))


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value}: give a number from 0 on")
    return value


def _records(options: ServeOptions) -> tuple[ModelRecord, ...]:
    records = list_models(options.model_dir)
    if options.model_name is None:
        return records
    chosen = tuple(r for r in records if r.name == options.model_name)
    if not chosen:
        names = ", ".join(r.name for r in records)
        raise NotFound(f"{options.model_dir}: holds {names}, not {options.model_name!r}")
    return chosen


@contextmanager
def _listener(options: ServeOptions) -> Iterator[socket.socket]:
    """The bound socket; uvicorn begins to listen on it once the endpoints stand."""
    if options.listen_fd is not None:
        bound = socket.socket(fileno=options.listen_fd)
    else:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with bound:
        try:
            if options.listen_fd is None:
                bound.bind((options.host, options.port))
        except OSError as error:
            raise Misconfigured(
                f"cannot listen at {options.host}:{options.port} ({error.strerror}); "
                "choose another --port"
            ) from error
        yield bound


@contextmanager
def _hidden_arguments() -> Iterator[None]:
    """kserve reads sys.argv at import; it gets what this server needs, and nothing of ours."""
    ours = sys.argv
    sys.argv = [ours[0], "--enable_grpc=false", "--configure_logging=false"]
    try:
        yield
    finally:
        sys.argv = ours


def _end(number: int, _frame: FrameType | None) -> None:
    """End at once: nothing is half written here, and a thread that still loads must not hold it."""
    logging.shutdown()
    os._exit(128 + number)


def _follow_stdin() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)
