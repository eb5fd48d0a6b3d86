"""One stage as a server of its own: what each Knative Service runs."""

from __future__ import annotations

import logging
from contextlib import ExitStack

import uvicorn

from functions.app import create_app
from functions.heap import bound_heap
from functions.local import open_models
from functions.platform import Platform
from functions.stages import TABLE
from groundshift.errors import Misconfigured
from groundshift.opening import open_ledger, open_store, settings_of


def serve(stage: str, *, host: str, port: int) -> None:
    """Serve one stage until SIGTERM. Raises Misconfigured: no such stage, no model server named."""
    if stage not in TABLE:
        raise Misconfigured(f"no stage {stage!r}: there are {', '.join(TABLE)}")
    settings = settings_of()
    if not settings.models_url:
        raise Misconfigured(
            "a stage of its own needs GROUNDSHIFT_MODELS_URL, e.g. "
            "kserve://NAMESPACE, or http://{name}-predictor.NAMESPACE.svc.cluster.local"
        )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    bound_heap()
    with ExitStack() as stack:
        models = open_models(settings.models_url, settings)
        stack.callback(models.close)
        ledger = stack.enter_context(open_ledger(settings))
        platform = Platform(settings, ledger, open_store(settings), models)
        handlers = {stage: TABLE[stage].handler()}
        app = create_app(stage, platform, handlers, max_event_bytes=settings.max_event_bytes)
        uvicorn.run(app, host=host, port=port, log_level="warning")
