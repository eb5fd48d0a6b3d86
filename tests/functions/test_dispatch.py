"""The dispatcher's contract on SQLite, and what only one process per database can know."""

from datetime import timedelta

import pytest
from dispatch_contract import (
    DispatchContract,
    HandClock,
    Script,
    announce,
    apps,
    dead,
    killed_within_a_handler,
    rows,
    run,
)
from sqlite_ledgers import copies

from groundshift.ledger import deliveries, tables
from groundshift.manifests import topology
from groundshift.settings import Settings


@pytest.fixture(scope="module")
def new_ledger(tmp_path_factory):
    return copies(tmp_path_factory.mktemp("empty"))


class TestSqlite(DispatchContract):
    pass


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def ledger(new_ledger, clock):
    with new_ledger(clock) as opened:
        yield opened


@pytest.fixture
def real(new_ledger):
    with new_ledger() as opened:
        yield opened


def test_after_kill_9_the_next_start_goes_on_at_once(real):
    """The claim's lease would last ten minutes."""
    announce(real, "a")
    killed_within_a_handler(real)
    (row,) = rows(real, tables.deliveries)
    assert row.state == "claimed"
    got = []
    run(real, apps(ingest=lambda event, _: got.append(event.subject)), timeout_s=60)
    assert got == ["a"]
    (row,) = rows(real, tables.deliveries)
    assert (row.state, row.attempts, row.losses) == ("done", 1, 1)


def test_a_claim_of_a_silent_owner_runs_out(ledger, clock):
    """Where processes share a database, nobody can know that another one is dead."""
    announce(ledger, "a")
    with ledger.transaction() as tx:
        deliveries.fan_out(tx, topology().route, limit=9)
        deliveries.claim(tx, "ingest", owner="dead", lease=timedelta(seconds=90), limit=1)
    script = Script(clock)
    with ledger.sole_process():  # another process lives
        run(ledger, script)
    assert script.seconds == [90]


def test_what_kills_every_process_is_a_dead_letter(ledger, clock):
    announce(ledger, "a")
    script = Script(clock)
    with ledger.transaction() as tx:
        deliveries.fan_out(tx, topology().route, limit=9)
    for _ in range(3):
        with ledger.transaction() as tx:
            deliveries.release(tx)
            deliveries.claim(tx, "ingest", owner="dead", lease=timedelta(days=9), limit=1)
    run(ledger, script, settings=Settings(max_losses=2))
    assert script.asked == []
    (letter,), (arrival,) = dead(ledger), rows(ledger, tables.arrivals)
    assert "died" in letter.reason
    assert (arrival.state, arrival.message) == ("failed", f"ingest: {letter.reason}")
