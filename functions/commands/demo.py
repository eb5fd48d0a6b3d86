"""A simulated site through the whole platform, to a map and a score."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from functions import reports
from functions.commands.common import BATCH_BACKOFF
from functions.commands.submit import scene_arrived
from functions.demo_map import write_demo_map
from functions.local import Embedded, embedded
from functions.progress import bars, watching
from functions.score import Score, first_in_queue, score_run
from functions.stages import STAGES
from geodata_etl.simulate import (
    SimulatedScene,
    Site,
    SiteSpec,
    default_dates,
    simulate_site,
    write_scene,
    write_truth,
)
from groundshift import keys
from groundshift.ledger import runs, scenes
from groundshift.ledger.runs import Run
from groundshift.ledger.scenes import Scene
from groundshift.opening import settings_of

PLATFORM: Final = "platform"
"""Folder of the demo's ledger and objects."""


@dataclass(frozen=True)
class DemoReport:
    """What the demo showed; each list is a table."""

    scenes: list[tuple[str, str, str, str, float]]
    """(scene, outcome, reason, shift, share of valid pixels)."""
    by_class: list[tuple[str, int, int, int]]
    """(from -> to, changes of all runs, alerts, confirmed alerts)."""
    areas: list[tuple[str, float]]
    """km2 of the last run's ground."""
    scores: list[tuple[str, float]]
    stages: list[tuple[str, float, str]]
    """(stage, seconds over all its workers, share of the sum)."""
    mpx_per_s: float
    """Pixels of all scenes over the seconds from the first event to the last."""
    wall_s: float
    """The whole demo, simulation included."""
    map_path: Path

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def demo(out: Path, *, size: int, dates: int, seed: int, quiet: bool = False) -> DemoReport:
    """Simulate, push every scene through the platform, score it and draw the map under `out`."""
    begun = time.perf_counter()
    shutil.rmtree(out / PLATFORM, ignore_errors=True)
    settings = settings_of(
        out / PLATFORM, allowed_roots=(out.resolve(),), backoff_scale=BATCH_BACKOFF
    )
    with embedded(settings) as platform:
        site, items = _simulate(out, size=size, dates=dates, seed=seed, quiet=quiet)
        platform.announce([scene_arrived(str(item.resolve()), {}) for item in items])
        started = time.perf_counter()
        with watching(platform.platform, quiet=quiet) as watch:
            platform.work(watch=watch)
        worked_s = time.perf_counter() - started
        return _report(platform, site, out, worked_s=worked_s, begun=begun)


def _simulate(
    out: Path, *, size: int, dates: int, seed: int, quiet: bool
) -> tuple[Site, list[Path]]:
    site = simulate_site(SiteSpec(seed=seed, size_px=size))
    made: list[SimulatedScene] = []
    items: list[Path] = []
    with bars(quiet=quiet) as progress:
        for day in progress.track(default_dates(dates, seed=seed), description="simulate"):
            # the first scene is the site's reference, so it lies on the truth's grid
            scene = site.scene(day, shift=None if made else (0.0, 0.0))
            items.append(write_scene(scene, site, out / "scenes"))
            made.append(scene)
    write_truth(site, made, out / "truth")
    return site, items


