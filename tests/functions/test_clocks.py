"""The embedded clock: what a PingSource says on a cluster stands in the outbox."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest
from sqlalchemy import select
from sqlite_ledgers import copies

from functions.app import create_app
from functions.clocks import tick
from functions.platform import Platform
from functions.stages import TABLE
from functions.sweep import sweep
from functions.transport import AppTransport
from groundshift.codec import decode, encode
from groundshift.errors import Misconfigured, Unavailable
from groundshift.events import PING, ClockTicked, SceneArrived, new_event
from groundshift.ledger import arrivals, deliveries, tables
from groundshift.manifests import load, topology
from groundshift.settings import Settings

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


class Clock:
    """Time that passes when somebody waits; ends the wait for good after `ticks` of them."""

    def __init__(self, ticks: int = 0) -> None:
        self.time, self.left = NOON, ticks

    def now(self) -> datetime:
        return self.time

    async def wait(self, wakeup: asyncio.Event, *, seconds: float) -> None:
        if self.left == 0:
            wakeup.set()
            return
        self.left -= 1
        self.time += timedelta(seconds=seconds)


@pytest.fixture(scope="module")
def new_ledger(tmp_path_factory):
    return copies(tmp_path_factory.mktemp("empty"))


def only(*names):
    """knative/base without its other clocks."""
    return [
        dict(m)
        for m in load("knative")
        if m["kind"] != "PingSource" or m["metadata"]["name"] in names
    ]


def ticked(ledger, times, *clocks):
    """Let the clock tick, sweep's alone unless others are named; the events in the outbox."""
    ledger.clock.left = times
    asyncio.run(tick(ledger, topology(only(*clocks or ("sweep",))), asyncio.Event()))
    with ledger.read() as connection:
        rows = connection.execute(select(tables.outbox).order_by(tables.outbox.c.seq)).all()
    return [deliveries.event_of(row) for row in rows]


def test_each_time_of_the_schedule_is_one_event(new_ledger):
    with new_ledger(Clock()) as ledger:
        events = ticked(ledger, 3)
    due = [NOON + timedelta(minutes=10 * n) for n in (1, 2, 3)]
    assert [e.time for e in events] == due
    assert {(e.type, e.source) for e in events} == {
        (PING, "/apis/v1/namespaces/groundshift/pingsources/sweep")
    }
    assert ClockTicked.of(events[0]).clock == "sweep"
    assert topology().route(events[0]) == ("sweep",)


def test_clocks_of_one_minute_speak_both(new_ledger):
    with new_ledger(Clock()) as ledger:
        events = ticked(ledger, 2, "sweep", "retrain")
    said = [(e.time.minute, ClockTicked.of(e).clock) for e in events]
    assert sorted(said) == [(10, "sweep"), (20, "retrain"), (20, "sweep")]


def test_two_processes_on_one_ledger_say_a_minute_once(new_ledger):
    with new_ledger(Clock()) as ledger:
        first = ticked(ledger, 2)
        ledger.clock.time = NOON
        assert ticked(ledger, 2) == first


def test_a_ledger_that_went_away_costs_one_tick(new_ledger, monkeypatch, caplog):
    with new_ledger(Clock()) as ledger:
        whole, fail = ledger.transaction, [True]

        def once(**options):
            if fail:
                fail.pop()
                raise Unavailable("went away")
            return whole(**options)

        monkeypatch.setattr(ledger, "transaction", once)
        events = ticked(ledger, 2)
    assert [e.time for e in events] == [NOON + timedelta(minutes=20)]
    assert "went away" in caplog.text


def test_without_a_clock_nothing_is_said(new_ledger):
    stop = asyncio.Event()
    without = replace(topology(), clocks=MappingProxyType({}))

    async def run():
        ticking = asyncio.create_task(tick(ledger, without, stop))
        await asyncio.sleep(0)
        stop.set()
        await ticking

    with new_ledger(Clock()) as ledger:
        asyncio.run(run())
        with ledger.read() as connection:
            assert deliveries.unpublished(connection) == 0


@pytest.mark.parametrize("data", [None, "", "{}", "now", '{"clock": "a", "more": 1}'])
def test_a_clock_without_its_data_is_refused(data):
    manifests = only("sweep")
    (ping,) = [m for m in manifests if m["kind"] == "PingSource"]
    ping["spec"] = {k: v for k, v in {**ping["spec"], "data": data}.items() if v is not None}
    with pytest.raises(Misconfigured, match="PingSource 'sweep'"):
        topology(manifests)


def test_a_clock_that_speaks_to_something_else_is_not_ours():
    manifests = only("sweep")
    (ping,) = [m for m in manifests if m["kind"] == "PingSource"]
    ref = {"apiVersion": "v1", "kind": "Service", "name": "other"}
    ping["spec"] = {**ping["spec"], "sink": {"ref": ref}}
    assert topology(manifests).clocks == {}


# ---- the stage behind it


def platform(ledger, tmp_path):
    return Platform(Settings(data_dir=tmp_path, sweep_after_s=60), ledger, None, None)


def knatives_ping():
    """As it was seen live: no subject, a fresh id, the data as the manifest has it."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "5c2b7a54-58a1-4f0f-9f44-0a2f7a0cbb55",
        "ce-type": PING,
        "ce-source": "/apis/v1/namespaces/groundshift/pingsources/sweep",
        "ce-time": "2026-05-04T12:10:00.219Z",
        "content-type": "application/json",
    }
    return headers, b'{"clock": "sweep"}'


def test_a_ping_of_knative_makes_the_sweeper_look(new_ledger, tmp_path):
    with new_ledger(Clock()) as ledger:
        with ledger.transaction() as tx:
            scene = SceneArrived(href="/a")
            arrivals.announce(tx, new_event(scene, source="test", subject="a", time=NOON))
            deliveries.fan_out(tx, lambda _: [], limit=9)  # the Broker took it, to no effect
        ledger.clock.time += timedelta(hours=1)
        app = create_app("sweep", platform(ledger, tmp_path), {"sweep": TABLE["sweep"].handler()})
        service = topology().services["sweep"]
        send = AppTransport({"sweep": app})
        for _ in range(2):  # it may come twice
            answer = asyncio.run(send(service, "/", *knatives_ping()))
            assert answer.status == 202
        with ledger.read() as connection:
            said = connection.execute(select(tables.outbox.c.source)).scalars().all()
    assert sorted(said) == ["sweep", "test"]


def test_only_a_clock_wakes_the_sweeper(new_ledger, tmp_path):
    event = new_event(SceneArrived(href="/a"), source="t", subject="a", time=NOON)
    with new_ledger(Clock()) as ledger:
        app = create_app("sweep", platform(ledger, tmp_path), {"sweep": sweep})
        send = AppTransport({"sweep": app})
        headers, body = encode(event)
        answer = asyncio.run(send(topology().services["sweep"], "/", headers, body))
    assert answer.status == 422


def test_the_embedded_tick_is_read_as_knatives():
    headers, body = encode(topology().clocks["sweep"].event(NOON))
    theirs = decode(*knatives_ping())
    ours = decode(headers, body)
    assert (ours.type, ours.source, ours.data) == (theirs.type, theirs.source, theirs.data)
