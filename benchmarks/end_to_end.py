"""groundshift against the loop that a user would write: rasterio + numpy + onnxruntime.

    python benchmarks/end_to_end.py --size 2048 --pairs 3

Both compare the same two GeoTIFFs with the shipped models on all cores, in interleaved runs; the
plain loop gets the dates aligned and on one grid for free. Prints ratios of paired runs (medians)
and what the models take of the time: the wall time of their calls alone, on all cores, over the
wall time of the whole (`models_alone_over_groundshift`), the seconds that the server's threads were
in ONNX Runtime over those that the cores had (`share_of_model_time`), and the server's CPU seconds
over those of both processes (`share_of_server_cpu`). `decoding.py` counts what is read of the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import rasterio
from rasterio.features import shapes
from rasterio.windows import Window

from functions.commands.detect import Options, detect
from functions.commands.submit import scene_arrived
from functions.local import embedded
from geodata_etl.bands import BANDS
from geodata_etl.simulate import SiteSpec, simulate_site
from groundshift.models import DATATYPES, TensorSpec, list_models
from groundshift.serving.session import Session
from groundshift.settings import Settings

TILE, CORE, HALO = 512, 448, 32
MODELS = ("cloud-mask", "segmenter", "change-classifier")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2240)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    _one_blas_thread()
    with tempfile.TemporaryDirectory(prefix="groundshift-bench-") as name:
        folder = Path(name)
        paths = make_scenes(folder, options.size)
        print(json.dumps(compare(folder, paths, options.size, options.pairs), indent=2))


def compare(folder: Path, paths: list[Path], size: int, pairs: int) -> dict[str, Any]:
    """Interleaved runs of both ways, and what groundshift's own counters say."""
    plain, ours, cold, alone = [], [], [], []
    for index in range(pairs):
        plain.append(timed(lambda: plain_loop(paths, folder / "plain.tif")))
        cold.append(timed(partial(command, paths, folder / f"out-{index}")))
        ours.append(platform_run(paths, folder / f"data-{index}"))
        alone.append(timed(partial(models_alone, ours[-1]["calls"])))
    walls = [run["wall_s"] for run in ours]
    mpx = size * size / 1e6
    return {
        "size_px": size,
        "cores": os.cpu_count(),
        "plain_s": plain,
        "groundshift_s": walls,
        "groundshift_command_s": cold,
        "models_alone_s": alone,
        "plain_over_groundshift": statistics.median(
            p / o for p, o in zip(plain, walls, strict=True)
        ),
        "plain_over_command": statistics.median(p / o for p, o in zip(plain, cold, strict=True)),
        "mpx_per_s_per_pair": mpx / statistics.median(walls),
        "models_alone_over_groundshift": statistics.median(
            a / o for a, o in zip(alone, walls, strict=True)
        ),
        "share_of_model_time": statistics.median(run["model_share"] for run in ours),
        "share_of_server_cpu": statistics.median(run["server_cpu_share"] for run in ours),
        "last": ours[-1],
    }


def command(paths: list[Path], out: Path) -> None:
    """`groundshift detect`: the server's start and every product included."""
    detect([str(path) for path in paths], out=out, options=SAID, quiet=True)


SAID = Options(scale=1e-4, offset=0.0)


def platform_run(paths: list[Path], data: Path) -> dict[str, Any]:
    """Both scenes through every stage of an embedded platform that is up already."""
    settings = Settings(
        data_dir=data,
        allowed_roots=(paths[0].parent,),
        backoff_scale=0.1,
    )
    with embedded(settings) as platform:
        platform.announce([scene_arrived(str(path), SAID.of_scene) for path in paths])
        assert platform.server is not None
        own, server = time.process_time(), _cpu_s(platform.server.pid)
        wall = timed(platform.work)
        own, server = time.process_time() - own, _cpu_s(platform.server.pid) - server
        threads = os.cpu_count() or 1
        busy = _server_seconds(platform.server.url)
        stages = ("ingest", "plan", "detect", "assemble", "track")
        return {
            "wall_s": wall,
            "model_share": busy / (wall * threads),
            "model_thread_s": busy,
            "own_cpu_s": own,
            "server_cpu_s": server,
            "server_cpu_share": server / (own + server),
            "stage_s": {name: round(platform.metrics.spent_s(name), 2) for name in stages},
            "calls": platform.models.calls,
        }


