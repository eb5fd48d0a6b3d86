"""How the training scales: seconds of an epoch by workers and by how they share the network.

    python benchmarks/scaling.py --model change-classifier

An epoch here is a pass over the same drawn samples in steps of one batch, whatever the number of
workers. Each way of training is measured in processes of its own; the ways take turns, and a ratio
is the median of the rounds' ratios to one worker with one thread, so that other load on the machine
falls on all of them alike. The CPU seconds of all workers together say what sharing costs even on a
machine that is busy otherwise: were nothing lost they would be those of one worker. Every worker
has one thread unless the row says otherwise. Writes
``docs/models/scaling.png`` and ``docs/models/scaling.md``; decides nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch import multiprocessing as mp
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from training import corpus, loop, nets, samples

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for the spawned workers, as in a training
_QUIET = 0.5
"""Load for each core up to which the machine counts as idle."""
DOCS = Path(__file__).parents[1] / "docs" / "models"


@dataclass(frozen=True)
class Way:
    """One way to train."""

    name: str
    workers: int
    threads: int
    strategy: str


WAYS = (
    Way("1 worker", 1, 1, "none"),
    Way("1 worker, 2 threads", 1, 2, "none"),
    Way("2 workers, DDP", 2, 1, "ddp"),
    Way("2 workers, FSDP", 2, 1, "fsdp"),
)
GPU = Way("1 GPU, bf16", 1, 2, "cuda")


@dataclass(frozen=True)
class Work:
    """What is trained."""

    model: str
    count: int
    """Samples of an epoch."""
    batch: int
    """Samples of a step, of all workers together."""
    size: int
    """Pixels of an edge."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch took."""

    wall: float
    cpu: float
    """Of all workers."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="change-classifier")
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--docs", type=Path, default=DOCS)
    told, load = parser.parse_args(), os.getloadavg()[0]
    work = Work(told.model, told.samples, told.batch, told.size)
    ways = [*WAYS, *([GPU] if torch.cuda.is_available() else [])]
    seconds: dict[str, list[Epoch]] = {way.name: [] for way in ways}
    refused: dict[str, str] = {}
    for _ in range(told.rounds):
        for way in ways:
            if way.name in refused:
                continue
            found, error = measure(way, work)
            if found is None:
                refused[way.name] = error
            else:
                seconds[way.name].append(found)
    report = summary(work, told.rounds, seconds, refused, load)
    print(json.dumps(report, indent=2))
    told.docs.mkdir(parents=True, exist_ok=True)
    (told.docs / "scaling.md").write_text(page(report), encoding="utf-8")
    draw(report, told.docs / "scaling.png")


def measure(way: Way, work: Work) -> tuple[Epoch | None, str]:
    """(an epoch, what went wrong)."""
    with TemporaryDirectory() as folder:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        try:
            mp.spawn(_worker, (way, work, port, folder), nprocs=way.workers)
        except Exception as error:  # noqa: BLE001  # the page says which way does not work here
            return None, str(error).strip().splitlines()[-1]
        told = [json.loads(path.read_text()) for path in Path(folder).iterdir()]
        return Epoch(max(wall for wall, _ in told), sum(cpu for _, cpu in told)), ""


def _worker(rank: int, way: Way, work: Work, port: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(way.threads)
    device = "cuda" if way.strategy == "cuda" else "cpu"
    if way.workers > 1:
        distributed.init_process_group("gloo", rank=rank, world_size=way.workers)
    torch.manual_seed(0)
    learner = _WRAPS[way.strategy](loop.Learner(nets.build(work.model)).to(device))
    optimiser = torch.optim.AdamW(learner.parameters(), lr=1e-3)
    batches = [loop.tensors(b, device) for b in _batches(work, rank, way.workers)]
    _epoch(learner, optimiser, batches[:1], device)  # the first step allocates
    if way.workers > 1:
        distributed.barrier()
    began, used = time.perf_counter(), time.process_time()
    _epoch(learner, optimiser, batches, device)
    told = time.perf_counter() - began, time.process_time() - used
    (Path(folder) / str(rank)).write_text(json.dumps(told))
    if way.workers > 1:
        distributed.destroy_process_group()


def _epoch(learner: nn.Module, optimiser: Any, batches: list[loop.Batch], device: str) -> None:
    for batch in batches:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = learner(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    float(loss.detach())  # a GPU has done what it was told only when it is asked


def _shard(learner: nn.Module) -> nn.Module:
    fully_shard(learner, mesh=distributed.init_device_mesh("cpu", (distributed.get_world_size(),)))
    return learner


_WRAPS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "none": lambda learner: learner,
    "cuda": lambda learner: learner,
    "ddp": DistributedDataParallel,
    "fsdp": _shard,
}


def _batches(work: Work, rank: int, workers: int) -> list[samples.Arrays]:
    """This worker's share of each batch: drawn before the clock starts."""
    pairs = [corpus.simulate(seed, size=work.size + 32) for seed in range(2)]
    source = samples.Source([], pairs, size=work.size, real_share=0.0)
    segmenter = nets.build("segmenter").eval()
    draw = loop.drawer(work.model, source, segmenter)
    share = work.batch // workers
    steps = work.count // work.batch
    rng = np.random.default_rng(rank)
    few = draw(rng, share)  # the same numbers cost the same time again
    stacked = {key: np.stack([one[key] for one in few]) for key in few[0]}
    return [stacked] * steps


