import asyncio
import logging
import threading
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import orjson
import pytest
from sqlalchemy import select

from functions.app import create_app, intake_app
from functions.dead_letter import dead_letter
from groundshift import errors
from groundshift.codec import STRUCTURED, encode
from groundshift.errors import Misconfigured, NotYet, Refusal, SceneRefused, http_status
from groundshift.events import Event, RunDone, SceneArrived, SceneReady, new_event
from groundshift.ledger import Ledger, arrival_id, deliveries, tables
from groundshift.settings import Settings

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
READY = new_event(SceneReady(scene_id="s1", site_id="t1"), source="ingest", subject="s1", time=NOW)
ARRIVED = new_event(SceneArrived(href="/a.tif"), source="test", subject="a", time=NOW)
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class FakePlatform:
    """What the intake needs."""

    ledger: Ledger
    settings: Settings


@pytest.fixture
def platform(tmp_path):
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        yield FakePlatform(ledger, Settings(data_dir=tmp_path))


def send(app, path="/", *, method="POST", headers=None, content=b""):
    async def go():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return await client.request(method, path, headers=headers, content=content)

    return asyncio.run(go())


def post(app, event, path="/", mode="binary"):
    headers, body = encode(event, mode=mode)
    return send(app, path, headers=headers, content=body)


def stage(handler, name="plan", **options):
    return create_app(name, "the platform", {name: handler}, **options)


def raising(error):
    def handler(event, platform):
        raise error

    return stage(handler)


def rows(platform, table):
    with platform.ledger.read() as connection:
        return connection.execute(select(table)).all()


# A stage's app


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_a_handled_event_gets_an_empty_202(mode):
    got = []
    answer = post(stage(lambda *arguments: got.append(arguments)), READY, mode=mode)
    assert (answer.status_code, answer.content) == (202, b"")
    assert got == [(READY, "the platform")]


def test_a_handler_runs_off_the_event_loop():
    threads = []
    post(stage(lambda *_: threads.append(threading.current_thread())), READY)
    assert threads[0] is not threading.main_thread()


def test_what_a_handler_returns_is_no_answer():
    assert post(stage(lambda *_: READY), READY).content == b""


ERRORS = [
    getattr(errors, name)
    for name in errors.__all__
    if name not in ("GroundshiftError", "Refusal", "SceneRefused", "RETRYABLE", "http_status")
]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_each_error_is_an_answer(kind):
    answer = post(raising(kind("what was wrong, and the cure")), READY)
    assert answer.status_code == http_status(kind(""))
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["detail"] == "what was wrong, and the cure"


def test_a_refusal_says_its_reason():
    answer = post(raising(SceneRefused(Refusal.NO_CRS, "no CRS")), READY)
    assert (answer.status_code, answer.json()["reason"]) == (422, "no_crs")


def test_the_unforeseen_is_a_500_with_a_traceback_in_the_log(caplog):
    answer = post(raising(KeyError("oops")), READY)
    assert (answer.status_code, answer.json()["detail"]) == (500, "KeyError: 'oops'")
    (record,) = (r for r in caplog.records if r.levelno == logging.ERROR)
    assert record.exc_info[0] is KeyError


def test_a_retryable_error_is_no_warning(caplog):
    post(raising(NotYet("a moment")), READY)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def unhandled(event, platform):
    pytest.fail(f"a handler was called with {event}")


def test_another_stages_event_is_refused():
    run = RunDone(run_id="r", site_id="s", scene_id="c")
    answer = post(stage(unhandled), new_event(run, source="x", subject="r", time=NOW))
    assert answer.status_code == 422
    assert "scene.ready" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"content-type": "text/html"}, b"<html>", 400),
        ({"content-type": STRUCTURED}, b"{", 400),
        ({"content-type": "application/cloudevents-batch+json"}, b"[]", 415),
        ({"content-type": STRUCTURED, "content-encoding": "gzip"}, b"\x1f\x8b", 415),
        ({"content-type": STRUCTURED}, b" " * (MEGABYTE + 1), 413),
        (
            {"content-type": STRUCTURED},
            orjson.dumps({"specversion": "1.0", "id": "1", "source": "s", "type": "other"}),
            422,
        ),
    ],
    ids=["no event", "cut off", "batch", "gzip", "too large", "unknown type"],
)
def test_what_will_never_work_is_told_so(headers, content, status):
    answer = send(stage(unhandled), headers=headers, content=content)
    assert answer.status_code == status
    assert answer.json()["status"] == status


def test_a_stages_limit_is_its_own():
    assert post(stage(unhandled, max_event_bytes=10), READY, mode="structured").status_code == 413


def test_health():
    assert send(stage(unhandled), "/healthz", method="GET").status_code == 200
    assert send(stage(unhandled), "/", method="GET").status_code == 405