def models_alone(calls: dict[str, int]) -> None:
    """The same inferences with nothing around them, one per core at a time."""
    loaded = [model for model in list_models(Settings().models) if calls.get(model.name)]
    work = []
    for model in loaded:
        session, given = Session(model), {spec.name: _tile(spec) for spec in model.inputs}
        work += [partial(session.run, given)] * calls[model.name]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(one) for one in work]:
            done.result()


def _tile(spec: TensorSpec) -> np.ndarray:
    channels = spec.shape[1]
    noise = np.random.default_rng(1).integers(0, 255, (1, channels, TILE, TILE))
    return noise.astype(DATATYPES[spec.datatype])


def plain_loop(paths: list[Path], out: Path) -> None:
    """The loop: windows with a halo, three sessions, one mask, polygons."""
    sessions = {name: _session(name) for name in MODELS}
    with rasterio.open(paths[0]) as before, rasterio.open(paths[1]) as after:
        change = np.full(before.shape, 255, np.uint8)
        for top in range(0, before.height, CORE):
            for left in range(0, before.width, CORE):
                window = Window(left - HALO, top - HALO, TILE, TILE)
                a, b = (
                    d.read(window=window, boundless=True, fill_value=0)[None]
                    for d in (before, after)
                )
                core = _plain_tile(sessions, a, b)
                part = change[top : top + CORE, left : left + CORE]
                part[:] = core[: part.shape[0], : part.shape[1]]
        profile = {**before.profile, "count": 1, "dtype": "uint8", "nodata": 255}
    with rasterio.open(out, "w", **profile) as target:
        target.write(change, 1)
    mask = ((change >= 127) & (change != 255)).astype(np.uint8)
    json.dumps([g for g, _ in shapes(mask, mask=mask == 1, transform=profile["transform"])])


def _plain_tile(sessions: dict[str, Any], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    clouds = [sessions["cloud-mask"].run(None, {"image": x[:, :4]})[0][0] for x in (a, b)]
    probs = [sessions["segmenter"].run(None, {"image": x})[0] for x in (a, b)]
    given = {
        "before": a,
        "after": b,
        "before_probabilities": probs[0],
        "after_probabilities": probs[1],
    }
    change = sessions["change-classifier"].run(None, given)[0][0]
    seen = (clouds[0] == 0) & (clouds[1] == 0)
    inner = slice(HALO, HALO + CORE)
    core: np.ndarray = np.where(seen, change, 255)[inner, inner]
    return core


def _session(name: str) -> Any:
    return onnxruntime.InferenceSession(
        Settings().models / name / "model.onnx", providers=["CPUExecutionProvider"]
    )


def make_scenes(folder: Path, size: int) -> list[Path]:
    """Two dates of a simulated site, aligned, as zstd GeoTIFFs of 512 px blocks."""
    site = simulate_site(SiteSpec(seed=5, size_px=size))
    days = (datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 8, 5, tzinfo=UTC))
    with ThreadPoolExecutor(2) as pool:
        made = pool.map(lambda d: site.scene(d, cloud_fraction=0.1, shift=(0.0, 0.0)), days)
        return [_write(folder, scene, site) for scene in made]


def _write(folder: Path, scene: Any, site: Any) -> Path:
    path = folder / f"site_{scene.acquired:%Y%m%d}.tif"
    grid = site.grid
    profile = {
        "driver": "GTiff",
        "height": grid.shape[0],
        "width": grid.shape[1],
        "count": len(BANDS),
        "dtype": "uint16",
        "crs": grid.crs,
        "transform": grid.transform,
        "nodata": 0,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "zstd",
        "predictor": 2,
        "zstd_level": 1,
    }
    with rasterio.open(path, "w", **profile) as target:
        target.write(scene.reflectance)
        target.descriptions = BANDS
    return path


def timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _one_blas_thread() -> None:
    """As the command does; numpy reads it when it is imported, so begin again."""
    if "OPENBLAS_NUM_THREADS" not in os.environ:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.argv])


def _cpu_s(pid: int | None) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _server_seconds(url: str) -> float:
    """Seconds that the server's threads spent inside ONNX Runtime."""
    import httpx

    text = httpx.get(f"{url}/metrics").text
    rows = [r for r in text.splitlines() if r.startswith("groundshift_inference_seconds_sum")]
    return sum(float(row.rsplit(" ", 1)[1]) for row in rows)


if __name__ == "__main__":
    main()
