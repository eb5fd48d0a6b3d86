"""How answers look on a terminal: tables for people, one JSON document for machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Final

import orjson
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from functions.commands.backfill import Backfilled
    from functions.commands.demo import DemoReport
    from functions.commands.detect import Detection
    from functions.commands.doctor import Check
    from functions.commands.models import ModelRow
    from functions.commands.simulate import Simulated
    from functions.commands.submit import Submitted
    from functions.reports import Gap
    from functions.stream import Streamed
    from functions.sweep import Swept
    from groundshift.ledger import DeadLetter
    from groundshift.ports import RegisteredSet

out: Final = Console()
err: Final = Console(stderr=True)

_OUTCOME_STYLE: Final = {
    "done": "green",
    "skipped": "yellow",
    "refused": "red",
    "failed": "red",
    "pending": "cyan",
}


def error(message: str) -> None:
    """An error, on standard error."""
    err.print(f"[red]groundshift:[/] {escape(message)}", highlight=False, soft_wrap=True)


def document(value: object) -> None:
    """One JSON document on standard output."""
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode())  # noqa: T201


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A titled table; numbers go to the right."""
    grid = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    filled = [list(row) for row in rows]
    for index, column in enumerate(columns):
        numeric = bool(filled) and all(isinstance(row[index], int | float) for row in filled)
        grid.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in filled:
        grid.add_row(*(_cell(value) for value in row))
    out.print(grid)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1 else f"{value:,.2f}"
    if value is None:
        return ""
    text = escape(str(value))
    style = _OUTCOME_STYLE.get(text)
    return f"[{style}]{text}[/]" if style else text


def status(report: Mapping[str, Any], *, as_json: bool) -> None:
    """Counts by outcome."""
    if as_json:
        document(report)
        return
    if not report["scenes"]:
        out.print("No scenes yet. Announce some: [bold]groundshift submit SCENE...[/]")
        return
    table("Scenes by outcome", ("outcome", "scenes"), report["scenes"].items())
    if report["reasons"]:
        table("Not compared, by reason", ("reason", "scenes"), report["reasons"].items())
    table("Runs", ("state", "runs"), report["runs"].items())
    table("Alerts", ("state", "alerts"), report["alerts"]["by_state"].items())
    if report["trainings"]:
        table(
            "Trainings", ("training", "state", "labels", "why"), map(_training, report["trainings"])
        )
    waiting = {k: v for k, v in report["deliveries"].items() if k != "done"}
    if waiting:
        table("Events under way", ("state", "deliveries"), waiting.items())


def _training(row: Mapping[str, Any]) -> tuple[object, ...]:
    why = row["message"] or f"{row['cause']}, {row['new']} new"
    return row["id"][:12], row["state"], row["labels"], why


def gaps(found: Sequence[Gap], *, as_json: bool) -> None:
    """Scenes that were not compared."""
    if as_json:
        document([asdict(gap) for gap in found])
    elif not found:
        out.print("[green]No gaps:[/] every scene was compared.")
    else:
        rows = [(g.outcome, g.reason, g.acquired or "", g.subject, g.message) for g in found]
        table("Not compared", ("outcome", "reason", "acquired", "scene", "why"), rows)


