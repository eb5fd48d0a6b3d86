"""Run the embedded platform until it is stopped."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final, NoReturn

import httpx
import uvicorn
from anyio import to_thread
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from functions import reports, show
from functions.app import intake_route
from functions.clocks import tick
from functions.commands.common import (
    address_of,
    ended_by_signals,
    listening,
    platform_settings,
)
from functions.local import Embedded, embedded
from functions.metrics import LedgerMetrics
from functions.platform import SCRATCH
from groundshift.errors import Conflict, Unavailable
from groundshift.runs import MODEL_NAMES

_READY_TIMEOUT_S: Final = 5.0
_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "host"})
"""Headers that belong to one connection (RFC 9110, section 7.6.1), and the host's name."""
_OURS: Final = _HOP_BY_HOP | {"authorization", "cookie"}
"""What the model server is not shown."""


def up(
    *,
    data_dir: Path | None,
    host: str,
    port: int,
    roots: Sequence[Path] | None,
    hosts: Sequence[str] | None,
    dashboard: bool = False,
    open_browser: bool = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C; `port` 0: any free one. `dashboard`: with the map beside it.

    Raises Conflict where a platform runs on that folder, Misconfigured where the port is taken.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    for chatty in ("httpx", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    settings = platform_settings(data_dir, roots, hosts)
    with ended_by_signals(), sole_owner(settings.data_dir), listening(host, port) as listener:
        with embedded(settings) as platform, platform.jobs(), ExitStack() as stack:
            if dashboard:
                stack.enter_context(_dashboard(listener, open_browser=open_browser))
            _serve(platform, listener)
        _leave()


def _serve(platform: Embedded, listener: socket.socket) -> None:
    settings = platform.platform.settings
    places = (settings.data_dir, *settings.allowed_roots, *settings.allowed_hosts)
    show.err.print(
        f"groundshift is up on {address_of(listener)}.\n"
        f"It reads scenes from {', '.join(map(str, places))}; allow more with --allow.",
        highlight=False,
        soft_wrap=True,
    )
    server = uvicorn.Server(uvicorn.Config(create_app(platform), log_level="warning"))
    with suppress(SystemExit):  # uvicorn ends well, then raises its signal again
        server.run(sockets=[listener])
    if not server.started:
        raise Unavailable("the platform did not start: the log above says why")


def _dashboard(listener: socket.socket, *, open_browser: bool) -> AbstractContextManager[None]:
    from functions.commands.dashboard import HOST, beside

    host, port = listener.getsockname()[:2]
    reached = HOST if host in ("0.0.0.0", "::") else host  # noqa: S104 any: loopback among them
    api = f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
    return beside(api, open_browser=open_browser)


def _leave() -> NoReturn:
    """End now, the folder's lock still held.

    A thread that reads a scene cannot be stopped, and the interpreter would wait for it; what it
    does is made again at the next start.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def create_app(platform: Embedded) -> Starlette:
    """The platform's one address: events in, the API, models, metrics and health."""
    from groundshift.api import create_api, doors  # 1 s that the other commands do not need

    p = platform.platform
    api = create_api(settings=p.settings, ledger=p.ledger, store=p.store)
    guarded = partial(doors.guarded, api.state.services)

    @asynccontextmanager
    async def dispatching(app: Starlette) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(platform.dispatcher().run_forever(stop))
        ticking = asyncio.create_task(tick(platform.platform.ledger, platform.topology, stop))
        async with httpx.AsyncClient(timeout=None, trust_env=False) as client:  # noqa: S113 the model server's own limits hold
            app.state.models = client
            async with api.router.lifespan_context(api):  # a mounted app's does not run by itself
                yield
        stop.set()
        await asyncio.gather(task, ticking)

    async def metrics(_: Request) -> Response:
        ours = generate_latest(platform.metrics.registry)
        theirs = await to_thread.run_sync(_other_metrics, platform)
        return Response(ours + theirs, media_type=CONTENT_TYPE_LATEST)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def readyz(_: Request) -> Response:
        return await to_thread.run_sync(_readiness, platform)

    async def status(request: Request) -> Response:
        ledger, tenant = platform.platform.ledger, request.state.caller.tenant
        return JSONResponse(await to_thread.run_sync(reports.status, ledger, tenant))

    async def models(request: Request) -> Response:
        return await _forward(request, _models_url(platform))

    routes = [
        intake_route(platform.platform, guard=partial(guarded, "events"), tenant_of=_tenant_of),
        Route("/metrics", guarded("metrics", metrics)),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/status", guarded("status", status)),
        Route("/v2{path:path}", guarded("models", models), methods=["GET", "POST"]),
        Mount("/", app=api),  # the last: it answers for every other path
    ]
    return Starlette(routes=routes, lifespan=dispatching)


def _tenant_of(request: Request) -> str | None:
    """The one tenant that a caller may announce scenes for; None: this machine's own user."""
    caller = request.state.caller
    return None if caller.local else caller.tenant


@contextmanager
def sole_owner(data_dir: Path) -> Iterator[None]:
    """Hold a data folder's lock. Raises Conflict where another process has it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                f"a platform runs on {data_dir} already: announce scenes to it with "
                "`groundshift submit`, or name another folder with --data"
            ) from error
        shutil.rmtree(data_dir / SCRATCH, ignore_errors=True)  # of one that was killed
        yield


def _readiness(platform: Embedded) -> Response:
    """200 once the ledger reads and every model answers; else 503 with what is missing."""
    missing = []
    with platform.platform.ledger.read() as connection:
        connection.exec_driver_sql("SELECT 1")
    for name in MODEL_NAMES:
        url = f"{_models_url(platform)}/v2/models/{name}/ready"
        try:
            httpx.get(url, timeout=_READY_TIMEOUT_S, trust_env=False).raise_for_status()
        except httpx.HTTPError as error:
            missing.append(f"model {name}: {error}")
    status = HTTPStatus.SERVICE_UNAVAILABLE if missing else HTTPStatus.OK
    return JSONResponse({"ready": not missing, "missing": missing}, status_code=status)


def _other_metrics(platform: Embedded) -> bytes:
    """The ledger's and the model server's, of whichever answers."""
    registry = CollectorRegistry()
    registry.register(LedgerMetrics(platform.platform.ledger))
    try:
        ledger = generate_latest(registry)
    except Unavailable:
        ledger = b""
    return ledger + _model_metrics(platform)


def _model_metrics(platform: Embedded) -> bytes:
    """The model server's metrics; nothing while it does not answer (then /readyz says so)."""
    try:
        answer = httpx.get(
            f"{_models_url(platform)}/metrics", timeout=_READY_TIMEOUT_S, trust_env=False
        )
        return answer.raise_for_status().content
    except httpx.HTTPError:
        return b""


def _models_url(platform: Embedded) -> str:
    return platform.server.url if platform.server else platform.platform.settings.models_url


async def _forward(request: Request, base: str) -> Response:
    """Hand a KServe v2 request on to the model server, body and answer streamed."""
    client: httpx.AsyncClient = request.app.state.models
    headers = {k: v for k, v in request.headers.items() if k not in _OURS}
    body = request.stream() if request.method == "POST" else None
    onward = client.build_request(
        request.method, f"{base}{request.url.path}", headers=headers, content=body
    )
    try:
        answer = await client.send(onward, stream=True)
    except httpx.TransportError as error:
        detail = {"error": f"the model server does not answer ({error}); it is being restarted"}
        return JSONResponse(detail, status_code=HTTPStatus.BAD_GATEWAY)
    kept = {k: v for k, v in answer.headers.items() if k not in _HOP_BY_HOP}
    return StreamingResponse(
        answer.aiter_raw(),
        status_code=answer.status_code,
        headers=kept,
        background=BackgroundTask(answer.aclose),
    )
