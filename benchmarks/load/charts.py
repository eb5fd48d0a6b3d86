"""Line charts as SVG, for a page and for a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from functions.drawing import BLUE, FAINT, GREEN, INK, LINE, ORANGE, RED, Drawing
from load.results import Burst, Curve, Series

COLOURS = (BLUE, ORANGE, GREEN, RED, FAINT, INK)
WIDTH, HEIGHT = 720.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 130.0, 44.0, 44.0


@dataclass(frozen=True)
class Axis:
    """A linear axis from 0 to a round number."""

    most: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        """Where a value lies, in pixels; what is beyond the axis lies at its end."""
        return self.begin + (self.end - self.begin) * min(value / self.most, 1.0)

    @property
    def ticks(self) -> list[float]:
        """Round values, four to six of them."""
        step = _round_up(self.most / 5)
        return [step * n for n in range(int(self.most / step + 1e-9) + 1)]


def _round_up(value: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten."""
    if value <= 0:
        return 1.0
    scale = 10.0 ** math.floor(math.log10(value))
    return next(m * scale for m in (1, 2, 2.5, 5, 10) if m * scale >= value * (1 - 1e-9))


def _top(values: Sequence[float]) -> float:
    most = max(values, default=0.0)
    step = _round_up(most / 5)
    return max(math.ceil(most / step - 1e-9) * step, step)


def lines(
    series: Sequence[Series],
    *,
    title: str,
    x: str,
    y: str,
    bound: float | None = None,
    dots: bool = False,
    most: float | None = None,
) -> str:
    """One chart: a line for each series, named at its end; `bound`: a dashed level."""
    drawing = Drawing(WIDTH, HEIGHT, title=title)
    xs = [at for one in series for at, _ in one.points]
    ys = [value for one in series for _, value in one.points] + ([bound] if bound else [])
    across = Axis(_top(xs), LEFT, WIDTH - RIGHT)
    up = Axis(most or _top(ys), HEIGHT - BOTTOM, TOP)
    drawing.text(LEFT, 24, title, size=14, bold=True)
    _grid(drawing, across, up, x=x, y=y)
    if bound is not None:
        level = up.at(bound)
        drawing.line([(LEFT, level), (WIDTH - RIGHT, level)], colour=RED, dashed=True)
        drawing.text(LEFT + 6, level - 5, f"bound {bound:g}", size=10, colour=RED)
    for one, colour in zip(series, COLOURS, strict=False):
        points = [(across.at(at), up.at(value)) for at, value in one.points]
        drawing.line(points, colour=colour, width=2)
        for point in points if dots else ():
            drawing.dot(*point, colour=colour)
    _names(drawing, series, up)
    return drawing.svg()


def _grid(drawing: Drawing, across: Axis, up: Axis, *, x: str, y: str) -> None:
    for tick in up.ticks:
        level = up.at(tick)
        drawing.line([(LEFT, level), (WIDTH - RIGHT, level)], width=0.6)
        drawing.text(LEFT - 8, level + 4, f"{tick:g}", size=10, colour=FAINT, anchor="end")
    for tick in across.ticks:
        place = across.at(tick)
        drawing.line([(place, HEIGHT - BOTTOM), (place, HEIGHT - BOTTOM + 4)], colour=LINE)
        drawing.text(
            place, HEIGHT - BOTTOM + 17, f"{tick:g}", size=10, colour=FAINT, anchor="middle"
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    drawing.text(middle, HEIGHT - 10, x, size=11, colour=FAINT, anchor="middle")
    drawing.text(
        18, (TOP + HEIGHT - BOTTOM) / 2, y, size=11, colour=FAINT, anchor="middle", turned=True
    )


def _names(drawing: Drawing, series: Sequence[Series], up: Axis) -> None:
    """At the end of each line; moved apart where two would overlap."""
    ends = sorted((up.at(one.points[-1][1]) + 4, n) for n, one in enumerate(series) if one.points)
    last = -math.inf
    for place, n in ends:
        last = max(place, last + 14)
        colour = COLOURS[n % len(COLOURS)]
        drawing.text(WIDTH - RIGHT + 8, last, series[n].name, size=11, colour=colour, bold=True)


def latency(curve: Curve) -> str:
    """p50, p95 and p99 over the offered rate; what is four times the bound lies at the edge."""
    steps = sorted(curve.steps, key=lambda step: step.offered)
    series = [
        Series(name, tuple((step.offered, getattr(step, f"{name}_ms")) for step in steps))
        for name in ("p50", "p95", "p99")
    ]
    highest = max(one.most for one in series)
    return lines(
        series,
        title=f"{curve.name}: latency",
        x="requests per second, offered",
        y="milliseconds",
        bound=curve.bound_ms,
        dots=True,
        most=_top([min(max(highest, curve.bound_ms), 4 * curve.bound_ms)]),
    )


def usage(title: str, series: Sequence[Series], *, y: str) -> str:
    """Processes or pods over time."""
    return lines(series, title=title, x="seconds", y=y)


def queue(burst: Burst) -> str:
    """The age of the oldest event over time."""
    return lines(
        [Series("oldest event", burst.age.points)],
        title=f"{burst.scenes} scenes at once: age of the oldest event",
        x="seconds since the first scene was posted",
        y="seconds",
    )