def summary(
    work: Work, rounds: int, epochs: dict[str, list[Epoch]], refused: dict[str, str], load: float
) -> dict[str, Any]:
    """Medians, ratios to one worker, and what the machine is; `load`: before anything was run."""
    base = epochs[WAYS[0].name]
    return {
        "model": work.model,
        "samples": work.count,
        "batch": work.batch,
        "rounds": rounds,
        "cpus": os.cpu_count(),
        "torch": torch.__version__,
        "load": round(load, 1),
        "ways": {name: _way(found, base) for name, found in epochs.items() if found},
        "refused": refused,
    }


def _way(found: list[Epoch], base: list[Epoch]) -> dict[str, Any]:
    pairs = list(zip(found, base, strict=True))
    walls = [epoch.wall for epoch in found]
    return {
        "seconds": round(statistics.median(walls), 2),
        "range": [round(min(walls), 2), round(max(walls), 2)],
        "over_one_worker": round(statistics.median(f.wall / b.wall for f, b in pairs), 2),
        "cpu_seconds": round(statistics.median(epoch.cpu for epoch in found), 2),
        "cpu_over_one_worker": round(statistics.median(f.cpu / b.cpu for f, b in pairs), 2),
    }


def page(report: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    rows = "".join(
        f"| {name} | {said['seconds']:.2f} ({said['range'][0]:.2f} to {said['range'][1]:.2f}) |"
        f" {said['over_one_worker']:.2f} | {said['cpu_seconds']:.2f} |"
        f" {said['cpu_over_one_worker']:.2f} |\n"
        for name, said in report["ways"].items()
    )
    refused = "".join(f"\n{name} did not run: {why}\n" for name, why in report["refused"].items())
    busy = (
        " Other programs used the cores too: the CPU seconds say more than the clock's."
        if report["load"] > _QUIET * report["cpus"]
        else ""
    )
    return (
        f"# How the training scales\n\nMade by `benchmarks/scaling.py`: {report['model']},"
        f" {report['samples']} samples of an epoch, {report['batch']} a step, {report['rounds']}"
        f" rounds, medians and ranges. {report['cpus']} CPU cores, load {report['load']} before it"
        f" began.{busy} The CPU seconds are those of all workers together: what sharing costs.\n\n"
        "| way | seconds of an epoch | over one worker | CPU seconds | over one worker |\n"
        "|---|---|---|---|---|\n" + rows + refused
    )


def draw(report: dict[str, Any], path: Path) -> None:
    """A bar per way."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(report["ways"])
    ways = [report["ways"][name] for name in names]
    figure, (wall, cpu) = pyplot.subplots(
        1, 2, figsize=(9, 0.55 * len(names) + 1.3), sharey=True, layout="constrained"
    )
    ranges = np.array([way["range"] for way in ways])
    for axes, key, ratio, title in (
        (wall, "seconds", "over_one_worker", "seconds of an epoch (bars: range)"),
        (cpu, "cpu_seconds", "cpu_over_one_worker", "CPU seconds of all workers"),
    ):
        middles = np.array([way[key] for way in ways])
        ends = ranges[:, 1] if axes is wall else middles
        spread = np.abs(ranges.T - middles) if axes is wall else None
        axes.barh(names, middles, xerr=spread, color="#2f6f9f", ecolor="#333333", capsize=3)
        for place, way in enumerate(ways):
            axes.annotate(f"x {way[ratio]:.2f}", (ends[place], place), (6, 0),
                          textcoords="offset points", va="center")  # fmt: skip
        axes.set_xlim(0, float(ends.max()) * 1.2)
        axes.set_xlabel(title)
        axes.spines[["top", "right"]].set_visible(False)
    wall.invert_yaxis()
    figure.suptitle(
        f"{report['model']}, {report['samples']} samples, {report['cpus']} shared CPU cores"
        " (x: over one worker)"
    )
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
