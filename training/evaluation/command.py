"""What ``groundshift evaluate`` does and prints."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from groundshift.opening import settings_of
from training import gate
from training.dataset import Sample
from training.evaluation import card, report, stores, templates, tracked
from training.evaluation.pictures import Worst
from training.evaluation.run import Evaluation, Plan, evaluate
from training.evaluation.summary import summary


@dataclass(frozen=True)
class Job:
    """What the command line asked for."""

    models: tuple[str, ...]
    """Model sets, see `stores.opened`."""
    against: str | None
    plan: Plan
    out: Path
    write: bool = False
    """Put the numbers into the records and cards of the sets."""
    tracking_uri: str | None = None
    run_id: str | None = None
    quiet: bool = False
    """Print nothing."""


def run(job: Job) -> list[dict[str, Any]]:
    """Measure every set, judge where there is a champion, write the reports; gives the summaries.

    Raises NotFound, Misconfigured.
    """
    if job.tracking_uri is not None:
        tracked.require()
    console, found = Console(quiet=job.quiet), []
    with ExitStack() as stack:
        champion = None
        if job.against is not None:
            store = stack.enter_context(stores.opened(job.against))
            measured = _measured(store, job.plan, console, f"champion {job.against}", None)
            champion = gate.Contestant(store, measured)
        for number, name in enumerate(job.models, 1):
            store = stack.enter_context(stores.opened(name))
            folder = job.out if len(job.models) == 1 else job.out / f"{number}-{store.name}"
            one = _reported(store, champion, job.plan, folder, console)
            if job.write:
                card.write(store, one)
            if job.tracking_uri is not None:
                tracked.log(folder, one, uri=job.tracking_uri, run_id=job.run_id)
            found.append(one)
    return found


def held_out_labels() -> tuple[Sample, ...]:
    """The held-out verified labels of the platform that the settings name."""
    from training.evaluation import verified  # the ledger

    return verified.held_out(settings_of())


def _reported(
    store: Path, champion: gate.Contestant | None, plan: Plan, out: Path, console: Console
) -> dict[str, Any]:
    worst = Worst()
    done = _measured(store, plan, console, f"measuring {store.name}", worst)
    with console.status("template tests"):
        tested = templates.run(store)
    found = summary(done, tested)
    if champion is None:
        found["verdict"] = None
    else:
        judged = gate.decide(
            gate.Contestant(store, done), champion, tested, plan, gate.Rules(),
            measure=lambda one, more: _measured(one, more, console, "further sites", None),
        )  # fmt: skip
        found["verdict"] = judged.as_dict()
    _show(console, found, report.write(out, found, worst.cases))
    return found


def _measured(
    store: Path, plan: Plan, console: Console, says: str, worst: Worst | None
) -> Evaluation:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task(says, total=plan.total)

        def watch(*seen: Any) -> None:
            progress.advance(task)
            if worst is not None:
                worst(*seen)

        return evaluate(store, plan, watch=watch)


def _show(console: Console, found: Mapping[str, Any], page: Path) -> None:
    table = Table("set", "sites", "F1", "AUROC", "CVA + Otsu", "precision", "recall", "area bias")
    for name, one in found["sets"].items():
        alone, plain = one["pooled"]["classifier"], one["cva_otsu"]
        numbers = (alone["f1"], alone["auroc"], plain and plain["pooled_f1"])
        more = (alone["precision"], alone["recall"], alone["area_bias"])
        table.add_row(name, str(one["sites"]), *map(_n, (*numbers, *more)))
    console.print(table)
    for name, test in found["templates"].items():
        mark = "[green]holds[/]" if test["passed"] else "[red]fails[/]"
        console.print(f"{mark} {name}: {test['measured']:.4g}, at most {test['tolerance']:g}")
    if found["verdict"]:
        colour = "green" if found["verdict"]["accepted"] else "red"
        console.print(f"[{colour}]{found['verdict']['reason']}[/]")
    console.print(f"report: {page}")


def _n(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
