"""The transactional outbox: each effect once, whatever is repeated, reordered or cut off."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from groundshift.errors import BadEvent, UnknownEvent
from groundshift.events import (
    BlockReady,
    Event,
    RunDone,
    SceneArrived,
    SceneReady,
    new_event,
)
from groundshift.ledger import Ledger, arrivals, deliveries, outcomes, tables
from groundshift.ledger.deliveries import bury, claim, fan_out, finish, postpone

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
LEASE = timedelta(seconds=60)

EACH_SUBCLASS = [HealthCheck.differing_executors]


class HandClock:
    """Turned by hand."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time


def arrived(name: str, **options) -> Event:
    data = SceneArrived(href=f"/scenes/{name}.tif", **options)
    return new_event(data, source="test", subject=name, time=NOW)


def rows(ledger, table, *order):
    with ledger.read() as connection:
        return connection.execute(select(table).order_by(*order)).all()


# Handlers


class Crash(Exception):
    """The process dies here."""


def handle(ledger: Ledger, event: Event, crash: str) -> None:
    """A stage in small: reads an event, has an effect, says another; dies where it is told to."""
    if crash == "before":
        raise Crash
    with ledger.transaction() as tx:
        if not tx.first_time("stage", event):
            return
        effect = {"type_": "done", "version": 1, "payload": {}, "tenant": "t"}
        tx.append_feed(alert_id=event.subject, **effect)
        if crash == "within":
            raise Crash
        ready = SceneReady(scene_id=event.subject, site_id="s")
        tx.say(ready, source="stage", subject=event.subject)
    if crash == "after":
        raise Crash


attempts = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["before", "within", "after", "", ""])),
    max_size=25,
)


# Deliveries


def emit(ledger, *names):
    with ledger.transaction() as tx:
        for name in names:
            tx.emit(arrived(name))


def claimed(ledger, owner="me", limit=9, trigger="t"):
    with ledger.transaction() as tx:
        fan_out(tx, lambda _: ["t", "u"], limit=99)
        return claim(tx, trigger, owner=owner, lease=LEASE, limit=limit)


# Dead letters and what they mean


def dead(ledger, event, reason="no good"):
    with ledger.transaction() as tx:
        tx.emit(event)
        fan_out(tx, lambda _: ["t"], limit=9)
        (d,) = claim(tx, "t", owner="me", lease=LEASE, limit=1)
        bury(tx, d, owner="me", status=422, reason=reason)
        outcomes.mark_failed(tx, d.event, f"t: {reason}")


