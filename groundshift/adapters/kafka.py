"""Kafka: an `EventSink` to a topic, and the topic as a source of messages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import quote, unquote

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from groundshift.errors import Misconfigured, Unavailable

log = logging.getLogger(__name__)

Headers = Sequence[tuple[str, bytes]]
_BINARY: Final = "ce_"
_HTTP: Final = "ce-"
_SUBJECT: Final = "ce_subject"
_CONTENT_TYPE: Final = "content-type"
_ANSWER_S: Final = 60.0
_LOOK_AGAIN_MS: Final = 5000
"""kafka-python's own five minutes were seen to leave a group without a partition that long."""


@dataclass(frozen=True)
class Message:
    """One record of a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Headers


def to_kafka(headers: Mapping[str, str]) -> Headers:
    """A CloudEvent's HTTP headers as those of Kafka's binding: ``ce_id``, text as it is."""
    found = []
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith(_HTTP):
            text = unquote(value)
            found.append((_BINARY + lower.removeprefix(_HTTP), text.encode()))
        elif lower == _CONTENT_TYPE:
            found.append((lower, value.encode()))
    return found


def from_kafka(headers: Headers) -> dict[str, str]:
    """Kafka's headers as a CloudEvent's HTTP headers, for `codec.decode`."""
    found = {}
    for name, raw in headers:
        lower, value = name.lower(), raw.decode(errors="replace")
        if lower.startswith(_BINARY):
            found[_HTTP + lower.removeprefix(_BINARY)] = quote(value)
        elif lower == _CONTENT_TYPE:
            found[lower] = value
    return found


class KafkaSink:
    """Writes each event to one topic, acknowledged by every replica. Safe for threads."""

    def __init__(self, servers: str, topic: str, *, timeout_s: float = _ANSWER_S) -> None:
        """Raises Misconfigured without servers, Unavailable where none answers."""
        self._topic, self._timeout_s = topic, timeout_s
        with _errors(servers):
            self._producer = KafkaProducer(
                bootstrap_servers=_list(servers),
                acks="all",
                enable_idempotence=True,
                max_block_ms=int(timeout_s * 1000),
                delivery_timeout_ms=int(timeout_s * 1000),
                request_timeout_ms=int(min(30.0, timeout_s / 2) * 1000),
            )

    def publish(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Write one CloudEvent; its subject is the key, so that its events keep their order."""
        named = dict(to_kafka(headers))
        self.send(body, key=named.get(_SUBJECT), headers=tuple(named.items()))

    def send(self, value: bytes, *, key: bytes | None = None, headers: Headers = ()) -> None:
        """Write one message and wait until it stands. Raises Unavailable."""
        with _errors(self._topic):
            sent = self._producer.send(self._topic, value=value, key=key, headers=list(headers))
            sent.get(self._timeout_s)

    def close(self) -> None:
        """Close the connections."""
        self._producer.close(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class KafkaSource:
    """A topic as one member of a consumer group reads it. For one thread."""

    def __init__(
        self,
        servers: str,
        topic: str,
        *,
        group: str,
        rebalanced: Callable[[str, int], None] = lambda _change, _count: None,
    ) -> None:
        """`rebalanced` hears ``assigned`` or ``revoked`` and how many partitions.

        Raises Misconfigured without servers, Unavailable where none answers.
        """
        with _errors(servers):
            self._consumer = KafkaConsumer(
                bootstrap_servers=_list(servers),
                group_id=group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                # a group that formed before the topic's partitions were known looks again soon
                metadata_max_age_ms=_LOOK_AGAIN_MS,
            )
            self._consumer.subscribe([topic], listener=_Listener(rebalanced))

    def poll(self, *, seconds: float, limit: int) -> list[Message]:
        """Up to `limit` messages, in the order of each partition; none where none came in time."""
        with _errors("poll"):
            found = self._consumer.poll(timeout_ms=int(seconds * 1000), max_records=limit)
        return [_message(record) for records in found.values() for record in records]

    def commit(self, messages: Sequence[Message]) -> None:
        """Note that these and all before them are handled. Raises Unavailable; then again is safe.

        Unavailable too where the group gave their partitions to another member meanwhile.
        """
        last: dict[Any, int] = {}
        for m in messages:
            place = TopicPartition(m.topic, m.partition)
            last[place] = max(m.offset, last.get(place, -1))
        with _errors("commit"):
            self._consumer.commit({p: OffsetAndMetadata(n + 1, "", -1) for p, n in last.items()})

    def rewind(self, messages: Sequence[Message]) -> None:
        """Read these again next; those whose partition is another member's now are its."""
        first: dict[Any, int] = {}
        for m in messages:
            place = TopicPartition(m.topic, m.partition)
            first[place] = min(m.offset, first.get(place, m.offset))
        for place, offset in first.items():
            if place in self._consumer.assignment():
                self._consumer.seek(place, offset)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close(autocommit=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Nothing to save when partitions go: what is handled is committed before the next poll."""

    def __init__(self, rebalanced: Callable[[str, int], None]) -> None:
        self._rebalanced = rebalanced

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Called before the group is rebalanced."""
        self._say("revoked", revoked)

    def on_partitions_assigned(self, assigned: Any) -> None:
        """Called after it."""
        self._say("assigned", assigned)

    def _say(self, change: str, partitions: Any) -> None:
        log.info("%s: %s", change, sorted((p.topic, p.partition) for p in partitions))
        self._rebalanced(change, len(partitions))


def _message(record: Any) -> Message:
    headers = tuple((name, raw or b"") for name, raw in record.headers)
    value = record.value or b""
    return Message(record.topic, record.partition, record.offset, record.key, value, headers)


def _list(servers: str) -> list[str]:
    if not servers.strip():
        raise Misconfigured("no Kafka: set GROUNDSHIFT_KAFKA_SERVERS to host:port, commas between")
    return [server.strip() for server in servers.split(",")]


@contextmanager
def _errors(what: str) -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        raise Unavailable(f"Kafka ({what}): {type(error).__name__}: {error}") from error
