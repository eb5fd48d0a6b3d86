"""Take events from the outbox to the Broker until SIGTERM."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from typing import Final

from functions.commands.common import stopping_on_signals
from functions.metrics import RelayMetrics
from functions.probes import probes
from functions.relay import Relay, longest_chain_s
from groundshift.adapters.knative import BrokerSink
from groundshift.errors import Misconfigured
from groundshift.manifests import topology
from groundshift.opening import open_ledger, settings_of

K_SINK: Final = "K_SINK"
"""Where Knative's SinkBinding says the sink's address."""


def relay() -> None:
    """Run one replica. Raises Misconfigured where no Broker is named."""
    settings = settings_of()
    url = settings.sink_url or os.environ.get(K_SINK, "")
    if not url:
        raise Misconfigured("no Broker: set GROUNDSHIFT_SINK_URL, or bind K_SINK by a SinkBinding")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    known, metrics = topology(), RelayMetrics()
    timeout_s = settings.relay_timeout_s or longest_chain_s(known)
    with ExitStack() as stack:
        ledger = stack.enter_context(open_ledger(settings))
        sink = BrokerSink(url, timeout_s=timeout_s)  # not closed: a post may be under way
        one = Relay(
            ledger, sink, settings=settings, triggers=tuple(known.triggers), metrics=metrics
        )
        stack.enter_context(probes(settings.probe_port, metrics.registry, lambda: one.alive))
        stack.enter_context(stopping_on_signals(one.stop))
        one.run()
