"""The consumer: scene notifications from Kafka into the outbox, each once.

An offset is committed after the outbox accepted its message, and a message that comes again is
known by (source, id). What can never be handled goes to a topic of its own, with the reason.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from functions.metrics import ConsumerMetrics
from groundshift.adapters.kafka import Headers, KafkaSink, KafkaSource, Message, from_kafka
from groundshift.codec import STRUCTURED, decode
from groundshift.errors import BadEvent, GroundshiftError, TooLarge, Unavailable
from groundshift.events import Event, SceneArrived
from groundshift.ledger import Ledger
from groundshift.ledger.arrivals import announce
from groundshift.notifications import is_notification, scenes_of
from groundshift.settings import Settings

log = logging.getLogger(__name__)

_POLL_S: Final = 0.5
_PAUSE_S: Final = 2.0
"""Wait after the ledger or Kafka was away."""
_STALE_S: Final = 60.0
_REASON: Final = "groundshift_reason"
_PREFIX: Final = "groundshift_"


def events_in(message: Message, settings: Settings) -> list[Event]:
    """The scene.arrived events in a message; none where it says nothing of a scene.

    A CloudEvent in Kafka's structured or binary mode, or a bucket notification. Raises BadEvent
    and its kin for what can never be taken.
    """
    if len(message.value) > settings.max_event_bytes:
        raise TooLarge(
            f"a message of {len(message.value)} bytes: at most {settings.max_event_bytes} are taken"
        )
    headers = from_kafka(message.headers)
    media = headers.get("content-type", "")
    if "ce-specversion" in headers or media.startswith(STRUCTURED):
        return [_scene(decode(headers, message.value, max_bytes=settings.max_event_bytes))]
    return _without_headers(message.value, settings)


def _without_headers(value: bytes, settings: Settings) -> list[Event]:
    """Producers that set no header: a store, or a CloudEvent written by hand."""
    try:
        body: Any = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise BadEvent(f"the message is no JSON: {error}") from error
    if is_notification(body):
        return scenes_of(body, suffixes=settings.scene_suffixes)
    if isinstance(body, dict) and "specversion" in body:
        return [_scene(decode({"content-type": STRUCTURED}, value))]
    raise BadEvent(
        "the message is neither a CloudEvent nor a bucket notification: "
        f"send {STRUCTURED}, ce_ headers, or S3's own JSON"
    )


def _scene(event: Event) -> Event:
    """The event, if it is one from outside, with a subject. Raises UnknownEvent."""
    href = SceneArrived.of(event).href
    return replace(event, subject=event.subject or href)


class Consumer:
    """One member of the group. `run` in one thread; `stop` and `alive` from any."""

    def __init__(
        self,
        ledger: Ledger,
        source: KafkaSource,
        dead: KafkaSink,
        *,
        settings: Settings,
        metrics: ConsumerMetrics | None = None,
    ) -> None:
        self._ledger, self._source, self._dead = ledger, source, dead
        self._settings = settings
        self._metrics = metrics or ConsumerMetrics()
        self._stopping = threading.Event()
        self._last_turn = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether a turn came through lately."""
        return time.monotonic() - self._last_turn < _STALE_S

    def stop(self) -> None:
        """End after the turn that is under way."""
        self._stopping.set()

    def run(self) -> None:
        """Take messages until `stop`. The ledger and Kafka may come and go."""
        while not self._stopping.is_set():
            messages: list[Message] = []
            try:
                messages = self._source.poll(seconds=_POLL_S, limit=self._settings.dispatch_batch)
                if messages:
                    self._take(messages)
                self._last_turn = time.monotonic()
            except Unavailable as error:
                log.warning("again in %g s: %s", _PAUSE_S, error)
                self._source.rewind(messages)
                self._stopping.wait(_PAUSE_S)

    def _take(self, messages: Sequence[Message]) -> None:
        """Poison away, scenes into the outbox in one commit, then the offsets."""
        events: list[Event] = []
        for message in messages:
            try:
                found = events_in(message, self._settings)
            except GroundshiftError as error:
                self._bury(message, error)
                continue
            events += found
            if not found:
                self._metrics.messages.labels("ignored").inc()
        new = self._announce(events)
        self._source.commit(messages)
        self._metrics.messages.labels("taken").inc(new)
        self._metrics.messages.labels("repeated").inc(len(events) - new)

    def _announce(self, events: Sequence[Event]) -> int:
        """Commit to scenes; how many were new."""
        if not events:
            return 0
        with self._ledger.transaction() as tx:
            for event in events:
                announce(tx, event)
        return tx.emitted

    def _bury(self, message: Message, error: GroundshiftError) -> None:
        where = f"{message.topic}/{message.partition}/{message.offset}"
        log.error("dead letter: %s: %s", where, error)
        self._dead.send(message.value, key=message.key, headers=_epitaph(message, error))
        self._metrics.messages.labels("dead").inc()


def _epitaph(message: Message, error: GroundshiftError) -> Headers:
    """The message's own headers, and why and where it died."""
    said = {
        _REASON: f"{type(error).__name__}: {error}",
        f"{_PREFIX}topic": message.topic,
        f"{_PREFIX}partition": str(message.partition),
        f"{_PREFIX}offset": str(message.offset),
    }
    return (*message.headers, *((name, text.encode()) for name, text in said.items()))
