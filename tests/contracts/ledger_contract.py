import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, func, inspect, select, text
from sqlalchemy.exc import IntegrityError

from groundshift.errors import Misconfigured
from groundshift.events import SceneReady
from groundshift.ledger import Ledger, migrate, tables

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)


class FixedClock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    async def wait(self, wakeup, *, seconds):
        self.time += timedelta(seconds=seconds)


def say(tx, scene_id="s1"):
    return tx.say(SceneReady(scene_id=scene_id, site_id="t"), source="ingest", subject=scene_id)


def count(ledger, table):
    with ledger.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def feed(ledger, alert, version):
    with ledger.transaction() as tx:
        return tx.append_feed(
            alert_id=alert,
            type_="alert.raised",
            version=version,
            payload={"v": version},
            tenant="t",
        )


# Death at any line

DIES = """
import os, sys
from groundshift.events import SceneReady
from groundshift.ledger import Ledger, tables
ledger = Ledger.open(sys.argv[1])
def work(tx, name):
    tx.say(SceneReady(scene_id=name, site_id="t"), source="ingest", subject=name)
    tx.take_lease(name, owner="me", seconds=9)
with ledger.transaction() as tx:
    work(tx, "before")
with ledger.sole_process(), ledger.transaction() as tx:
    work(tx, "within")
    print("ready", flush=True)
    sys.stdin.read()
"""


class LedgerContract:
    """Subclass and give the fixture `url`: the address of a database without any table."""

    @pytest.fixture
    def clock(self):
        return FixedClock()

    @pytest.fixture
    def ledger(self, url, clock):
        with Ledger.open(url, clock=clock) as opened:
            yield opened

    # Schema

    def test_the_migrations_make_exactly_the_tables(self, ledger):
        with ledger.read() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, tables.metadata) == []

    def test_opening_again_changes_nothing(self, ledger, url):
        with ledger.transaction() as tx:
            say(tx)
        with Ledger.open(url) as again:
            assert count(again, tables.outbox) == 1

    def test_the_migrations_undo_themselves(self, url):
        Ledger.open(url).close()
        engine = create_engine(url)
        config = migrate.alembic_config()
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, "base")
            assert inspect(connection).get_table_names() == ["alembic_version"]
        engine.dispose()
        with Ledger.open(url) as again:
            assert count(again, tables.outbox) == 0

    def test_many_may_open_a_new_ledger_at_once(self, url):
        """Each thread has its own engine, as each process would."""
        start = threading.Barrier(8)

        def open_and_write(i):
            start.wait()
            with Ledger.open(url) as mine, mine.transaction() as tx:
                return say(tx, f"s{i}")

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(open_and_write, range(8)))
        with Ledger.open(url) as again:
            assert count(again, tables.outbox) == 8

    def test_a_newer_ledger_is_refused(self, ledger, url):
        with ledger.transaction() as tx:
            tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(Misconfigured, match="9999"):
            Ledger.open(url)

    # Transactions

    def test_an_error_leaves_nothing(self, ledger):
        def work():
            with ledger.transaction() as tx:
                say(tx)
                tx.take_lease("l", owner="me", seconds=1)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            work()
        assert count(ledger, tables.outbox) == count(ledger, tables.leases) == 0

    def test_a_nested_transaction_is_an_error_at_once(self, ledger):
        with ledger.transaction(), pytest.raises(RuntimeError, match="Tx"), ledger.transaction():
            pass
        with ledger.transaction() as tx:  # the first one is over
            say(tx)

    def test_a_read_sees_one_moment(self, ledger):
        with ledger.read() as connection:
            query = select(func.count()).select_from(tables.outbox)
            assert connection.execute(query).scalar_one() == 0
            with ledger.transaction() as tx:
                say(tx)
            assert connection.execute(query).scalar_one() == 0

    def test_writers_of_two_processes_take_turns(self, ledger, url):
        """Two engines on one file: neither write is lost, neither fails."""
        with Ledger.open(url) as other:

            def write(which):
                for i in range(20):
                    with (ledger, other)[which].transaction() as tx:
                        last = tx.execute(select(func.count()).select_from(tables.leases)).scalar()
                        tx.take_lease(f"{which}-{i}-{last}", owner="me", seconds=9)

            with ThreadPoolExecutor(2) as pool:
                list(pool.map(write, (0, 1)))
        assert count(ledger, tables.leases) == 40
        with ledger.read() as connection:  # each read the count that it added to
            names = connection.execute(select(tables.leases.c.name)).scalars()
            assert sorted(int(name.rsplit("-")[-1]) for name in names) == list(range(40))

    def test_foreign_keys_hold(self, ledger):
        with pytest.raises(IntegrityError), ledger.transaction() as tx:
            tx.execute(tables.blocks.insert(), {"run_id": "no", "block": "b", "state": "ready"})

    def test_times_come_back_in_utc_and_naive_ones_are_refused(self, ledger):
        there = datetime(2026, 1, 1, 5, tzinfo=timezone(timedelta(hours=5)))
        row = {"name": "l", "owner": "me"}
        with ledger.transaction() as tx:
            tx.execute(tables.leases.insert(), {**row, "until": there})
            (until,) = tx.execute(select(tables.leases.c.until)).one()
        assert until == there
        assert until.utcoffset() == timedelta(0)
        with pytest.raises(Exception, match="aware"), ledger.transaction() as tx:
            tx.execute(tables.leases.insert(), {**row, "until": datetime(2026, 1, 1)})

    # Leases, the feed, who is alone

    def test_a_lease_is_one_owners_until_it_runs_out(self, ledger, clock):
        def take(owner):
            with ledger.transaction() as tx:
                return tx.take_lease("sweep", owner=owner, seconds=10)

        assert take("a")
        assert take("a")
        assert not take("b")
        clock.time += timedelta(seconds=9)
        assert not take("b")
        clock.time += timedelta(seconds=1)
        assert take("b")
        assert not take("a")
        with ledger.transaction() as tx:
            tx.release_lease("sweep", owner="a")  # not a's any more
        assert not take("a")
        with ledger.transaction() as tx:
            tx.release_lease("sweep", owner="b")
        assert take("a")

    def test_the_feed_has_no_gaps_and_no_doubles(self, ledger):
        assert [feed(ledger, "a", 1), feed(ledger, "b", 1), feed(ledger, "a", 2)] == [1, 2, 3]
        assert feed(ledger, "a", 1) is None
        assert feed(ledger, "c", 1) == 4

    def test_a_reader_by_number_misses_nothing(self, ledger):
        """Writers race; whoever reads on from the last number seen gets every entry, in order."""
        done = threading.Event()
        seen = []

        def read_on():
            while True:
                last_round = done.is_set()
                with ledger.read() as connection:
                    query = select(tables.feed.c.seq).where(tables.feed.c.seq > (seen or [0])[-1])
                    seen.extend(connection.execute(query.order_by(tables.feed.c.seq)).scalars())
                if last_round:
                    return

        reader = threading.Thread(target=read_on)
        reader.start()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda i: feed(ledger, f"alert{i}", 1), range(60)))
        done.set()
        reader.join()
        assert seen == list(range(1, 61))
