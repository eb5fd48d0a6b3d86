"""Online data: a sequence of messages that announce scenes, as a busy and untidy world sends them.

`messages` is a pure function of the scenes and a `StreamSpec`: the same seed, the same bytes at the
same offsets. `play` sends them when they are due.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import count, cycle, islice, takewhile
from random import Random
from typing import Any, Final

from functions.announcements import (
    BUCKET_SHAPES,
    SOURCE,
    Announcement,
    Defect,
    Shape,
    Written,
    as_message,
    in_bucket,
    spoil,
    write,
)
from groundshift.errors import Misconfigured
from groundshift.events import LabelAccepted, new_event

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When a stream begins in its own time. Fixed, so that the same seed gives the same bytes: the
platform takes a stream that is sent again for what it is, a repetition."""
MOST_LATE_SHARE: Final = 0.5
"""Late is what comes after later ones: at most every other scene."""
_LATE_BY: Final = 8
"""A late scene comes after 1 to so many scenes that were put after it, those late too aside."""
_REMEMBERED: Final = 64
"""A duplicate repeats one of the last so many good messages."""


class Kind(StrEnum):
    """What a message is in its stream."""

    SCENE = "scene"
    """A scene, in the order of acquisition. It becomes `scene.arrived` in the outbox."""
    LATE = "late"
    """A scene after some that were acquired later. It becomes `scene.arrived` all the same, and
    later runs are planned anew."""
    DUPLICATE = "duplicate"
    """A good message once more, byte for byte. Nothing happens: it is known by (source, id)."""
    BROKEN = "broken"
    """A message that can never be taken. It goes to the dead-letter topic with the reason."""
    LABEL = "label"
    """A `label.accepted`, on the labels' own topic. `groundshift consume` does not see it."""


@dataclass(frozen=True)
class StreamSpec:
    """The characteristics of a stream."""

    seed: int = 0
    rate: float = 5.0
    """Messages per second on average, as independent senders send them; bursts come on top."""
    burst_every: float = 60.0
    """Seconds from burst to burst; 0: none."""
    burst_size: int = 20
    """Messages that come at the same moment."""
    late_share: float = 0.1
    """Share of the scenes."""
    duplicate_share: float = 0.05
    """Share of all messages, like the next two."""
    broken_share: float = 0.02
    label_share: float = 0.1
    count: int | None = None
    """How many messages. Without it and `duration` the stream ends once every scene was said."""
    duration: float | None = None
    """Seconds."""

    def __post_init__(self) -> None:
        for name, most in (("late_share", MOST_LATE_SHARE), ("rate", math.inf)):
            if not 0 <= getattr(self, name) <= most:
                raise Misconfigured(f"{name} {getattr(self, name)}: choose from 0 to {most:g}")
        shares = self.duplicate_share, self.broken_share, self.label_share
        if min(shares) < 0 or sum(shares) >= 1:
            raise Misconfigured(
                f"shares of duplicates, broken ones and labels {shares}: none below 0, "
                "and together below 1, the rest are scenes"
            )
        if not self.rate and not (self.burst_every and self.burst_size):
            raise Misconfigured("a rate of 0 and no bursts: nothing would ever be sent")

    @property
    def bounded(self) -> bool:
        """Whether its length is said."""
        return self.count is not None or self.duration is not None


@dataclass(frozen=True)
class StreamMessage:
    """One message and when it is due."""

    at_s: float
    """Seconds since the stream's begin."""
    kind: Kind
    shape: str
    """A `Shape`; of a broken one the `Defect`."""
    value: bytes
    key: bytes
    headers: Sequence[tuple[str, bytes]]
    href: str = ""
    """The scene that it announces, if any."""
    order: int = -1
    """Number of the announcement: a late one has a lower one than some before it."""
    time: datetime | None = None
    """The event's own time."""

    @property
    def is_label(self) -> bool:
        """Whether it belongs on the labels' topic, a repeated one too."""
        return self.shape == Kind.LABEL


