"""What labels would add: fine-tuning the classifier on OSCD's labels, one city left out at a time.

``python -m training.finetune --accept-licence`` trains once per city on the seven others and
measures on the one left out; with ``--out`` it then trains on all and writes a model set. OSCD's
labels are CC BY-NC-SA: such weights are for local, non-commercial use and are never committed.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from groundshift.errors import Misconfigured
from training import (
    calibrate,
    export,
    lessons,
    loop,
    measure,
    nets,
    nuisance,
    realdata,
    samples,
    warm,
)
from training.evaluate import OnnxModel, Scores, auroc, score
from training.realdata import Pair
from training.spectra import as_reflectance, as_stack

log = logging.getLogger(__name__)
LICENCE: Final = "CC-BY-NC-SA-4.0 (OSCD change labels)"
_WINDOWS: Final = 8
"""Crops drawn for one that is taken: the more changed pixels, the likelier."""
_LEVELS: Final = 400
"""Thresholds that are tried on the training cities."""


@dataclass(frozen=True)
class Labelled(samples.Source):
    """Crops of labelled cities among the samples that need no label."""

    cities: tuple[Pair, ...] = ()
    labelled_share: float = 0.6

    def draw(self, name: str, rng: np.random.Generator) -> samples.Arrays:
        """One sample of the classifier."""
        if rng.random() > self.labelled_share:
            return super().draw(name, rng)
        city = self.cities[int(rng.integers(len(self.cities)))]
        return samples.turn(rng, self._crop(rng, city))

    def _crop(self, rng: np.random.Generator, city: Pair) -> samples.Arrays:
        assert city.label is not None
        windows = [samples.window(rng, city.label.shape, self.size) for _ in range(_WINDOWS)]
        counts = np.array([city.label[w].sum() + 5.0 for w in windows])
        at = windows[int(rng.choice(_WINDOWS, p=counts / counts.sum()))]
        before, after = (as_reflectance(s[:, *at]) for s in (city.before, city.after))
        if rng.random() < 0.5:
            before, after = nuisance.disturb(rng, before, after)
        if rng.random() < 0.5:
            before, after = after, before
        seen = city.valid[at]
        return {
            "before": as_stack(before, seen),
            "after": as_stack(after, seen),
            "target": city.label[at].astype(np.float32),
            "weight": seen.astype(np.float32),
        }


@dataclass(frozen=True)
class Start:
    """Where fine-tuning begins: the networks of a model store."""

    segmenter: nets.Segmenter
    store: Path
    samples: tuple[tuple[torch.Tensor, ...], ...]
    """Inputs of the classifier, to set the norms' statistics by."""

    def classifier(self) -> nets.ChangeClassifier:
        """A fresh copy of the store's classifier."""
        net = nets.ChangeClassifier()
        warm.from_onnx(net, self.store / "change-classifier" / "model.onnx", self.samples)
        return net


def start_from(store: Path, pairs: list[Pair]) -> Start:
    """The store's networks, their norms set by corners of `pairs`."""
    corners = [
        tuple(torch.from_numpy(s[None, :, :192, :192].copy()) for s in dates)
        for dates in ((p.before, p.after) for p in pairs)
    ]
    segmenter = nets.Segmenter()
    singles = [(date,) for corner in corners for date in corner]
    warm.from_onnx(segmenter, store / "segmenter" / "model.onnx", singles)
    with torch.no_grad():
        inputs = tuple((*corner, *(segmenter(d) for d in corner)) for corner in corners)
    return Start(segmenter, store, inputs)


def train_on(
    cities: list[Pair], start: Start, free: samples.Source, recipe: loop.Recipe, checkpoint: Path
) -> nets.ChangeClassifier:
    """The classifier, fine-tuned on `cities`, its threshold where their pooled F1 is best.

    The mean of the weights before and after: a few cities alone teach a network themselves.
    """
    torch.manual_seed(recipe.seed)
    net = start.classifier()
    source = Labelled(**vars(free), cities=tuple(cities))
    segmenter = start.segmenter
    loop.train("change-classifier", net, source, recipe, checkpoint=checkpoint, segmenter=segmenter)
    net = lessons.mean_of([start.classifier(), net])
    assert isinstance(net, nets.ChangeClassifier)
    net.bias.zero_()
    truth = np.concatenate([_truth(c) for c in cities])
    logits = np.concatenate([calibrate.logits_of(net, segmenter, c) for c in cities])
    net.bias.fill_(-_best_threshold(logits, truth))
    return net


