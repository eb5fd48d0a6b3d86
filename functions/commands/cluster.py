"""`groundshift cluster ...` and `groundshift publish-models`: the platform on Kubernetes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from functions import show

if TYPE_CHECKING:
    from functions.cluster.state import State
    from functions.commands.publish_models import Published

PLATFORM_ERROR: Final = 4

app = typer.Typer(
    name="cluster",
    help="The platform on Kubernetes: apply it, see what stands and what does not, and why.",
    no_args_is_help=True,
)

Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace of the platform.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


@app.command()
def apply(
    source: Annotated[
        str, typer.Argument(help="Folder with a kustomization.yaml, a YAML file, or - .")
    ],
    namespace: Namespace = "groundshift",
    wait: Annotated[
        float, typer.Option(help="Seconds to wait until all of it is ready; 0: do not.", min=0)
    ] = 300,
    json: Json = False,
) -> None:
    """Bring manifests onto the cluster and wait until everything is ready.

    Example: groundshift cluster apply knative/overlays/staging
    """
    from functions.cluster import apply as work
    from groundshift.kube import connect

    client = connect()
    done = work.apply(client, work.render(source))
    if wait:
        work.wait_ready(client, namespace, timeout_s=wait)
    if json:
        show.document([asdict(one) for one in done])
    else:
        show.table(
            "Applied", ("kind", "namespace", "name"), [tuple(asdict(o).values()) for o in done]
        )


@app.command()
def status(namespace: Namespace = "groundshift", json: Json = False) -> None:
    """Show functions, Triggers, models with their revisions and traffic, and what is not ready."""
    from functions.cluster.state import read_state
    from groundshift.kube import connect

    state = read_state(connect(), namespace)
    if json:
        show.document(asdict(state))
    else:
        _show_state(state)
    if state.troubles or state.releases.why:
        raise typer.Exit(PLATFORM_ERROR)


@app.command()
def logs(
    part: Annotated[str, typer.Argument(help="A function, a model or a program, e.g. detect.")],
    namespace: Namespace = "groundshift",
    lines: Annotated[int, typer.Option(help="Last lines of each pod.", min=1)] = 50,
) -> None:
    """Print what the pods of one part say."""
    from functions.cluster.logs import read_logs
    from groundshift.kube import connect

    for line in read_logs(connect(), namespace, part, lines=lines):
        typer.echo(line)


@app.command()
def doctor(namespace: Namespace = "groundshift", json: Json = False) -> None:
    """Check the cluster and the platform on it; every finding that is not well has a cure."""
    from functions.cluster.doctor import examine

    checks = examine(namespace)
    show.checks(checks, as_json=json, title="groundshift cluster doctor")
    if not all(check.ok for check in checks if check.needed):
        raise typer.Exit(PLATFORM_ERROR)


def publish_models(
    to: Annotated[
        str, typer.Option("--to", help="s3://BUCKET[/PREFIX] (or a folder) to publish to.")
    ],
    model_dir: Annotated[Path | None, typer.Option(help="Another model store.")] = None,
    registered: Annotated[
        str | None,
        typer.Option(help="A set of the registry, by version or alias, e.g. challenger."),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Name of the release; by default of the models' digests.")
    ] = None,
    json: Json = False,
) -> None:
    """Put a model set into the bucket that KServe loads models from.

    Example: groundshift publish-models --to s3://models --registered challenger
    """
    from functions.commands import publish_models as command

    if registered is None:
        rows = command.publish_models(model_dir, to=to, version=version)
    elif model_dir is None:
        rows = command.publish_registered(registered, to=to, version=version)
    else:
        raise typer.BadParameter(
            "name either --registered or --model-dir", param_hint="--registered"
        )
    _show_published(rows, as_json=json)


def _show_state(state: State) -> None:
    rows = [(p.what, p.name, "ready" if p.ready else "NOT READY", p.shows) for p in state.parts]
    show.table(f"Namespace {state.namespace}", ("what", "name", "state", "shows"), rows)
    revisions = [
        (r.model, r.revision, r.release, r.percent, r.pods, "ready" if r.ready else r.why)
        for r in state.revisions
    ]
    columns = ("model", "revision", "release", "traffic %", "pods", "state")
    show.table("Models by revision", columns, revisions)
    found = state.releases
    if found.why:
        show.out.print(f"Model set: [red]none is whole[/]: {found.why}")
    else:
        canary = f"; canary {found.canary} for {found.percent} % of the runs" * bool(found.canary)
        show.out.print(f"Model set: runs are planned with {found.stable}{canary}", highlight=False)
    if state.troubles:
        show.table(
            "Not ready", ("what", "name", "why"), [(p.what, p.name, p.why) for p in state.troubles]
        )


def _show_published(rows: list[Published], *, as_json: bool) -> None:
    if as_json:
        show.document([asdict(row) for row in rows])
        return
    cells = [(r.name, r.digest[:19], r.storage_uri, "new" if r.new else "was there") for r in rows]
    show.table("Published", ("model", "digest", "storageUri", ""), cells)
