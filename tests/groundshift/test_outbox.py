"""The outbox contract on SQLite."""

import pytest
from outbox_contract import OutboxContract
from sqlite_ledgers import copies


@pytest.fixture(scope="module")
def new_ledger(tmp_path_factory):
    return copies(tmp_path_factory.mktemp("empty"))


class TestSqlite(OutboxContract):
    pass