@pytest.mark.parametrize("name", ["nothing", "track"])
def test_a_stage_without_a_handler_is_refused(name):
    with pytest.raises(Misconfigured, match=name):
        create_app(name, None, {"plan": unhandled, "nothing": unhandled})


# The intake


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_the_intake_commits_before_it_answers(platform, mode):
    answer = post(intake_app(platform), ARRIVED, "/events", mode=mode)
    assert answer.status_code == 202
    assert answer.json() == {
        "id": ARRIVED.id,
        "source": "test",
        "arrival": arrival_id(ARRIVED),
    }
    (arrival,), (said,) = rows(platform, tables.arrivals), rows(platform, tables.outbox)
    assert (arrival.id, arrival.state) == (arrival_id(ARRIVED), "arrived")
    assert said.data == {"href": "/a.tif", "arrival": arrival.id}


def test_the_same_event_again_gets_the_same_answer(platform):
    app = intake_app(platform)
    assert post(app, ARRIVED, "/events").json() == post(app, ARRIVED, "/events").json()
    assert len(rows(platform, tables.outbox)) == len(rows(platform, tables.arrivals)) == 1


def test_an_event_without_subject_is_about_its_href(platform):
    bare = Event("1", "cam", ARRIVED.type, "", NOW, {"href": "/b.tif"})
    assert post(intake_app(platform), bare, "/events").status_code == 202
    assert rows(platform, tables.outbox)[0].subject == "/b.tif"


def test_the_platforms_own_events_do_not_come_from_outside(platform):
    answer = post(intake_app(platform), READY, "/events")
    assert answer.status_code == 422
    assert "scene.arrived" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"content-type": "application/json"}, b'{"href": "/a.tif"}', 400),
        ({}, b"", 400),
        ({"content-type": "application/cloudevents-batch+json"}, b"[]", 415),
        (
            {"content-type": STRUCTURED},
            orjson.dumps({"specversion": "1.0", "id": "1", "source": "s", "type": "com.x"}),
            422,
        ),
        (
            {
                "content-type": "application/json",
                "ce-specversion": "1.0",
                "ce-id": "1",
                "ce-source": "s",
                "ce-type": ARRIVED.type,
            },
            b'{"href": 5}',
            400,
        ),
    ],
    ids=["no event", "nothing", "batch", "unknown type", "bad data"],
)
def test_the_intake_refuses_and_keeps_nothing(platform, headers, content, status):
    answer = send(intake_app(platform), "/events", headers=headers, content=content)
    assert answer.status_code == status
    assert rows(platform, tables.outbox) == rows(platform, tables.arrivals) == []
    assert post(intake_app(platform), ARRIVED, "/events").status_code == 202  # others are unharmed


def test_ten_megabytes_are_not_read_to_the_end(platform):
    sent = []

    async def body():
        for _ in range(160):
            sent.append(65536)
            yield b" " * 65536

    headers = {"content-type": STRUCTURED}
    answer = send(intake_app(platform), "/events", headers=headers, content=body())
    assert answer.status_code == 413
    assert sum(sent) <= MEGABYTE + 2 * 65536


def test_a_declared_length_is_enough_to_refuse(platform):
    sent = []

    async def body():
        sent.append(1)
        yield b" "

    headers = {"content-type": STRUCTURED, "content-length": str(10 * MEGABYTE)}
    answer = send(intake_app(platform), "/events", headers=headers, content=body())
    assert (answer.status_code, sent) == (413, [])


# The cluster's dead-letter service


def test_a_brokers_dead_letter_becomes_a_row(platform):
    letter = Event(
        ARRIVED.id,
        ARRIVED.source,
        ARRIVED.type,
        ARRIVED.subject,
        NOW,
        ARRIVED.data,
        {
            "knativeerrorcode": "422",
            "knativeerrordest": "http://ingest.eo.svc.cluster.local/",
            "knativeerrordata": "bm8gQ1JT",  # "no CRS"
        },
    )
    app = create_app("dead-letter", platform, {"dead-letter": dead_letter})
    assert post(app, letter).status_code == post(app, letter).status_code == 202
    with platform.ledger.read() as connection:
        (found,) = deliveries.dead_letters(connection)
    assert (found.trigger, found.status, found.reason) == ("ingest", 422, "no CRS")
    (arrival,) = rows(platform, tables.arrivals)
    assert (arrival.state, arrival.message) == ("failed", "ingest: no CRS")


@pytest.mark.parametrize("data", ["%%%", "/w=="])
def test_a_dead_letter_without_proper_words_is_noted_too(platform, data):
    said = {"knativeerrordata": data, "knativeerrorcode": "x"}
    letter = Event("1", "s", READY.type, "s1", NOW, READY.data, said)
    app = create_app("dead-letter", platform, {"dead-letter": dead_letter})
    assert post(app, letter).status_code == 202
    with platform.ledger.read() as connection:
        (found,) = deliveries.dead_letters(connection)
    assert (found.trigger, found.status, found.reason) == ("unknown", None, data)
