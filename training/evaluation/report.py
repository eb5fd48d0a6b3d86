"""The report: one HTML page that needs nothing else, made of the JSON summary and the pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Final

from geodata_etl.palette import css
from training.evaluation import charts, pictures
from training.evaluation.pictures import Case
from training.evaluation.slices import LABELS, OSCD, SIMULATED, SLOVENIA

HTML: Final = "report.html"
JSON: Final = "evaluation.json"
_HEADS: Final = (
    "sites", "changed px", "F1", "precision", "recall", "IoU", "AUROC", "area bias",
    "precision at budget", "false alarms", "shown",
)  # fmt: skip


def write(folder: Path, found: Mapping[str, Any], cases: Sequence[Case] = ()) -> Path:
    """Write ``evaluation.json`` and ``report.html`` into `folder`; gives the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    path = folder / HTML
    path.write_text(page(found, cases), encoding="utf-8")
    return path


def page(found: Mapping[str, Any], cases: Sequence[Case] = ()) -> str:
    """The whole page."""
    template = Template((files("training.evaluation") / "report.template.html").read_text("utf-8"))
    sets = found["sets"]
    modes = found["failure_modes"]
    return template.substitute(
        digests=", ".join(f"{escape(n)} {d[7:19]}" for n, d in found["models"].items()),
        tiles=_tiles(found),
        verdict=_verdict(found.get("verdict")),
        sets=_sets({n: s for n, s in sets.items() if n not in modes}),
        reliability=_diagrams(sets),
        slices="".join(_slices(n, s) for n, s in sets.items() if s["slices"]),
        failures=_failures(sets, modes),
        templates=_templates(found["templates"]),
        classes=_classes(found),
        cases=_cases(cases),
        threshold=found["threshold"],
        budget=_percent(found["budget"], 0),
        hit=css(pictures.HIT),
        false=css(pictures.FALSE_ALARM),
        missed=css(pictures.MISSED),
        truth=css(pictures.TRUTH),
    )


def _tiles(found: Mapping[str, Any]) -> str:
    def tile(value: str, says: str, note: str = "") -> str:
        return f"<div class=tile><b>{value}</b><span>{says}</span><small>{note}</small></div>"

    tiles = []
    for name in (SIMULATED, OSCD, LABELS):
        one = found["sets"].get(name)
        if one is not None:
            alone, plain = one["pooled"]["classifier"], one["cva_otsu"]
            note = f"CVA + Otsu {_n(plain['pooled_f1'])}" if plain else ""
            tiles.append(tile(_n(alone["f1"]), f"pooled F1, {name}", note))
            tiles.append(tile(_n(alone["auroc"]), f"AUROC, {name}", f"{one['sites']} sites"))
    quiet = found["sets"].get(SLOVENIA)
    if quiet is not None:
        share = quiet["pooled"]["platform"]["false_share"]
        tiles.append(tile(_percent(share, 3), "called on unchanged fields", "Slovenia, summer"))
    if found["cloud_chips"]:
        tiles.append(tile(_n(found["cloud_chips"]["mean_iou"]), "cloud IoU, labelled chips"))
    tests = found["templates"].values()
    if tests:
        good = sum(t["passed"] for t in tests)
        tiles.append(tile(f"{good} of {len(tests)}", "template tests pass"))
    return "".join(tiles)


def _verdict(verdict: Mapping[str, Any] | None) -> str:
    if verdict is None:
        return ""
    rows = {
        status: [
            [mark, f["rule"], escape(f["subject"]), *_judged(f)]
            for f in verdict["findings"]
            if f["status"] == status
        ]
        for status, mark in _MARKS.items()
    }
    word = "accepted" if verdict["accepted"] else "refused"
    heads = ("", "rule", "on", "measure", "challenger", "champion", "sites", "difference")
    parts = "".join(
        f"<details{' open' if status in ('fails', 'open') else ''}><summary>{len(found)} {status}"
        f"</summary>{_table(heads, found)}</details>"
        for status, found in rows.items()
        if found
    )
    return (
        f"<section><h2>Gate: {word}</h2><p class='verdict {word}'>{escape(verdict['reason'])}</p>"
        "<p>The bar is the bootstrap interval of challenger - champion over sites; the dashed"
        " line is minus the margin. A set as a whole must end right of it; a slice fails where its"
        " dot is left of it and its bar left of zero, and is open where the sites leave it"
        f" undecided. Too few sites only inform.</p>{parts}</section>"
    )


def _judged(finding: Mapping[str, Any]) -> list[str]:
    """Measure, challenger, champion, sites, difference."""
    n = finding["numbers"]
    if finding["rule"] == "template":
        return ["", f"{n['measured']:.4g}", f"at most {n['tolerance']:g}", "", ""]
    return [
        escape(n["measure"]),
        _n(n["challenger"]),
        _n(n["champion"]),
        str(n["sites"]),
        charts.interval(n["low"], n["difference"], n["high"], n["margin"], finding["status"]),
    ]


_MARKS: Final = {
    "fails": '<span class="mark bad" title="fails">✗</span>',
    "open": '<span class="mark informs" title="open">~</span>',
    "holds": '<span class="mark good" title="holds">✓</span>',
    "informs": '<span class="mark informs" title="informs">○</span>',
}
"""What was looked at first stands first."""


