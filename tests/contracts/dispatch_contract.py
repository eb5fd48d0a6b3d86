import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from functions.app import create_app
from functions.dispatch import Dispatcher
from functions.metrics import DispatchMetrics
from functions.transport import Answer, AppTransport
from groundshift.clock import SystemClock
from groundshift.codec import decode
from groundshift.errors import BadEvent, Unavailable
from groundshift.events import SceneArrived, SceneReady, new_event
from groundshift.ledger import Ledger, arrivals, deliveries, tables
from groundshift.manifests import topology
from groundshift.settings import Settings

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
OK = Answer(202)
FAST = Settings(backoff_scale=0.0)

EACH_SUBCLASS = [HealthCheck.differing_executors]


class HandClock:
    """Time passes only while nobody works: waiting moves it to the end of the wait."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    async def wait(self, wakeup, *, seconds):
        for _ in range(20):  # whoever can go on goes on first
            await asyncio.sleep(0)
        if not wakeup.is_set():
            self.time += timedelta(seconds=seconds)


class WatchedClock(SystemClock):
    """The machine's clock; says when somebody waits."""

    def __init__(self) -> None:
        self.waiting = threading.Event()

    async def wait(self, wakeup, *, seconds):
        self.waiting.set()
        await super().wait(wakeup, seconds=seconds)


class Script:
    """A transport that answers from a list, then 202, and notes what it was asked and when."""

    def __init__(self, clock, *answers) -> None:
        self.clock, self.answers, self.asked = clock, list(answers), []

    async def __call__(self, service, path, headers, body):
        self.asked.append((service.name, headers["ce-subject"], self.clock.now() - NOW))
        return self.answers.pop(0) if self.answers else OK

    @property
    def seconds(self):
        return [at.total_seconds() for _, _, at in self.asked]


def announce(ledger, *names):
    with ledger.transaction() as tx:
        for name in names:
            data = SceneArrived(href=f"/{name}")
            arrivals.announce(tx, new_event(data, source="test", subject=name, time=NOW))


def run(ledger, transport, *, settings=None, timeout_s=10_000.0, topo=None, metrics=None):
    async def go():
        dispatcher = Dispatcher(
            ledger, topo or topology(), transport, settings=settings or Settings(), metrics=metrics
        )
        await dispatcher.run_until_idle(timeout_s=timeout_s)

    asyncio.run(go())


def apps(**handlers):
    def app(name):
        return create_app(name, None, handlers)

    return AppTransport({name: app(name) for name in handlers})


def dead(ledger):
    with ledger.read() as connection:
        return deliveries.dead_letters(connection)


def rows(ledger, table):
    with ledger.read() as connection:
        return connection.execute(select(table)).all()


def with_retries(policy="exponential", retry=3, timeout=timedelta(minutes=1)):
    """The real topology with delivery values of ours."""
    known = topology()
    change = {"retry": retry, "backoff_policy": policy, "timeout": timeout}
    changed = {
        name: replace(t, backoff_delay=timedelta(seconds=0.5), **change)
        for name, t in known.triggers.items()
    }
    return replace(known, triggers=MappingProxyType(changed))


# Faults


DIES = """
import asyncio, sys, threading
from functions.app import create_app
from functions.dispatch import Dispatcher
from functions.transport import AppTransport
from groundshift.ledger import Ledger
from groundshift.manifests import topology
from groundshift.settings import Settings

ledger = Ledger.open(sys.argv[1])

def ingest(event, platform):
    print("began", flush=True)
    threading.Event().wait()

async def main():
    transport = AppTransport({"ingest": create_app("ingest", None, {"ingest": ingest})})
    dispatcher = Dispatcher(ledger, topology(), transport, settings=Settings())
    await dispatcher.run_until_idle(timeout_s=600)

asyncio.run(main())
"""


