"""What 10,000 km2 cost at a public cloud's prices, from CPU seconds measured here.

    python benchmarks/cost.py --page docs/models/cost.md

Runs `groundshift detect` in processes of its own on a small and on a large simulated pair, for each
device, and takes the CPU seconds (user and system, the model server's included) that a tile more
costs. CPU seconds and not the clock's: other work on the machine then counts for little.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geodata_etl.grid import CORE_PX
from geodata_etl.simulate import ChangeCounts, SiteSpec, simulate_site, write_scene

AREA_KM2 = 10_000
TILE_KM2 = (CORE_PX * 10 / 1000) ** 2
PIXEL_BYTES = 2 * 6
DEVICES = ("server", "edge")
USD_PER_VCPU_S = 0.000011244
"""AWS Fargate, Linux on x86, US East (N. Virginia): the worked example of
https://aws.amazon.com/ecs/pricing/, as of 2026-09-20."""
USD_PER_GB_H = 0.004445
"""Same service and place: https://www.vantage.sh/blog/fargate-pricing; the same in
https://www.factualminds.com/blog/amazon-fargate-ecs-task-pricing-2026/ (2026-06-17)."""
GB_PER_VCPU = 2
"""The least memory that Fargate gives to one vCPU."""

PAGE = """# What 10,000 km2 cost

Written by `python benchmarks/cost.py --page docs/models/cost.md`; measured {day} on
{cpu}.

| device | models | CPU s, 1 tile | CPU s, {tiles} tiles | CPU s per tile | vCPU hours | USD |
|---|---|---|---|---|---|---|
{rows}

## What is counted

- One comparison: two dates in, products out. Reading, aligning, cloud mask and segmenter on both
  dates, the classifier, rasters, polygons, the report: CPU seconds (user and system) of every
  process of `groundshift detect`, the model server's included. Medians of {repeats} runs.
- Per tile: the difference between {tiles} tiles and 1, divided by {more}. Starting Python and the
  server is in the first tile, not in these.
- 10 m pixels, tiles of {core} px without their halo: {tile_km2:.2f} km2 each, {count:.0f} for
  10,000 km2. A partial tile costs a whole one.
- vCPU hours and USD are those of 10,000 km2. Both scenes are new: a baseline that the platform has
  seen before is in its cache, and asks neither cloud mask nor segmenter again.

## Prices

- AWS Fargate, Linux on x86, US East (N. Virginia): {vcpu_s} USD per vCPU second, from the worked
  example of [Amazon ECS pricing](https://aws.amazon.com/ecs/pricing/) as of 2026-09-20 (read in a
  transcription of that page, not live);
  {gb_h} USD per GB hour of memory, from
  [Vantage](https://www.vantage.sh/blog/fargate-pricing) and, the same on 2026-06-17,
  [FactualMinds](https://www.factualminds.com/blog/amazon-fargate-ecs-task-pricing-2026/).
- {gb} GB of memory with each vCPU, the least that Fargate gives.

## What is not

- Storage, requests and traffic; the ledger's database; pods that wait. A platform that is always on
  costs what its nodes cost, however little it computes.
- A vCPU of that cloud is taken to be as fast as a core here. It is a hardware thread of a CPU that
  the provider does not name; that was not measured.
- GPUs: none was at hand, so there is no number.
"""


@dataclass(frozen=True)
class Cost:
    """Of one device."""

    first_s: float
    many_s: float
    tile_s: float

    @property
    def vcpu_h(self) -> float:
        """vCPU hours of 10,000 km2."""
        return self.tile_s * AREA_KM2 / TILE_KM2 / 3600

    @property
    def usd(self) -> float:
        """Of 10,000 km2."""
        return self.vcpu_h * (USD_PER_VCPU_S * 3600 + GB_PER_VCPU * USD_PER_GB_H)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge-tiles", type=int, default=4, help="tiles along the large site")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--page", type=Path, help="write the documentation's page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="groundshift-cost-") as name:
        folder = Path(name)
        small, large = (pair(folder / str(n), n) for n in (1, options.edge_tiles))
        costs = measured(small, large, options.edge_tiles**2, options.repeats, folder)
    found = {d: {**vars(c), "vcpu_h": c.vcpu_h, "usd": c.usd} for d, c in costs.items()}
    print(json.dumps(found, indent=2))
    if options.page:
        tiles = options.edge_tiles**2
        options.page.write_text(page(costs, tiles, options.repeats), encoding="utf-8")


def pair(folder: Path, tiles: int) -> list[Path]:
    """Two dates of a site of `tiles` x `tiles` whole tiles, partly cloudy."""
    folder.mkdir()
    spec = SiteSpec(
        seed=11,
        size_px=CORE_PX * tiles,
        top=-1205 * CORE_PX,
        left=100 * CORE_PX,
        changes=ChangeCounts(building=4 * tiles, felling=tiles, mine=1),
    )
    site = simulate_site(spec)
    days = (datetime(2023, 6, 5, 10, 30, tzinfo=UTC), datetime(2024, 6, 8, 10, 30, tzinfo=UTC))
    return [
        write_scene(
            site.scene(day, cloud_fraction=0.1 * n, shift=(0.2 * n, -0.1 * n)), site, folder
        )
        for n, day in enumerate(days)
    ]


def measured(
    small: list[Path], large: list[Path], tiles: int, repeats: int, folder: Path
) -> dict[str, Cost]:
    """By device; devices and sizes take turns."""
    spent: dict[tuple[str, str], list[float]] = {}
    for _ in range(repeats):
        for device in DEVICES:
            for size, scenes in (("small", small), ("large", large)):
                seconds = detect(scenes, folder / "out", device)
                spent.setdefault((device, size), []).append(seconds)
    costs = {}
    for device in DEVICES:
        one, many = (statistics.median(spent[device, size]) for size in ("small", "large"))
        costs[device] = Cost(one, many, (many - one) / (tiles - 1))
    return costs


def detect(scenes: list[Path], out: Path, device: str) -> float:
    """CPU seconds of one comparison."""
    command = [sys.executable, "-m", "functions.cli", "detect", *map(str, scenes)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [*command, "--out", str(out), "--device", device, "--json"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def page(costs: dict[str, Cost], tiles: int, repeats: int) -> str:
    """The documentation's page."""
    models = {"server": "fp32, model server", "edge": "int8, `--device edge`"}
    rows = "\n".join(
        f"| {device} | {models[device]} | {c.first_s:.1f} | {c.many_s:.1f} | {c.tile_s:.2f} "
        f"| {c.vcpu_h:.3f} | {c.usd:.4f} |"
        for device, c in costs.items()
    )
    facts: dict[str, Any] = {
        "day": datetime.now(UTC).date().isoformat(),
        "cpu": cpu(),
        "rows": rows,
        "tiles": tiles,
        "more": tiles - 1,
        "repeats": repeats,
        "core": CORE_PX,
        "tile_km2": TILE_KM2,
        "count": AREA_KM2 / TILE_KM2,
        "vcpu_s": f"{USD_PER_VCPU_S:.9f}",
        "gb_h": USD_PER_GB_H,
        "gb": GB_PER_VCPU,
    }
    return PAGE.format(**facts)


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))


if __name__ == "__main__":
    main()
