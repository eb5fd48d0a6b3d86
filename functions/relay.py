"""The relay: takes events from the outbox to the Broker, whose Triggers do the rest.

Pods that scale to zero cannot do it. Any number of replicas may run; what one that died had under
way is sent again by the next, once its lease has run out.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import uuid4

from functions.metrics import RelayMetrics
from groundshift.codec import encode
from groundshift.errors import Unavailable
from groundshift.ledger import Ledger, Tx, deliveries
from groundshift.ledger.deliveries import Delivery, finish, postpone
from groundshift.manifests import Topology
from groundshift.ports import EventSink
from groundshift.settings import Settings

log = logging.getLogger(__name__)

BROKER: Final = "broker"
"""The one subscriber of every event, in place of the Triggers: the Broker fans out itself."""
_LONGEST_WAIT_S: Final = 60.0
"""Most between two attempts at one event."""
_STALE_S: Final = 60.0
"""So long without a turn that came through, and the relay calls itself ill."""
_OK: Final = 202


@dataclass(frozen=True)
class _Ended:
    """An attempt that came to an end."""

    delivery: Delivery
    failure: str
    """Empty where the Broker took it."""


def longest_chain_s(topology: Topology) -> float:
    """How long the Broker may keep a caller waiting: a Trigger's retries, then its dead letter's.

    The Broker calls the dead-letter sink with the same retries.
    """

    def chain(name: str) -> float:
        trigger = topology.triggers[name]
        waits = sum((trigger.backoff(n + 1) for n in range(trigger.retry)), timedelta())
        return ((trigger.retry + 1) * trigger.timeout + waits).total_seconds()

    return 2 * max(map(chain, topology.triggers), default=0.0)


class Relay:
    """One replica. `run` in one thread; `stop` and `alive` from any."""

    def __init__(
        self,
        ledger: Ledger,
        sink: EventSink,
        *,
        settings: Settings,
        triggers: Sequence[str] = (),
        metrics: RelayMetrics | None = None,
    ) -> None:
        """`triggers`: those whose replayed dead letters go to the Broker again."""
        self._ledger, self._sink, self._settings = ledger, sink, settings
        self._subscribers = (BROKER, *triggers)
        self._metrics = metrics or RelayMetrics()
        self._owner = f"relay-{os.getpid()}-{uuid4().hex[:12]}"
        self._ended: deque[_Ended] = deque()
        self._in_flight = 0
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._last_turn = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether a turn came through lately."""
        return time.monotonic() - self._last_turn < _STALE_S

    def stop(self) -> None:
        """Claim nothing any more, wait for open answers a while, give the rest back."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """Send until `stop`. The database may come and go."""
        undo = self._ledger.subscribe(self._wake.set)
        try:
            while not self._stopping.is_set():
                self._wake.clear()
                more = self._try_turn(self._settings.relay_in_flight - self._in_flight)
                if not more and not self._ended:
                    self._wake.wait(self._settings.relay_poll_s)
            self._finish()
        finally:
            undo()

    def _finish(self) -> None:
        deadline = time.monotonic() + self._settings.relay_grace_s
        while self._in_flight and time.monotonic() < deadline:
            self._wake.clear()
            self._try_turn(0)
            if self._in_flight and not self._ended:
                self._wake.wait(self._settings.relay_poll_s)
        try:
            with self._ledger.transaction(alone=False) as tx:
                self._settle_all(tx)
                given_back = deliveries.release(tx, owner=self._owner)
            log.info("relay ends; %d events go to the next one", given_back)
        except Unavailable as error:
            log.warning("relay ends without the ledger, its leases run out: %s", error)

    def _try_turn(self, free: int) -> bool:
        """One turn; whether there may be more to do at once."""
        try:
            more = self._turn(free)
        except Unavailable as error:
            log.warning("the ledger is away: %s", error)
            return False
        self._last_turn = time.monotonic()
        return more

    def _turn(self, free: int) -> bool:
        """One transaction: settle what ended, take what is new, claim, hold on to the rest."""
        lease = timedelta(seconds=self._settings.relay_lease_s)
        batch, claimed = self._settings.dispatch_batch, list[Delivery]()
        with self._ledger.transaction(alone=False) as tx:
            settled = self._settle_all(tx)
            deliveries.prolong(tx, owner=self._owner, lease=lease)
            deliveries.release_expired(tx)
            taken = deliveries.fan_out(tx, lambda _: (BROKER,), limit=batch)
            for name in self._subscribers:
                left = free + len(settled) - len(claimed)
                if left > 0 and not self._stopping.is_set():
                    claimed += deliveries.claim(
                        tx, name, owner=self._owner, lease=lease, limit=left
                    )
            oldest, dead = deliveries.oldest_open(tx.connection), deliveries.dead(tx.connection)
        self._forget(settled)
        self._metrics.dead.set(dead)
        self._metrics.oldest_s.set((tx.now - oldest).total_seconds() if oldest else 0.0)
        for delivery in claimed:
            self._start(delivery)
        return taken == batch and self._in_flight < self._settings.relay_in_flight

    def _settle_all(self, tx: Tx) -> list[tuple[_Ended, str]]:
        """Write what came of every attempt that ended; kept until the commit."""
        return [(ended, self._settle(tx, ended)) for ended in tuple(self._ended)]

    def _settle(self, tx: Tx, ended: _Ended) -> str:
        delivery = ended.delivery
        if not ended.failure:
            kept = finish(tx, delivery, owner=self._owner, status=_OK)
            return "sent" if kept else "lost"
        wait = min(2.0 ** min(delivery.attempts, 16), _LONGEST_WAIT_S)
        until = tx.now + timedelta(seconds=wait * self._settings.backoff_scale)
        kept = postpone(
            tx, delivery, owner=self._owner, until=until, status=None, reason=ended.failure
        )
        return "retried" if kept else "lost"

    def _forget(self, settled: Sequence[tuple[_Ended, str]]) -> None:
        for _, outcome in settled:
            self._ended.popleft()
            self._in_flight -= 1
            self._metrics.events.labels(outcome).inc()
        self._metrics.in_flight.set(self._in_flight)

    def _start(self, delivery: Delivery) -> None:
        self._in_flight += 1
        self._metrics.in_flight.set(self._in_flight)
        # a daemon: an answer may take hours, and the end of the process must not wait for it
        threading.Thread(target=self._publish, args=(delivery,), daemon=True).start()

    def _publish(self, delivery: Delivery) -> None:
        headers, body = encode(delivery.event)
        began, failure = time.monotonic(), ""
        try:
            self._sink.publish(body, headers)
        except Unavailable as error:
            failure = str(error) or "Unavailable"
            log.warning("%s %s: %s", delivery.event.word, delivery.event.subject, failure)
        self._metrics.seconds.observe(time.monotonic() - began)
        self._ended.append(_Ended(delivery, failure))
        self._wake.set()
