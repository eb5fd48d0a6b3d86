"""When a training is asked for, on any database: once, whatever comes twice, late or in a heap."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select
from sweep_contract import NOW, Clock, add_run, deliver

from functions.retrain import LOST, Policy, consider, look_after
from groundshift.errors import NotYet
from groundshift.events import DriftFound, RetrainDue, event_type
from groundshift.ledger import labels, tables, trainings
from groundshift.ledger.deliveries import event_of
from groundshift.ledger.labels import Label

DAY = timedelta(days=1)
POLICY = Policy(min_labels=3, period=DAY, deadline=timedelta(hours=7), attempts=2)
PASSED = trainings.Outcome(
    "registered", "passed", "all rules hold", set_digest="sha256:5e7", version="4", report="r.json"
)


class RetrainContract:
    """Subclass and give the fixture `new_ledger`, of the module's scope: see OutboxContract."""

    @pytest.fixture
    def clock(self):
        return Clock()

    @pytest.fixture
    def ledger(self, new_ledger, clock):
        with new_ledger(clock) as opened:
            add_run(opened, state="done", outcome="done")
            yield opened

    @pytest.fixture
    def accept(self, ledger):
        """Reviewers vouch for these tiles."""

        def accept(*names, tenant="me"):
            with ledger.transaction() as tx:
                for name in names:
                    label = Label(f"v-{name}", tenant, "site", "run", name, [], {}, "CC0-1.0")
                    assert labels.add(tx, label, actor="ann")

        return accept

    @pytest.fixture
    def drift(self, ledger):
        def drift(name="d"):
            said = DriftFound(drift_id=name, kind="input", measure="red", value=2, limit=1)
            with ledger.transaction() as tx:
                tx.say(said, source="monitor", subject=name)

        return drift

    @pytest.fixture
    def ask(self, ledger):
        """What a label, a drift or a tick sets going; why a training is due."""

        def ask(policy=POLICY):
            with ledger.transaction() as tx:
                return consider(tx, policy)

        return ask

    @pytest.fixture
    def make(self, ledger):
        """The training that waits comes to its end."""

        def make(outcome=PASSED):
            for one in self.known(ledger):
                with ledger.transaction() as tx:
                    trainings.conclude(tx, one.id, outcome, owner="job")

        return make

    @pytest.fixture
    def tick(self, ledger):
        def tick(policy=POLICY):
            with ledger.transaction() as tx:
                look_after(tx, policy)
                return consider(tx, policy)

        return tick

    def due(self, ledger):
        """(training, attempt it was said with) of every retrain.due."""
        query = select(tables.outbox).where(tables.outbox.c.type == event_type("retrain.due"))
        with ledger.read() as connection:
            said = connection.execute(query.order_by(tables.outbox.c.seq))
            return [RetrainDue.of(event_of(row)) for row in said]

    def known(self, ledger):
        with ledger.read() as connection:
            return trainings.in_state(connection)

    def registered(self, ledger):
        query = select(tables.outbox).where(tables.outbox.c.type == event_type("model.registered"))
        with ledger.read() as connection:
            return [event_of(row) for row in connection.execute(query)]

    def test_enough_labels_make_one_due_and_one_less_does_not(self, ledger, accept, ask):
        accept("a", "b")
        assert ask() is None
        accept("c")
        assert ask() == "labels"
        (due,) = self.due(ledger)
        assert (due.reason, due.labels, due.new) == ("labels", 3, 3)

    def test_labels_of_every_tenant_count(self, ledger, accept, ask):
        accept("a", tenant="one")
        accept("b", "c", tenant="two")
        assert ask() == "labels"

    def test_the_same_event_again_asks_for_nothing(self, ledger, accept, ask, clock):
        accept("a", "b", "c")
        assert [ask(), ask(), ask()] == ["labels", None, None]
        clock.time += 10 * DAY  # a copy that was late
        assert ask() is None
        assert len(self.due(ledger)) == 1

    def test_what_came_within_the_period_is_found_by_the_first_tick_after_it(
        self, ledger, accept, ask, make, tick, clock
    ):
        accept("a", "b", "c")
        ask()
        make()
        clock.time += DAY / 2
        accept("d", "e", "f")
        assert ask() is None
        assert tick() is None
        clock.time += DAY / 2
        assert tick() == "labels"
        assert [(d.labels, d.new) for d in self.due(ledger)] == [(3, 3), (6, 3)]

    def test_labels_count_since_the_training_before_not_since_the_last_tick(
        self, accept, ask, make, tick, clock
    ):
        accept("a", "b", "c")
        ask()
        make()
        for name in "de":
            clock.time += DAY
            accept(name)
            assert tick() is None
        clock.time += DAY
        accept("f")
        assert tick() == "labels"

    def test_a_drift_is_enough_and_only_once(self, ledger, accept, ask, make, tick, drift, clock):
        accept("a")
        drift()
        assert ask() == "drift"
        make()
        clock.time += 2 * DAY
        assert tick() is None, "nothing drifted since"
        drift("again")
        assert tick() is None, "the same labels make the same training"
        accept("b")
        assert tick() == "drift"
        assert [d.reason for d in self.due(ledger)] == ["drift", "drift"]

    def test_a_drift_within_the_period_waits_for_its_end(
        self, accept, ask, make, tick, drift, clock
    ):
        accept("a", "b", "c")
        ask()
        make()
        clock.time += DAY / 4
        accept("d")
        drift()
        assert ask() is None
        clock.time += DAY
        assert tick() == "drift"

    @pytest.mark.parametrize("state", ["due", "parked"])
    def test_while_one_waits_no_other_is_asked_for(self, ledger, accept, ask, make, clock, state):
        accept("a", "b", "c")
        ask()
        if state == "parked":
            make(trainings.Outcome("parked", "not_installed", "install it"))
        clock.time += 10 * DAY
        accept("d", "e", "f")
        assert ask() is None
        assert [one.state for one in self.known(ledger)] == [state]

    def test_a_training_is_one_at_a_time_and_its_own_job_may_take_it_again(
        self, ledger, accept, ask
    ):
        accept("a", "b", "c")
        ask()
        (due,) = self.known(ledger)
        with ledger.transaction() as tx:
            assert trainings.start(tx, due.id, owner="job-1", seconds=60).state == "running"
        with ledger.transaction() as tx, pytest.raises(NotYet, match="under way"):
            trainings.start(tx, due.id, owner="job-2", seconds=60)
        with ledger.transaction() as tx:  # its pod died
            assert trainings.start(tx, due.id, owner="job-1", seconds=60) is not None

    def test_the_first_outcome_stands_and_is_said_once(self, ledger, accept, ask):
        accept("a", "b", "c")
        ask()
        (due,) = self.known(ledger)
        refused = trainings.Outcome("refused", "gate", "worse on clouds")
        for outcome, first in ((PASSED, True), (PASSED, False), (refused, False)):
            with ledger.transaction() as tx:
                assert trainings.conclude(tx, due.id, outcome, owner="job") is first
        (said,) = self.registered(ledger)
        assert said.subject == "sha256:5e7"
        assert said.data == {
            "set_digest": "sha256:5e7",
            "version": "4",
            "training_id": due.id,
            "report": "r.json",
        }
        with ledger.transaction() as tx:
            assert trainings.start(tx, due.id, owner="late", seconds=60) is None

    def test_a_refused_one_says_why_and_registers_nothing(self, ledger, accept, ask):
        accept("a", "b", "c")
        ask()
        refused = trainings.Outcome("refused", "gate", "worse on clouds", report="r.json")
        with ledger.transaction() as tx:
            trainings.conclude(tx, self.known(ledger)[0].id, refused, owner="job")
        (one,) = self.known(ledger)
        assert (one.state, one.reason, one.message) == ("refused", "gate", "worse on clouds")
        assert self.registered(ledger) == []

    def test_one_that_nothing_was_heard_of_is_asked_for_again_and_given_up_in_the_end(
        self, ledger, accept, ask, tick, clock
    ):
        accept("a", "b", "c")
        ask()
        deliver(ledger)
        (first,) = self.known(ledger)
        clock.time += POLICY.deadline / 2
        tick()
        assert self.known(ledger) == [first]
        clock.time += POLICY.deadline
        tick()
        (again,) = self.known(ledger)
        assert (again.state, again.attempt) == ("due", 2)
        assert again.event.id != first.event.id  # a Job stands for an event
        assert replace(again, attempt=1, updated=NOW) == replace(first, updated=NOW)
        assert len(self.due(ledger)) == 2
        clock.time += POLICY.deadline
        tick()
        (lost,) = self.known(ledger)
        assert (lost.state, lost.reason) == ("failed", LOST)
        assert "memory limit" in lost.message
