"""What the relay promises, on any database."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
import pytest
from sqlalchemy import select
from stub_broker import stub_broker

from functions.metrics import RelayMetrics
from functions.relay import Relay
from groundshift.errors import Unavailable
from groundshift.ledger import deliveries, outcomes, tables
from groundshift.manifests import topology
from groundshift.settings import Settings
from groundshift.testing.event_sink import RecordingSink, arrived
from groundshift.testing.servers import free_port

FAST = Settings(backoff_scale=0.01, relay_poll_s=0.02, relay_grace_s=30)
NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)


def emit(ledger, *names):
    with ledger.transaction() as tx:
        for name in names:
            tx.emit(arrived(name))


def eventually(check, seconds=60):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


@contextmanager
def relaying(ledger, sink, settings=FAST, metrics=None):
    relay = Relay(
        ledger, sink, settings=settings, triggers=tuple(topology().triggers), metrics=metrics
    )
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        yield relay
    finally:
        sink.open.set()
        relay.stop()
        thread.join()


def states(ledger):
    with ledger.read() as connection:
        query = select(tables.deliveries.c.state).order_by(tables.deliveries.c.seq)
        return list(connection.execute(query).scalars())


def done(ledger, count):
    return lambda: states(ledger) == ["done"] * count


class RelayContract:
    """Subclass and give the fixture `ledger`: an empty one, on the machine's clock."""

    @pytest.fixture
    def url(self, ledger):
        return ledger.engine.url.render_as_string(hide_password=False)

    def test_every_event_goes_out_once_in_order_and_as_it_was(self, ledger):
        sink = RecordingSink()
        names = [f"{n:02}" for n in range(30)]
        emit(ledger, *names)
        one_by_one = FAST.model_copy(update={"relay_in_flight": 1})
        with relaying(ledger, sink, one_by_one):
            eventually(done(ledger, 30))
        assert sink.got() == [arrived(name) for name in names]

    def test_what_is_committed_meanwhile_goes_out_too(self, ledger):
        sink = RecordingSink()
        with relaying(ledger, sink) as relay:
            for n in range(5):
                emit(ledger, str(n))
                sink.wait_for(accepted=n + 1)
            assert relay.alive

    def test_never_more_under_way_than_allowed(self, ledger):
        sink = RecordingSink()
        sink.open.clear()
        emit(ledger, *"abcdefghij")
        with relaying(ledger, sink, FAST.model_copy(update={"relay_in_flight": 3})):
            sink.wait_for(waiting=3)
            sink.open.set()
            eventually(done(ledger, 10))
        assert sink.most_waiting == 3

    def test_what_the_broker_did_not_take_is_sent_again(self, ledger):
        sink, metrics = RecordingSink(), RelayMetrics()
        sink.failures.extend([Unavailable("500"), Unavailable("no answer")] * 3)
        emit(ledger, "a", "b")
        with relaying(ledger, sink, metrics=metrics):
            eventually(done(ledger, 2))
        assert sorted(e.subject for e in sink.got()) == ["a", "b"]
        value = metrics.registry.get_sample_value
        assert value("groundshift_relay_events_total", {"outcome": "retried"}) == 6
        assert value("groundshift_relay_events_total", {"outcome": "sent"}) == 2

    def test_one_that_is_refused_does_not_hold_up_the_next(self, ledger):
        sink = RecordingSink()
        sink.failures.append(Unavailable("400"))
        emit(ledger, "a", "b", "c")
        slow = FAST.model_copy(update={"relay_in_flight": 1, "backoff_scale": 0.5})
        with relaying(ledger, sink, slow):
            eventually(done(ledger, 3))
        assert [e.subject for e in sink.got()] == ["b", "c", "a"]

    def test_stopping_waits_for_answers_that_are_open(self, ledger):
        sink = RecordingSink()
        sink.open.clear()
        emit(ledger, "a")
        relay = Relay(ledger, sink, settings=FAST)
        thread = threading.Thread(target=relay.run)
        thread.start()
        sink.wait_for(waiting=1)
        relay.stop()
        emit(ledger, "b")  # too late for this one
        sink.open.set()
        thread.join(60)
        assert not thread.is_alive()
        assert [e.subject for e in sink.got()] == ["a"]
        assert states(ledger) in (["done"], ["done", "pending"])

    def test_stopping_gives_back_what_gets_no_answer(self, ledger):
        sink = RecordingSink()
        sink.open.clear()
        emit(ledger, "a")
        relay = Relay(ledger, sink, settings=FAST.model_copy(update={"relay_grace_s": 0.05}))
        thread = threading.Thread(target=relay.run)
        thread.start()
        sink.wait_for(waiting=1)
        relay.stop()
        thread.join(60)
        assert states(ledger) == ["pending"]
        sink.open.set()

    def test_a_long_answer_keeps_its_claim(self, ledger):
        """The lease is a tenth of what the Broker takes; a second replica must not take over."""
        sink, other = RecordingSink(), RecordingSink()
        sink.open.clear()
        emit(ledger, "a")
        short = FAST.model_copy(update={"relay_lease_s": 1.0})
        with relaying(ledger, sink, short):
            sink.wait_for(waiting=1)
            with relaying(ledger, other, short):
                began = lease_of(ledger)
                eventually(lambda: (lease_of(ledger) - began).total_seconds() > 2)
            assert other.got() == []
            sink.open.set()
            eventually(done(ledger, 1))
        assert len(sink.got()) == 1

    def test_two_replicas_share_and_double_nothing(self, ledger):
        sinks = RecordingSink(), RecordingSink()
        emit(ledger, *(f"{n:03}" for n in range(120)))
        with relaying(ledger, sinks[0]), relaying(ledger, sinks[1]):
            eventually(done(ledger, 120))
        counts = Counter(e.subject for sink in sinks for e in sink.got())
        assert counts == {f"{n:03}": 1 for n in range(120)}

    def test_a_replayed_dead_letter_goes_to_the_broker_again(self, ledger):
        """And is a dead letter again where the Broker says so before it answers."""
        sink = RecordingSink()
        emit(ledger, "a")
        with relaying(ledger, sink):
            eventually(done(ledger, 1))
            self.dies(ledger)
            assert len(outcomes.replay_dead(ledger)) == 1
            sink.wait_for(accepted=2)
            eventually(done(ledger, 2))
            self.dies(ledger)
        with ledger.read() as connection:
            (letter,) = deliveries.dead_letters(connection)
        assert (letter.trigger, letter.reason) == ("ingest", "no good")

    def dies(self, ledger):
        with ledger.transaction() as tx:
            assert deliveries.record_dead(tx, arrived("a"), "ingest", status=422, reason="no good")

    # The program

    def test_a_killed_relay_loses_nothing_and_sigterm_ends_it_well(self, url, ledger):
        emit(ledger, *"abc")
        with stub_broker() as broker:
            broker.open.clear()
            with program(url, broker) as (child, _):
                broker.wait_for(lambda b: len(b.posts) == 3)
                os.kill(child.pid, signal.SIGKILL)
                child.wait()
            assert states(ledger) == ["claimed"] * 3
            broker.open.set()
            with program(url, broker) as (child, port):
                eventually(done(ledger, 3))
                health = httpx.get(f"http://127.0.0.1:{port}/healthz")
                metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
                child.send_signal(signal.SIGTERM)
                assert child.wait(60) == 0
        assert health.status_code == 200
        assert 'groundshift_relay_events_total{outcome="sent"} 3.0' in metrics
        assert {e.subject for e in broker.got()} == set("abc")


@contextmanager
def program(url, broker):
    port = free_port()
    environment = {
        "GROUNDSHIFT_DATABASE_URL": url,
        "K_SINK": broker.url,
        "GROUNDSHIFT_PROBE_PORT": str(port),
        "GROUNDSHIFT_RELAY_LEASE_S": "1",
    }
    command = [sys.executable, "-m", "functions.cli", "relay"]
    with subprocess.Popen(command, env=os.environ | environment) as child:
        try:
            yield child, port
        finally:
            child.kill()


def lease_of(ledger):
    with ledger.read() as connection:
        return connection.execute(select(tables.deliveries.c.lease_until)).scalar_one()
