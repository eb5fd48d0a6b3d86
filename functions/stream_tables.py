"""What the documentation says of streams, measured on one: the defaults, seed 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import median, quantiles
from typing import Final

from functions.announcements import Defect, Shape
from functions.consume import events_in
from functions.stream import Kind, StreamMessage, StreamSpec, messages
from groundshift.adapters.kafka import Message
from groundshift.errors import GroundshiftError
from groundshift.settings import Settings

_MESSAGES: Final = 5000
_SCENES: Final = 100
Reasons = Mapping[str, tuple[str, str]]
"""(first sentence, the others) by value of an enumeration: `functions.docs.reasons`."""


def sample(spec: StreamSpec | None = None) -> list[StreamMessage]:
    """A stream about scenes in a bucket; the defaults', unless `spec` says otherwise."""
    hrefs = [f"s3://scenes/site/sim-0-{n:03}.json" for n in range(_SCENES)]
    return list(messages(hrefs, spec or StreamSpec(count=_MESSAGES)))


def stream_table() -> str:
    """The characteristics of a stream of the defaults, in Markdown."""
    spec, stream = StreamSpec(), sample()
    gaps = [after.at_s - before.at_s for before, after in pairwise(stream)]
    rows = {
        "messages": (f"{len(stream)} in {stream[-1].at_s:.0f} s", "`--count`, `--duration`"),
        "rate": (f"{len(stream) / stream[-1].at_s:.2f}/s, bursts included", "`--rate`"),
        "gap between two messages": (_spread(gaps, " s", ".3f"), "`--rate`"),
        "bursts": (
            f"{spec.burst_size} messages at once, every {spec.burst_every:g} s",
            "`--burst-size`, `--burst-every`",
        ),
        "scenes that overtook a late one": (_lateness(stream), "`--late-share`"),
        "size of a value": (_spread([len(m.value) for m in stream], " bytes", ".0f"), ""),
    }
    lines = (f"| {name} | {value} | {option} |" for name, (value, option) in rows.items())
    return "| characteristic | measured | option |\n|---|---|---|\n" + "\n".join(lines) + "\n"


def kinds_table(reasons: Reasons) -> str:
    """Kinds of messages, with their share in a stream of the defaults, in Markdown."""
    kinds = Counter(str(message.kind) for message in sample())
    rows = (
        f"| `{kind}` | {_share(kinds, kind)} | {reasons[kind][0]} | {reasons[kind][1]} |"
        for kind in Kind
    )
    head = "| kind | share | what it is | what becomes of it |\n|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def shapes_table(reasons: Reasons) -> str:
    """Shapes of the scenes' messages, with share and size, in Markdown."""
    stream = [message for message in sample() if message.href]
    shapes = Counter(message.shape for message in stream)
    rows = (
        f"| `{shape}` | {reasons[shape][0]} | {_share(shapes, shape)} "
        f"| {median(len(m.value) for m in stream if m.shape == shape):.0f} |"
        for shape in Shape
    )
    head = "| shape | what it is | share of the scenes' | bytes, median |\n|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def defects_table(reasons: Reasons) -> str:
    """What is wrong with the broken messages, and what the consumer says of it, in Markdown."""
    broken = {m.shape: m for m in sample(StreamSpec(count=500, broken_share=0.5))}
    rows = (
        f"| `{defect}` | {reasons[defect][0]} | {_refusal(broken[defect])} |" for defect in Defect
    )
    return "| defect | what it is | refused as |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def _share(counts: Mapping[str, int], one: str) -> str:
    return f"{100 * counts[one] / sum(counts.values()):.1f} %"


def _spread(values: Sequence[float], unit: str, form: str) -> str:
    cuts = quantiles(values, n=100)
    return f"median {cuts[49]:{form}}{unit}, p99 {cuts[98]:{form}}{unit}"


def _lateness(stream: Iterable[StreamMessage]) -> str:
    newest, passed = -1, []
    for message in stream:
        if message.kind is Kind.LATE:
            passed.append(newest - message.order)
        elif message.kind is Kind.SCENE:
            newest = max(newest, message.order)
    return f"{min(passed)} to {max(passed)}"


def _refusal(message: StreamMessage) -> str:
    """The error class that the consumer answers with."""
    record = Message("", 0, 0, message.key, message.value, message.headers)
    try:
        events_in(record, Settings.model_construct())
    except GroundshiftError as error:
        return f"`{type(error).__name__}`"
    raise AssertionError(f"{message.shape} is taken, but it is meant to be broken")