def messages(
    hrefs: Sequence[str], spec: StreamSpec, *, start: datetime = START
) -> Iterator[StreamMessage]:
    """The stream: scenes in the order of `hrefs`, over and over where it is longer than they are.

    Bucket notifications where the hrefs are s3://, else CloudEvents only. Raises Misconfigured.
    """
    if not hrefs:
        raise Misconfigured("no scenes to announce: simulate some first, or name their folder")
    dice = _Dice(hrefs, spec, start)
    for at_s, left in _slots(spec):
        message = dice.next(at_s, left)
        if message is None:
            return
        yield message


def _slots(spec: StreamSpec) -> Iterator[tuple[float, float]]:
    """(offset, messages that are left with this one) in order."""
    times: Iterable[float] = _times(spec)
    if spec.duration is not None:
        most = spec.duration
        times = takewhile(lambda at: at < most, times)
    if spec.count is not None:
        times = islice(times, spec.count)
    if not spec.bounded:
        yield from ((at, math.inf) for at in times)
        return
    known = list(times)
    yield from ((at, len(known) - index) for index, at in enumerate(known))


def _times(spec: StreamSpec) -> Iterator[float]:
    """Offsets without end: a Poisson process and the bursts."""
    rng = Random(f"{spec.seed}/times")  # noqa: S311 not for secrets

    def steady() -> Iterator[float]:
        at = 0.0
        while spec.rate:
            at += rng.expovariate(spec.rate)
            yield at

    def bursts() -> Iterator[float]:
        if spec.burst_every and spec.burst_size:
            for number in count(1):
                yield from [number * spec.burst_every] * spec.burst_size

    return heapq.merge(steady(), bursts())


class _Dice:
    """What decides what each message is."""

    def __init__(self, hrefs: Sequence[str], spec: StreamSpec, start: datetime) -> None:
        self._spec, self._start = spec, start
        self._rng = Random(f"{spec.seed}/kinds")  # noqa: S311 not for secrets
        self._run = hashlib.sha256(f"{spec.seed}".encode()).hexdigest()[:8]
        self._hrefs = cycle(hrefs) if spec.bounded else iter(hrefs)
        self._next_href = next(self._hrefs, None)
        self._shapes = tuple(
            shape for shape in Shape if shape not in BUCKET_SHAPES or all(map(in_bucket, hrefs))
        )
        self._number = 0
        self._scenes = 0
        self._held: list[tuple[int, int, Announcement]] = []
        """Heap of (scenes after which it comes, order, scene)."""
        self._good: deque[StreamMessage] = deque(maxlen=_REMEMBERED)

    def next(self, at_s: float, left: float) -> StreamMessage | None:
        """The message at an offset; None at the stream's end. `left`: with all that follow."""
        if left <= len(self._held):
            return self._late(at_s)
        match self._kind():
            case Kind.DUPLICATE if self._good:
                return replace(self._rng.choice(self._good), at_s=at_s, kind=Kind.DUPLICATE)
            case Kind.BROKEN:
                return self._broken(at_s)
            case Kind.LABEL:
                return self._kept(self._label(at_s))
            case _:
                return self._scene(at_s, left)

    def _kind(self) -> Kind:
        spec, drawn = self._spec, self._rng.random()
        for kind, share in (
            (Kind.DUPLICATE, spec.duplicate_share),
            (Kind.BROKEN, spec.broken_share),
            (Kind.LABEL, spec.label_share),
        ):
            if drawn < share:
                return kind
            drawn -= share
        return Kind.SCENE

    def _scene(self, at_s: float, left: float) -> StreamMessage | None:
        """The next scene, or one that was held back; holding one back lets the next one pass."""
        self._scenes += 1
        if self._held and (self._held[0][0] <= self._scenes or self._next_href is None):
            return self._late(at_s)
        if self._next_href is None:
            return None
        order, said = self._announcement(at_s)
        odds = self._spec.late_share / (1 - self._spec.late_share)
        room = self._next_href is not None and len(self._held) + 2 <= left
        if self._rng.random() < odds and room:
            due = self._scenes + self._rng.randint(1, _LATE_BY)
            heapq.heappush(self._held, (due, order, said))
            order, said = self._announcement(at_s)
        return self._announced(Kind.SCENE, at_s, order, said)

    def _late(self, at_s: float) -> StreamMessage:
        _, order, said = heapq.heappop(self._held)
        return self._announced(Kind.LATE, at_s, order, said)

    def _announcement(self, at_s: float) -> tuple[int, Announcement]:
        order, href = self._number, self._next_href or ""
        self._number += 1
        self._next_href = next(self._hrefs, None)
        return order, Announcement(href, self._time(at_s), f"{self._run}{order:08x}")

    def _announced(self, kind: Kind, at_s: float, order: int, said: Announcement) -> StreamMessage:
        shape = self._rng.choice(self._shapes)
        message = _message(at_s, kind, shape, write(shape, said))
        return self._kept(replace(message, href=said.href, order=order, time=said.time))

    def _kept(self, message: StreamMessage) -> StreamMessage:
        self._good.append(message)
        return message

    def _broken(self, at_s: float) -> StreamMessage:
        defect = self._rng.choice(tuple(Defect))
        href = self._next_href or "s3://scenes/scene.json"
        said = Announcement(href, self._time(at_s), f"{self._rng.getrandbits(64):016x}")
        written = spoil(defect, said, cut=self._rng.random())
        return _message(at_s, Kind.BROKEN, defect, written)

    def _label(self, at_s: float) -> StreamMessage:
        """An analyst's verified tile."""
        version = f"{self._rng.getrandbits(256):064x}"
        data = LabelAccepted(
            version=version,
            site_id=self._run,
            run_id=f"{self._rng.getrandbits(256):064x}",
            tile=f"{self._rng.randrange(20)}_{self._rng.randrange(20)}",
        )
        event = new_event(data, source=SOURCE, subject=version, time=self._time(at_s))
        written = as_message(event, mode="structured")
        return replace(_message(at_s, Kind.LABEL, Kind.LABEL, written), time=event.time)

    def _time(self, at_s: float) -> datetime:
        return self._start + timedelta(seconds=at_s)


