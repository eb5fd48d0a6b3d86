import contextlib
import math
from datetime import UTC, datetime, timedelta, timezone

import cloudevents.conversion
import cloudevents.http
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundshift.codec import JSON, MAX_BYTES, STRUCTURED, decode, encode
from groundshift.errors import BadEvent, TooLarge, UnknownEvent, UnsupportedMedia
from groundshift.events import (
    EVENTS,
    RESERVED_WORDS,
    AlertRaised,
    BlockReady,
    Event,
    SceneArrived,
    SceneReady,
    event_id,
    event_type,
    events_table,
    new_event,
)

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
READY = {"scene_id": "s1", "site_id": "t1"}
WHOLE = {
    "specversion": "1.0",
    "id": "1",
    "source": "here",
    "type": event_type("scene.ready"),
    "time": "2026-05-04T12:30:00Z",
    "data": READY,
}

texts = st.text(
    st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=40
)  # what an attribute may hold: no control characters, no surrogates
numbers = st.floats(allow_nan=False, allow_infinity=False)
arrived = st.builds(
    SceneArrived,
    href=texts,
    tenant=st.none() | texts,
    bands=st.none() | st.lists(texts, max_size=3).map(tuple),
    scale=st.none() | numbers.filter(lambda x: x > 0),
    offset=st.none() | numbers,
    acquired=st.none() | st.datetimes(timezones=st.just(UTC)),
)
events = st.builds(
    new_event,
    arrived | st.builds(SceneReady, scene_id=texts, site_id=texts),
    source=texts,
    subject=texts,
    time=st.datetimes(timezones=st.just(UTC)),
    attempt=st.integers(1, 9),
    tenant=st.none() | texts,
    actor=st.none() | texts,
)


def ready(**options) -> Event:
    given_ = {"source": "ingest", "subject": "s1", "time": NOW}
    return new_event(SceneReady(**READY), **{**given_, **options})


def structured(**changes) -> tuple[dict[str, str], bytes]:
    whole = {k: v for k, v in {**WHOLE, **changes}.items() if v is not ...}
    return {"Content-Type": f"{STRUCTURED}; charset=utf-8"}, orjson.dumps(whole)


@given(event=events, mode=st.sampled_from(["binary", "structured"]))
def test_every_event_survives_the_wire(event, mode):
    headers, body = encode(event, mode=mode)
    for text in (*headers, *headers.values()):
        text.encode("ascii")  # what HTTP can carry
    assert decode(headers, body) == event


@given(event=events, mode=st.sampled_from(["binary", "structured"]))
def test_the_cloudevents_package_reads_what_we_write(event, mode):
    headers, body = encode(event, mode=mode)
    foreign = cloudevents.http.from_http(headers, body)
    assert foreign["type"] == event.type
    assert foreign.data == event.data
    if mode == "structured":  # in binary mode that package leaves percent-encoding as it is
        assert foreign["subject"] == event.subject


@pytest.mark.parametrize("write", ["to_binary", "to_structured"])
def test_we_read_what_the_cloudevents_package_writes(write):
    attributes = {name: value for name, value in WHOLE.items() if name != "data"}
    foreign = cloudevents.http.CloudEvent({**attributes, "tenant": "t"}, READY)
    if write == "to_binary":
        foreign["datacontenttype"] = JSON
    event = decode(*getattr(cloudevents.conversion, write)(foreign))
    assert (event.id, event.data, event.tenant, event.time) == ("1", READY, "t", NOW)


def test_an_id_follows_from_type_subject_and_attempt():
    assert ready().id == ready(source="elsewhere", time=NOW + timedelta(days=1)).id
    different = {ready().id, ready(subject="s2").id, ready(attempt=2).id, event_id("t", "s1")}
    assert len(different) == 4
    assert event_id("ab", "c") != event_id("a", "bc")


def test_time_is_kept_in_utc():
    there = NOW.astimezone(timezone(timedelta(hours=5)))
    assert ready(time=there).time == NOW
    assert ready(time=there).time.utcoffset() == timedelta(0)


def test_absent_time_is_when_it_was_received():
    assert decode(*structured(time=...), received=NOW).time == NOW


