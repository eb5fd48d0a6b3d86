"""Which network: this project's small U-Net beside plain ones and the library's usual encoders.

    python benchmarks/architectures.py --steps 1000

Each is trained as the shipped segmenter is (same samples, same recipe, one thread, no pretrained
weights: there are none for six bands) for the same steps, then measured on held-out simulated
sites. What a network costs, how far it looks and how large its file is count as much as its
accuracy: a tile carries 32 px of ground around it, and a file may have 8 MiB. Costs are CPU seconds
of paired runs, so that other work on the machine falls on all alike. Writes
``docs/models/architectures.md``; resumable, decides nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional

from groundshift.errors import Misconfigured
from groundshift.influence import NotContained
from training import collect, corpus, export, loop, measure, nets, pipeline, realdata
from training.evaluate import OnnxModel

DOCS = Path(__file__).parents[1] / "docs" / "models"
MODEL = "segmenter"
_INPUTS, _CLASSES = 10, 6
_TILE_PX = 512


class FullSize(nn.Module):  # type: ignore[misc]  # torch has no types here
    """A network that answers at full size, behind the interface of one that answers at half."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return functional.pixel_unshuffle(self.net(x), 2)


def _double(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class PlainUNet(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Ronneberger et al. 2015, padded, with batch norm: two convolutions a level."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.down = nn.ModuleList(map(_double, (_INPUTS, *widths[:-1]), widths))
        self.up = nn.ModuleList(
            _double(deep + skip, skip) for skip, deep in itertools.pairwise(widths)
        )
        self.head = nn.Conv2d(widths[0], _CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
            kept.append(x)
        x = kept.pop()
        for block in reversed(self.up):
            skip = kept.pop()
            x = block(torch.cat([skip, functional.interpolate(x, scale_factor=2)], dim=1))
        return self.head(x)


def _smp(encoder: str, depth: int, decoder: tuple[int, ...]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        return FullSize(
            smp.Unet(
                encoder,
                encoder_depth=depth,
                encoder_weights=None,
                decoder_channels=decoder,
                in_channels=_INPUTS,
                classes=_CLASSES,
            )
        )

    return build


NETS: dict[str, Callable[[], nn.Module | None]] = {
    "smp.Unet, this project's encoder (ships)": lambda: None,
    "plain U-Net 16-32-64": lambda: FullSize(PlainUNet((16, 32, 64))),
    "plain U-Net 16-32-64-128": lambda: FullSize(PlainUNet((16, 32, 64, 128))),
    "smp.Unet, resnet18, depth 3": _smp("resnet18", 3, (64, 32, 16)),
    "smp.Unet, mobilenet_v2, depth 3": _smp("mobilenet_v2", 3, (48, 32, 16)),
}
"""None: as it ships. The library's encoders at the depth whose reach is nearest to 32 px."""


@dataclass(frozen=True)
class Trained:
    """One network after its minutes."""

    name: str
    net: nn.Module
    file: Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--work", type=Path, default=Path("architectures-work"))
    parser.add_argument("--docs", type=Path, default=DOCS)
    told = parser.parse_args()
    data = realdata.data_root()
    if data is None:
        raise Misconfigured("no unlabelled pairs: set GROUNDSHIFT_DATA to the development data")
    recipe = loop.Recipe(steps=told.steps, minutes=24 * 60, threads=1)
    job = pipeline.Job(MODEL, told.work, told.work / "store", recipe)
    found = pipeline.gather(job, data)
    trained = [_trained(job, found, name, build()) for name, build in NETS.items()]
    lessons = _seconds(_learners(trained, found, recipe.batch), told.rounds)
    report = _report(trained, lessons, told.rounds, told.steps)
    print(json.dumps(report, indent=2))
    told.docs.mkdir(parents=True, exist_ok=True)
    (told.docs / "architectures.md").write_text(page(report), encoding="utf-8")


def _trained(
    job: pipeline.Job, found: collect.Collected, name: str, inner: nn.Module | None
) -> Trained:
    torch.manual_seed(job.recipe.seed)
    net = nets.Segmenter()
    if inner is not None:
        net.net = inner
    folder = job.work / name.replace(" ", "-").replace("/", "-").replace("'", "")
    draw = loop.drawer(MODEL, found.source, None)
    keeper = loop.FileKeeper(folder / "state.pt")
    loop.Course(MODEL, net, draw, job.recipe, keeper, loop.alone()).run()
    net.to("cpu").eval()
    with contextlib.suppress(Misconfigured, ValueError):  # a file over the limit is told of below
        export.export_onnx(MODEL, net, folder / "model.onnx")
    return Trained(name, net, folder / "model.onnx")


def _report(
    trained: list[Trained], lessons: dict[str, list[float]], rounds: int, steps: int
) -> dict[str, Any]:
    models = {one.name: OnnxModel(one.file) for one in trained}
    image = corpus.simulate(corpus.HELD_OUT_SEED, size=_TILE_PX).before[None]
    tiles = _seconds({n: partial(m, {"image": image}) for n, m in models.items()}, rounds)
    rows = {}
    for one in trained:
        found = measure.cover_metrics(models[one.name])["simulated_iou"]
        rows[one.name] = {
            "mib": one.file.stat().st_size / 2**20,
            "reach": _reach(models[one.name]),
            "iou": statistics.mean(value for key, value in found.items() if key != "accuracy"),
            "accuracy": found["accuracy"],
            "tile": _cost(tiles, one.name),
            "step": _cost(lessons, one.name),
        }
    return {"steps": steps, "rounds": rounds, "nets": rows}


def _learners(
    trained: list[Trained], found: collect.Collected, batch: int
) -> dict[str, Callable[[], object]]:
    """A training step of each network on the same samples."""
    drawn = found.source.batch(MODEL, np.random.default_rng(0), batch)
    samples = loop.tensors(drawn)

    def learn(net: nn.Module) -> None:
        torch.autograd.backward(loop.Learner(net)(samples))

    return {one.name: partial(learn, copy.deepcopy(one.net).train()) for one in trained}


def _seconds(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each, in turns."""
    spent: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds + 1):
        for name, does in work.items():
            begun = time.process_time()
            does()
            spent[name].append(time.process_time() - begun)
    return {name: seconds[1:] for name, seconds in spent.items()}


def _cost(spent: dict[str, list[float]], name: str) -> dict[str, float]:
    first = next(iter(spent.values()))
    ratios = (t / f for t, f in zip(spent[name], first, strict=True))
    return {"ms": 1e3 * statistics.median(spent[name]), "ratio": statistics.median(ratios)}


def _reach(model: OnnxModel) -> str:
    try:
        return f"{measure.influence_of(MODEL, model, None).px} px"
    except NotContained:
        return "over 32 px"


def page(report: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    rows = "".join(_row(name, net) for name, net in report["nets"].items())
    return (
        "# Which network\n\nWritten by `python benchmarks/architectures.py`: the segmenter's task,"
        f" {report['steps']} steps of training for each, the same samples, no pretrained weights,"
        " one seed; then class overlap (mean IoU) and accuracy on held-out simulated sites. CPU"
        f" milliseconds of a tile of {_TILE_PX} px (ONNX Runtime) and of a step of training (12"
        f" samples of 128 px) with one thread, medians of {report['rounds']} paired runs.\n\n"
        "| network | MiB | it looks | IoU | accuracy | ms/tile | to ours | ms/step | to ours |\n"
        "|---|---|---|---|---|---|---|---|---|\n" + rows + _READ
    )


def _row(name: str, net: dict[str, Any]) -> str:
    cells = (
        f"{net['mib']:.2f}",
        net["reach"],
        f"{net['iou']:.3f}",
        f"{net['accuracy']:.3f}",
        *(f"{net[w]['ms']:.0f} | {net[w]['ratio']:.1f}" for w in ("tile", "step")),
    )
    return f"| {name} | {' | '.join(cells)} |\n"


_READ = """
A tile carries 32 px of ground around it: a network that looks further answers differently at the
same place in another tile. How far it looks is measured on the trained network, to one level in
254. A file may have 8 MiB.
"""


if __name__ == "__main__":
    main()