def _message(at_s: float, kind: Kind, shape: str, written: Written) -> StreamMessage:
    return StreamMessage(at_s, kind, shape, written.value, written.key, written.headers)


# Sending


@dataclass(frozen=True)
class Streamed:
    """What was sent."""

    rows: tuple[tuple[str, str, int, int], ...]
    """(kind, shape, messages, bytes)."""
    seconds: float
    behind_s: float
    """How much too late a message was sent at most."""
    scenes: int
    """Different scenes that were announced."""

    @property
    def messages(self) -> int:
        """All of them."""
        return sum(number for _, _, number, _ in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        names = ("kind", "shape", "messages", "bytes")
        return {
            "messages": self.messages,
            "scenes": self.scenes,
            "seconds": self.seconds,
            "behind_s": self.behind_s,
            "by_kind": [dict(zip(names, row, strict=True)) for row in self.rows],
        }


def play(
    stream: Iterable[StreamMessage],
    send: Callable[[StreamMessage], None],
    *,
    wait: Callable[[float], bool],
    clock: Callable[[], float] = time.monotonic,
) -> Streamed:
    """Send each message when it is due; `wait` sleeps and says whether to end."""
    began, behind = clock(), 0.0
    numbers: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    hrefs: set[str] = set()
    for message in stream:
        ahead = began + message.at_s - clock()
        if wait(max(0.0, ahead)):
            break
        behind = max(behind, -ahead)
        send(message)
        numbers[message.kind, message.shape] += 1
        sizes[message.kind, message.shape] += len(message.value)
        hrefs |= {message.href} - {""}
    rows = tuple((*what, numbers[what], sizes[what]) for what in sorted(numbers))
    return Streamed(rows, clock() - began, behind, len(hrefs))
