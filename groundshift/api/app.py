"""The API's ASGI app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware

from groundshift.api import (
    access,
    alerts,
    areas,
    catalogue,
    columns,
    docs,
    feed,
    files,
    hooks,
    labels,
    me,
    models,
    observations,
    ogc,
    packs,
    queue,
    stac,
    stats,
    tiles,
    verdicts,
)
from groundshift.api.access import Services
from groundshift.api.answers import PROBLEMS, answer_problems
from groundshift.api.deliver import Deliverer
from groundshift.api.tokens import TokenVerifier
from groundshift.errors import Misconfigured
from groundshift.ledger import Ledger
from groundshift.ports import ObjectStore
from groundshift.settings import Settings

_ROUTERS: Final[Sequence[APIRouter]] = (
    packs.router,
    columns.router,
    alerts.router,
    queue.router,
    verdicts.router,
    areas.router,
    catalogue.router,
    stats.router,
    observations.router,
    labels.router,
    models.router,
    feed.router,
    hooks.router,
    tiles.router,
    files.router,
    me.router,
    stac.router,
    ogc.router,
    docs.router,
)
_LOCAL_ORIGIN: Final = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"


def create_api(
    *,
    settings: Settings,
    ledger: Ledger,
    store: ObjectStore,
    tokens: TokenVerifier | None = None,
) -> FastAPI:
    """The API over a platform's ledger and objects.

    `tokens` defaults to the issuer of the settings; with none there is one local user, on loopback
    only. Raises Misconfigured for an issuer without an audience.
    """
    app = FastAPI(
        title="groundshift",
        version=version("groundshift"),
        description="Alerts of change in satellite imagery: look, review, subscribe.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=_delivering,
        responses=PROBLEMS,
    )
    app.state.services = Services(
        settings=settings,
        ledger=ledger,
        store=store,
        signer=access.signer(settings),
        tokens=tokens or _verifier(settings),
    )
    for router in _ROUTERS:
        app.include_router(router)
    answer_problems(app)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.api_origins,
        allow_origin_regex=None if settings.oidc_issuer else _LOCAL_ORIGIN,
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "If-None-Match"],
        expose_headers=["ETag", "Link"],
    )
    return app


@asynccontextmanager
async def _delivering(app: FastAPI) -> AsyncIterator[None]:
    """Push the feed to webhooks for as long as the app is served."""
    stop = asyncio.Event()
    task = asyncio.create_task(Deliverer(app.state.services).run_forever(stop))
    yield
    stop.set()
    await task


def _verifier(settings: Settings) -> TokenVerifier | None:
    if not settings.oidc_issuer:
        return None
    if not settings.oidc_audience:
        raise Misconfigured(
            "oidc_issuer is set and oidc_audience is not: name the client that tokens are for, "
            "else a token for any other program of that login would open this one"
        )
    return TokenVerifier(settings.oidc_issuer, settings.oidc_audience)