def alerts(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Alerts, oldest first."""
    if as_json:
        document(rows)
    elif not rows:
        out.print("No alerts.")
    else:
        table("Alerts", ("id", "state", "change", "ha", "p", "since", "last"), map(_alert, rows))


def _alert(row: Mapping[str, Any]) -> tuple[object, ...]:
    change = f"{row['from_class']} -> {row['to_class']}"
    hectares = row["area_m2"] / 10_000
    days = row["first_seen"][:10], row["last_seen"][:10]
    return row["id"], row["state"], change, hectares, row["probability"], *days


def detection(result: Detection, *, as_json: bool) -> None:
    """What `detect` found."""
    if as_json:
        document(result.as_dict())
        return
    _areas(result.summary)
    if result.by_class:
        table("Changes", ("change", "polygons", "ha"), result.by_class)
    for name, path in result.files.items():
        out.print(f"  [dim]{name:<18}[/] {escape(str(path))}", highlight=False)


def _areas(summary: Mapping[str, Any]) -> None:
    rows = [(name, summary[f"{name.replace(' ', '_')}_km2"]) for name in _AREAS]
    table("Ground", ("state", "km2"), rows)


_AREAS: Final = ("changed", "unchanged", "not observed")


def demo(report: DemoReport, *, as_json: bool) -> None:
    """What the demo showed, ending on the file to open."""
    if as_json:
        document(report.as_dict())
        return
    table("Scenes", ("scene", "outcome", "reason", "shift px", "valid"), report.scenes)
    kinds = _commonest(report.by_class)
    table("Changes and alerts", ("change", "changes", "alerts", "confirmed"), kinds)
    table("Ground of the last run", ("state", "km2"), report.areas)
    table("Against the known truth", ("measure", "value"), report.scores)
    table("Time", ("stage", "seconds", "share"), report.stages)
    out.print(f"{report.mpx_per_s:.2f} Mpx/s through every stage, {report.wall_s:.0f} s in all.")
    out.print(f"Open the map: [bold]{escape(str(report.map_path))}[/]", soft_wrap=True)


def _commonest(rows: Sequence[tuple[str, int, int, int]]) -> list[tuple[str, int, int, int]]:
    """The first rows, and the sum of the others: nobody reads thirty kinds of change."""
    head, rest = rows[:_MOST_KINDS], rows[_MOST_KINDS:]
    if not rest:
        return list(head)
    _, changes, alerts, confirmed = zip(*rest, strict=True)
    return [*head, (f"{len(rest)} other kinds", sum(changes), sum(alerts), sum(confirmed))]


_MOST_KINDS: Final = 10


def dead_letters(letters: Sequence[DeadLetter], *, replayed: bool, as_json: bool) -> None:
    """What was given up, and whether it is tried again."""
    rows = [
        (one.trigger, one.event.word, one.event.subject, one.attempts, one.reason)
        for one in letters
    ]
    columns = ("trigger", "event", "subject", "attempts", "reason")
    if as_json:
        found = [dict(zip(columns, row, strict=True)) for row in rows]
        document({"replayed": replayed, "dead_letters": found})
    elif not rows:
        out.print("No dead letters.")
    else:
        table("Tried again" if replayed else "Dead letters", columns, rows)


def submitted(found: Sequence[Submitted], *, as_json: bool) -> None:
    """What was announced."""
    if as_json:
        document([asdict(one) for one in found])
        return
    table("Announced", ("scene", "arrival"), [(one.href, one.arrival[:12]) for one in found])
    out.print(
        "A running [bold]groundshift up[/] handles them, else [bold]groundshift work[/]; both read "
        "only folders that --allow names.\n"
        "See how they fare: [bold]groundshift status[/], [bold]groundshift gaps[/]"
    )


def swept(found: Sequence[Swept], *, as_json: bool) -> None:
    """What was said again."""
    if as_json:
        document([asdict(one) for one in found])
        return
    rows = [(one.word, one.subject, str(one.attempt)) for one in found]
    table("Said again", ("event", "subject", "attempt"), rows)


def simulated(made: Simulated, *, as_json: bool) -> None:
    """What was simulated."""
    if as_json:
        document(made.as_dict())
        return
    table("Scenes", ("item", "acquired", "cloud"), made.rows)
    out.print(f"{made.changes} known changes; truth in {escape(str(made.truth))}")


def streamed(report: Streamed, *, as_json: bool) -> None:
    """What was sent to Kafka."""
    if as_json:
        document(report.as_dict())
        return
    rows = [(kind, shape, number, size / 1000) for kind, shape, number, size in report.rows]
    table("Messages by kind", ("kind", "shape", "messages", "kB"), rows)
    rate = report.messages / report.seconds if report.seconds else 0.0
    out.print(
        f"{report.messages} messages about {report.scenes} scenes in {report.seconds:.1f} s "
        f"({rate:.1f} a second), {report.behind_s:.2f} s behind at most.",
        highlight=False,
    )


def backfilled(report: Backfilled, *, as_json: bool) -> None:
    """What history came to."""
    if as_json:
        document(report.as_dict())
        return
    where = f"{report.workers} threads of the Dask cluster" if report.workers else "threads here"
    span = f"{report.first:%Y-%m-%d} to {report.last:%Y-%m-%d}" if report.first else "undated"
    status(report.status, as_json=False)
    out.print(
        f"{report.scenes} scenes ({span}), {report.new} of them new, "
        f"in {report.seconds:.1f} s on {where}.",
        highlight=False,
    )


def checks(found: Sequence[Check], *, as_json: bool, title: str = "groundshift doctor") -> None:
    """What the doctor found."""
    if as_json:
        document([asdict(check) for check in found])
        return
    rows = [
        (_verdict(check), check.name, check.found, "" if check.ok else check.cure)
        for check in found
    ]
    table(title, ("", "what", "found", "cure"), rows)


def _verdict(check: Check) -> str:
    if check.ok:
        return "ok"
    return "missing" if check.needed else "optional"


def models(rows: Sequence[ModelRow], *, card: str | None, as_json: bool) -> None:
    """The models, or the card of one."""
    if card is not None:
        chosen = next(row.card for row in rows if row.name == card)
        out.print(Markdown(chosen))
    elif as_json:
        document([asdict(row) for row in rows])
    else:
        cells = [(r.name, r.digest[:19], r.size_kib, r.influence_px, _short(r)) for r in rows]
        table("Models", ("name", "digest", "KiB", "influence px", "trained on"), cells)
        out.print("All that is known of one: [bold]groundshift models --card NAME[/]")


def registered(sets: Sequence[RegisteredSet], *, card: str | None, as_json: bool) -> None:
    """The model sets of the registry, or the card of one, by version or alias."""
    if card is not None:
        chosen = [one.card for one in sets if card in (one.version, *one.aliases)]
        out.print(
            Markdown("\n".join(chosen)) if chosen else f"No set {escape(card)} is registered."
        )
    elif as_json:
        document(
            [{**vars(one), "models": dict(one.models), "tags": dict(one.tags)} for one in sets]
        )
    elif not sets:
        out.print("No model set is registered yet: [bold]groundshift retrain[/] makes the first.")
    else:
        rows = [
            (s.version, ", ".join(s.aliases), s.digest[:19], *(_brief(s, fact) for fact in _FACTS))
            for s in sets
        ]
        table("Registered model sets", ("version", "is", "digest", *_FACTS), rows)


_FACTS: Final = ("licence", "commit", "data_hash", "gate")
_BRIEF: Final = 19
"""Characters of a hash that people compare."""


def _brief(known: RegisteredSet, fact: str) -> str:
    said = known.tags.get(fact, "")
    return said[:_BRIEF] if fact in ("commit", "data_hash") else said


def _short(row: ModelRow) -> str:
    return shorten(row.summary, 60, placeholder=" ...")
