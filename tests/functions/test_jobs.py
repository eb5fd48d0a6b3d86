"""The embedded JobSink: what was accepted is made once, by a process, whatever dies."""

import sys
import time

import pytest
from retrain_contract import PASSED
from sqlalchemy import select
from sqlite_ledgers import copies
from sweep_contract import add_run

from functions.jobs import LocalJobs, accept
from functions.platform import Platform
from groundshift.errors import NotFound
from groundshift.events import RetrainDue, event_type, new_event
from groundshift.exclusive import exclusive
from groundshift.ledger import tables, trainings
from groundshift.manifests import JobSpec, topology
from groundshift.settings import Settings

JOB = topology().jobs["training"]
LONGEST_S = 60.0

PROGRAM = """\
import os, sys
from pathlib import Path
from groundshift.codec import decode
from groundshift.events import RetrainDue
from groundshift.ledger import Ledger, trainings

folder = Path(os.environ["K_EVENT_PATH"])
body = (folder / "event").read_bytes()
due = RetrainDue.of(decode({"content-type": "application/cloudevents+json"}, body))
with Path(os.environ["GROUNDSHIFT_DATA_DIR"], "calls").open("a") as calls:
    print(*sys.argv[1:], due.training_id, file=calls)
data = Path(os.environ["GROUNDSHIFT_DATA_DIR"])
owner = trainings.owner_here(data)
with Ledger.open(f"sqlite:///{data}/ledger.db") as ledger, ledger.transaction() as tx:
    trainings.start(tx, due.training_id, owner=owner, seconds=3600)
def conclude(state, reason):
    outcome = trainings.Outcome(state, reason, "said the stub", "sha256:5e7", "1", "report")
    with Ledger.open(f"sqlite:///{data}/ledger.db") as ledger, ledger.transaction() as tx:
        trainings.conclude(tx, due.training_id, outcome, owner=owner)
"""


