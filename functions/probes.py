"""/healthz and /metrics of a program that serves nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def probes_app(registry: CollectorRegistry, alive: Callable[[], bool]) -> Starlette:
    """``GET /healthz``: 200 while `alive`, else 503; ``GET /metrics``."""

    async def healthz(_: Request) -> Response:
        return Response(status_code=HTTPStatus.OK if alive() else HTTPStatus.SERVICE_UNAVAILABLE)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/healthz", healthz), Route("/metrics", metrics)])


@contextmanager
def probes(
    port: int, registry: CollectorRegistry, alive: Callable[[], bool]
) -> Iterator[uvicorn.Server]:
    """Serve them from a thread until the context ends."""
    config = uvicorn.Config(
        probes_app(registry, alive),
        host="0.0.0.0",  # noqa: S104 a pod's only door
        port=port,
        log_level="warning",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="probes", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join()
