"""Counters of the dispatcher, the relay and the consumer, and what the ledger says of the whole."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from groundshift.ledger import Ledger, deliveries, tables

_OLDEST = "groundshift_outbox_oldest_seconds", "Age of the oldest event that was not delivered yet"
_DEAD = "groundshift_dead_letters", "Deliveries that were given up and wait for a replay"


class DispatchMetrics:
    """What the dispatcher counts; `registry` is what /metrics shows (default: one of its own)."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.deliveries = Counter(
            "groundshift_deliveries",
            "Attempts to deliver an event, by Trigger and outcome: done, retried, dead or lost",
            ("trigger", "outcome"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "groundshift_delivery_seconds",
            "Duration of one attempt, the stage's work included",
            ("trigger",),
            registry=self.registry,
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300),
        )

    def spent_s(self, trigger: str) -> float:
        """Seconds spent in a Trigger's deliveries so far, summed over those at once."""
        name = "groundshift_delivery_seconds_sum"
        return self.registry.get_sample_value(name, {"trigger": trigger}) or 0.0


class RelayMetrics:
    """What the relay counts; `registry` is what /metrics shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events = Counter(
            "groundshift_relay_events",
            "Attempts to hand an event to the Broker, by outcome: sent, retried or lost",
            ("outcome",),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "groundshift_relay_seconds",
            "Time until the Broker answered: every handler behind it, retries included",
            registry=self.registry,
            buckets=(0.01, 0.1, 1, 10, 60, 300, 1800, 7200),
        )
        self.in_flight = Gauge(
            "groundshift_relay_in_flight",
            "Events that wait for the Broker's answer",
            registry=self.registry,
        )
        self.oldest_s = Gauge(
            *_OLDEST,
            registry=self.registry,
        )
        self.dead = Gauge(*_DEAD, registry=self.registry)


class LedgerMetrics(Collector):
    """What the ledger says at the moment it is asked: nothing is counted twice, or forgotten.

    `collect` reads the database: call it in a worker thread. Raises Unavailable.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, read now."""
        with self._ledger.read() as connection:
            oldest = deliveries.oldest_open(connection)
            dead = deliveries.dead(connection)
            run = tables.runs.c.state
            runs = connection.execute(select(run, func.count()).group_by(run)).all()
        yield GaugeMetricFamily(*_OLDEST, value=self._age_s(oldest))
        yield GaugeMetricFamily(*_DEAD, value=dead)
        by_state = GaugeMetricFamily("groundshift_runs", "Runs by state", labels=("state",))
        for state, count in runs:
            by_state.add_metric((state,), count)
        yield by_state

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The gauges without values, so that registering reads nothing."""
        yield GaugeMetricFamily(*_OLDEST)
        yield GaugeMetricFamily(*_DEAD)
        yield GaugeMetricFamily("groundshift_runs", "Runs by state")

    def _age_s(self, since: datetime | None) -> float:
        return (self._ledger.clock.now() - since).total_seconds() if since else 0.0


class ConsumerMetrics:
    """What the consumer counts; `registry` is what /metrics shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.messages = Counter(
            "groundshift_consumer_messages",
            "Messages by outcome: taken, repeated, ignored or dead",
            ("outcome",),
            registry=self.registry,
        )
        self.rebalances = Counter(
            "groundshift_consumer_rebalances",
            "Partitions given to or taken from this consumer",
            ("change",),
            registry=self.registry,
        )
