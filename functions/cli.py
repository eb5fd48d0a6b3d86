"""The `groundshift` command. Each command parses its options and calls; work lives elsewhere.

Exit codes: 0 done, 2 bad usage (typer's own), 3 input refused, 4 platform error.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from functions import show
from functions.commands import cluster, labels, online, pods
from geodata_etl.bands import Cover
from groundshift.errors import GroundshiftError, SceneRefused

DONE: Final = 0
INPUT_REFUSED: Final = 3
PLATFORM_ERROR: Final = 4
_DATES: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
_MOST_DATES: Final = 146
"""Scenes that fit into the simulator's two years, one every five days."""

app = typer.Typer(
    name="groundshift",
    help=(
        "Event-triggered change detection for satellite imagery.\n\n"
        "Two scenes in, changes out: groundshift detect BEFORE AFTER --out DIR\n\n"
        "A platform that watches: groundshift up, then groundshift submit SCENE..."
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of the ledger and the objects.", file_okay=False),
]
Allow = Annotated[
    list[Path] | None,
    typer.Option("--allow", help="Folder that scenes may be read from; repeatable."),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option("--allow-host", help="Host that scenes may be read from; repeatable."),
]
Port = Annotated[
    int, typer.Option(help="Port of events, metrics and models; 0: any free.", min=0, max=65535)
]


class _State(StrEnum):
    """States of an alert; `groundshift.alerts` has them too, but takes long to import."""

    FIRST = "first"
    PROVISIONAL = "provisional"
    CONFIRMED = "confirmed"
    WITHDRAWN = "withdrawn"


class _Models(StrEnum):
    """Where models are listed from."""

    PACKAGE = "package"
    REGISTRY = "registry"


class _Device(StrEnum):
    """Where the models run."""

    SERVER = "server"
    EDGE = "edge"


def _cover(label: str | None) -> str | None:
    """A class that a change can lead to. Raises BadParameter."""
    labels = [cover.label for cover in Cover]
    if label is not None and label not in labels:
        raise typer.BadParameter(f"{label!r} is no class: there are {', '.join(labels)}")
    return label


@app.command()
def detect(
    scenes: Annotated[
        list[str],
        typer.Argument(
            metavar="BEFORE... AFTER",
            help="STAC Item JSONs (paths or http addresses), GeoTIFFs, or folders of one date's "
            "GeoTIFFs. The last one is compared with all before it.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the products.", file_okay=False)],
    bands: Annotated[
        str | None,
        typer.Option(help="Common names of the bands in file order, e.g. blue,green,red,nir,..."),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Reflectance = value x scale + offset.")
    ] = None,
    offset: Annotated[float | None, typer.Option(help="See --scale.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Change probability that counts.", min=0.01, max=1.0)
    ] = None,
    min_area_px: Annotated[
        int | None, typer.Option(help="Smallest change, pixels of 100 m2.", min=1)
    ] = None,
    device: Annotated[
        _Device,
        typer.Option(help="edge: 8-bit models in this process, no model server."),
    ] = _Device.SERVER,
    data: DataDir = None,
    json: Json = False,
) -> None:
    """Compare scenes and leave rasters, polygons and a report in a folder.

    Example: groundshift detect 20160315.json 20170829.json --out changes
    """
    from functions.commands import detect as command

    if len(scenes) < 2:
        raise typer.BadParameter("name at least two scenes: BEFORE... AFTER")
    names = tuple(bands.split(",")) if bands else None
    result = command.detect(
        scenes,
        out=out,
        options=command.Options(
            bands=names, scale=scale, offset=offset, threshold=threshold, min_area_px=min_area_px
        ),
        data_dir=data,
        edge=device is _Device.EDGE,
        quiet=json,
    )
    show.detection(result, as_json=json)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for scenes, products and the map.")] = Path(
        "demo"
    ),
    size: Annotated[
        int, typer.Option(help="Edge of the site, pixels.", min=512, callback=online.even)
    ] = 2240,
    dates: Annotated[int, typer.Option(help="How many scenes.", min=2, max=_MOST_DATES)] = 6,
    seed: Annotated[int, typer.Option(help="Another seed, another site.")] = 7,
    open_: Annotated[
        bool, typer.Option("--open", help="Go on as `up` and open the dashboard on it.")
    ] = False,
    json: Json = False,
) -> None:
    """Simulate a site, push every scene through the platform, end on a map and the score.

    Needs no network and no data. The truth is known, so the table ends with precision and recall.
    """
    from functions.commands import demo as command

    report = command.demo(out, size=size, dates=dates, seed=seed, quiet=json)
    show.demo(report, as_json=json)
    if open_:
        from functions.commands import up as running

        running.up(
            data_dir=out / command.PLATFORM,
            host="127.0.0.1",
            port=0,
            roots=[out],
            hosts=None,
            dashboard=True,
            open_browser=True,
        )


