"""The relay's contract on SQLite, and how long it waits."""

import pytest
from relay_contract import RelayContract
from sqlite_ledgers import copies

from functions.relay import longest_chain_s
from groundshift.manifests import topology


@pytest.fixture(scope="module")
def new_ledger(tmp_path_factory):
    return copies(tmp_path_factory.mktemp("empty"))


class TestSqlite(RelayContract):
    @pytest.fixture
    def ledger(self, new_ledger):
        with new_ledger() as opened:
            yield opened


def test_it_waits_longer_than_any_chain_of_the_manifests():
    """detect: nine attempts of ten minutes and 2 + 4 + ... + 256 s, then the same to the sink."""
    assert longest_chain_s(topology()) == 2 * (9 * 600 + 510)
