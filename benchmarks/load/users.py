"""Who sends what: users for locust, also by hand: locust -f benchmarks/load/users.py --host URL.

GROUNDSHIFT_LOAD_PATH and GROUNDSHIFT_LOAD_HOST say the intake's path and the Host header where
these are others, as on a cluster.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from uuid import uuid4

import numpy as np
from locust import FastHttpUser, constant_throughput, task

from groundshift.codec import encode
from groundshift.events import SceneArrived, new_event
from groundshift.v2 import encode_request

HREF = "/nowhere/load-test.json"
"""No stage may read it: each scene is refused as soon as it is looked at."""
MODEL = "segmenter"
TILE = (1, 6, 512, 512)


class _Sender(FastHttpUser):
    """One more connection; waits for the answer, and skips what it could not send in time."""

    abstract = True
    connection_timeout = 30.0
    network_timeout = 120.0

    def extra(self) -> dict[str, str]:
        host = os.environ.get("GROUNDSHIFT_LOAD_HOST", "")
        return {"Host": host} if host else {}


class Announcer(_Sender):
    """Announces scenes that nobody may read."""

    per_second = 5.0
    wait_time = constant_throughput(per_second)

    @task
    def announce(self) -> None:
        data = SceneArrived(href=HREF)
        event = new_event(data, source="load", subject=str(uuid4()), time=datetime.now(UTC))
        headers, body = encode(event)
        path = os.environ.get("GROUNDSHIFT_LOAD_PATH", "/events")
        self.client.post(path, data=body, headers=headers | self.extra(), name="intake")


class Predictor(_Sender):
    """Asks a model about one tile, in binary."""

    per_second = 0.5
    wait_time = constant_throughput(per_second)

    def on_start(self) -> None:
        tile = np.random.default_rng(1).integers(1, 6000, TILE, np.uint16)
        self._headers, parts = encode_request({"image": tile})
        self._body = b"".join(parts)

    @task
    def predict(self) -> None:
        headers = self._headers | self.extra()
        self.client.post(f"/v2/models/{MODEL}/infer", data=self._body, headers=headers, name=MODEL)