def _truth(city: Pair) -> NDArray[np.bool_]:
    """Of the pixels that `calibrate.logits_of` gives."""
    assert city.label is not None
    height, width = (edge // 32 * 32 for edge in city.label.shape)
    truth: NDArray[np.bool_] = city.label[:height, :width][city.valid[:height, :width]]
    return truth


def _best_threshold(logits: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    levels = np.quantile(logits, np.linspace(0.7, 0.999, _LEVELS))
    everywhere = np.ones_like(truth)
    return float(max(levels, key=lambda t: score(logits > t, truth, everywhere).f1))


def leave_out(
    cities: list[Pair],
    start: Start,
    free: samples.Source,
    recipe: loop.Recipe,
    work: Path,
    *,
    folds: int,
) -> dict[str, Any]:
    """Pooled F1 and AUROC over the cities, each predicted by a network that never saw it.

    `folds` of as many cities as there are leave one out at a time. Resumable: what is done lies in
    `work`.
    """
    work.mkdir(parents=True, exist_ok=True)
    done = {city.name: work / f"fold-{city.name}.npz" for city in cities}
    for number in range(folds):
        left_out = [c for c in cities[number::folds] if not done[c.name].exists()]
        if not left_out:
            continue
        others = [c for i, c in enumerate(cities) if i % folds != number]
        net = train_on(others, start, free, recipe, work / f"fold-{number}-of-{folds}.pt")
        for city in left_out:
            logits = calibrate.logits_of(net, start.segmenter, city)
            np.savez(done[city.name], logits=logits, truth=_truth(city))
    for city in cities:
        with np.load(done[city.name]) as fold:
            found = score(fold["logits"] > 0, fold["truth"], np.ones_like(fold["truth"]))
            log.info("%s left out: F1 %.3f", city.name, found.f1)
    return {
        "all": _pooled(list(done.values())),
        "without saclay_e": _pooled([f for n, f in done.items() if n != "saclay_e"]),
    }


def _pooled(folds: list[Path]) -> dict[str, float]:
    loaded = [np.load(path) for path in folds]
    logits = np.concatenate([fold["logits"] for fold in loaded])
    truth = np.concatenate([fold["truth"] for fold in loaded])
    found: Scores = score(logits > 0, truth, np.ones_like(truth))
    return {
        "f1": round(found.f1, 4),
        "precision": round(found.precision, 4),
        "recall": round(found.recall, 4),
        "auroc": round(auroc(logits, truth), 4),
    }


def write_set(net: nets.ChangeClassifier, start: Start, out: Path, steps: int) -> None:
    """A model set with the fine-tuned classifier; its record and card say what it is for."""
    for name in ("cloud-mask", "segmenter"):
        shutil.copytree(start.store / name, out / name, dirs_exist_ok=True)
    folder = out / "change-classifier"
    export.export_onnx("change-classifier", net, folder / "model.onnx")
    segmenter = out / "segmenter" / "model.onnx"
    reach = measure.influence_of(
        "change-classifier", OnnxModel(folder / "model.onnx"), OnnxModel(segmenter)
    )
    extra = {"threshold": calibrate.THRESHOLD, "accepts_segmenters": [export.digest_of(segmenter)]}
    story = export.Story(
        data=["the shipped classifier's data", f"eight OSCD cities with their labels, {LICENCE}"],
        seeds=[0],
        steps=steps,
        metrics={},
        limits=["Trained on the eight cities: their scores measure nothing."],
        extra=extra,
        restricted=[LICENCE],
    )
    export.write_model(folder, "change-classifier", net, story, reach)


def main(
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help=f"The labels are {LICENCE}: not for trade.")
    ] = False,
    store: Annotated[Path | None, typer.Option(help="Model set to start from.")] = None,
    work: Annotated[Path, typer.Option(help="Folds; a cut-off run goes on.")] = Path("finetune"),
    out: Annotated[
        Path | None, typer.Option(help="Also train on all cities and write a model set here.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of each fold.")] = 600,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-4,
    folds: Annotated[
        int, typer.Option(min=2, max=8, help="8: one city is left out; fewer are quicker.")
    ] = 8,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Fine-tune on OSCD's labels, leave one city out, and print pooled F1 and AUROC."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if not accept_licence:
        raise Misconfigured(
            f"OSCD's labels are {LICENCE}: weights trained on them are for your own non-commercial"
            " use. Give --accept-licence if that is what you want."
        )
    data = realdata.data_root()
    if data is None:
        raise Misconfigured("no labelled cities: set GROUNDSHIFT_DATA to the development data")
    from importlib.resources import as_file, files

    with as_file(files("groundshift") / "model_store") as packaged:
        free = samples.Source(samples.backgrounds(data), [], real_share=1.0)
        start = start_from(store or packaged, [g.pair for g in free.real])
        cities = [realdata.read_pair(data / "oscd" / name) for name in realdata.LABELLED]
        recipe = loop.Recipe(steps=steps, rate=rate, threads=threads)
        found = leave_out(cities, start, free, recipe, work, folds=folds)
        (work / "scores.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        typer.echo(json.dumps(found, indent=2))
        if out is not None:
            net = train_on(cities, start, free, recipe, work / "all.pt")
            write_set(net, start, out, steps)
            typer.echo(f"local weights, {LICENCE}: {out}")


if __name__ == "__main__":
    typer.run(main)
