"""`groundshift simulate` and `groundshift backfill`: scenes made, streamed and replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from functions import show

_MOST_DATES: Final = 146
"""Scenes that fit into the simulator's two years, one every five days."""
_MOST_LATE: Final = 0.5
_MOST_ODD: Final = 0.9
"""Of all messages: the rest are scenes."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Dates = Annotated[int, typer.Option(help="How many scenes.", min=1, max=_MOST_DATES)]
Sensor = Annotated[
    Literal["sentinel-2", "landsat"], typer.Option(help="Whose bands, noise and pixels.")
]
Seed = Annotated[int, typer.Option(help="The same seed, the same scenes and the same stream.")]
Stream = Annotated[bool, typer.Option("--stream", help="Announce the scenes below --out to Kafka.")]
HrefPrefix = Annotated[
    str | None,
    typer.Option(help="Where the scenes lie, e.g. s3://bucket/prefix; their paths otherwise."),
]
Rate = Annotated[float, typer.Option(help="Messages per second, on average.", min=0)]
BurstEvery = Annotated[float, typer.Option(help="Seconds from burst to burst; 0: none.", min=0)]
BurstSize = Annotated[int, typer.Option(help="Messages of a burst.", min=0)]
Late = Annotated[
    float, typer.Option(help="Of the scenes: after later ones.", min=0, max=_MOST_LATE)
]
Duplicate = Annotated[
    float, typer.Option(help="Of the messages: sent once more.", min=0, max=_MOST_ODD)
]
Broken = Annotated[
    float, typer.Option(help="Of the messages: can never be taken.", min=0, max=_MOST_ODD)
]
Label = Annotated[
    float, typer.Option(help="Of the messages: label.accepted.", min=0, max=_MOST_ODD)
]
Count = Annotated[int | None, typer.Option(help="End after so many messages.", min=1)]
Duration = Annotated[float | None, typer.Option(help="End after so many seconds.", min=0.1)]


def even(pixels: int) -> int:
    """A site's edge. Raises BadParameter."""
    if pixels % 2:
        raise typer.BadParameter(f"{pixels} is odd: the 20 m bands need an even number of pixels")
    return pixels


def simulate(
    out: Annotated[Path, typer.Option(help="Folder for scenes, Items and truth.")],
    site: Annotated[
        int, typer.Option(help="Edge of the site, pixels.", min=128, callback=even)
    ] = 1024,
    dates: Dates = 4,
    sensor: Sensor = "sentinel-2",
    seed: Seed = 0,
    stream: Stream = False,
    href_prefix: HrefPrefix = None,
    rate: Rate = 5.0,
    burst_every: BurstEvery = 60.0,
    burst_size: BurstSize = 20,
    late_share: Late = 0.1,
    duplicate_share: Duplicate = 0.05,
    broken_share: Broken = 0.02,
    label_share: Label = 0.1,
    count: Count = None,
    duration: Duration = None,
    json: Json = False,
) -> None:
    """Make scenes with STAC Items and exact truth: seasons, clouds, shifts and known changes.

    With --stream they are announced to Kafka (GROUNDSHIFT_KAFKA_SERVERS) as an untidy world does:
    in bursts, late, twice, broken, with labels beside them. Scenes that lie below --out already are
    announced as they are. It ends once each was announced, or as --count or --duration say.
    """
    from functions.commands import simulate as command
    from functions.stream import StreamSpec

    def make() -> command.Simulated:
        return command.simulate(out, size=site, dates=dates, sensor=sensor, seed=seed, quiet=json)

    if not stream:
        show.simulated(make(), as_json=json)
        return
    _some_scenes(duplicate_share + broken_share + label_share)
    _some_time(rate, burst_every * burst_size)
    spec = StreamSpec(
        seed=seed,
        rate=rate,
        burst_every=burst_every,
        burst_size=burst_size,
        late_share=late_share,
        duplicate_share=duplicate_share,
        broken_share=broken_share,
        label_share=label_share,
        count=count,
        duration=duration,
    )
    report = command.stream(out, spec, make=make, href_prefix=href_prefix, quiet=json)
    show.streamed(report, as_json=json)


def _some_scenes(odd: float) -> None:
    if odd > _MOST_ODD:
        raise typer.BadParameter(
            f"together {odd:g}: at most {_MOST_ODD:g}, the rest are scenes",
            param_hint="--duplicate-share, --broken-share, --label-share",
        )


def _some_time(rate: float, bursts: float) -> None:
    if not rate and not bursts:
        raise typer.BadParameter("0 and no bursts: nothing would be sent", param_hint="--rate")


def backfill(
    sources: Annotated[
        list[str],
        typer.Argument(help="STAC Items, folders of them, or s3://bucket/prefix addresses."),
    ],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder of the ledger and the objects.", file_okay=False),
    ] = None,
    allow: Annotated[
        list[Path] | None,
        typer.Option(
            "--allow", help="Folder that their rasters may be read from, too; repeatable."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="Host that they may be read from; repeatable."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Dask scheduler whose workers compute, e.g. tcp://host:8786."),
    ] = None,
    json: Json = False,
) -> None:
    """Replay history: every scene in the order of acquisition, to an end; on a Dask cluster too.

    Call it again after it was stopped or killed: nothing is done twice.
    """
    from functions.commands import backfill as command

    done = command.backfill(
        sources, data_dir=data, roots=allow, hosts=allow_host, scheduler=scheduler, quiet=json
    )
    show.backfilled(done, as_json=json)