BAD = {
    "nothing": ({}, b""),
    "no content type": ({}, orjson.dumps(WHOLE)),
    "html": ({"content-type": "text/html"}, b"<html>"),
    "plain json": ({"content-type": JSON}, b"{}"),
    "a list": ({"content-type": STRUCTURED}, b"[]"),
    "cut off": ({"content-type": STRUCTURED}, b'{"specversion"'),
    "no utf-8": ({"content-type": STRUCTURED}, b"\xff\xfe"),
    "deeply nested": ({"content-type": STRUCTURED}, b"[" * 100_000),
    "nan": ({"content-type": STRUCTURED}, b'{"specversion": NaN}'),
    "no id": structured(id=...),
    "empty id": structured(id=""),
    "id is a number": structured(id=5),
    "control character": structured(source="a\nb"),
    "very long": structured(source="x" * 2000),
    "old version": structured(specversion="0.3"),
    "version is a list": structured(specversion=[]),
    "no time": structured(time="yesterday"),
    "no time zone": structured(time="2026-05-04T12:30:00"),
    "before the first year": structured(time="0001-01-01T00:00:00+14:00"),
    "extension in capitals": structured(Tenant="t"),
    "extension is an object": structured(tenant={"a": 1}),
    "no data": structured(data=...),
    "data is a number": structured(data=5),
    "data lacks a member": structured(data={"scene_id": "s"}),
    "data has a misspelt member": structured(data={**READY, "sceneid": "s"}),
    "a header that is no utf-8": (
        {"ce-specversion": "1.0", "ce-id": "%ff", "content-type": JSON},
        b"{}",
    ),
}


@pytest.mark.parametrize("message", BAD.values(), ids=BAD)
def test_what_is_no_event_is_refused(message):
    with pytest.raises(BadEvent) as refusal:
        decode(*message)
    assert not isinstance(refusal.value, UnsupportedMedia)


@pytest.mark.parametrize(
    "message",
    [
        ({"content-type": "application/cloudevents-batch+json"}, b"[]"),
        ({"ce-specversion": "1.0", "content-type": "application/xml"}, b"<a/>"),
        structured(data_base64="e30="),
    ],
    ids=["batch", "xml", "base64"],
)
def test_other_media_are_refused(message):
    with pytest.raises(UnsupportedMedia):
        decode(*message)


@pytest.mark.parametrize(
    "type_", ["com.example.x", "io.groundshift.scene.ready.v2", *RESERVED_WORDS]
)
def test_an_unknown_type_is_refused(type_):
    with pytest.raises(UnknownEvent, match=r"scene\.arrived"):
        decode(*structured(type=type_))


def test_the_size_limit_holds():
    headers, body = structured()
    assert decode(headers, body, max_bytes=len(body)).id == "1"
    with pytest.raises(TooLarge, match=str(len(body))):
        decode(headers, body, max_bytes=len(body) - 1)
    with pytest.raises(TooLarge):
        decode(headers, b" " * (MAX_BYTES + 1))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    changes=st.dictionaries(st.sampled_from([*WHOLE, "subject", "tenant", "zz"]), json_values),
    cut=st.integers(0, 3),
)
def test_hostile_bodies_never_raise_anything_else(changes, cut):
    try:
        headers, body = structured(**changes)
    except TypeError:  # orjson will not write a lone surrogate
        return
    with contextlib.suppress(BadEvent, UnknownEvent):
        decode(headers, body[: len(body) - cut])


@given(
    headers=st.dictionaries(
        st.sampled_from(
            ["ce-id", "ce-type", "ce-specversion", "ce-source", "content-type", "ce-time"]
        ),
        st.text(max_size=20),
    ),
    body=st.binary(max_size=50),
)
def test_hostile_headers_never_raise_anything_else(headers, body):
    with pytest.raises((BadEvent, UnknownEvent)):
        decode(headers, body)


def test_data_is_read_by_its_own_model_only():
    assert SceneReady.of(ready()) == SceneReady(**READY)
    with pytest.raises(UnknownEvent, match=r"block\.ready"):
        BlockReady.of(ready())


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("scale", 0),
        ("scale", math.inf),
        ("offset", math.nan),
        ("href", ""),
        ("acquired", "2020-01-01"),
    ],
)
def test_arrival_options_are_checked(member, value):
    with pytest.raises(BadEvent, match=member):
        SceneArrived.fit({"href": "x", member: value})


def test_probability_is_a_fraction():
    fields = {"alert_id": "a", "site_id": "s", "version": 1, "state": "first", "area_m2": 1.0}
    with pytest.raises(BadEvent, match="probability"):
        AlertRaised.fit({**fields, "from_class": "a", "to_class": "b", "probability": 1.5})


def test_filters_see_every_attribute():
    attributes = ready(tenant="t", actor="a").attributes
    assert attributes["type"] == "io.groundshift.scene.ready.v1"
    assert attributes["subject"] == "s1"
    assert {"id", "source", "time", "specversion", "tenant", "actor"} <= attributes.keys()


def test_an_extension_cannot_shadow_an_attribute():
    event = Event("1", "s", "t", "x", NOW, {}, {"type": "forged", "id": "forged"})
    assert (event.attributes["type"], event.attributes["id"]) == ("t", "1")


def test_the_table_has_every_event_and_member():
    table = events_table()
    for type_, kind in EVENTS.items():
        (row,) = (line for line in table.splitlines() if f"`{type_}`" in line)
        assert all(f"`{member}`" in row for member in kind.model.model_fields)
        assert (kind.model.__doc__ or "").splitlines()[0] in row
    assert not {event_type(word) for word in RESERVED_WORDS} & EVENTS.keys()
