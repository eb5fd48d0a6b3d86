"""The relay on PostgreSQL: its contract, replicas that die, a database that goes away."""

import os
import signal
from collections import Counter
from contextlib import ExitStack

import pytest
from relay_contract import RelayContract, done, emit, eventually, program, relaying
from stub_broker import stub_broker

from groundshift.ledger import Ledger
from groundshift.testing.event_sink import RecordingSink


@pytest.fixture
def ledger(database):
    with Ledger.open(database) as opened:
        yield opened


class TestRelay(RelayContract):
    pass


def test_connections_that_are_cut_lose_nothing(ledger, database, postgres):
    """What was sent and not yet noted may go out again: receivers drop it by (source, id)."""
    sink = RecordingSink()
    names = [f"{n:02}" for n in range(60)]
    with relaying(ledger, sink):
        for n in range(0, 60, 10):
            with Ledger.open(database) as other:
                emit(other, *names[n : n + 10])
            sink.wait_for(accepted=n + 1)
            postgres.cut(database)
        eventually(done(ledger, 60))
    assert {event.subject for event in sink.got()} == set(names)


def test_replicas_that_are_killed_lose_nothing(ledger, database):
    """Two programs; one after the other is killed in the middle of its posts."""
    with stub_broker() as broker, ExitStack() as stack:
        children = [stack.enter_context(program(database, broker))[0] for _ in range(2)]
        for round_ in range(2):
            broker.open.clear()
            before = len(broker.posts)
            emit(ledger, *(f"{round_}-{n}" for n in range(10)))
            broker.wait_for(lambda b, least=before + 4: len(b.posts) >= least)
            os.kill(children[round_].pid, signal.SIGKILL)
            children.append(stack.enter_context(program(database, broker))[0])
            broker.open.set()
            eventually(done(ledger, 10 * (round_ + 1)))
        counts = Counter(event.subject for event in broker.got())
    assert set(counts) == {f"{r}-{n}" for r in range(2) for n in range(10)}
