"""The retrain stage: its policy on SQLite, and its three events through its app."""

import asyncio
from datetime import UTC, datetime

import pytest
from retrain_contract import RetrainContract
from sqlalchemy import select
from sqlite_ledgers import copies

from functions.app import create_app
from functions.platform import Platform
from functions.stages import TABLE
from functions.transport import AppTransport
from groundshift.codec import encode
from groundshift.events import ClockTicked, DriftFound, LabelAccepted, RunDone, new_event
from groundshift.ledger import tables
from groundshift.manifests import topology
from groundshift.settings import Settings

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
LABEL = LabelAccepted(version="v", site_id="s", run_id="r", tile="0_0")
DRIFT = DriftFound(drift_id="d", kind="input", measure="red", value=2, limit=1)


@pytest.fixture(scope="module")
def new_ledger(tmp_path_factory):
    return copies(tmp_path_factory.mktemp("empty"))


class TestSqlite(RetrainContract):
    pass


def posted(platform, data):
    """The status with which the stage answers an event."""
    app = create_app("retrain", platform, {"retrain": TABLE["retrain"].handler()})
    transport = AppTransport({"retrain": app})
    headers, body = encode(new_event(data, source="test", subject="s", time=NOON))
    service = topology().services["retrain"]
    return asyncio.run(transport(service, "/", headers, body)).status


@pytest.mark.parametrize("data", [LABEL, DRIFT, ClockTicked(clock="retrain")])
def test_each_of_its_events_makes_it_look(new_ledger, tmp_path, data):
    with new_ledger() as ledger:
        with ledger.transaction() as tx:  # as whoever says it leaves it
            tx.say(DRIFT, source="monitor", subject="d")
        platform = Platform(Settings(data_dir=tmp_path), ledger, None, None)
        assert posted(platform, data) == 202
        with ledger.read() as connection:
            assert len(connection.execute(select(tables.trainings)).all()) == 1


def test_an_event_of_another_stage_is_refused(new_ledger, tmp_path):
    with new_ledger() as ledger:
        platform = Platform(Settings(data_dir=tmp_path), ledger, None, None)
        assert posted(platform, RunDone(run_id="r", site_id="s", scene_id="c")) == 422