def _sets(sets: Mapping[str, Any]) -> str:
    rows = []
    for name, one in sets.items():
        rows.append(_row(f"{name}, classifier alone", one["sites"], one, "classifier"))
        rows.append(_row(f"{name}, platform", one["sites"], one, "platform"))
        left = one.get("without_neighbours")
        if left:
            title = f"{name} without {', '.join(left['left_out'])}, classifier alone"
            rows.append(_row(title, one["sites"] - len(left["left_out"]), left, "classifier"))
    heads = (
        *("set", "sites", "F1 pooled", "F1 mean", "CVA + Otsu pooled / mean", "AUROC pooled"),
        *("AUROC mean", "precision", "recall", "IoU", "area bias", "precision at budget"),
        *("false alarms", "ECE", "shown"),
    )
    return _table(heads, rows)


def _row(title: str, sites: int, one: Mapping[str, Any], view: str) -> list[str]:
    pooled, means, plain = one["pooled"], one["mean_over_sites"], one["cva_otsu"]
    beside = plain if view == "classifier" else None
    number = pooled[view]
    return [
        escape(title),
        str(sites),
        charts.bar(number["f1"]),
        _n(means[f"{view}_f1"]),
        f"{_n(beside['pooled_f1'])} / {_n(beside['mean_f1'])}" if beside else "",
        _n(number["auroc"]),
        _n(means[f"{view}_auroc"]),
        *(_n(number[key]) for key in ("precision", "recall", "iou")),
        _signed(number["area_bias"]),
        _n(number["budget_precision"]),
        _percent(number["false_share"], 2),
        _n(number["ece"], 4),
        _percent(pooled["shown_share"], 0),
    ]


def _numbers(sites: int, pooled: Mapping[str, Any], view: str = "platform") -> list[str]:
    """The cells of `_HEADS`."""
    one = pooled[view]
    return [
        str(sites),
        f"{pooled['changed_pixels']:,}",
        charts.bar(one["f1"]),
        *(_n(one[key]) for key in ("precision", "recall", "iou", "auroc")),
        _signed(one["area_bias"]),
        _n(one["budget_precision"]),
        _percent(one["false_share"], 2),
        _percent(pooled["shown_share"], 0),
    ]


def _diagrams(sets: Mapping[str, Any]) -> str:
    return "".join(
        charts.reliability(sets[name]["reliability"]["classifier"], name)
        for name in (SIMULATED, LABELS, OSCD)
        if name in sets
    )


def _slices(name: str, one: Mapping[str, Any]) -> str:
    rows: list[list[str]] = []
    for dimension, values in one["slices"].items():
        rows.append([f"<b>{escape(dimension)}</b>", *[""] * len(_HEADS)])
        rows += [[escape(v), *_numbers(row["sites"], row)] for v, row in values.items()]
    if name != SIMULATED:
        rows.append(["<b>site</b>", *[""] * len(_HEADS)])
        rows += [[escape(site), *_numbers(1, row)] for site, row in one["by_site"].items()]
    body = _table(("slice", *_HEADS), rows)
    return f"<details open><summary>{escape(name)}</summary>{body}</details>"


def _failures(sets: Mapping[str, Any], modes: Mapping[str, Any]) -> str:
    rows = []
    for name, mode in modes.items():
        if name in sets:
            one = sets[name]
            shows = f"<b>{escape(name)}</b><small>{escape(mode['shows'])}</small>"
            judged = "false alarms" if mode["hiding_is_right"] else "F1"
            rows.append([shows, judged, *_numbers(one["sites"], one["pooled"])])
    return _table(("set", "judged by", *_HEADS), rows)


def _templates(tests: Mapping[str, Any]) -> str:
    rows = [
        [
            _MARKS["holds" if t["passed"] else "fails"],
            f"<b>{escape(name)}</b><small>{escape(t['holds'])}</small>",
            escape(t["measures"]),
            f"{t['measured']:.4g}",
            f"{t['tolerance']:g}",
        ]
        for name, t in tests.items()
    ]
    return _table(("", "test", "measured", "value", "at most"), rows)


def _classes(found: Mapping[str, Any]) -> str:
    rows = []
    for name, one in found["sets"].items():
        for model, what in (("cloud-mask", one["clouds"]), ("segmenter", one["covers"])):
            if what and (name == SIMULATED or (model == "cloud-mask" and len(what["iou"]) > 1)):
                iou = ", ".join(f"{escape(c)} {_n(v)}" for c, v in what["iou"].items())
                rows.append([model, escape(name), _n(what["accuracy"]), iou])
    if found["cloud_chips"]:
        chips = found["cloud_chips"]
        each = ", ".join(f"{escape(c)} {_n(v)}" for c, v in chips["cloud_iou"].items())
        rows.append(["cloud-mask", "labelled chips", f"mean {_n(chips['mean_iou'])}", each])
    return _table(("model", "set", "accuracy", "intersection over union by class"), rows)


def _cases(cases: Iterable[Case]) -> str:
    return "".join(
        f"<article><h4>{escape(case.set)}: {escape(case.site)}</h4>"
        f"<p>{escape(case.caption)}</p><div class=panels>"
        + "".join(
            f'<figure><img src="{uri}" alt="{panel}"><figcaption>{panel}</figcaption></figure>'
            for panel, uri in zip(pictures.PANELS, case.panels, strict=True)
        )
        + "</div></article>"
        for case in cases
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{h}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><tr>{head}</tr>{body}</table></div>"


def _signed(value: float | None) -> str:
    return charts.NONE if value is None else f"{value:+.2f}"


def _percent(value: float | None, digits: int) -> str:
    return charts.NONE if value is None else f"{100 * value:.{digits}f} %"


def _n(value: float | None, digits: int = 3) -> str:
    return charts.NONE if value is None else f"{value:.{digits}f}"
