"""What the sweeper says again, and what it leaves alone, on any database."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from functions.sweep import say_again
from groundshift.events import BlockReady, RunDone, SceneArrived, new_event
from groundshift.ledger import arrivals, deliveries, tables

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Clock:
    """Turned by hand."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time


def said(ledger, *, after=HOUR):
    return [(one.word, one.subject, one.attempt) for one in say_again(ledger, after=after)]


def deliver(ledger, state="done"):
    """The Broker took everything in the outbox."""
    with ledger.transaction() as tx:
        deliveries.fan_out(tx, lambda _: ["broker"], limit=99)
        open_ = tables.deliveries.c.state.in_(deliveries.OPEN)
        tx.execute(tables.deliveries.update().where(open_).values(state=state))


def announce(ledger, name="a"):
    data = SceneArrived(href=f"/{name}", scale=0.5)
    with ledger.transaction() as tx:
        return arrivals.announce(
            tx, new_event(data, source="test", subject=name, time=NOW, tenant="me")
        )


def add_run(ledger, *, state="planned", blocks=("ready",), current=False, outcome="ready"):
    """A site, a scene of it and, unless `state` is none, a run."""
    common = {"tenant": "me", "actor": "a", "created": NOW}
    extent = {"top": 0, "left": 0, "bottom": 448, "right": 448}
    scene = {"id": "scene", "stac_id": "x", "site_id": "site", "acquired": NOW, "sensor": "s2"}
    fit = {"valid_fraction": 1.0, "shift_y": 0.0, "shift_x": 0.0, "shift_spread": 0.0}
    ready = {"digest": "d", "shift_state": "reference", "outcome": outcome}
    run = {"id": "run", "site_id": "site", "scene_id": "scene", "kind": "change", "attempt": 1}
    lists = {"baseline": [], "model_set": [], "params": {}, "summary": {}}
    done = {"state": state, "current": current, "finished": NOW if state == "done" else None}
    site = {"id": "site", "name": "n", "geometry": "{}", "epsg": 32633}
    with ledger.transaction() as tx:
        tx.execute(tables.sites.insert(), {**site, **extent, **common})
        tx.execute(tables.scenes.insert(), {**scene, **extent, **fit, **ready, **common})
        if state is None:
            return
        tx.execute(tables.runs.insert(), {**run, **lists, **done, **common})
        for n, block in enumerate(blocks):
            finished = NOW if block == "done" else None
            row = {"run_id": "run", "block": f"{n}", "state": block, "finished": finished}
            tx.execute(tables.blocks.insert(), row)


class SweepContract:
    """Subclass and give the fixture `new_ledger`, of the module's scope: see OutboxContract."""

    @pytest.fixture
    def clock(self):
        return Clock()

    @pytest.fixture
    def ledger(self, new_ledger, clock):
        with new_ledger(clock) as opened:
            yield opened

    def test_a_scene_without_an_outcome_is_announced_again(self, ledger, clock):
        key = announce(ledger)
        deliver(ledger)
        assert said(ledger) == []  # not overdue yet
        clock.time += HOUR
        assert said(ledger) == [("scene.arrived", key, 1)]
        assert said(ledger) == []  # it is on its way
        with ledger.read() as connection:
            rows = connection.execute(select(tables.outbox).order_by(tables.outbox.c.seq)).all()
        event = deliveries.event_of(rows[-1])
        assert event.data == {"href": "/a", "scale": 0.5, "arrival": key}
        assert (arrivals.arrival_id(event), event.tenant, event.source) == (key, "me", "sweep")

    def test_the_attempt_number_goes_up(self, ledger, clock):
        key = announce(ledger)
        for attempt in (1, 2, 3):
            deliver(ledger)
            clock.time += HOUR
            assert said(ledger) == [("scene.arrived", key, attempt)]

    @pytest.mark.parametrize("state", ["pending", "claimed", "dead"])
    def test_what_is_on_its_way_or_dead_is_left_alone(self, ledger, clock, state):
        announce(ledger)
        deliver(ledger, state)
        clock.time += 9 * HOUR
        assert said(ledger) == []

    def test_what_the_relay_has_not_taken_yet_is_left_alone(self, ledger, clock):
        announce(ledger)
        clock.time += 9 * HOUR
        assert said(ledger) == []

    def test_an_outcome_ends_it(self, ledger, clock):
        key = announce(ledger)
        deliver(ledger)
        with ledger.transaction() as tx:
            arrivals.resolve(tx, key, state="refused", reason="r", message="m")
        clock.time += 9 * HOUR
        assert said(ledger) == []

    @pytest.mark.parametrize(
        ("run", "expected"),
        [
            ({"state": None}, [("scene.ready", "scene", 1)]),
            ({"state": "superseded"}, [("scene.ready", "scene", 1)]),
            (
                {"blocks": ("done", "ready", "ready")},
                [
                    ("block.ready", "run/1", 1),
                    ("block.ready", "run/2", 1),
                ],
            ),
            ({"blocks": ("done", "done")}, [("block.done", "run/0", 1)]),
            ({"state": "done", "current": True, "outcome": "done"}, [("run.done", "run", 1)]),
            ({"state": "done", "current": False, "outcome": "done"}, []),
            ({"state": "failed", "outcome": "failed"}, []),
        ],
        ids=["no run", "superseded", "blocks", "assemble", "track", "not current", "failed"],
    )
    def test_each_stage_is_asked_again(self, ledger, clock, run, expected):
        add_run(ledger, **run)
        assert said(ledger) == []
        clock.time += HOUR
        assert said(ledger) == expected
        assert said(ledger) == []

    def test_what_track_handled_is_over(self, ledger, clock):
        add_run(ledger, state="done", current=True, outcome="done")
        data = RunDone(run_id="run", site_id="site", scene_id="scene")
        event = new_event(data, source="assemble", subject="run", time=NOW)
        with ledger.transaction() as tx:
            tx.emit(event)
            tx.first_time("track", event)
        deliver(ledger)
        clock.time += 9 * HOUR
        assert said(ledger) == []

    def test_a_block_that_is_a_dead_letter_waits_for_replay(self, ledger, clock):
        add_run(ledger)
        data = BlockReady(run_id="run", block="0")
        with ledger.transaction() as tx:
            tx.emit(new_event(data, source="plan", subject="run/0", time=NOW))
        deliver(ledger, "dead")
        clock.time += 9 * HOUR
        assert said(ledger) == []
