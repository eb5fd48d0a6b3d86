"""Values over time, from a thread: cores of processes, pods of a namespace, the queue's age."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import httpx
import psutil

from groundshift.kube import Object, list_pods
from load.results import Series

Look = Callable[[], Mapping[str, float]]
"""Named values now."""
OLDEST = re.compile(r"^groundshift_outbox_oldest_seconds (\S+)$", re.MULTILINE)


class Watch:
    """Looks every `interval_s` from `__enter__` to `__exit__`."""

    def __init__(self, look: Look, *, interval_s: float = 1.0) -> None:
        self._look, self._interval_s = look, interval_s
        self._points: dict[str, list[tuple[float, float]]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._began = time.monotonic()

    def _run(self) -> None:
        while not self._stop.is_set():
            at = round(time.monotonic() - self._began, 1)
            for name, value in self._look().items():
                self._points.setdefault(name, []).append((at, round(value, 2)))
            self._stop.wait(self._interval_s)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def series(self) -> tuple[Series, ...]:
        """What was seen, by name; what appeared later was 0 before."""
        times = sorted({at for points in self._points.values() for at, _ in points})
        known = {name: dict(points) for name, points in self._points.items()}
        return tuple(
            Series(name, tuple((at, values.get(at, 0.0)) for at in times))
            for name, values in sorted(known.items())
        )


def cores(pids: Callable[[], Mapping[str, int]]) -> Look:
    """Cores in use by each process since the last look."""
    before: dict[int, tuple[float, float]] = {}

    def look() -> dict[str, float]:
        found = {}
        for name, pid in pids().items():
            try:
                times = psutil.Process(pid).cpu_times()
            except psutil.NoSuchProcess:
                continue
            now = time.monotonic(), times.user + times.system
            then = before.get(pid)
            before[pid] = now
            if then:
                found[name] = (now[1] - then[1]) / max(now[0] - then[0], 1e-6)
        return found

    return look


def pods(client: object, namespace: str) -> Look:
    """Running pods by function, model or program."""

    def look() -> dict[str, float]:
        running = [p for p in list_pods(client, namespace) if p["status"].get("phase") == "Running"]
        return dict(Counter(filter(None, map(_part, running))))

    return look


def _part(pod: Object) -> str:
    labels = pod["metadata"].get("labels", {})
    for key in ("serving.kserve.io/inferenceservice", "serving.knative.dev/service"):
        if key in labels:
            return str(labels[key])
    return str(labels.get("app.kubernetes.io/name", ""))


def age(url: str) -> Look:
    """The age of the oldest undelivered event, from a /metrics page."""
    client = httpx.Client(timeout=30, trust_env=False)

    def look() -> dict[str, float]:
        try:
            match = OLDEST.search(client.get(url).text)
        except httpx.TransportError:
            return {}
        return {"oldest": float(match[1])} if match else {}

    return look
