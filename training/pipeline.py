"""From a model's name to a folder in a model store: data, training, export, measures."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training import calibrate, corpus, export, loop, measure, nets, realdata, samples
from training.evaluate import OnnxModel, load_models

log = logging.getLogger(__name__)
ORDER = ("cloud-mask", "segmenter", "change-classifier")
"""The order in which models are made: the classifier needs the segmenter."""

_LIMITS = {
    "cloud-mask": [
        "Trained on synthetic clouds only; thin cloud and shadow are the weak classes.",
        "Snow was in no training data and may be called cloud.",
    ],
    "segmenter": [
        "Real labels come from rules on sure pixels; built against bare ground is the weak pair.",
        "Burnt ground was learnt from the simulator alone.",
    ],
    "change-classifier": [
        "Construction on real ground was pasted; felling, flood, fire and mining come from the"
        " simulator alone.",
        "Changes of less than about six pixels are mostly missed.",
        f"The threshold was set so that {calibrate.BUDGET:.0%} of the unlabelled pairs' pixels are"
        " called changed. That share was settled after the eight cities' F1 had been seen at 2, 3"
        " and 5 %, and the stages of training were chosen with the cities in view"
        " (docs/models/log.md): their F1 is a development score, not a blind test.",
        "saclay_e adjoins saclay_w, which trained, and has the same two dates: read the mean F1"
        " also without it.",
    ],
}


@dataclass(frozen=True)
class Job:
    """One training run."""

    name: str
    work: Path
    """Checkpoints and simulated pairs: a run that was cut off goes on from here."""
    store: Path
    """The model store to write ``<name>/`` into; the classifier reads the segmenter from it."""
    recipe: loop.Recipe
    simulated: int = 400
    size: int = 128
    real_share: float = 0.6
    note: str = ""
    """One more sentence for the card's limits."""


def run(job: Job, *, data: Path | None) -> dict[str, Any]:
    """Train, export, measure; gives the model.json record. Without `data`, simulation alone."""
    torch.manual_seed(job.recipe.seed)
    net = nets.build(job.name)
    source = _source(job, data)
    segmenter = trained_segmenter(job.work) if job.name == "change-classifier" else None
    steps = loop.train(
        job.name, net, source, job.recipe, checkpoint=checkpoint(job), segmenter=segmenter
    )
    return publish(job, net, steps, data=data, segmenter=segmenter)


def checkpoint(job: Job) -> Path:
    """Where the run's state lies."""
    return job.work / f"{job.name}.pt"


def trained_segmenter(work: Path) -> nets.Segmenter:
    """The segmenter that was trained in the same work folder. Raises FileNotFoundError."""
    path = work / "segmenter.pt"
    if not path.exists():
        raise FileNotFoundError(f"{path}: train the segmenter first, into the same work folder")
    net = loop.load_weights(path, nets.build("segmenter"))
    assert isinstance(net, nets.Segmenter)
    return net


def publish(
    job: Job,
    net: torch.nn.Module,
    steps: int,
    *,
    data: Path | None,
    segmenter: nets.Segmenter | None,
) -> dict[str, Any]:
    """Export a trained network, measure the artifact and write its record and card."""
    extra: dict[str, Any] = {}
    if isinstance(net, nets.ChangeClassifier):
        assert segmenter is not None
        extra = {"threshold": calibrate.THRESHOLD, "accepts_segmenters": _segmenters(job.store)}
        if data is not None:
            pairs = [realdata.read_pair(data / "oscd_unlabelled" / n) for n in realdata.UNLABELLED]
            extra["bias"] = calibrate.set_bias(net, segmenter, pairs)
    folder = job.store / job.name
    export.export_onnx(job.name, net, folder / "model.onnx")
    model = OnnxModel(folder / "model.onnx")
    other = None if segmenter is None else OnnxModel(job.store / "segmenter" / "model.onnx")
    reach = measure.influence_of(job.name, model, other)
    story = _story(job, steps, extra, data)
    record = export.write_model(folder, job.name, net, story, reach)
    # The classifier is measured through the store, threshold and all: the record is written twice.
    story = _story(job, steps, extra, data, metrics=_metrics(job, model, data))
    record = export.write_model(folder, job.name, net, story, reach)
    log.info("%s: %s", job.name, record["metrics"])
    return record


def _source(job: Job, data: Path | None) -> samples.Source:
    real = [] if data is None else samples.backgrounds(data)
    pairs = corpus.load(job.work / "sim", range(job.simulated))
    return samples.Source(real, pairs, size=job.size, real_share=job.real_share if real else 0.0)


def _segmenters(store: Path) -> list[str]:
    return [export.digest_of(store / "segmenter" / "model.onnx")]


def _metrics(job: Job, model: OnnxModel, data: Path | None) -> dict[str, Any]:
    if job.name == "cloud-mask":
        return measure.cloud_metrics(model, data)
    if job.name == "segmenter":
        return measure.cover_metrics(model)
    return measure.change_metrics(load_models(job.store), data)


def _story(
    job: Job,
    steps: int,
    extra: dict[str, Any],
    data: Path | None,
    metrics: dict[str, Any] | None = None,
) -> export.Story:
    sentences = [f"{job.simulated} pairs of this project's scene simulator, seeds 0 on"]
    if data is not None:
        places = ", ".join(realdata.UNLABELLED)
        sentences.append(
            f"ten unlabelled Sentinel-2 L1C pairs ({places}), {_USE[job.name]};"
            f" {export.ATTRIBUTION}"
        )
    return export.Story(
        data=sentences,
        seeds=[job.recipe.seed],
        steps=steps,
        metrics=metrics or {},
        limits=[*_LIMITS[job.name], *([job.note] if job.note else [])],
        extra=extra,
    )


_USE = {
    "cloud-mask": "taken as clear ground, with synthetic clouds and shadows put onto them",
    "segmenter": "with rule labels on sure pixels",
    "change-classifier": "as backgrounds with pasted construction; strong classical change on"
    " ground that is no field served as pseudo-labels, other doubtful pixels were left out",
}
