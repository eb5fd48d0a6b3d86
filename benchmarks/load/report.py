"""The report: a pure function from results to Markdown, HTML and pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from types import MappingProxyType

from load import charts
from load.results import KEPT_UP, Burst, Curve, Result

HEAD = """\
# Load

How much the platform takes, and what it does beyond that. `make load` measures it with locust and
writes this page ([as one HTML file](load.html)) from `benchmarks/load/results`; the numbers belong
to the machines named below, so measure your own before you promise anything.

A rate is **carried** while no request fails, the 95th percentile stays within the stated bound and
at least {kept:.0%} of the offered requests are answered. The **saturation point** is the highest
rate below the first one that is not carried.
"""
TITLES = MappingProxyType(
    {"embedded": "Embedded: `groundshift up` on one machine", "cluster": "On a cluster"}
)
CSS = """\
body{font:15px/1.55 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;color:#1f2933;
max-width:780px;margin:32px auto;padding:0 20px;background:#f5f7fa}
h1{font-size:30px;margin-bottom:8px}
h2{margin-top:40px;border-bottom:1px solid #cbd2d9;padding-bottom:4px}
table{border-collapse:collapse;width:100%;margin:16px 0;background:#fff}
table{font-variant-numeric:tabular-nums}
th,td{border-bottom:1px solid #e4e7eb;padding:6px 10px;text-align:right}
th:first-child,td:first-child{text-align:left}th{color:#52606d;font-weight:600}
svg{max-width:100%;height:auto;margin:8px 0;border:1px solid #e4e7eb;border-radius:8px}
code{background:#e4e7eb;border-radius:3px;padding:1px 4px;font-size:90%}
"""


@dataclass(frozen=True)
class Report:
    """The files of a report, by their path below ``docs/``."""

    markdown: str
    html: str
    pictures: Mapping[str, str]

    def files(self) -> dict[str, str]:
        """Every file with its text."""
        return {"load.md": self.markdown, "load.html": self.html, **self.pictures}


def make(results: Sequence[Result]) -> Report:
    """The report of one run for each target."""
    parts, pictures = [HEAD.format(kept=KEPT_UP)], dict[str, str]()
    for result in results:
        parts += _result(result, pictures)
    markdown = "\n".join(parts)
    return Report(markdown, _html(markdown, pictures), pictures)


def _result(result: Result, pictures: dict[str, str]) -> list[str]:
    said = f"{result.machine}. Measured {result.when} with groundshift {result.version}.\n"
    parts = [f"## {TITLES.get(result.target, result.target)}\n", said, _overview(result)]
    for curve in result.curves:
        parts += _curve(result.target, curve, pictures)
    if result.burst:
        parts += _burst(result.target, result.burst, pictures)
    return parts


def _overview(result: Result) -> str:
    rows = [
        (c.name, saturation(c), f"{c.saturation.p95_ms:g} ms" if c.saturation else "-")
        for c in result.curves
    ]
    return _table(("address", "saturation point", "p95 there"), rows)


def saturation(curve: Curve) -> str:
    """The saturation point in words."""
    step = curve.saturation
    if step is None:
        return f"below {curve.steps[0].offered:g}/s" if curve.steps else "not measured"
    return f"{step.answered:g}/s" if curve.reached else f"above {step.answered:g}/s"


def _curve(target: str, curve: Curve, pictures: dict[str, str]) -> list[str]:
    bound = f"Bound: p95 within {curve.bound_ms:g} ms.\n"
    parts = [f"### {curve.name.capitalize()}\n", f"{curve.what} {bound}", _steps(curve)]
    parts.append(_shown(pictures, f"load-{target}-{curve.name}", charts.latency(curve), "latency"))
    if curve.usage:
        parts.append(_usage(target, curve.name, curve.usage, pictures))
    return parts


def _steps(curve: Curve) -> str:
    head = ("offered /s", "answered /s", "p50 ms", "p95 ms", "p99 ms", "errors", "carried")
    rows = [
        (
            f"{s.offered:g}", f"{s.answered:g}",
            *(f"{ms:.1f}" for ms in (s.p50_ms, s.p95_ms, s.p99_ms)),
            f"{s.errors} of {s.count}", "yes" if s.holds(curve.bound_ms) else "no",
        )
        for s in curve.steps
    ]  # fmt: skip
    return _table(head, rows)


def _usage(target: str, name: str, usage: Sequence, pictures: dict[str, str]) -> str:
    pods = target == "cluster"
    title = f"{name}: {'pods' if pods else 'processor time'}"
    picture = charts.usage(title, usage, y="pods" if pods else "cores in use")
    return _shown(pictures, f"load-{target}-{name}-usage", picture, title)


def _burst(target: str, burst: Burst, pictures: dict[str, str]) -> list[str]:
    empty = burst.empty_after_s
    ended = (
        f"The queue was empty {empty:.0f} s after the first one was posted"
        if empty is not None
        else "**The queue was not empty when the measurement ended**"
    )
    rate = f" ({burst.scenes / empty * 60:.0f} scenes a minute)" if empty else ""
    became = ", ".join(f"{count} {name}" for name, count in sorted(burst.outcomes.items()))
    parts = [
        f"### A burst of {burst.scenes} scenes\n",
        f"{burst.scenes} small scenes of several sites, posted in {burst.posted_s:.1f} s, with "
        f"{burst.models}. "
        f"{ended}{rate}; the oldest undelivered event was at most {burst.age.most:.0f} s old. "
        f"What became of them: {became}.\n",
        _shown(pictures, f"load-{target}-burst", charts.queue(burst), "age of the oldest event"),
    ]
    if burst.usage:
        parts.append(_usage(target, "burst", burst.usage, pictures))
    return parts


def _shown(pictures: dict[str, str], name: str, svg: str, what: str) -> str:
    path = f"images/{name}.svg"
    pictures[path] = svg
    return f"![{what}]({path})\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# ---- HTML: of the Markdown that this module writes, nothing more


def _html(markdown: str, pictures: Mapping[str, str]) -> str:
    blocks = [_block(block, pictures) for block in re.split(r"\n{2,}", markdown.strip())]
    body = "\n".join(blocks)
    head = f'<meta charset="utf-8"><title>groundshift: load</title><style>{CSS}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _block(block: str, pictures: Mapping[str, str]) -> str:
    if match := re.match(r"(#+) (.*)", block):
        level = len(match[1])
        return f"<h{level}>{_inline(match[2])}</h{level}>"
    if match := re.match(r"!\[.*?\]\((.*?)\)", block):
        return pictures[match[1]]
    if block.startswith("| "):
        head, _, *rows = [line.strip("| ").split(" | ") for line in block.splitlines()]
        cells = [_row("th", head), *(_row("td", row) for row in rows)]
        return f"<table>{''.join(cells)}</table>"
    return f"<p>{_inline(block)}</p>"


def _row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{_inline(cell)}</{tag}>' for cell in cells)}</tr>"


def _inline(text: str) -> str:
    """Code and bold; a link to this very page is dropped."""
    plain = re.sub(r" \(\[[^\]]*\]\(load\.html\)\)", "", text)
    coded = re.sub(r"`(.*?)`", r"<code>\1</code>", escape(plain, quote=False))
    return re.sub(r"\*\*(.*?)\*\*", r"<strong>\1</strong>", coded)