def _report(
    platform: Embedded, site: Site, out: Path, *, worked_s: float, begun: float
) -> DemoReport:
    p = platform.platform
    with p.ledger.read() as connection:
        known = scenes.all_of(connection, p.settings.tenant)
        done = [r for r in runs.all_of(connection, p.settings.tenant) if _counts(r)]
        changes = [row for run in done for row in runs.changes_of(connection, run.run_id)]
    done.sort(key=lambda run: scenes.find(known, run.scene_id).order)
    alerts = reports.alert_list(p.ledger, p.settings.tenant)
    score = _score(platform, site, known, done)
    pixels = sum(s.extent.height * s.extent.width for s in known)
    found = Counter(f"{row.from_class} -> {row.to_class}" for row in changes)
    first = first_in_queue(site, alerts, since=min(scene.acquired for scene in known))
    areas, scores = _areas(done), _score_rows(score, first)
    summary = [(name, f"{value:g}") for name, value in (*areas, *scores)]
    map_path = write_demo_map(out, p, known, done, alerts, summary)
    return DemoReport(
        scenes=_scene_rows(platform, known),
        by_class=_class_rows(found, alerts),
        areas=areas,
        scores=scores,
        stages=_stage_rows(platform),
        mpx_per_s=pixels / 1e6 / worked_s,
        wall_s=time.perf_counter() - begun,
        map_path=map_path,
    )


def _counts(run: Run) -> bool:
    return run.current and run.kind == "change"


def _scene_rows(
    platform: Embedded, known: Sequence[Scene]
) -> list[tuple[str, str, str, str, float]]:
    rows = [
        (
            f"{scene.stac_id} {scene.acquired:%Y-%m-%d}",
            scene.outcome,
            scene.reason or "",
            f"{scene.shift_state} {scene.shift_yx[0]:+.2f} {scene.shift_yx[1]:+.2f}",
            round(scene.valid_fraction, 3),
        )
        for scene in known
    ]
    tenant = platform.platform.settings.tenant
    unread = [g for g in reports.gaps(platform.platform.ledger, tenant) if g.acquired is None]
    return rows + [(gap.subject, gap.outcome, gap.reason, "", 0.0) for gap in unread]


def _class_rows(
    found: Mapping[str, int], alerts: Sequence[Mapping[str, Any]]
) -> list[tuple[str, int, int, int]]:
    by_class = Counter(f"{a['from_class']} -> {a['to_class']}" for a in alerts)
    confirmed = Counter(
        f"{a['from_class']} -> {a['to_class']}" for a in alerts if a["state"] == "confirmed"
    )
    names = sorted(found, key=lambda name: (-found[name], name))
    return [(name, found[name], by_class[name], confirmed[name]) for name in names]


def _areas(done: Sequence[Run]) -> list[tuple[str, float]]:
    if not done:
        return []
    summary = done[-1].summary
    names = ("changed", "unchanged", "not observed")
    return [(name, round(summary[f"{name.replace(' ', '_')}_km2"], 2)) for name in names]


def _score(platform: Embedded, site: Site, known: Sequence[Scene], done: Sequence[Run]) -> Score:
    def date_of(scene_id: str) -> datetime:
        return scenes.find(known, scene_id).acquired

    p = platform.platform
    return sum(
        (
            score_run(
                site,
                p.store.url(keys.product(run.run_id, "change.tif")),
                threshold_level=p.parameters.threshold_level,
                baseline=[date_of(name) for name in run.baseline],
                after=date_of(run.scene_id),
            )
            for run in done
        ),
        Score(),
    )


def _score_rows(score: Score, first: tuple[int, int]) -> list[tuple[str, float]]:
    true, shown = first
    return [
        ("precision of pixels", round(score.precision, 3)),
        ("recall of pixels", round(score.recall, 3)),
        ("F1 of pixels", round(score.f1, 3)),
        (f"known changes found, of {score.known}", round(score.recall_of_changes, 3)),
        (f"true alerts, of the first {shown} in the queue", round(true / max(1, shown), 3)),
    ]


def _stage_rows(platform: Embedded) -> list[tuple[str, float, str]]:
    """Seconds by stage that had work, summed over its workers, and what the models took."""
    spent = {name: s for name in STAGES if (s := platform.metrics.spent_s(name))}
    total = sum(spent.values()) or 1.0
    rows = [(name, round(s, 1), f"{s / total:.0%}") for name, s in spent.items()]
    models = sum(platform.models.seconds.values())
    return [*rows, ("models (waiting included)", round(models, 1), "")]
