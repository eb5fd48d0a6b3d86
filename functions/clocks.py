"""The embedded clock: says what the PingSources of ``knative/base`` say on a cluster.

Knative's own clock speaks to the Broker; here the same event goes into the outbox, once for each
full minute that a schedule names, however many processes share the ledger. What was due while
nobody ran is not made up for, as on the cluster.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime

from groundshift.errors import Unavailable
from groundshift.events import Event
from groundshift.ledger import Ledger
from groundshift.manifests import ClockSpec, Topology

log = logging.getLogger(__name__)


async def tick(ledger: Ledger, topology: Topology, stop: asyncio.Event) -> None:
    """Emit each clock's event when it is due, until `stop` is set."""
    clocks = tuple(topology.clocks.values())
    if not clocks:
        await stop.wait()
    last = ledger.clock.now()
    while not stop.is_set():
        due = min(clock.schedule.after(last) for clock in clocks)
        while not stop.is_set() and (left := due - ledger.clock.now()).total_seconds() > 0:
            await ledger.clock.wait(stop, seconds=left.total_seconds())
        if not stop.is_set():
            await asyncio.to_thread(_emit, ledger, due_at(clocks, last, due))
            last = due


def due_at(clocks: Sequence[ClockSpec], last: datetime, due: datetime) -> list[Event]:
    """The events of the clocks whose next time after `last` is `due`."""
    return [clock.event(due) for clock in clocks if clock.schedule.after(last) == due]


def _emit(ledger: Ledger, events: Sequence[Event]) -> None:
    try:
        with ledger.transaction() as tx:
            for event in events:
                tx.emit(event)
    except Unavailable as error:  # the next tick comes by itself
        log.warning("the clock's tick is lost: %s", error)
