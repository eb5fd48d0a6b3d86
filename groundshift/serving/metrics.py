"""What the model server counts, for ``/metrics``."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class ServerMetrics:
    """The server's Prometheus metrics; made once per process and registry."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.seconds = Histogram(
            "groundshift_inference_seconds",
            "Seconds of one inference in ONNX Runtime, waiting excluded",
            ["model_name"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.images = Counter(
            "groundshift_inference_images",
            "Images inferred (a request may hold several)",
            ["model_name"],
            registry=registry,
        )
        self.in_flight = Gauge(
            "groundshift_requests_in_flight",
            "Inference requests in the server, waiting ones included",
            registry=registry,
        )
        self.waiting = Gauge(
            "groundshift_queue_depth",
            "Inference requests that wait for a thread",
            registry=registry,
        )
        self.refused = Counter(
            "groundshift_requests_refused",
            "Requests refused before a model saw them, by status",
            ["status"],
            registry=registry,
        )
