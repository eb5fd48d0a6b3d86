"""Make scenes with STAC Items and exact truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from functions.progress import steps
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
        items.append(write_scene(scene, site, out / "scenes"))
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