@pytest.fixture(scope="module")
def new_ledger(tmp_path_factory):
    return copies(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def ledger(new_ledger):
    with new_ledger() as opened:
        add_run(opened, state="done")
        yield opened


@pytest.fixture
def data(ledger, tmp_path):
    """The data folder: where the ledger lies, as embedded."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "ledger.db").symlink_to(ledger.engine.url.database)
    return folder


@pytest.fixture
def jobs(ledger, data, tmp_path):
    """Jobs whose program is PROGRAM with an end of its own."""

    def make(end, **job):
        path = tmp_path / "stub.py"
        path.write_text(PROGRAM + end)
        settings = Settings(
            data_dir=data, retrain_command=(sys.executable, str(path)), dispatch_poll_s=0.05
        )
        spec = JobSpec(**{**vars(JOB), **job})
        return LocalJobs(settings, ledger, spec, backoff_s=0.0)

    return make


@pytest.fixture
def due(ledger):
    """A training that the JobSink accepted."""
    with ledger.transaction() as tx:
        labels = trainings.standing_labels(tx.connection, since=None)
        trainings.ask(tx, labels, cause="drift")
        trainings.accept(tx, labels.digest)
    return labels.digest


def calls(data):
    path = data / "calls"
    return path.read_text().splitlines() if path.exists() else []


def the_one(ledger):
    with ledger.read() as connection:
        (found,) = trainings.in_state(connection)
    return found


def until(look):
    deadline = time.monotonic() + LONGEST_S
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_was_accepted_is_made_once_with_the_arguments_of_the_jobsink(jobs, due, data, ledger):
    made = jobs("conclude('registered', 'passed')")
    assert made.make_waiting() == 1
    assert made.make_waiting() == 0
    assert calls(data) == [f"retrain {due}"]
    assert (the_one(ledger).state, the_one(ledger).message) == ("registered", "said the stub")
    query = select(tables.outbox).where(tables.outbox.c.type == event_type("model.registered"))
    with ledger.read() as connection:
        assert len(connection.execute(query).all()) == 1


def test_a_process_that_died_is_started_again(jobs, due, data, ledger):
    end = "(folder / 'been').exists() or ((folder / 'been').touch(), os._exit(9))\n"
    assert jobs(end + "conclude('refused', 'gate')").make_waiting() == 1
    assert calls(data) == [f"retrain {due}"] * 2
    assert the_one(ledger).state == "refused"


def test_one_that_always_dies_is_given_up_with_its_last_words(jobs, due, data, ledger):
    jobs("print('out of memory, says the stub'); sys.exit(3)", retries=1).make_waiting()
    assert calls(data) == [f"retrain {due}"] * 2
    found = the_one(ledger)
    assert (found.state, found.reason) == ("failed", "crashed")
    assert "ended with 3" in found.message
    assert "out of memory, says the stub" in found.message


def test_one_that_takes_too_long_is_ended(jobs, due, data, ledger):
    jobs("import time; time.sleep(99)", retries=3, deadline_s=1).make_waiting()
    assert len(calls(data)) <= 1
    assert "not done after 1 s" in the_one(ledger).message


def test_a_program_that_is_not_there_says_which(jobs, due, ledger, data):
    made = jobs("")
    gone = made.settings.model_copy(update={"retrain_command": (str(data / "nothing"),)})
    LocalJobs(gone, ledger, JobSpec(**{**vars(JOB), "retries": 0})).make_waiting()
    assert "RETRAIN_COMMAND" in the_one(ledger).message


def test_a_platform_that_ends_ends_its_training_and_the_next_goes_on(jobs, due, data, ledger):
    with jobs("import time; time.sleep(99)").running():
        until(lambda: calls(data))
    assert the_one(ledger).state in trainings.OPEN
    with jobs("conclude('registered', 'passed')").running():
        until(lambda: the_one(ledger).state == "registered")
    assert len(calls(data)) == 2


def test_without_the_training_extra_it_is_parked_with_the_cure_until_it_is_there(
    jobs, due, data, ledger, monkeypatch
):
    made = jobs("conclude('registered', 'passed')")
    bare = made.settings.model_copy(update={"retrain_command": ()})
    with monkeypatch.context() as patch:
        patch.setattr("functions.jobs._NEEDED", ("a_module_that_nobody_has",))
        assert LocalJobs(bare, ledger, JOB).make_waiting() == 1
        found = the_one(ledger)
        assert (found.state, found.reason) == ("parked", "not_installed")
        assert "pip install 'groundshift[training]'" in found.message
        assert LocalJobs(bare, ledger, JOB).make_waiting() == 0
    assert calls(data) == []
    with made.running():
        until(lambda: the_one(ledger).state == "registered")
    assert len(calls(data)) == 1


def test_it_waits_for_a_training_that_runs_beside_it(jobs, due, data, ledger):
    made = jobs("conclude('registered', 'passed')")
    with exclusive(data / "training" / "lock") as free:
        assert free
        assert made.make_waiting() == 0
    assert calls(data) == []
    assert made.make_waiting() == 1


def test_the_jobsink_takes_note_and_nothing_else(ledger, tmp_path):
    platform = Platform(Settings(data_dir=tmp_path), ledger, None, None)
    with ledger.transaction() as tx:
        labels = trainings.standing_labels(tx.connection, since=None)
        trainings.ask(tx, labels, cause="drift")
    event = the_one(ledger).event
    for _ in range(2):
        accept(event, platform)
        assert the_one(ledger).state == "accepted"
    with ledger.transaction() as tx:
        trainings.conclude(tx, labels.digest, PASSED, owner="")
    accept(event, platform)  # a copy that was late
    assert the_one(ledger).state == "registered"
    strange = RetrainDue(training_id="another", reason="labels", labels=1, new=1)
    with pytest.raises(NotFound):
        accept(new_event(strange, source="x", subject="x", time=event.time), platform)
