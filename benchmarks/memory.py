"""Peak memory of `groundshift detect` over scenes of several sizes, 6 bands, two dates.

    python benchmarks/memory.py --sizes 4096 10980

The scenes are one simulated site repeated, so that making them costs little. The models are the
test models (no training, the same tensors) unless --shipped: memory of this process does not depend
on them. Prints a JSON document with the peak resident set of the process (VmHWM) per size.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from geodata_etl.bands import BANDS
from geodata_etl.simulate import SiteSpec, simulate_site

_EDGE = 2196
"""The repeated site, pixels; five of them make 10980."""
_CHILD = """
import json, pathlib, sys, time
from functions.commands.detect import Options, detect
begun = time.perf_counter()
found = detect(sys.argv[2:], out=pathlib.Path(sys.argv[1]), quiet=True,
               options=Options(scale=1e-4, offset=0.0, min_area_px=5000))
status = pathlib.Path("/proc/self/status").read_text()
peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
print(json.dumps({"peak_mib": int(peak) // 1024, "wall_s": round(time.perf_counter() - begun, 1),
                  "summary": found.summary}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 10980])
    parser.add_argument("--shipped", action="store_true", help="with the shipped models")
    options = parser.parse_args()
    print(json.dumps(measure(options.sizes, shipped=options.shipped), indent=2))


def measure(sizes: list[int], *, shipped: bool) -> dict[str, dict[str, float]]:
    """Peak MiB and seconds by size."""
    with tempfile.TemporaryDirectory(prefix="groundshift-memory-") as name:
        folder = Path(name)
        environment = dict(os.environ)
        if not shipped:
            from groundshift.serving.testing import write_test_models

            environment["GROUNDSHIFT_MODEL_DIR"] = str(write_test_models(folder / "models"))
        stacks = _stacks()
        return {str(size): _run(size, stacks, folder, environment) for size in sizes}


def _run(
    size: int, stacks: dict[str, np.ndarray], folder: Path, environment: dict[str, str]
) -> dict[str, float]:
    paths = [_write(folder / f"{size}_{day}.tif", stack, size) for day, stack in stacks.items()]
    command = [sys.executable, "-c", _CHILD, str(folder / f"out-{size}"), *map(str, paths)]
    begun = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    for path in paths:
        path.unlink()
    return {
        **json.loads(done.stdout.splitlines()[-1]),
        "process_s": round(time.perf_counter() - begun, 1),
    }


def _stacks() -> dict[str, np.ndarray]:
    site = simulate_site(SiteSpec(seed=3, size_px=_EDGE))
    days = (datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 8, 1, tzinfo=UTC))
    return {
        f"{day:%Y%m%d}": site.scene(day, cloud_fraction=0.1, shift=(0.0, 0.0)).reflectance
        for day in days
    }


def _write(path: Path, stack: np.ndarray, size: int) -> Path:
    """The stack repeated to `size` x `size`, written site by site."""
    profile = {
        "driver": "GTiff",
        "width": size,
        "height": size,
        "count": len(BANDS),
        "dtype": "uint16",
        "crs": "EPSG:32631",
        "transform": rasterio.Affine(10, 0, 448_000, 0, -10, 5_398_400),
        "nodata": 0,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "zstd",
        "zstd_level": 1,
        "predictor": 2,
    }
    with rasterio.open(path, "w", **profile) as target:
        target.descriptions = BANDS
        for top in range(0, size, _EDGE):
            for left in range(0, size, _EDGE):
                rows, cols = min(_EDGE, size - top), min(_EDGE, size - left)
                part = stack[:, :rows, :cols]
                target.write(part, window=Window(left, top, cols, rows))
    return path


if __name__ == "__main__":
    main()
