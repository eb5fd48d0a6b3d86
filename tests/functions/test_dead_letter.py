"""Whose delivery was given up, read from the address that Knative adds to the event."""

import base64
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlite_ledgers import copies

from functions.dead_letter import dead_letter
from functions.platform import Platform
from groundshift.events import RetrainDue, new_event
from groundshift.ledger import deliveries
from groundshift.settings import Settings

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
DUE = RetrainDue(training_id="t", reason="labels", labels=3, new=3)
SINK = "http://job-sink.knative-eventing.svc.cluster.local/groundshift/training"


@pytest.fixture(scope="module")
def new_ledger(tmp_path_factory):
    return copies(tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize(
    ("destination", "trigger"),
    [
        ("http://retrain.groundshift.svc.cluster.local/", "retrain"),
        (SINK, "training"),
        (f"{SINK}/", "training"),
        ("", "unknown"),
    ],
)
def test_a_letter_goes_by_its_trigger_so_that_a_replay_finds_it(
    new_ledger, tmp_path, destination, trigger
):
    said = {
        "knativeerrordest": destination,
        "knativeerrorcode": "500",
        "knativeerrordata": base64.b64encode(b"no such JobSink").decode(),
    }
    event = replace(new_event(DUE, source="retrain", subject="t", time=NOON), extensions=said)
    with new_ledger() as ledger:
        dead_letter(event, Platform(Settings(data_dir=tmp_path), ledger, None, None))
        with ledger.read() as connection:
            (letter,) = deliveries.dead_letters(connection)
    assert (letter.trigger, letter.status, letter.reason) == (trigger, 500, "no such JobSink")
