"""The ledger's contract on SQLite, and what is special about SQLite and about no database."""

import io
import os
import signal
import subprocess
import sys

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from ledger_contract import DIES, LedgerContract, count, say
from sqlalchemy import select

from groundshift.errors import Misconfigured
from groundshift.ledger import Ledger, deliveries, migrate, tables


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/deep/ledger.db"


@pytest.fixture
def ledger(url):
    with Ledger.open(url) as opened:
        yield opened


class TestSqlite(LedgerContract):
    pass


def test_head_is_the_newest_migration():
    script = ScriptDirectory.from_config(migrate.alembic_config())
    assert script.get_heads() == [migrate.HEAD]


def test_the_migrations_are_postgresql_too():
    config = migrate.alembic_config()
    config.output_buffer = io.StringIO()
    command.upgrade(config, "head", sql=True)
    sql = config.output_buffer.getvalue()
    for name in tables.metadata.tables:
        assert f"CREATE TABLE {name} (" in sql
    assert "TIMESTAMP WITH TIME ZONE" in sql
    assert "WHERE published IS NULL" in sql


@pytest.mark.parametrize("bad", ["sqlite://", "sqlite:///:memory:", "mysql://host/db"])
def test_other_databases_are_refused(bad):
    with pytest.raises(Misconfigured, match="sqlite:///a/file"):
        Ledger.open(bad)


def test_a_password_is_not_shown():
    with pytest.raises(Misconfigured) as refusal:
        Ledger.open("mysql://me:secret@host/db")
    assert "secret" not in str(refusal.value)


def test_sqlite_is_set_up_as_designed(ledger):
    with ledger.read() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragma == {
        "journal_mode": "wal",
        "synchronous": 1,  # NORMAL
        "foreign_keys": 1,
        "busy_timeout": 60_000,
    }


def test_tenant_site_and_actor_stand_in_the_first_migration():
    names = {t.name: set(t.columns.keys()) for t in tables.metadata.tables.values()}
    for table in ("sites", "arrivals", "scenes", "runs", "alerts"):
        assert {"tenant", "actor"} <= names[table]
    for table in ("scenes", "runs", "alerts"):
        assert "site_id" in names[table]


def test_reading_does_not_wait_for_a_writer(ledger):
    with ledger.transaction() as tx:
        say(tx)
        assert count(ledger, tables.outbox) == 0
    assert count(ledger, tables.outbox) == 1


def test_one_process_is_alone(ledger, url):
    with (
        ledger.sole_process() as first,
        Ledger.open(url) as other,
        other.sole_process() as second,
    ):
        assert (first, second) == (True, False)
    with ledger.sole_process() as again:
        assert again


def test_kill_9_in_a_transaction_leaves_all_or_nothing(url):
    child = subprocess.Popen(
        [sys.executable, "-c", DIES, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout.readline() == b"ready\n"
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    with Ledger.open(url) as ledger:
        with ledger.read() as connection:
            assert connection.execute(select(tables.outbox.c.subject)).scalars().all() == ["before"]
            assert connection.execute(select(tables.leases.c.name)).scalars().all() == ["before"]
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        with ledger.sole_process() as sole, ledger.transaction() as tx:  # its locks died with it
            assert sole
            assert say(tx, "within")
        with ledger.transaction() as tx:
            assert deliveries.fan_out(tx, lambda _: ["plan"], limit=9) == 2
