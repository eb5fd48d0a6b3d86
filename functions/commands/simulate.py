"""Make scenes with STAC Items and exact truth; announce them as a stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from functions.commands.common import stopping_on_signals
from functions.history import history
from functions.progress import bars, steps
from functions.stream import Streamed, StreamMessage, StreamSpec, messages, play
from geodata_etl.bands import Cloud
from geodata_etl.simulate import (
    SimulatedScene,
    Site,
    SiteSpec,
    default_dates,
    simulate_site,
    write_scene,
    write_truth,
)
from groundshift.adapters.kafka import KafkaSink
from groundshift.opening import settings_of

SCENES: Final = "scenes"
"""Folder of the Items below --out."""


@dataclass(frozen=True)
class Simulated:
    """What was made."""

    items: tuple[Path, ...]
    """STAC Items, in order of acquisition."""
    rows: tuple[tuple[str, str, float], ...]
    """(item, date, share of pixels under cloud or shadow)."""
    changes: int
    truth: Path
    """Folder of the truth rasters and truth.geojson."""

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        names = ("item", "acquired", "cloud")
        return {
            "scenes": [dict(zip(names, row, strict=True)) for row in self.rows],
            "changes": self.changes,
            "truth": str(self.truth),
        }


def simulate(
    out: Path, *, size: int, dates: int, sensor: str, seed: int, quiet: bool = False
) -> Simulated:
    """Simulate a site and write its scenes and truth under `out`."""
    site = simulate_site(SiteSpec(seed=seed, size_px=size, sensor=sensor))
    return write_site(site, dates=dates, out=out, progress=steps(quiet=quiet))


def write_site(site: Site, *, dates: int, out: Path, progress: Callable[..., Any]) -> Simulated:
    """Write `dates` scenes of a site, with its truth."""
    out.mkdir(parents=True, exist_ok=True)
    days = default_dates(dates)
    scenes: list[SimulatedScene] = []
    items: list[Path] = []
    for day in progress(days, "simulate"):
        scene = site.scene(day)
        items.append(write_scene(scene, site, out / SCENES))
        scenes.append(scene)
    write_truth(site, scenes, out / "truth")
    return Simulated(
        items=tuple(items),
        rows=tuple(
            (str(i), f"{s.acquired:%Y-%m-%d}", _cloud(s))
            for i, s in zip(items, scenes, strict=True)
        ),
        changes=len(site.changes),
        truth=out / "truth",
    )


def _cloud(scene: SimulatedScene) -> float:
    return float((scene.cloud != Cloud.CLEAR).mean())


def stream(
    out: Path,
    spec: StreamSpec,
    *,
    make: Callable[[], object],
    href_prefix: str | None,
    quiet: bool = False,
) -> Streamed:
    """Announce the scenes below `out` to Kafka; `make` simulates them where there are none yet.

    `href_prefix` is the address of the folder that they were copied to; without it they are named
    by their paths. SIGTERM and Ctrl-C end it early. Raises Misconfigured, Unavailable.
    """
    settings, stop = settings_of(), threading.Event()
    with ExitStack() as stack:
        topics = (settings.kafka_topic, settings.kafka_label_topic)
        scenes, labels = (
            stack.enter_context(KafkaSink(settings.kafka_servers, topic)) for topic in topics
        )
        if not any((out / SCENES).glob("*.json")):
            make()
        found = [one.href for one in history([str(out / SCENES)], settings)]
        stack.enter_context(stopping_on_signals(stop.set))

        def send(message: StreamMessage) -> None:
            sink = labels if message.is_label else scenes
            sink.send(message.value, key=message.key or None, headers=message.headers)

        sequence = messages([_address(href, href_prefix) for href in found], spec)
        return play(_shown(sequence, spec.count, quiet=quiet), send, wait=stop.wait)


def _address(path: str, prefix: str | None) -> str:
    return path if prefix is None else f"{prefix.rstrip('/')}/{Path(path).name}"


def _shown(
    sequence: Iterable[StreamMessage], total: int | None, *, quiet: bool
) -> Iterator[StreamMessage]:
    """The same messages behind a progress bar."""
    with bars(quiet=quiet) as progress:
        yield from progress.track(sequence, total=total, description="stream")
