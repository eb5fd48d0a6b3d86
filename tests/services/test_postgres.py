"""The ledger on PostgreSQL: the contracts that SQLite passes, and a server that goes away."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from dispatch_contract import DispatchContract
from ledger_contract import LedgerContract, count, feed, say
from outbox_contract import LEASE, OutboxContract, arrived
from retrain_contract import RetrainContract
from sqlalchemy import select, text
from sweep_contract import SweepContract

from groundshift.errors import Unavailable
from groundshift.ledger import Ledger, arrivals, deliveries, tables


@pytest.fixture(scope="session")
def new_ledger(postgres, migrated):
    """One database, emptied each time: making one for every example takes minutes."""
    url = postgres.database(template=migrated)
    names = ", ".join(tables.metadata.tables)

    @contextmanager
    def new(clock=None):
        with Ledger.open(url, clock=clock) as ledger:
            with ledger.transaction() as tx:
                tx.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
            yield ledger

    return new


class TestLedger(LedgerContract):
    @pytest.fixture
    def url(self, postgres):
        return postgres.database()


class TestOutbox(OutboxContract):
    pass


class TestDispatch(DispatchContract):
    pass


class TestSweep(SweepContract):
    pass


class TestRetrain(RetrainContract):
    pass


@pytest.fixture
def ledger(database):
    with Ledger.open(database) as opened:
        yield opened


# A connection that is cut


def test_a_cut_within_a_transaction_leaves_nothing_and_again_is_well(ledger, database, postgres):
    event = arrived("a")

    def work():
        with ledger.transaction() as tx:
            arrivals.announce(tx, event)
            assert tx.first_time("stage", event)
            assert postgres.cut(database) >= 1
            say(tx)

    with pytest.raises(Unavailable, match="went away"):
        work()
    for table in (tables.outbox, tables.arrivals, tables.handled):
        assert count(ledger, table) == 0
    with ledger.transaction() as tx:  # the pool's other connections are cut too
        arrivals.announce(tx, event)
        assert tx.first_time("stage", event)
    assert count(ledger, tables.outbox) == 1


def test_cuts_at_random_lose_and_double_nothing(ledger, database, postgres):
    """Four workers go through forty events each, again after each cut, as Knative would."""
    names = [f"s{n}" for n in range(40)]
    over = threading.Event()

    def cut():
        while not over.wait(0.05):
            postgres.cut(database)

    def handle(name):
        event = arrived(name)
        for _ in range(200):
            try:
                with ledger.transaction() as tx:
                    if tx.first_time("stage", event):
                        effect = {"type_": "done", "version": 1, "payload": {}, "tenant": "t"}
                        tx.append_feed(alert_id=name, **effect)
                        say(tx, name)
            except Unavailable:
                continue
            return
        raise AssertionError(f"{name}: cut 200 times")

    cutter = threading.Thread(target=cut)
    cutter.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(handle, names * 2))
    over.set()
    cutter.join()
    with ledger.read() as connection:
        seqs = connection.execute(select(tables.feed.c.seq).order_by(tables.feed.c.seq)).scalars()
        said = connection.execute(select(tables.outbox.c.subject)).scalars()
        assert list(seqs) == list(range(1, 41))
        assert sorted(said) == sorted(names)


def test_a_server_that_restarts_is_unavailable_and_then_well(ledger, postgres):
    postgres.stop()
    with pytest.raises(Unavailable), ledger.transaction():
        pass
    with pytest.raises(Unavailable), ledger.read():
        pass
    postgres.start()
    assert feed(ledger, "a", 1) == 1


# Several at once


def test_claims_of_two_replicas_never_overlap(ledger, database):
    with ledger.transaction() as tx:
        for n in range(60):
            tx.emit(arrived(f"{n:02}"))
    taken = []

    def work(owner):
        with Ledger.open(database) as mine:
            while True:
                with mine.transaction(alone=False) as tx:
                    deliveries.fan_out(tx, lambda _: ["t"], limit=7)
                    got = deliveries.claim(tx, "t", owner=owner, lease=LEASE, limit=5)
                    taken.extend(d.seq for d in got)
                    left = deliveries.unpublished(tx.connection)
                if not got and not left:
                    return

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, "abc"))
    assert sorted(taken) == sorted(set(taken))
    with ledger.read() as connection:
        states = connection.execute(select(tables.deliveries.c.state)).scalars().all()
    assert states == ["claimed"] * 60
