"""The contract of `groundshift.ports.EventSink`, and a sink for tests of what uses one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Literal

import pytest

from groundshift.codec import decode, encode
from groundshift.errors import Unavailable
from groundshift.events import Event, SceneArrived, new_event
from groundshift.ports import EventSink

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
_DEADLINE_S = 60.0


class RecordingSink:
    """Keeps what it gets; answers from `failures` first, and holds everything while `held`."""

    def __init__(self) -> None:
        self.failures: deque[Exception] = deque()
        self.open = threading.Event()
        """Cleared: nobody gets an answer."""
        self.open.set()
        self._got: list[Event] = []
        self._changed = threading.Condition()
        self._waiting = 0
        self.most_waiting = 0
        """Most callers at once so far."""

    def publish(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Keep one CloudEvent, or raise what `failures` says."""
        with self._changed:
            self._waiting += 1
            self.most_waiting = max(self.most_waiting, self._waiting)
            self._changed.notify_all()
        try:
            self.open.wait(_DEADLINE_S)
            self._take(decode(headers, body))
        finally:
            with self._changed:
                self._waiting -= 1

    def _take(self, event: Event) -> None:
        with self._changed:
            if self.failures:
                raise self.failures.popleft()
            self._got.append(event)
            self._changed.notify_all()

    def got(self) -> list[Event]:
        """What was accepted, in order."""
        with self._changed:
            return list(self._got)

    def wait_for(self, *, accepted: int = 0, waiting: int = 0) -> None:
        """Until so many events were accepted, or so many callers wait. AssertionError if never."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: len(self._got) >= accepted and self._waiting >= waiting, _DEADLINE_S
            )


def arrived(name: str) -> Event:
    """A scene.arrived."""
    data = SceneArrived(href=f"/scenes/{name}.tif")
    return new_event(data, source="test", subject=name, time=NOW, tenant="t")


class EventSinkContract:
    """Subclass and give the fixtures below.

    `sink`: an EventSink; `accepted`: a function that returns the events that got through so far;
    `away`: a sink of the same kind whose other side is not there.
    """

    @pytest.mark.parametrize("mode", ["binary", "structured"])
    def test_what_is_published_is_there(
        self,
        sink: EventSink,
        accepted: Callable[[], list[Event]],
        mode: Literal["binary", "structured"],
    ) -> None:
        """Once `publish` returns; attributes, extensions and data as they were."""
        for name in ("a", "ä €/x y%", "日本"):
            event = arrived(f"{mode} {name}")
            headers, body = encode(event, mode=mode)
            sink.publish(body, headers)
            assert event in accepted()

    def test_threads_share_it(self, sink: EventSink, accepted: Callable[[], list[Event]]) -> None:
        """Every event of every thread gets through."""
        events = [arrived(f"thread {n}") for n in range(24)]

        def publish(event: Event) -> None:
            headers, body = encode(event)
            sink.publish(body, headers)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(publish, events))
        got = accepted()
        assert all(event in got for event in events)

    def test_nobody_there_is_unavailable(self, away: EventSink) -> None:
        """So that the event stays unsent."""
        headers, body = encode(arrived("a"))
        with pytest.raises(Unavailable):
            away.publish(body, headers)