def killed_within_a_handler(ledger):
    command = [sys.executable, "-c", DIES, str(ledger.engine.url)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"began\n"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()


def small_stage(ledger, name, event, *, dies):
    with ledger.transaction() as tx:
        if tx.first_time(name, event):
            effect = {"type_": name, "version": 1, "payload": {}, "tenant": "t"}
            tx.append_feed(alert_id=event.subject, **effect)
            if name == "ingest":
                ready = SceneReady(scene_id=event.subject, site_id="t")
                tx.say(ready, source=name, subject=event.subject)
        if dies:
            raise ZeroDivisionError


class DispatchContract:
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

    @pytest.fixture
    def real(self, new_ledger):
        """A ledger on the machine's clock."""
        with new_ledger() as opened:
            yield opened

    # Where events go

    def test_an_event_goes_where_the_trigger_says(self, ledger, clock):
        announce(ledger, "a")
        script = Script(clock)
        run(ledger, script)
        assert [(service, subject) for service, subject, _ in script.asked] == [("ingest", "a")]

    def test_events_start_in_outbox_order(self, ledger, clock):
        names = [f"{i:02}" for i in range(30)]
        announce(ledger, *names)
        script = Script(clock)
        run(ledger, script, settings=Settings(dispatch_batch=7))
        assert [subject for _, subject, _ in script.asked] == names

    def test_what_a_handler_says_is_delivered_in_the_same_run(self, real):
        got = []

        def ingest(event, _):
            with real.transaction() as tx:
                tx.say(SceneReady(scene_id="s", site_id="t"), source="ingest", subject="s")

        announce(real, "a")
        run(
            real,
            apps(ingest=ingest, plan=lambda event, _: got.append(event.subject)),
            settings=FAST,
        )
        assert got == ["s"]

    def test_a_full_trigger_does_not_hold_up_another(self, real):
        """plan's event is handled while every slot of ingest is taken."""
        planned = threading.Event()

        def ingest(event, _):
            assert planned.wait(60)

        announce(real, *"abcdefgh")
        with real.transaction() as tx:
            tx.say(SceneReady(scene_id="s", site_id="t"), source="x", subject="s")
        run(real, apps(ingest=ingest, plan=lambda *_: planned.set()), settings=FAST)
        assert dead(real) == []

    @pytest.mark.parametrize("most", [1, 3])
    def test_no_more_at_once_than_the_manifest_and_the_settings_allow(self, ledger, clock, most):
        now, highest = 0, 0

        async def transport(service, path, headers, body):
            nonlocal now, highest
            now += 1
            highest = max(highest, now)
            for _ in range(20):
                await asyncio.sleep(0)
            now -= 1
            return OK

        announce(ledger, *"abcdefghij")
        run(ledger, transport, settings=Settings(dispatch_concurrency=most))
        assert highest == most

    # Retries and dead letters

    @pytest.mark.parametrize(
        ("policy", "at"),
        [("exponential", [0, 0.5, 1.5, 3.5]), ("linear", [0, 0, 0.5, 1.5])],
    )
    def test_attempts_come_when_knatives_were_seen(self, ledger, clock, policy, at):
        announce(ledger, "a")
        script = Script(clock, *[Answer(503, "away")] * 9)
        run(ledger, script, topo=with_retries(policy))
        assert script.seconds == at
        (letter,) = dead(ledger)
        assert (letter.attempts, letter.status, letter.reason) == (4, 503, "away")

    def test_the_backoff_can_be_scaled(self, ledger, clock):
        announce(ledger, "a")
        script = Script(clock, *[Answer(503, "away")] * 2)
        run(ledger, script, topo=with_retries(), settings=Settings(backoff_scale=0.1))
        assert script.seconds == [0, 0.05, 0.15]

    def test_one_that_waits_for_its_retry_does_not_hold_up_the_next(self, ledger, clock):
        announce(ledger, "a", "b", "c")
        script = Script(clock, Answer(503, "away"))
        run(ledger, script, settings=Settings(dispatch_concurrency=1))
        assert [subject for _, subject, _ in script.asked] == ["a", "b", "c", "a"]

    @pytest.mark.parametrize("status", [404, 408, 409, 429, 500, 502, 503, 504, 599, None])
    def test_what_knative_retries_is_retried(self, ledger, clock, status):
        announce(ledger, "a")
        script = Script(clock, Answer(status, "later"))
        run(ledger, script)
        assert len(script.asked) == 2
        assert dead(ledger) == []

    @pytest.mark.parametrize("status", [301, 400, 401, 403, 405, 410, 413, 415, 422, 425])
    def test_what_knative_gives_up_is_given_up_at_once(self, ledger, clock, status):
        announce(ledger, "a", "b")
        script = Script(clock, Answer(status, "never"))
        run(ledger, script)
        assert [subject for _, subject, _ in script.asked] == ["a", "b"]
        (letter,) = dead(ledger)
        assert (letter.trigger, letter.event.subject, letter.status) == ("ingest", "a", status)
        failed = {row.href: (row.state, row.message) for row in rows(ledger, tables.arrivals)}
        assert failed == {"/a": ("failed", "ingest: never"), "/b": ("arrived", None)}

    def test_a_reply_is_no_answer(self, ledger, clock):
        """A 2xx with a body was retried live: handlers never answer with an event."""
        announce(ledger, "a")
        script = Script(clock, Answer(200, "hello"))
        run(ledger, script)
        assert len(script.asked) == 2

    def test_the_reason_is_the_handlers_own(self, real):
        def ingest(event, _):
            raise BadEvent("a misspelt member: see the table")

        announce(real, "a")
        run(real, apps(ingest=ingest), settings=FAST)
        (letter,) = dead(real)
        assert (letter.status, letter.reason) == (400, "a misspelt member: see the table")

    def test_a_service_without_an_app_is_unavailable(self, real):
        announce(real, "a")
        run(real, AppTransport({}), settings=FAST)
        (letter,) = dead(real)
        assert (letter.status, letter.reason) == (503, "no app is mounted for ingest")

    def test_a_handler_that_never_ends_times_out(self, real):
        calls = Counter()

        async def transport(service, path, headers, body):
            calls.update(n=1)
            await asyncio.Event().wait()

        announce(real, "a")
        topo = with_retries(retry=1, timeout=timedelta(seconds=0.05))
        run(real, transport, topo=topo, settings=FAST)
        (letter,) = dead(real)
        assert (calls["n"], letter.status, letter.reason) == (2, None, "no answer within 0.05 s")

    def test_replay_makes_it_good(self, ledger, clock):
        announce(ledger, "a")
        script = Script(clock, Answer(422, "no"))
        run(ledger, script)

        async def again():
            dispatcher = Dispatcher(ledger, topology(), script, settings=Settings())
            (letter,) = dispatcher.dead_letters()
            assert dispatcher.replay(seq=letter.seq) == [letter]
            await dispatcher.run_until_idle(timeout_s=1000)
            assert dispatcher.dead_letters() == []

        asyncio.run(again())
        assert len(script.asked) == 2
        (arrival,) = rows(ledger, tables.arrivals)
        assert (arrival.state, arrival.attempt) == ("arrived", 2)

    def test_what_is_not_done_in_time_is_said(self, ledger, clock):
        announce(ledger, "a")
        with pytest.raises(Unavailable, match="30 s"):
            run(ledger, Script(clock, *[Answer(503, "away")] * 99), timeout_s=30)
        run(ledger, Script(clock))  # and goes on where it was
        assert dead(ledger) == []

    def test_attempts_are_counted_for_prometheus(self, ledger, clock):
        metrics = DispatchMetrics()
        announce(ledger, "a", "b")
        script = Script(clock, Answer(503, "away"), Answer(422, "no"))
        run(ledger, script, metrics=metrics)

        def value(outcome):
            labels = {"trigger": "ingest", "outcome": outcome}
            return metrics.registry.get_sample_value("groundshift_deliveries_total", labels)

        assert [value("done"), value("retried"), value("dead")] == [1, 1, 1]
        count = metrics.registry.get_sample_value(
            "groundshift_delivery_seconds_count", {"trigger": "ingest"}
        )
        assert count == 3

    # Long-running

    def test_a_commit_wakes_a_dispatcher_that_waits(self, new_ledger):
        """The poll would come in an hour."""
        got, clock = threading.Event(), WatchedClock()

        async def go(real):
            stop = asyncio.Event()
            patient = Settings(dispatch_poll_s=3600)
            transport = apps(ingest=lambda *_: got.set())
            dispatcher = Dispatcher(real, topology(), transport, settings=patient)
            task = asyncio.create_task(dispatcher.run_forever(stop))
            assert await asyncio.to_thread(clock.waiting.wait, 60)
            await asyncio.to_thread(announce, real, "a")
            assert await asyncio.to_thread(got.wait, 60)
            stop.set()
            await task

        with new_ledger(clock) as ledger:
            asyncio.run(go(ledger))

    def test_another_process_commit_is_seen_at_the_next_look(self, real):
        got = threading.Event()
        url = real.engine.url.render_as_string(hide_password=False)

        async def go():
            stop = asyncio.Event()
            transport = apps(ingest=lambda *_: got.set())
            often = Settings(dispatch_poll_s=0.02)
            dispatcher = Dispatcher(real, topology(), transport, settings=often)
            task = asyncio.create_task(dispatcher.run_forever(stop))
            with Ledger.open(url) as other:  # its listeners are not ours
                await asyncio.to_thread(announce, other, "a")
            assert await asyncio.to_thread(got.wait, 60)
            stop.set()
            await task

        asyncio.run(go())

    def test_stopping_gives_back_what_is_under_way(self, real):
        began, end = threading.Event(), threading.Event()

        def ingest(event, _):
            began.set()
            end.wait(60)

        async def go():
            stop = asyncio.Event()
            dispatcher = Dispatcher(real, topology(), apps(ingest=ingest), settings=FAST)
            task = asyncio.create_task(dispatcher.run_forever(stop))
            announce(real, "a")
            assert await asyncio.to_thread(began.wait, 60)
            stop.set()
            await task

        asyncio.run(go())
        end.set()
        (row,) = rows(real, tables.deliveries)
        assert (row.state, row.attempts, row.losses) == ("pending", 0, 0)

    def test_a_transport_that_breaks_ends_the_run(self, ledger):
        async def transport(service, path, headers, body):
            raise ZeroDivisionError

        announce(ledger, "a")
        with pytest.raises(ZeroDivisionError):
            run(ledger, transport)
        (row,) = rows(ledger, tables.deliveries)
        assert row.state == "pending"

    @given(
        faults=st.lists(st.sampled_from(["", "before", "within", "after"]), max_size=12),
        again=st.lists(st.integers(0, 2), max_size=4),
    )
    @settings(max_examples=25, deadline=None, suppress_health_check=EACH_SUBCLASS)
    def test_a_chain_has_each_effect_once_whatever_fails(self, new_ledger, faults, again):
        """ingest -> plan over three scenes; attempts fail before, within and after their commit."""
        left = list(faults)

        with new_ledger(HandClock()) as ledger:

            async def transport(service, path, headers, body):
                fault = left.pop() if left else ""
                if fault == "before":
                    return Answer(503, fault)
                try:
                    small_stage(ledger, service.name, decode(headers, body), dies=fault == "within")
                except ZeroDivisionError:
                    return Answer(500, fault)
                return Answer(None, fault) if fault == "after" else OK

            for name in ("s0", "s1", "s2", *(f"s{i}" for i in again)):
                announce(ledger, name)
            run(ledger, transport, topo=with_retries(retry=20), settings=FAST)
            assert dead(ledger) == []
            feed = rows(ledger, tables.feed)
            assert sorted((row.alert_id, row.type) for row in feed) == [
                (f"s{i}", name) for i in range(3) for name in ("ingest", "plan")
            ]
            assert sorted(row.seq for row in feed) == list(range(1, 7))
            assert {row.state for row in rows(ledger, tables.deliveries)} == {"done"}