@app.command()
def up(
    data: DataDir = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = 8080,
    allow: Allow = None,
    allow_host: AllowHost = None,
    dashboard: Annotated[
        bool | None,
        typer.Option("--dashboard/--no-dashboard", help="The map too; default: on a terminal."),
    ] = None,
) -> None:
    """Run the platform until it is stopped: POST /events, /v2 (models), /metrics, /readyz.

    It goes on where it was, however it ended. Announce a scene with `groundshift submit`.
    """
    from functions.commands import up as command

    shown = sys.stdout.isatty() if dashboard is None else dashboard
    command.up(data_dir=data, host=host, port=port, roots=allow, hosts=allow_host, dashboard=shown)


@app.command("dashboard")
def show_dashboard(
    api: Annotated[
        str, typer.Option(help="Address of the platform whose alerts to show.")
    ] = "http://127.0.0.1:8080",
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond loopback only with a login.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port of the pages; 0: any free.", min=0, max=65535)
    ] = 8501,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    listen_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Show the alerts of a running platform on a map: review, label, watch. Until it is stopped."""
    from functions.commands import dashboard as command

    command.dashboard(api=api, host=host, port=port, open_browser=open_, listen_fd=listen_fd)


@app.command()
def work(
    data: DataDir = None,
    allow: Allow = None,
    allow_host: AllowHost = None,
    json: Json = False,
) -> None:
    """Handle what was announced, then stop: `groundshift up` for cron jobs and batches."""
    from functions import reports
    from functions.commands import work as command

    with command.work(data_dir=data, roots=allow, hosts=allow_host, quiet=json) as platform:
        show.status(reports.status(platform.ledger, platform.settings.tenant), as_json=json)


@app.command()
def submit(
    scenes: Annotated[list[str], typer.Argument(help="STAC Items, GeoTIFFs or folders.")],
    data: DataDir = None,
    url: Annotated[
        str | None, typer.Option(help="POST to this platform instead, e.g. http://host:8080.")
    ] = None,
    bands: Annotated[str | None, typer.Option(help="Common names in file order.")] = None,
    scale: Annotated[
        float | None, typer.Option(help="Reflectance = value x scale + offset.")
    ] = None,
    offset: Annotated[float | None, typer.Option(help="See --scale.")] = None,
    date: Annotated[
        datetime | None,
        typer.Option(help="When a scene that does not say so was acquired, UTC.", formats=_DATES),
    ] = None,
    json: Json = False,
) -> None:
    """Announce scenes, in this order, to a platform that runs (`up`) or will (`work`)."""
    from functions.commands import submit as command

    names = tuple(bands.split(",")) if bands else None
    if date and len(scenes) > 1:
        raise typer.BadParameter("it goes with one scene at a time", param_hint="--date")
    acquired = date.replace(tzinfo=UTC) if date else None
    options = {"bands": names, "scale": scale, "offset": offset, "acquired": acquired}
    show.submitted(command.submit(scenes, data_dir=data, url=url, options=options), as_json=json)


@app.command()
def status(data: DataDir = None, json: Json = False) -> None:
    """Count scenes by outcome, runs, alerts, and what is still to do."""
    from functions import reports

    with _ledger(data) as (ledger, tenant):
        show.status(reports.status(ledger, tenant), as_json=json)


@app.command()
def gaps(data: DataDir = None, json: Json = False) -> None:
    """List every scene that was not compared, and why."""
    from functions import reports

    with _ledger(data) as (ledger, tenant):
        show.gaps(reports.gaps(ledger, tenant), as_json=json)


@app.command()
def alerts(
    data: DataDir = None,
    state: Annotated[
        list[_State] | None,
        typer.Option(help="Only alerts in this state; repeatable. All but withdrawn otherwise."),
    ] = None,
    to_class: Annotated[
        str | None, typer.Option(help="Only changes to this class.", callback=_cover)
    ] = None,
    json: Json = False,
) -> None:
    """List alerts: what changed, from what to what, how sure, since when."""
    from functions import reports

    with _ledger(data) as (ledger, tenant):
        rows = reports.alert_list(ledger, tenant, states=tuple(state or ()), to_class=to_class)
        show.alerts(rows, as_json=json)


app.command()(online.simulate)
app.command()(online.backfill)


@app.command()
def doctor(data: DataDir = None, json: Json = False) -> None:
    """Check what is installed and reachable; say what is missing and the cure."""
    from functions.commands import doctor as command

    checks = command.doctor(data_dir=data)
    show.checks(checks, as_json=json)
    if not all(check.ok for check in checks if check.needed):
        raise typer.Exit(PLATFORM_ERROR)


@app.command()
def models(
    source: Annotated[
        _Models, typer.Option("--from", help="The models in service, or the sets of the registry.")
    ] = _Models.PACKAGE,
    card: Annotated[str | None, typer.Option(help="Print the card of this model.")] = None,
    model_dir: Annotated[Path | None, typer.Option(help="Another model store.")] = None,
    data: DataDir = None,
    json: Json = False,
) -> None:
    """List the models: names, digests, what they take and give; or what the registry holds."""
    from functions.commands import models as command

    if source is _Models.REGISTRY:
        show.registered(command.registered(data), card=card, as_json=json)
        return
    rows = command.models(model_dir)
    names = [row.name for row in rows]
    if card is not None and card not in names:
        raise typer.BadParameter(
            f"no model {card!r}: there are {', '.join(names)}", param_hint="--card"
        )
    show.models(rows, card=card, as_json=json)


@app.command(
    "serve-models",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def serve_models(context: typer.Context) -> None:
    """Serve models over KServe v2 (REST): groundshift serve-models --model-dir DIR --port 8080."""
    from groundshift.serving.main import main as serve

    serve(context.args)


@app.command()
def replay(
    event: Annotated[str | None, typer.Option(help="Only the event of this id.")] = None,
    trigger: Annotated[str | None, typer.Option(help="Only what this Trigger gave up.")] = None,
    only_list: Annotated[bool, typer.Option("--list", help="Show, and change nothing.")] = False,
    data: DataDir = None,
    json: Json = False,
) -> None:
    """Try dead letters again: events that were given up, each with its reason."""
    from functions.commands import replay as command

    letters = command.replay(data_dir=data, event_id=event, trigger=trigger, only_list=only_list)
    show.dead_letters(letters, replayed=not only_list, as_json=json)


for program in (pods.serve, pods.relay, pods.consume, pods.sweep, pods.api):
    app.command()(program)
app.add_typer(cluster.app)
app.add_typer(labels.app)
app.command("publish-models")(cluster.publish_models)


def _ledger(data: Path | None):  # type: ignore[no-untyped-def]
    from functions.commands.common import open_ledger

    return open_ledger(data)


def _load_plugins() -> None:
    """Commands of packages that this one must not import, e.g. `train`."""
    for plugin in entry_points(group="groundshift.commands"):
        app.add_typer(plugin.load(), name=plugin.name)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; exits with one of the codes above."""
    # our arrays are small and our threads many: BLAS threads on top cost five times the seconds
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # every command ends through its contexts; as process 1 of a container Python has no handler
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    _load_plugins()
    try:
        app(args=arguments)
    except SceneRefused as refused:
        show.error(f"refused ({refused.reason}): {refused}")
        sys.exit(INPUT_REFUSED)
    except GroundshiftError as error:
        show.error(str(error))
        sys.exit(PLATFORM_ERROR)
    except OSError as error:  # a full disk, a folder that may not be written
        show.error(f"{error}: make room, or name another folder (--out, --data)")
        sys.exit(PLATFORM_ERROR)
    sys.exit(DONE)


if __name__ == "__main__":
    main()
