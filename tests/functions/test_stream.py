"""The stream of online data: what it promises of shares, order, bytes, and of who takes what."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.announcements import BUCKET_SHAPES, Announcement, Defect, Shape, spoil, write
from functions.consume import events_in
from functions.stream import START, Kind, StreamMessage, StreamSpec, messages, play
from groundshift.adapters.kafka import Message
from groundshift.codec import STRUCTURED, decode
from groundshift.errors import GroundshiftError, Misconfigured
from groundshift.events import Event, LabelAccepted
from groundshift.settings import Settings

HREFS = [f"s3://scenes/site one/sim-{n:03}.json" for n in range(30)]
NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)

seeds = st.integers(0, 2**32)
specs = st.builds(
    StreamSpec,
    seed=seeds,
    rate=st.floats(0.1, 1000),
    burst_every=st.floats(0, 100),
    burst_size=st.integers(0, 30),
    late_share=st.floats(0, 0.5),
    duplicate_share=st.floats(0, 0.3),
    broken_share=st.floats(0, 0.3),
    label_share=st.floats(0, 0.3),
    count=st.integers(1, 150) | st.none(),
)


def made(spec: StreamSpec, hrefs: Sequence[str] = HREFS) -> list[StreamMessage]:
    return list(messages(hrefs, spec))


def taken(value: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> list[Event]:
    """What `groundshift consume` makes of a message. Raises as it does."""
    return events_in(Message("t", 0, 0, None, value, headers), Settings.model_construct())


def said(stream: Sequence[StreamMessage]) -> list[StreamMessage]:
    """The announcements, each once."""
    return [message for message in stream if message.kind in (Kind.SCENE, Kind.LATE)]


@given(specs)
@settings(max_examples=25, deadline=None)
def test_the_same_seed_gives_the_same_bytes_at_the_same_offsets(spec: StreamSpec) -> None:
    assert made(spec) == made(spec)


@given(specs)
@settings(max_examples=25, deadline=None)
def test_offsets_and_event_times_are_in_order(spec: StreamSpec) -> None:
    stream = made(spec)
    offsets = [message.at_s for message in stream]
    assert offsets == sorted(offsets)
    in_order = [message for message in stream if message.kind is Kind.SCENE]
    assert [m.order for m in in_order] == sorted(m.order for m in in_order)
    assert [m.time for m in in_order] == sorted(m.time for m in in_order)
    assert all(
        (m.time - START).total_seconds() == pytest.approx(m.at_s, abs=1e-5) for m in in_order
    )


@given(specs)
@settings(max_examples=25, deadline=None)
def test_late_ones_come_after_one_that_was_put_later(spec: StreamSpec) -> None:
    newest, newest_time = -1, START
    for message in said(made(spec)):
        if message.kind is Kind.LATE:
            assert message.order < newest
            assert message.time <= newest_time
        else:
            newest, newest_time = message.order, message.time


@given(specs)
@settings(max_examples=25, deadline=None)
def test_duplicates_are_byte_identical_to_something_good_before_them(spec: StreamSpec) -> None:
    before = set()
    for message in made(spec):
        what = (message.value, message.key, tuple(message.headers), message.is_label)
        if message.kind is Kind.DUPLICATE:
            assert what in before
        elif message.kind is not Kind.BROKEN:
            assert what not in before, "a good message is never said twice by chance"
            before.add(what)


@given(specs)
@settings(max_examples=25, deadline=None)
def test_the_consumer_takes_what_is_good_and_refuses_what_is_broken(spec: StreamSpec) -> None:
    for message in made(spec):
        if message.is_label:
            continue  # on a topic of its own
        if message.kind is Kind.BROKEN:
            with pytest.raises(GroundshiftError, match=r".{10}"):
                taken(message.value, message.headers)
            continue
        (event,) = taken(message.value, message.headers)
        assert event.data["href"] == event.subject == message.href
        assert abs(event.time - message.time).total_seconds() < 0.001


@given(specs)
@settings(max_examples=25, deadline=None)
def test_every_announcement_is_an_event_of_its_own(spec: StreamSpec) -> None:
    ids = [(e.source, e.id) for m in said(made(spec)) for e in taken(m.value, m.headers)]
    assert len(set(ids)) == len(ids)


@given(seeds, st.floats(0, 0.5))
@settings(max_examples=20, deadline=None)
def test_without_an_end_every_scene_is_announced_once(seed: int, late: float) -> None:
    stream = made(StreamSpec(seed=seed, late_share=late))
    assert Counter(message.href for message in said(stream)) == Counter(HREFS)


@given(specs.filter(lambda spec: spec.count is not None))
@settings(max_examples=25, deadline=None)
def test_with_a_count_it_is_kept_and_no_scene_stays_held_back(spec: StreamSpec) -> None:
    stream = made(spec)
    assert len(stream) == spec.count
    orders = sorted(message.order for message in said(stream))
    assert orders == list(range(len(orders)))


@given(seeds, st.floats(1, 50), st.floats(0.5, 20))
@settings(max_examples=20, deadline=None)
def test_with_a_duration_nothing_comes_after_it(seed: int, rate: float, duration: float) -> None:
    stream = made(StreamSpec(seed=seed, rate=rate, duration=duration))
    assert all(message.at_s < duration for message in stream)


def within(found: int, of: int, share: float) -> bool:
    """Whether a share is what was asked for: six standard deviations of chance are allowed."""
    return abs(found - of * share) <= 6 * math.sqrt(of * share * (1 - share)) + 1


@given(seeds, *[st.sampled_from((0.0, 0.05, 0.2, 0.3))] * 3, st.sampled_from((0.0, 0.1, 0.3, 0.5)))
@settings(max_examples=20, deadline=None)
def test_shares_are_what_was_asked_for(
    seed: int, duplicate: float, broken: float, label: float, late: float
) -> None:
    spec = StreamSpec(
        seed=seed,
        count=3000,
        duplicate_share=duplicate,
        broken_share=broken,
        label_share=label,
        late_share=late,
    )
    kinds = Counter(message.kind for message in made(spec))
    for kind, share in (
        (Kind.DUPLICATE, duplicate),
        (Kind.BROKEN, broken),
        (Kind.LABEL, label),
    ):
        assert within(kinds[kind], 3000, share), kind
    scenes = kinds[Kind.SCENE] + kinds[Kind.LATE]
    # each late one needs one that overtakes it, which spreads less than single throws would
    assert within(kinds[Kind.LATE], scenes, late), (kinds, late)


@given(seeds, st.floats(0.5, 200))
@settings(max_examples=20, deadline=None)
def test_the_rate_is_what_was_asked_for(seed: int, rate: float) -> None:
    stream = made(StreamSpec(seed=seed, rate=rate, burst_size=0, count=2000))
    assert stream[-1].at_s * rate == pytest.approx(2000, abs=6 * math.sqrt(2000))


def test_bursts_come_at_one_moment_on_top_of_the_rate() -> None:
    spec = StreamSpec(rate=1, burst_every=10, burst_size=7, duration=35)
    moments = Counter(message.at_s for message in made(spec))
    assert {at: n for at, n in moments.items() if n > 1} == {10: 7, 20: 7, 30: 7}


def test_all_shapes_and_defects_come_where_scenes_lie_in_a_bucket() -> None:
    stream = made(StreamSpec(count=3000, broken_share=0.2))
    assert {m.shape for m in said(stream)} == set(Shape)
    assert {m.shape for m in stream if m.kind is Kind.BROKEN} == set(Defect)


def test_paths_are_announced_by_cloudevents_only() -> None:
    stream = made(StreamSpec(count=500), ["/scenes/a.json", "/scenes/b.json"])
    assert {m.shape for m in said(stream)} == set(Shape) - set(BUCKET_SHAPES)
    assert all(taken(m.value, m.headers)[0].subject == m.href for m in said(stream))
    for message in (m for m in stream if m.kind is Kind.BROKEN):
        with pytest.raises(GroundshiftError):
            taken(message.value, message.headers)


def test_labels_are_cloudevents_of_their_type() -> None:
    labels = [m for m in made(StreamSpec(count=300)) if m.kind is Kind.LABEL]
    assert labels
    for message in labels:
        assert message.headers == (("content-type", STRUCTURED.encode()),)
        event = decode({"content-type": STRUCTURED}, message.value)
        assert event.subject == LabelAccepted.of(event).version


# ---- shapes

keys = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=60
).map(lambda text: f"{text}.json")


@pytest.mark.parametrize("shape", Shape)
@given(key=keys)
@settings(max_examples=60, deadline=None)
def test_any_key_comes_back_from_every_shape(shape: Shape, key: str) -> None:
    href = f"s3://scenes/{key}"
    written = write(shape, Announcement(href, NOON, "00ff"))
    (event,) = taken(written.value, written.headers)
    assert event.data["href"] == href
    assert event.time == NOON


@pytest.mark.parametrize("shape", BUCKET_SHAPES)
def test_a_store_sends_no_headers_and_another_put_is_another_event(shape: Shape) -> None:
    puts = [write(shape, Announcement(HREFS[0], NOON, number)) for number in ("0a", "0b")]
    assert all(put.headers == () for put in puts)
    first, second = (taken(put.value)[0] for put in puts)
    assert first.id != second.id
    assert first.source == second.source == "s3://scenes"


@pytest.mark.parametrize("defect", Defect)
@given(cut=st.floats(0, 1), href=st.sampled_from([HREFS[0], "/scenes/a.json"]))
@settings(max_examples=30, deadline=None)
def test_every_defect_is_refused_with_a_reason(defect: Defect, cut: float, href: str) -> None:
    written = spoil(defect, Announcement(href, NOON, "00ff"), cut=cut)
    with pytest.raises(GroundshiftError, match=r".{10}"):
        taken(written.value, written.headers)


# ---- what cannot be


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"late_share": 0.6}, "late_share 0.6"),
        ({"duplicate_share": 0.5, "broken_share": 0.5}, "together below 1"),
        ({"label_share": -0.1}, "none below 0"),
        ({"rate": -1}, "rate -1"),
        ({"rate": 0, "burst_size": 0}, "nothing would ever be sent"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        StreamSpec(**options)


def test_no_scenes_are_said_so() -> None:
    with pytest.raises(Misconfigured, match="simulate some first"):
        made(StreamSpec(), [])


# ---- sending


class Clock:
    """A clock that only waiting moves."""

    def __init__(self, end: float = math.inf) -> None:
        self.now, self._end = 0.0, end

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.now >= self._end


def test_messages_are_sent_when_they_are_due() -> None:
    stream, clock, sent = made(StreamSpec(count=200)), Clock(), []
    report = play(stream, lambda m: sent.append((clock(), m)), wait=clock.wait, clock=clock)
    assert [message for _, message in sent] == stream
    assert [at for at, _ in sent] == pytest.approx([message.at_s for message in stream])
    assert report.messages == 200
    assert report.behind_s == pytest.approx(0, abs=1e-6)
    assert sum(size for *_, size in report.rows) == sum(len(m.value) for m in stream)
    assert report.scenes == len({m.href for m in stream if m.href})


def test_a_slow_receiver_is_told_of() -> None:
    clock = Clock()

    def slow(_: StreamMessage) -> None:
        clock.now += 1

    stream = made(StreamSpec(count=20, rate=10))
    report = play(stream, slow, wait=clock.wait, clock=clock)
    assert report.behind_s == pytest.approx(19 + stream[0].at_s - stream[-1].at_s)


@pytest.mark.parametrize("end", [0.0, 10.0])
def test_it_ends_when_it_is_told_to(end: float) -> None:
    clock: Any = Clock(end)
    sent: list[StreamMessage] = []
    send: Callable[[StreamMessage], None] = sent.append
    stream = made(StreamSpec(count=1000))
    assert play(stream, send, wait=clock.wait, clock=clock).messages == len(sent)
    assert sent == [message for message in stream if message.at_s < end]
