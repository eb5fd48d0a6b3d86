"""Counters of the dispatcher, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram


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
