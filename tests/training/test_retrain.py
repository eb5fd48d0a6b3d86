"""`groundshift retrain`: from a training that is due to an outcome in the ledger, once."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson
import pytest
from registry_contract import another
from sqlalchemy import select
from sqlite_ledgers import copies
from sweep_contract import add_run

from groundshift.adapters.files import FileObjectStore
from groundshift.codec import encode
from groundshift.errors import Misconfigured, NotFound, NotYet, Unavailable
from groundshift.events import ModelRegistered, event_type
from groundshift.ledger import tables, trainings
from groundshift.ledger.deliveries import event_of
from groundshift.opening import open_ledger
from groundshift.ports import RegisteredSet
from groundshift.registry import digest_of, read_set
from groundshift.serving.testing import write_test_models
from groundshift.settings import Settings
from training import retrain
from training.retrain import Place, Steps, call, run, steps_of, wanted


@dataclass
class Shelf:
    """A registry of sets in memory."""

    sets: list[RegisteredSet] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    away: bool = False

    def register(self, store, *, tags):
        if self.away:
            raise Unavailable("the registry is away")
        digest = digest_of(read_set(store))
        for known in self.sets:
            if known.digest == digest:
                return known
        self.sets.append(RegisteredSet(str(len(self.sets) + 1), digest, {}, (), dict(tags)))
        return self.sets[-1]

    def alias(self, version, alias):
        self.aliases[alias] = version

    def fetch(self, which, to):
        raise NotFound(f"no {which}")

    def list(self):
        return self.sets


@dataclass(frozen=True)
class Said:
    """A gate's verdict."""

    accepted: bool = True
    reason: str = "all rules hold"

    def as_dict(self):
        return {"reason": self.reason, "findings": [{"rule": "template"}]}


@pytest.fixture(scope="module")
def new_ledger(tmp_path_factory):
    return copies(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def place(new_ledger, tmp_path):
    settings = Settings(data_dir=tmp_path / "data", model_dir=tmp_path / "in-service")
    with new_ledger() as ledger:
        add_run(ledger, state="done")
        yield Place(settings, ledger, FileObjectStore(tmp_path / "objects"), Shelf())


@pytest.fixture
def due(place):
    with place.ledger.transaction() as tx:
        labels = trainings.standing_labels(tx.connection, since=None)
        trainings.ask(tx, labels, cause="drift")
    return labels.digest


@pytest.fixture
def made():
    """What was called, in order."""
    return []


@pytest.fixture
def steps(made, tmp_path):
    """A training that takes no time; the gate says yes."""
    ready = another(write_test_models(tmp_path / "ready"))

    def train(name, store, work):
        made.append(name)
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).mkdir(exist_ok=True)
        for file in (ready / name).iterdir():
            (store / name / file.name).write_bytes(file.read_bytes())

    def judge(challenger, champion):
        made.append(f"gate {champion.name}")
        return Said()

    return Steps(train, judge)


def registered(place):
    query = select(tables.outbox).where(tables.outbox.c.type == event_type("model.registered"))
    with place.ledger.read() as connection:
        return [ModelRegistered.of(event_of(row)) for row in connection.execute(query)]


def the_one(place):
    with place.ledger.read() as connection:
        (found,) = trainings.in_state(connection)
    return found


def test_a_set_that_passes_is_the_challenger_and_said_once(place, due, steps, made):
    outcome = run(due, place, steps)
    assert made == ["cloud-mask", "segmenter", "change-classifier", "gate in-service"]
    assert outcome.state == "registered"
    (one,) = place.registry.sets
    assert place.registry.aliases == {"challenger": one.version}
    assert one.tags["training_id"] == due
    (said,) = registered(place)
    assert (said.set_digest, said.version, said.training_id) == (one.digest, one.version, due)
    report = orjson.loads(place.store.get(said.report))
    assert (report["set_digest"], report["reason"]) == (one.digest, "all rules hold")
    assert run(due, place, steps) is None  # the event came twice
    assert len(made) == 4
    assert len(registered(place)) == 1


def test_a_set_that_the_gate_refuses_is_recorded_with_the_reason_and_registered_nowhere(
    place, due, steps
):
    no = replace(steps, judge=lambda *_: Said(accepted=False, reason="worse on thin cloud"))
    run(due, place, no)
    found = the_one(place)
    assert (found.state, found.reason) == ("refused", "gate")
    assert found.message == "worse on thin cloud"
    assert orjson.loads(place.store.get(found.report))["findings"]
    assert place.registry.sets == []
    assert registered(place) == []


def test_a_training_that_fails_says_why_and_is_not_made_again(place, due, steps, made):
    def broken(*_):
        raise Misconfigured("no data: name some")

    run(due, place, replace(steps, train=broken))
    found = the_one(place)
    assert (found.state, found.reason, found.message) == (
        "failed",
        "Misconfigured",
        "no data: name some",
    )
    assert run(due, place, steps) is None
    assert made == []