class OutboxContract:
    """Subclass and give the fixture `new_ledger`, of the module's scope.

    It is a context manager that takes a clock (or none) and opens a ledger, migrated and empty.
    """

    @pytest.fixture
    def clock(self):
        return HandClock()

    @pytest.fixture
    def ledger(self, new_ledger, clock):
        with new_ledger(clock) as opened:
            yield opened

    @given(attempts=attempts, last=st.permutations(range(4)))
    @settings(max_examples=30, deadline=None, suppress_health_check=EACH_SUBCLASS)
    def test_each_effect_once_whatever_is_repeated_reordered_or_cut_off(
        self, new_ledger, attempts, last
    ):
        events = [arrived(f"scene{i}") for i in range(4)]
        with new_ledger() as ledger:
            for i, crash in (*attempts, *((i, "") for i in last)):
                try:
                    handle(ledger, events[i], crash)
                except Crash:
                    continue
            said = [row.subject for row in rows(ledger, tables.outbox)]
            feed = rows(ledger, tables.feed, tables.feed.c.seq)
            assert sorted(said) == [event.subject for event in events]
            assert [row.seq for row in feed] == [1, 2, 3, 4]
            assert [row.alert_id for row in feed] == said  # effect and event in the same commit

    def test_consumers_remember_for_themselves(self, ledger):
        event = arrived("a")
        with ledger.transaction() as tx:
            assert [tx.first_time(name, event) for name in ("x", "y", "x")] == [True, True, False]
            other = new_event(SceneArrived(href="h"), source="elsewhere", subject="a", time=NOW)
            assert other.id == event.id
            assert tx.first_time("x", other)  # (source, id) is what is unique

    def test_the_same_event_is_emitted_once(self, ledger):
        again = new_event(SceneArrived(href="other"), source="test", subject="a", time=NOW)
        with ledger.transaction() as tx:
            assert tx.emit(arrived("a"))
            assert not tx.emit(again)
        with ledger.transaction() as tx:
            assert not tx.emit(arrived("a"))
        (row,) = rows(ledger, tables.outbox)
        assert row.data == {"href": "/scenes/a.tif"}

    def test_listeners_hear_commits_that_say_something(self, ledger):
        heard = Counter()
        undo = ledger.subscribe(lambda: heard.update(n=1))
        with ledger.transaction() as tx:
            tx.emit(arrived("a"))
            assert not heard  # not before the commit
        assert heard["n"] == 1
        with ledger.transaction() as tx:
            tx.emit(arrived("a"))  # nothing new
        with pytest.raises(Crash):
            handle(ledger, arrived("b"), "within")
        undo()
        with ledger.transaction() as tx:
            tx.emit(arrived("c"))
        assert heard["n"] == 1

    # Arrivals

    def test_an_announced_scene_is_a_row_and_an_event(self, ledger):
        event = arrived("a", scale=0.5, bands=("red",))
        with ledger.transaction() as tx:
            key = arrivals.announce(tx, event)
        with ledger.transaction() as tx:
            assert arrivals.announce(tx, event) == key
        (row,) = rows(ledger, tables.arrivals)
        assert (row.id, row.href, row.state) == (key, "/scenes/a.tif", "arrived")
        assert row.options == {"scale": 0.5, "bands": ["red"]}
        (said,) = rows(ledger, tables.outbox)
        assert said.data["arrival"] == key
        assert arrivals.arrival_id(deliveries.event_of(said)) == key

    def test_an_arrival_that_an_outsider_names_is_not_believed(self, ledger):
        with ledger.transaction() as tx:
            first = arrivals.announce(tx, arrived("a"))
            second = arrivals.announce(tx, arrived("b", arrival=first))
        assert first != second
        assert {row.id for row in rows(ledger, tables.arrivals)} == {first, second}

    def test_only_a_scene_arrives(self, ledger):
        other = new_event(SceneReady(scene_id="s", site_id="t"), source="x", subject="s", time=NOW)
        with pytest.raises(UnknownEvent), ledger.transaction() as tx:
            arrivals.announce(tx, other)
        assert rows(ledger, tables.outbox) == []

    def test_a_late_failure_does_not_undo_what_was_resolved(self, ledger):
        with ledger.transaction() as tx:
            key = arrivals.announce(tx, arrived("a"))
            arrivals.resolve(tx, key, state="ready")
            arrivals.resolve(tx, key, state="failed", reason="dead_letter", message="too late")
        (row,) = rows(ledger, tables.arrivals)
        assert (row.state, row.reason) == ("ready", None)

    def test_an_event_goes_to_each_trigger_once_and_in_order(self, ledger):
        emit(ledger, "a", "b", "c")
        first = claimed(ledger, limit=2)
        assert [d.event.subject for d in first] == ["a", "b"]
        assert [d.event.subject for d in claimed(ledger)] == ["c"]
        assert [d.event.subject for d in claimed(ledger, trigger="u")] == ["a", "b", "c"]
        assert claimed(ledger) == []
        assert first[0].event == arrived("a")

    def test_an_event_that_no_trigger_wants_is_over(self, ledger):
        emit(ledger, "a")
        with ledger.transaction() as tx:
            assert fan_out(tx, lambda _: [], limit=9) == 1
            assert fan_out(tx, lambda _: ["t"], limit=9) == 0
        with ledger.read() as connection:
            assert deliveries.unpublished(connection) == deliveries.open_deliveries(connection) == 0

    def test_a_retry_waits_for_its_time(self, ledger, clock):
        emit(ledger, "a")
        (d,) = claimed(ledger)
        later = NOW + timedelta(seconds=5)
        with ledger.transaction() as tx:
            assert postpone(tx, d, owner="me", until=later, status=503, reason="away")
        assert claimed(ledger) == []
        with ledger.read() as connection:
            assert deliveries.next_due(connection, ["t"]) == later
        clock.time = later
        (again,) = claimed(ledger)
        assert again.attempts == 1

    def test_a_lost_claim_settles_nothing(self, ledger, clock):
        emit(ledger, "a")
        (d,) = claimed(ledger, owner="slow")
        clock.time += LEASE
        with ledger.transaction() as tx:
            assert deliveries.release_expired(tx) == 1
        (mine,) = claimed(ledger, owner="me")
        with ledger.transaction() as tx:
            assert not finish(tx, d, owner="slow", status=202)
            assert not bury(tx, d, owner="slow", status=422, reason="no")
            assert finish(tx, mine, owner="me", status=202)
        assert [
            row.state for row in rows(ledger, tables.deliveries, tables.deliveries.c.trigger)
        ] == ["done", "pending"]

    def test_a_claim_holds_for_its_lease(self, ledger, clock):
        emit(ledger, "a")
        claimed(ledger, owner="other")
        clock.time += LEASE - timedelta(seconds=1)
        with ledger.transaction() as tx:
            assert deliveries.release_expired(tx) == 0
        assert claimed(ledger) == []

    def test_what_is_given_back_is_no_loss(self, ledger):
        emit(ledger, "a", "b")
        claimed(ledger, owner="me", limit=1)
        claimed(ledger, owner="dead", limit=1)
        with ledger.transaction() as tx:
            assert deliveries.release(tx, owner="me") == 1
            assert deliveries.release(tx) == 1
        of_t = [(r.seq, r.losses) for r in rows(ledger, tables.deliveries) if r.trigger == "t"]
        assert of_t == [(1, 0), (2, 1)]

    def test_what_kills_the_process_again_and_again_is_given_up(self, ledger):
        emit(ledger, "a")
        for _ in range(3):
            assert claimed(ledger)
            with ledger.transaction() as tx:
                deliveries.release(tx)
                letters = deliveries.overdue_losses(tx, limit=2)
        (letter,) = letters
        assert "died 3 times" in letter.reason
        assert claimed(ledger) == []

    def test_a_dead_letter_says_why_and_comes_back(self, ledger):
        dead(ledger, arrived("a"))
        with ledger.read() as connection:
            (letter,) = deliveries.dead_letters(connection)
        assert (letter.event.subject, letter.status, letter.reason) == ("a", 422, "no good")
        assert (letter.attempts, letter.at) == (1, NOW)
        heard = []
        ledger.subscribe(lambda: heard.append(1))
        assert [x.seq for x in outcomes.replay_dead(ledger, seq=letter.seq)] == [letter.seq]
        assert heard
        (d,) = claimed(ledger)
        assert d.attempts == 0

    def test_replay_chooses(self, ledger):
        for name in "abc":
            dead(ledger, arrived(name))
        assert outcomes.replay_dead(ledger, seq=99) == []
        assert outcomes.replay_dead(ledger, trigger="other") == []
        by_id = outcomes.replay_dead(ledger, event_id=arrived("b").id)
        assert [letter.event.subject for letter in by_id] == ["b"]
        assert [letter.event.subject for letter in outcomes.replay_dead(ledger)] == ["a", "c"]

    def test_a_dead_arrival_is_failed_with_the_reason_until_replayed(self, ledger):
        with ledger.transaction() as tx:
            key = arrivals.announce(tx, arrived("a"))
            fan_out(tx, lambda _: ["t"], limit=9)
            (d,) = claim(tx, "t", owner="me", lease=LEASE, limit=1)
            bury(tx, d, owner="me", status=503, reason="away")
            outcomes.mark_failed(tx, d.event, "t: away")
        (row,) = rows(ledger, tables.arrivals)
        assert (row.id, row.state, row.reason, row.message) == (
            key,
            "failed",
            "dead_letter",
            "t: away",
        )
        outcomes.replay_dead(ledger)
        (row,) = rows(ledger, tables.arrivals)
        assert (row.state, row.reason, row.message, row.attempt) == ("arrived", None, None, 2)

    @pytest.fixture
    def planned(self, ledger):
        """A ledger with a site, a scene that is ready and a planned run of it."""
        common = {"tenant": "t", "actor": "a", "created": NOW}
        extent = {"top": 0, "left": 0, "bottom": 448, "right": 448}
        scene = {"id": "scene", "stac_id": "x", "site_id": "site", "acquired": NOW, "sensor": "s2"}
        fit = {"valid_fraction": 1.0, "shift_y": 0.0, "shift_x": 0.0, "shift_spread": 0.0}
        run = {
            "id": "run",
            "site_id": "site",
            "scene_id": "scene",
            "kind": "change",
            "current": False,
        }
        lists = {"baseline": [], "model_set": [], "params": {}, "summary": {}}
        site = {"id": "site", "name": "n", "geometry": "{}", "epsg": 32633}
        with ledger.transaction() as tx:
            tx.execute(tables.sites.insert(), {**site, **extent, **common})
            ready = {"digest": "d", "shift_state": "reference", "outcome": "ready"}
            tx.execute(tables.scenes.insert(), {**scene, **extent, **fit, **ready, **common})
            tx.execute(
                tables.runs.insert(), {**run, **lists, "state": "planned", "attempt": 1, **common}
            )
        return ledger

    @pytest.mark.parametrize(
        ("data", "run_state"),
        [
            (SceneReady(scene_id="scene", site_id="site"), "planned"),
            (BlockReady(run_id="run", block="0_0_1x1"), "failed"),
            (RunDone(run_id="run", site_id="site", scene_id="scene"), "failed"),
        ],
        ids=["scene.ready", "block.ready", "run.done"],
    )
    def test_a_scene_behind_a_dead_letter_is_failed_until_replayed(self, planned, data, run_state):
        dead(planned, new_event(data, source="x", subject="s", time=NOW))
        (scene,), (run,) = rows(planned, tables.scenes), rows(planned, tables.runs)
        assert (scene.outcome, scene.reason, scene.message) == (
            "failed",
            "dead_letter",
            "t: no good",
        )
        assert run.state == run_state
        outcomes.replay_dead(planned)
        (scene,), (run,) = rows(planned, tables.scenes), rows(planned, tables.runs)
        assert (scene.outcome, scene.reason, run.state) == ("ready", None, "planned")

    def test_a_dead_letter_of_a_superseded_run_says_nothing_of_its_scene(self, planned):
        with planned.transaction() as tx:
            tx.execute(tables.runs.update().values(state="superseded"))
        data = BlockReady(run_id="run", block="0_0_1x1")
        dead(planned, new_event(data, source="x", subject="s", time=NOW))
        (scene,) = rows(planned, tables.scenes)
        assert scene.outcome == "ready"

    def test_a_brokers_dead_letter_is_noted_once(self, ledger):
        foreign = arrived("a")
        for _ in range(2):
            with ledger.transaction() as tx:
                new = deliveries.record_dead(tx, foreign, "ingest", status=422, reason="no")
                assert new == (not rows(ledger, tables.deliveries))
        with ledger.read() as connection:
            (letter,) = deliveries.dead_letters(connection)
            assert deliveries.unpublished(connection) == 0
        assert (letter.trigger, letter.event) == ("ingest", foreign)

    def test_an_arrival_that_does_not_fit_leaves_nothing(self, ledger):
        bad = Event("1", "x", arrived("a").type, "s", NOW, {"href": ""})
        with pytest.raises(BadEvent), ledger.transaction() as tx:
            arrivals.announce(tx, bad)
        assert rows(ledger, tables.outbox) == rows(ledger, tables.arrivals) == []
