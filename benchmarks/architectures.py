"""Which network: this project's small U-Net beside plain ones and the library's usual encoders.

    python benchmarks/architectures.py --minutes 8

Each is trained as the shipped segmenter is (same samples, same recipe, one thread, no pretrained
weights: there are none for six bands) for the same minutes, then measured on held-out simulated
sites. What a network costs to run, how far it looks and how large its file is count as much as its
accuracy: a tile carries 32 px of ground around it, and a file may have 8 MiB. Writes
``docs/models/architectures.md``; resumable, decides nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    steps: int
    file: Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--work", type=Path, default=Path("architectures-work"))
    parser.add_argument("--docs", type=Path, default=DOCS)
    told = parser.parse_args()
    data = realdata.data_root()
    if data is None:
        raise Misconfigured("no unlabelled pairs: set GROUNDSHIFT_DATA to the development data")
    recipe = loop.Recipe(steps=10**6, minutes=told.minutes, threads=1)
    job = pipeline.Job(MODEL, told.work, told.work / "store", recipe)
    found = pipeline.gather(job, data)
    trained = [_trained(job, found, name, build()) for name, build in NETS.items()]
    report = _report(trained, told.rounds, told.minutes)
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
    state = loop.Course(MODEL, net, draw, job.recipe, keeper, loop.alone()).run()
    net.to("cpu").eval()
    with contextlib.suppress(Misconfigured, ValueError):  # a file over the limit is told of below
        export.export_onnx(MODEL, net, folder / "model.onnx")
    return Trained(name, net, state.done, folder / "model.onnx")


def _report(trained: list[Trained], rounds: int, minutes: float) -> dict[str, Any]:
    models = {one.name: OnnxModel(one.file) for one in trained}
    spent = _seconds(models, rounds)
    first = next(iter(spent.values()))
    rows = {}
    for one in trained:
        found = measure.cover_metrics(models[one.name])["simulated_iou"]
        ious = [value for key, value in found.items() if key != "accuracy"]
        rows[one.name] = {
            "mib": one.file.stat().st_size / 2**20,
            "reach": _reach(models[one.name]),
            "steps": one.steps,
            "iou": statistics.mean(ious),
            "accuracy": found["accuracy"],
            "ratio": statistics.median(t / f for t, f in zip(spent[one.name], first, strict=True)),
            "ms": 1e3 * statistics.median(spent[one.name]),
        }
    return {"minutes": minutes, "rounds": rounds, "nets": rows}


def _seconds(models: dict[str, OnnxModel], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of a tile, the networks in turn."""
    image = corpus.simulate(corpus.HELD_OUT_SEED, size=_TILE_PX).before[None]
    spent: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds + 1):
        for name, model in models.items():
            begun = time.process_time()
            model({"image": image})
            spent[name].append(time.process_time() - begun)
    return {name: seconds[1:] for name, seconds in spent.items()}


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
        f" {report['minutes']:g} minutes of training for each on one core, the same samples, no"
        " pretrained weights, one seed; then class overlap (mean IoU) and accuracy on held-out"
        f" simulated sites. CPU milliseconds of a tile of {_TILE_PX} px are medians of"
        f" {report['rounds']} paired runs of ONNX Runtime with one thread.\n\n"
        "| network | MiB | it looks | steps | IoU | accuracy | ms a tile | to ours |\n"
        "|---|---|---|---|---|---|---|---|\n" + rows + _READ
    )


def _row(name: str, net: dict[str, Any]) -> str:
    cells = (
        f"{net['mib']:.2f}",
        net["reach"],
        f"{net['steps']:,}",
        f"{net['iou']:.3f}",
        f"{net['accuracy']:.3f}",
        f"{net['ms']:.0f}",
        f"{net['ratio']:.1f}",
    )
    return f"| {name} | {' | '.join(cells)} |\n"


_READ = """
A tile carries 32 px of ground around it: a network that looks further answers differently at the
same place in another tile. How far it looks is measured on the trained network, to one level in
254. A file may have 8 MiB.
"""


if __name__ == "__main__":
    main()
