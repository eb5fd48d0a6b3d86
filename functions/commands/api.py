"""The API as a server of its own, over a ledger and objects that other programs share."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

import uvicorn
from anyio import to_thread
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from functions import show
from functions.commands.common import address_of, ended_by_signals, listening
from functions.metrics import LedgerMetrics
from groundshift.errors import Misconfigured, Unavailable
from groundshift.ledger import Ledger
from groundshift.loopback import is_loopback
from groundshift.opening import open_ledger, open_store, settings_of
from groundshift.settings import Settings


def api(*, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises Misconfigured: reached by others, and no login set."""
    settings = settings_of()
    if not (settings.oidc_issuer or is_loopback(host)):
        raise Misconfigured(
            f"host {host!r} is reached from other machines, and no login is configured: set "
            "GROUNDSHIFT_OIDC_ISSUER and GROUNDSHIFT_OIDC_AUDIENCE, or listen on 127.0.0.1"
        )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    with ended_by_signals(), listening(host, port) as listener, open_ledger(settings) as ledger:
        show.err.print(f"The API is on {address_of(listener)}.", highlight=False, soft_wrap=True)
        app = create_app(settings, ledger)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
        )
        with suppress(SystemExit):  # uvicorn ends well, then raises its signal again
            server.run(sockets=[listener])
        if not server.started:
            raise Unavailable("the API did not start: the log above says why")


def create_app(settings: Settings, ledger: Ledger) -> Starlette:
    """The API, with probes (`/healthz`: it runs, `/readyz`: the ledger answers) and metrics."""
    from groundshift.api import create_api, doors  # 1 s that the other commands do not need

    api = create_api(settings=settings, ledger=ledger, store=open_store(settings))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with api.router.lifespan_context(api):  # a mounted app's does not run by itself
            yield

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def readyz(_: Request) -> Response:
        try:
            await to_thread.run_sync(_read, ledger)
        except Unavailable as error:
            return PlainTextResponse(str(error), status_code=HTTPStatus.SERVICE_UNAVAILABLE)
        return PlainTextResponse("ok")

    async def metrics(_: Request) -> Response:
        body = await to_thread.run_sync(_metrics, ledger)
        return Response(body, media_type=CONTENT_TYPE_LATEST)

    routes = [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", doors.guarded(api.state.services, "metrics", metrics)),
        Mount("/", app=api),  # the last: it answers for every other path
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def _read(ledger: Ledger) -> None:
    with ledger.read() as connection:
        connection.execute(text("SELECT 1"))


def _metrics(ledger: Ledger) -> bytes:
    registry = CollectorRegistry()
    registry.register(LedgerMetrics(ledger))
    return generate_latest(registry)