def test_what_is_away_for_a_while_leaves_the_training_open_for_the_next_attempt(
    place, due, steps, monkeypatch
):
    monkeypatch.setenv("JOB_NAME", "training-1")
    place.registry.away = True
    with pytest.raises(Unavailable):
        run(due, place, steps)
    assert the_one(place).state == "running"
    place.registry.away = False
    assert run(due, place, steps).state == "registered"


def test_a_second_job_waits_for_the_first(place, due, steps, monkeypatch):
    def meanwhile(*_):
        monkeypatch.setenv("JOB_NAME", "training-2")
        with pytest.raises(NotYet, match="under way"):
            run(due, place, steps)
        return Said()

    monkeypatch.setenv("JOB_NAME", "training-1")
    assert run(due, place, replace(steps, judge=meanwhile)).state == "registered"
    assert len(registered(place)) == 1


def test_two_trainings_with_the_same_result_are_one_set(place, due, steps):
    run(due, place, steps)
    with place.ledger.transaction() as tx:
        trainings.ask(tx, trainings.Labels("other", 1, 1), cause="labels")
    assert run("other", place, steps).version == "1"
    assert len(place.registry.sets) == 1
    assert len(registered(place)) == 1


def test_the_event_that_jobsink_left_says_which(place, due, monkeypatch, tmp_path):
    assert wanted(place.ledger) == due  # the oldest that waits
    event = replace(the_one(place).event, extensions={"knativearrivaltime": "2026-01-01T00:00:00Z"})
    (tmp_path / "event").write_bytes(encode(event, mode="structured")[1])
    monkeypatch.setenv("K_EVENT_PATH", str(tmp_path))
    assert wanted(place.ledger) == due


def test_nothing_that_waits_is_said(place):
    with pytest.raises(NotFound, match="RETRAIN_MIN_LABELS"):
        wanted(place.ledger)


def test_the_command_of_the_settings_gets_the_name_and_the_places(tmp_path):
    program = tmp_path / "train.py"
    program.write_text(
        "import json, os, sys\n"
        "said = {'args': sys.argv[1:], 'uri': os.environ['MLFLOW_TRACKING_URI']}\n"
        f"open({str(tmp_path / 'said')!r}, 'w').write(json.dumps(said))\n"
    )
    settings = Settings(data_dir=tmp_path, train_command=(sys.executable, str(program)))
    steps_of(settings).train("segmenter", tmp_path / "models", tmp_path / "work")
    said = json.loads((tmp_path / "said").read_text())
    assert said["args"][:5] == [
        "segmenter",
        "--out",
        str(tmp_path / "models"),
        "--work",
        str(tmp_path / "work"),
    ]
    assert said["args"][5:] == ["--labels", str(tmp_path / "objects")]
    assert said["uri"] == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_program_that_fails_is_quoted(capfd):
    with pytest.raises(Misconfigured, match=r"(?s)ended with 3.*the disk is full"):
        call([sys.executable, "-c", "print('the disk is full'); raise SystemExit(3)"], {})
    assert "the disk is full" in capfd.readouterr().err  # the pod's log has all of it


def test_a_program_that_is_not_there_is_named():
    with pytest.raises(Misconfigured, match=r"/nowhere/train.*TRAIN_COMMAND"):
        call(["/nowhere/train"], {})


def test_without_the_training_extra_it_says_the_cure(monkeypatch):
    monkeypatch.setattr(retrain, "NEEDED", ("a_module_that_nobody_has",))
    with pytest.raises(Misconfigured, match=r"pip install 'groundshift\[training\]'"):
        retrain.require()


def test_the_work_stays_for_the_next_attempt(place, due, steps):
    """A training that was cut off goes on from its checkpoints: the same folder each time."""
    seen: list[Path] = []
    watch = replace(
        steps, train=lambda name, store, work: (seen.append(work), steps.train(name, store, work))
    )
    place.registry.away = True
    for _ in range(2):
        with pytest.raises(Unavailable):
            run(due, place, watch)
    assert len(set(seen)) == 1
    assert seen[0].is_relative_to(place.settings.data_dir)


@pytest.mark.training
def test_a_job_whose_platform_is_gone_ends_with_its_program(tmp_path):
    """However the platform went: its end of the pipe closes. The training waits for the next."""
    program = tmp_path / "train.py"
    program.write_text(
        "import os, sys, time\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    settings = Settings(data_dir=tmp_path / "data")
    with open_ledger(settings) as ledger, ledger.transaction() as tx:
        trainings.ask(tx, trainings.Labels("all", 1, 1), cause="labels")
    environment = {
        **os.environ,
        "GROUNDSHIFT_DATA_DIR": str(settings.data_dir),
        "GROUNDSHIFT_TRAIN_COMMAND": json.dumps([sys.executable, str(program)]),
    }
    command = [sys.executable, "-m", "functions.cli", "retrain", "--exit-with-stdin"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as job:
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        job.stdin.close()
        assert job.wait(60) == 128 + signal.SIGTERM
    trainer = int((tmp_path / "pid").read_text())
    until(lambda: not Path(f"/proc/{trainer}").exists())
    with open_ledger(settings) as ledger, ledger.read() as connection:
        (left,) = trainings.in_state(connection)
    assert left.state == "running"


def until(look):
    deadline = time.monotonic() + 120
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.05)
