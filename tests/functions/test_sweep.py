"""The sweeper's contract on SQLite."""

import pytest
from sqlite_ledgers import copies
from sweep_contract import SweepContract


@pytest.fixture(scope="module")
def new_ledger(tmp_path_factory):
    return copies(tmp_path_factory.mktemp("empty"))


class TestSqlite(SweepContract):
    pass
