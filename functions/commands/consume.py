"""Take scene notifications from Kafka into the outbox until SIGTERM."""

from __future__ import annotations

import logging
from contextlib import ExitStack

from functions.commands.common import stopping_on_signals
from functions.consume import Consumer
from functions.metrics import ConsumerMetrics
from functions.probes import probes
from groundshift.adapters.kafka import KafkaSink, KafkaSource
from groundshift.opening import open_ledger, settings_of


def consume() -> None:
    """Run one member of the group. Raises Misconfigured, Unavailable at the start."""
    settings, metrics = settings_of(), ConsumerMetrics()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("kafka").setLevel(logging.WARNING)
    with ExitStack() as stack:
        ledger = stack.enter_context(open_ledger(settings))
        dead = stack.enter_context(
            KafkaSink(settings.kafka_servers, settings.kafka_dead_letter_topic)
        )
        source = stack.enter_context(
            KafkaSource(
                settings.kafka_servers,
                settings.kafka_topic,
                group=settings.kafka_group,
                rebalanced=lambda change, n: metrics.rebalances.labels(change).inc(n),
            )
        )
        one = Consumer(ledger, source, dead, settings=settings, metrics=metrics)
        stack.enter_context(probes(settings.probe_port, metrics.registry, lambda: one.alive))
        stack.enter_context(stopping_on_signals(one.stop))
        one.run()
