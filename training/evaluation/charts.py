"""Small SVG charts for the report: no script, no network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from geodata_etl.bands import Cover
from geodata_etl.palette import COVER_COLOURS, css

BLUE: Final = "#0072b2"
"""Okabe and Ito's blue, dark enough for text and bars on white."""
GREEN: Final = css(COVER_COLOURS[Cover.TREE])
ORANGE: Final = css(COVER_COLOURS[Cover.BURNT])
NONE: Final = '<span class="none">-</span>'
"""Where there is no such number."""
_INK: Final = "#59616e"
_GRID: Final = "#dfe3e8"
_SIDE: Final = 250
_LEFT: Final = 44
_TOP: Final = 12


def reliability(bins: Sequence[Mapping[str, Any]], title: str) -> str:
    """Share that changed against promised probability; the dot's area grows with log pixels."""
    axis = "".join(
        f'<line x1="{_x(v)}" y1="{_y(0)}" x2="{_x(v)}" y2="{_y(1)}"/>'
        f'<line x1="{_x(0)}" y1="{_y(v)}" x2="{_x(1)}" y2="{_y(v)}"/>'
        for v in (0, 0.25, 0.5, 0.75, 1)
    )
    words = "".join(
        f'<text x="{_x(v)}" y="{_y(0) + 16}" text-anchor="middle">{v:g}</text>'
        f'<text x="{_x(0) - 8}" y="{_y(v) + 4}" text-anchor="end">{v:g}</text>'
        for v in (0, 0.5, 1)
    )
    filled = [b for b in bins if b["pixels"]]
    line = " ".join(f"{_x(b['confidence'])},{_y(b['changed'])}" for b in filled)
    dots = "".join(
        f'<circle cx="{_x(b["confidence"])}" cy="{_y(b["changed"])}" '
        f'r="{1.5 + math.log10(b["pixels"]):.1f}"><title>promised {b["confidence"]:.2f}, came '
        f"{b['changed']:.2f}, {b['pixels']:,} px</title></circle>"
        for b in filled
    )
    wide, high = _SIDE + _LEFT + 12, _SIDE + _TOP + 40
    return (
        f'<figure><svg viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" role="img" '
        f'aria-label="Reliability diagram: {escape(title)}">'
        f'<g stroke="{_GRID}">{axis}</g>'
        f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" stroke="{_INK}" '
        'stroke-dasharray="4 4"/>'
        f'<polyline points="{line}" fill="none" stroke="{BLUE}" stroke-width="2"/>'
        f'<g fill="{BLUE}" fill-opacity="0.85">{dots}</g>'
        f'<g fill="{_INK}" font-size="12">{words}'
        f'<text x="{_x(0.5)}" y="{_y(0) + 34}" text-anchor="middle">probability promised</text>'
        f'<text transform="translate(12 {_y(0.5)}) rotate(-90)" text-anchor="middle">'
        f"share that changed</text></g></svg><figcaption>{escape(title)}</figcaption></figure>"
    )


def _x(value: float) -> float:
    return round(_LEFT + value * _SIDE, 1)


def _y(value: float) -> float:
    return round(_TOP + (1 - value) * _SIDE, 1)


def bar(value: float | None, *, best: float = 1.0) -> str:
    """A bar of a share beside its number; a dash where there is none."""
    if value is None:
        return NONE
    width = max(0.0, min(1.0, value / best)) * 100
    return f'<span class="bar"><i style="width:{width:.0f}%"></i></span>{value:.3f}'


def interval(low: float, difference: float, high: float, margin: float, status: str) -> str:
    """A difference with its interval; the dashed line is minus the margin."""
    reach = max(abs(low), abs(high), 1.5 * margin, 1e-6) * 1.1
    half = 90

    def at(value: float) -> float:
        return round(half + value / reach * half, 1)

    colour = {"holds": GREEN, "fails": ORANGE, "open": BLUE}.get(status, _INK)
    return (
        f'<svg class="interval" viewBox="0 0 {2 * half} 18" width="{2 * half}" height="18" '
        f'role="img" aria-label="{difference:+.4f}, {low:+.4f} to {high:+.4f}">'
        f'<line x1="{at(0)}" y1="1" x2="{at(0)}" y2="17" stroke="{_INK}"/>'
        f'<line x1="{at(-margin)}" y1="1" x2="{at(-margin)}" y2="17" stroke="{_INK}" '
        'stroke-dasharray="3 2"/>'
        f'<line x1="{at(low)}" y1="9" x2="{at(high)}" y2="9" stroke="{colour}" stroke-width="3"/>'
        f'<circle cx="{at(difference)}" cy="9" r="4.5" fill="{colour}"/></svg>'
    )
