"""``groundshift evaluate``: how good a model set is, and whether it may replace another.

Loaded by the entry point `groundshift.commands`. Nothing here needs torch.
"""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Final

import typer

REFUSED: Final = 1
"""Exit code where the gate refuses."""

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL",
        help="Model sets: folders with the three models, `package`, or what the registry calls "
        "`champion` or `challenger`. None: the package's.",
    ),
]
Against = Annotated[
    str | None,
    typer.Option(help="Model set to hold each against, named like MODEL. Refused: exit code 1."),
]
Out = Annotated[
    Path, typer.Option(help="Folder for report.html and evaluation.json.", file_okay=False)
]
Data = Annotated[
    Path | None,
    typer.Option(help="Folder of real scenes; default: GROUNDSHIFT_DATA or ../shared/data."),
]
SimulatedOnly = Annotated[
    bool, typer.Option("--simulated-only", help="No real scenes, even where they are there.")
]
Labels = Annotated[
    bool, typer.Option("--labels", help="Also the held-out labels of this platform's ledger.")
]
Sites = Annotated[int, typer.Option(help="Held-out simulated sites.", min=1)]
FailureSites = Annotated[int, typer.Option(help="Sites per failure mode.", min=0)]
Write = Annotated[
    bool,
    typer.Option("--write", help="Put the numbers into model.json and card.md of each MODEL."),
]
TrackingUri = Annotated[
    str | None, typer.Option(help="MLflow address to log the report and the numbers to.")
]
RunId = Annotated[
    str | None, typer.Option(help="MLflow run to log into; default: a new one for each MODEL.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]

app = typer.Typer(
    help=(
        "Measure a model set, slice by slice, and hold it against another.\n\n"
        "The package's models: groundshift evaluate\n\n"
        "May these replace them? groundshift evaluate models --against package"
    )
)


# A callback, so that the `groundshift` command can mount it as `evaluate` and not as a group.
@app.callback(invoke_without_command=True, context_settings={"allow_interspersed_args": True})
def evaluate(
    models: Models = None,
    against: Against = None,
    out: Out = Path("evaluation"),
    data: Data = None,
    simulated_only: SimulatedOnly = False,
    labels: Labels = False,
    sites: Sites = 48,
    failure_sites: FailureSites = 10,
    write: Write = False,
    tracking_uri: TrackingUri = None,
    run_id: RunId = None,
    json: Json = False,
) -> None:
    """Measure model sets on held-out simulation, failure modes, template tests and real scenes."""
    from training import realdata
    from training.evaluation import command
    from training.evaluation.run import Plan

    plan = Plan(
        sites=sites,
        failure_sites=failure_sites,
        data=None if simulated_only else data or realdata.data_root(),
        labels=command.held_out_labels() if labels else (),
    )
    job = command.Job(
        models=tuple(models or ["package"]),
        against=against,
        plan=plan,
        out=out,
        write=write,
        tracking_uri=tracking_uri,
        run_id=run_id,
        quiet=json,
    )
    found = command.run(job)
    if json:
        typer.echo(json_module.dumps(found if len(found) > 1 else found[0]))
    if any(one["verdict"] and not one["verdict"]["accepted"] for one in found):
        raise typer.Exit(REFUSED)
