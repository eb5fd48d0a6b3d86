"""The embedded Broker: takes events from the outbox to the Triggers' subscribers, with retries.

It follows the Triggers of ``knative/base`` as Knative's channel-based Broker was seen to: the same
filters, the same retryable statuses, the same waits, a dead letter with the reason. What it knows
is in the ledger, so that it may be killed at any moment: a delivery that was under way is made
again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from functions.metrics import DispatchMetrics
from functions.transport import Answer, Transport
from groundshift.codec import encode
from groundshift.errors import Unavailable
from groundshift.ledger import DeadLetter, Ledger, Tx, deliveries, outcomes
from groundshift.ledger.deliveries import Delivery, bury, finish, postpone
from groundshift.manifests import Topology
from groundshift.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _State:
    """What a turn left behind."""

    claimed: Sequence[Delivery] = ()
    """Deliveries to make now."""
    more: bool = False
    """Whether the outbox may hold more than the turn took."""
    idle: bool = False
    """Whether nothing is open."""
    next_due: datetime | None = None
    """When a retry or lease of a Trigger with free slots falls due."""


class Dispatcher:
    """The dispatcher of a ledger. One of its run methods at a time, on one event loop."""

    def __init__(
        self,
        ledger: Ledger,
        topology: Topology,
        transport: Transport,
        *,
        settings: Settings,
        metrics: DispatchMetrics | None = None,
    ) -> None:
        self._ledger, self._topology, self._transport = ledger, topology, transport
        self._settings = settings
        self._metrics = metrics or DispatchMetrics()
        self._owner = f"{os.getpid()}-{uuid4().hex[:12]}"
        self._wakeup = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: Counter[str] = Counter()
        self._ended: list[tuple[Delivery, Answer]] = []
        self._broken: BaseException | None = None

    async def run_forever(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set; what is under way then is made again at the next start."""
        watcher = asyncio.create_task(self._wake_at(stop))
        try:
            await self._run(until=lambda _: stop.is_set())
        finally:
            watcher.cancel()

    async def run_until_idle(self, *, timeout_s: float) -> None:
        """Deliver until nothing is open: no event in the outbox, no delivery, no retry to come.

        Raises Unavailable where something still is after `timeout_s` seconds.
        """
        clock = self._ledger.clock
        deadline = clock.now() + timedelta(seconds=timeout_s)
        last = _State()

        def until(state: _State) -> bool:
            nonlocal last
            last = state
            return state.idle or clock.now() >= deadline

        await self._run(until=until)
        if not last.idle:
            raise Unavailable(
                f"events are still under way after {timeout_s:g} s: allow more time, "
                "or run the same again, it goes on where it was"
            )

    def dead_letters(self) -> list[DeadLetter]:
        """What was given up, in outbox order."""
        with self._ledger.read() as connection:
            return deliveries.dead_letters(connection)

    def replay(
        self, *, seq: int | None = None, event_id: str | None = None, trigger: str | None = None
    ) -> Sequence[DeadLetter]:
        """Try dead letters again, by number, event id or Trigger (none of them: all); which."""
        return outcomes.replay_dead(self._ledger, seq=seq, event_id=event_id, trigger=trigger)

    # The loop

    async def _run(self, *, until: Callable[[_State], bool]) -> None:
        with self._ledger.sole_process() as sole, self._woken_by_commits():
            if sole:  # whoever held a claim is dead
                await asyncio.to_thread(self._recover)
            try:
                await self._turns(until)
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)
                await asyncio.to_thread(self._give_back)

    async def _turns(self, until: Callable[[_State], bool]) -> None:
        while True:
            self._wakeup.clear()
            if self._broken:
                raise self._broken
            state = await asyncio.to_thread(self._turn)
            if until(state):
                return
            for delivery in state.claimed:
                self._start(delivery)
            if not state.more:
                await self._ledger.clock.wait(self._wakeup, seconds=self._pause(state))

    def _pause(self, state: _State) -> float:
        longest = self._settings.dispatch_poll_s
        if state.next_due is None:
            return longest
        due = (state.next_due - self._ledger.clock.now()).total_seconds()
        return min(max(due, 0.0), longest)

    def _start(self, delivery: Delivery) -> None:
        self._running[delivery.trigger] += 1
        task = asyncio.create_task(self._deliver(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self._broken = self._broken or task.exception()
        self._wakeup.set()

    async def _deliver(self, delivery: Delivery) -> None:
        """Make one attempt; the next turn settles it."""
        trigger = self._topology.triggers[delivery.trigger]
        headers, body = encode(delivery.event)
        limit, began = trigger.timeout.total_seconds(), time.monotonic()
        try:
            async with asyncio.timeout(limit):
                service = self._topology.subscriber(trigger.name)
                answer = await self._transport(service, trigger.path, headers, body)
        except TimeoutError:
            answer = Answer(None, f"no answer within {limit:g} s")
        finally:
            self._running[trigger.name] -= 1
        self._metrics.seconds.labels(trigger.name).observe(time.monotonic() - began)
        self._ended.append((delivery, answer))

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wakeup.set()

    @contextmanager
    def _woken_by_commits(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def wake() -> None:  # in the committing thread
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._wakeup.set)

        undo = self._ledger.subscribe(wake)
        try:
            yield
        finally:
            undo()

    # What stands in the ledger; in a worker thread

    def _turn(self) -> _State:
        """One transaction: settle what ended, fan new events out, claim what is due."""
        free = self._free()
        if not self._ended and not self._anything(free):
            return self._state(free, (), more=False)
        with self._settling() as tx:
            if deliveries.release_expired(tx):
                self._bury_lost(tx)
            batch = self._settings.dispatch_batch
            taken = deliveries.fan_out(tx, self._topology.route, limit=batch)
            claimed = [d for name, slots in free.items() for d in self._claim(tx, name, slots)]
        return self._state(free, claimed, more=taken == batch)

    def _state(self, free: Mapping[str, int], claimed: Sequence[Delivery], *, more: bool) -> _State:
        taken = Counter(delivery.trigger for delivery in claimed)
        waiting = [name for name, slots in free.items() if slots > taken[name]]
        with self._ledger.read() as connection:
            open_ = deliveries.unpublished(connection) or deliveries.open_deliveries(connection)
            due = deliveries.next_due(connection, waiting)
        return _State(claimed=claimed, more=more, idle=not open_, next_due=due)

    def _free(self) -> dict[str, int]:
        """Free slots by Trigger, those that have any."""
        most, running = self._settings.dispatch_concurrency, self._running
        slots = {
            name: self._topology.subscriber(name).concurrency(most) - running[name]
            for name in self._topology.triggers
        }
        return {name: free for name, free in slots.items() if free > 0}

    def _anything(self, free: Mapping[str, int]) -> bool:
        with self._ledger.read() as connection:
            if deliveries.unpublished(connection):
                return True
            due = deliveries.next_due(connection, free)
            return due is not None and due <= self._ledger.clock.now()

    def _claim(self, tx: Tx, trigger: str, slots: int) -> Sequence[Delivery]:
        slack = timedelta(seconds=self._settings.lease_slack_s)
        lease = self._topology.triggers[trigger].timeout + slack
        return deliveries.claim(tx, trigger, owner=self._owner, lease=lease, limit=slots)

    @contextmanager
    def _settling(self) -> Iterator[Tx]:
        """A transaction in which everything that ended is settled first; kept until it commits."""
        ended = tuple(self._ended)
        with self._ledger.transaction() as tx:
            outcomes_ = [self._settle(tx, delivery, answer) for delivery, answer in ended]
            yield tx
        del self._ended[: len(ended)]
        for (delivery, _), outcome in zip(ended, outcomes_, strict=True):
            self._metrics.deliveries.labels(delivery.trigger, outcome).inc()

    def _settle(self, tx: Tx, delivery: Delivery, answer: Answer) -> str:
        """Write what came of an attempt; its outcome for the counter."""
        trigger, owner = self._topology.triggers[delivery.trigger], self._owner
        status, why = answer.status, answer.reason
        if answer.accepted:
            done = finish(tx, delivery, owner=owner, status=status)
            return "done" if done else "lost"
        if answer.worth_a_retry and delivery.attempts < trigger.retry:
            wait = trigger.backoff(delivery.attempts + 1) * self._settings.backoff_scale
            kept = postpone(
                tx, delivery, owner=owner, until=tx.now + wait, status=status, reason=why
            )
            return "retried" if kept else "lost"
        if not bury(tx, delivery, owner=owner, status=status, reason=why):
            return "lost"
        log.error("dead letter: %s of %s: %s", delivery.event.word, trigger.name, why)
        outcomes.mark_failed(tx, delivery.event, f"{trigger.name}: {why}")
        return "dead"

    def _recover(self) -> None:
        with self._ledger.transaction() as tx:
            if deliveries.release(tx):
                self._bury_lost(tx)

    def _bury_lost(self, tx: Tx) -> None:
        for letter in deliveries.overdue_losses(tx, limit=self._settings.max_losses):
            log.error("dead letter: %s of %s: process lost", letter.event.word, letter.trigger)
            outcomes.mark_failed(tx, letter.event, f"{letter.trigger}: {letter.reason}")

    def _give_back(self) -> None:
        with self._settling() as tx:
            deliveries.release(tx, owner=self._owner)
