"""From labels to a registered model set on one machine: `up`, its JobSink, one training."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from sweep_contract import add_run
from up_process import Up, until

from groundshift.events import LabelAccepted
from groundshift.ledger import Ledger, labels
from groundshift.ledger.labels import Label

ENOUGH: Final = 3
JOB: Final = """\
import os, sys
from pathlib import Path
from groundshift.codec import decode
from groundshift.events import RetrainDue
from groundshift.ledger import trainings
from groundshift.opening import open_ledger, settings_of

body = Path(os.environ["K_EVENT_PATH"], "event").read_bytes()
due = RetrainDue.of(decode({"content-type": "application/cloudevents+json"}, body))
settings = settings_of()
with (settings.data_dir / "calls").open("a") as calls:
    print(*sys.argv[1:], due.labels, file=calls)
outcome = trainings.Outcome("STATE", "REASON", "the gate said so", "sha256:5e7", "1", "report")
with open_ledger(settings) as ledger, ledger.transaction() as tx:
    trainings.conclude(tx, due.training_id, outcome, owner="stub")
"""


@pytest.fixture
def running(model_store: Path, tmp_path: Path) -> Callable[[str, str], Up]:
    """A platform whose trainings end as told."""

    def start(state: str, reason: str) -> Up:
        stub = tmp_path / "job.py"
        stub.write_text(JOB.replace("STATE", state).replace("REASON", reason))
        command = json.dumps([sys.executable, str(stub)])
        return Up(
            tmp_path / "data",
            model_dir=model_store,
            retrain_command=command,
            retrain_min_labels=ENOUGH,
        )

    return start


def vouch(up: Up, *names: str) -> None:
    """What the review stage commits: the label and its event; and the same event once more."""
    with Ledger.open(f"sqlite:///{up.folder}/ledger.db") as ledger:
        for name in names:
            with ledger.transaction() as tx:
                label = Label(f"v-{name}", "local", "site", "run", name, [], {}, "CC0-1.0")
                labels.add(tx, label, actor="ann")
                said = LabelAccepted(version=label.version, site_id="site", run_id="run", tile=name)
                for attempt in (1, 2):
                    tx.say(said, source="review", subject=label.version, attempt=attempt)


def deliveries(up: Up) -> dict[str, int]:
    found: dict[str, int] = up.status()["deliveries"]
    return found


def settled(up: Up) -> bool:
    """Whether everything that was said has been handled."""
    return set(deliveries(up)) <= {"done"}


@pytest.mark.parametrize(("state", "reason"), [("registered", "passed"), ("refused", "gate")])
def test_labels_become_one_training_with_an_outcome(
    running: Callable[[str, str], Up], state: str, reason: str
) -> None:
    with running(state, reason) as up:
        with Ledger.open(f"sqlite:///{up.folder}/ledger.db") as ledger:
            add_run(ledger, state="done", outcome="done")
        vouch(up, "a", "b")
        until(lambda: settled(up), up)
        assert up.status()["trainings"] == []
        vouch(up, "c")
        ended = until(lambda: [t for t in up.status()["trainings"] if t["state"] == state], up)
        vouch(up, "d", "e", "f")  # within the period
        until(lambda: settled(up), up)
        (only,) = up.status()["trainings"]
        assert only == ended[0]
        assert (only["cause"], only["labels"], only["reason"]) == ("labels", ENOUGH, reason)
        assert (up.folder / "calls").read_text() == f"retrain {ENOUGH}\n"
        assert said(up, "model.registered") == int(state == "registered")
        assert up.end(signal.SIGTERM) == 0
    with running(state, reason) as up:  # nothing of it is left to do
        until(lambda: up.http.get("/readyz").status_code == 200, up)
        assert [t["state"] for t in up.status()["trainings"]] == [state]
    assert (up.folder / "calls").read_text() == f"retrain {ENOUGH}\n"


def said(up: Up, word: str) -> int:
    """How often an event of this word stands in the outbox."""
    from sqlalchemy import func, select

    from groundshift.events import event_type
    from groundshift.ledger import tables

    query = select(func.count()).where(tables.outbox.c.type == event_type(word))
    with Ledger.open(f"sqlite:///{up.folder}/ledger.db") as ledger, ledger.read() as connection:
        found: int = connection.execute(query).scalar_one()
    return found


def test_a_training_that_is_killed_with_the_platform_is_made_at_its_next_start(
    model_store: Path, tmp_path: Path
) -> None:
    stub = tmp_path / "job.py"
    hang = (
        'if not (settings.data_dir / "been").exists():\n    (settings.data_dir / "been").touch()\n'
    )
    hang += "    sys.stdin.buffer.read()\n    sys.exit(1)\n"  # until the platform is gone
    text = JOB.replace("outcome =", hang + "outcome =", 1)
    stub.write_text(text.replace("STATE", "registered").replace("REASON", "passed"))
    options: dict[str, Any] = {
        "model_dir": model_store,
        "retrain_command": json.dumps([sys.executable, str(stub)]),
        "retrain_min_labels": 1,
    }
    with Up(tmp_path / "data", **options) as up:
        with Ledger.open(f"sqlite:///{up.folder}/ledger.db") as ledger:
            add_run(ledger, state="done", outcome="done")
        vouch(up, "a")
        until(lambda: (up.folder / "been").exists(), up)
        began = time.monotonic()
        assert up.http.get("/healthz").status_code == 200  # a training holds nothing up
        assert time.monotonic() - began < 30
        up.end(signal.SIGKILL)
    with Up(tmp_path / "data", **options) as up:
        until(lambda: [t for t in up.status()["trainings"] if t["state"] == "registered"], up)
        assert len((up.folder / "calls").read_text().splitlines()) == 2
        assert said(up, "model.registered") == 1
