"""From a model's name to a folder in a model store: data, training, export, measures."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from groundshift.errors import Misconfigured
from groundshift.opening import settings_of
from training import (
    calibrate,
    clouds,
    collect,
    export,
    loop,
    manifest,
    measure,
    nets,
    realdata,
    tracking,
    validation,
)
from training.evaluate import OnnxModel, load_change_models
from training.storage import open_objects

log = logging.getLogger(__name__)
ORDER = ("cloud-mask", "segmenter", "change-classifier")
"""The order in which models are made: the classifier needs the segmenter."""

_LIMITS = {
    "cloud-mask": [
        "Trained on synthetic clouds only; thin cloud and shadow are the weak classes.",
        f"Clouds come with a rim of {clouds.RIM_PX} px, called thin cloud: people who mark clouds"
        " draw them so. Against exact simulated masks it hides too much.",
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
        f"The threshold was set so that {calibrate.BUDGET:.0%} of the median unlabelled pair's"
        " pixels are called changed. That share was settled after the eight cities' F1 had been"
        " seen at 2 to 6 %, and the stages of training were chosen with the cities in view"
        " (docs/models/log.md): their F1 is a development score, not a blind test.",
        "saclay_e adjoins saclay_w, which trained, and has the same two dates: read the scores"
        " also without it.",
    ],
}


@dataclass(frozen=True)
class Job:
    """One training run."""

    name: str
    work: Path
    """Checkpoints and MLflow's files: a run that was cut off goes on from here."""
    store: Path
    """The model store to write ``<name>/`` into; the classifier reads the segmenter from it."""
    recipe: loop.Recipe
    simulated: int = 400
    size: int = 128
    real_share: float = 0.6
    note: str = ""
    """One more sentence for the card's limits."""
    paste_share: float = 0.5
    width: float = 1.0
    """Factor on the network's channels."""
    workers: int = 0
    """Ray Train's; 0: train in this process."""
    address: str | None = None
    """Of a running Ray cluster (``auto``); None: start one for this run."""
    storage: str = ""
    """Folder or s3://bucket/prefix of manifests and Ray's checkpoints; empty: the work folder."""
    inputs: collect.Inputs = field(default_factory=collect.Inputs)
    """Labelled data beside the simulator; ``simulated`` and `run`'s data are put into it."""

    @property
    def kept(self) -> str:
        """Where what must outlive the run is stored."""
        return self.storage or str(self.work / "objects")


def run(job: Job, *, data: Path | None) -> dict[str, Any]:
    """Train, export, measure; gives the model.json record. Without `data`, simulation alone."""
    data = data if data is not None and (data / "oscd_unlabelled").is_dir() else None
    found = gather(job, data)
    version = manifest.store_manifest(open_objects(job.kept, settings_of()), found.manifest)
    log.info("%s: dataset %s, %d samples", job.name, version[:12], len(found.manifest.entries))
    segmenter = segmenter_of(job)
    judge = validation.Validation(job.name, found.validation, segmenter)
    told = {**_params(job), "dataset": version, "samples": len(found.manifest.entries)}
    tags = {"dataset": version, "licences": "; ".join(found.manifest.licences)}
    with tracking.tracked(job.name, job.work, params=told, tags=tags) as tracked:
        state = _train(job, data, found, judge, tracked)
        tracked.points(state.history)
        net = loop.load_weights(checkpoint(job), network(job))
        record = publish(job, net, state.done, data=data, segmenter=segmenter, found=found)
        _tell(tracked, job, net, judge, record)
    return record


def absolute(job: Job) -> Job:
    """The same job from every working folder: Ray's workers have their own."""
    return replace(
        job,
        work=job.work.absolute(),
        store=job.store.absolute(),
        inputs=job.inputs.absolute(),
    )


def smoke(job: Job) -> Job:
    """The same job in little: on a few simulated pairs, checkpoints all along."""
    recipe = replace(job.recipe, batch=2, every=max(1, job.recipe.steps // 10))
    return replace(job, recipe=recipe, simulated=4, size=64)


def gather(job: Job, data: Path | None) -> collect.Collected:
    """The data of a job, the same in every worker."""
    inputs = replace(job.inputs, simulated=job.simulated, unlabelled=data)
    return collect.collect(
        job.name, inputs, size=job.size, real_share=job.real_share, paste_share=job.paste_share
    )


def network(job: Job) -> torch.nn.Module:
    """The job's network with its first weights, which the seed alone decides."""
    torch.manual_seed(job.recipe.seed)
    return _build(job.name, job.width)


def _build(name: str, width: float) -> torch.nn.Module:
    """A network with its channels times `width`, in steps of four."""
    if width == 1:
        return nets.build(name)

    def scaled(channels: tuple[int, int, int]) -> tuple[int, int, int]:
        one, two, three = (max(4, round(c * width / 4) * 4) for c in channels)
        return one, two, three

    base = _WIDTHS[name]
    widths = replace(base, encoder=scaled(base.encoder), decoder=scaled(base.decoder))
    return nets.build(name, widths=widths)


_WIDTHS = {
    "cloud-mask": nets.CLOUD_WIDTHS,
    "segmenter": nets.COVER_WIDTHS,
    "change-classifier": nets.CHANGE_WIDTHS,
}


def _train(
    job: Job,
    data: Path | None,
    found: collect.Collected,
    judge: validation.Validation,
    tracked: tracking.Run,
) -> loop.State:
    """Train to the end, here or in Ray's workers; the weights are in the checkpoint then."""
    if job.workers:
        from training import train_ray

        return train_ray.fit(job, data, tracked, dataset=found.manifest.version)
    course = loop.Course(
        job.name,
        network(job),
        loop.drawer(job.name, found.source, judge.segmenter),
        job.recipe,
        keeper=loop.FileKeeper(checkpoint(job)),
        team=loop.alone(),
        judge=judge if judge.samples else None,
        watch=lambda state: tracked.points(state.history),
        facts=facts(job, found),
    )
    return course.run()


def facts(job: Job, found: collect.Collected) -> loop.Facts:
    """What a checkpoint must have in common with the run that goes on from it."""
    return {"width": job.width, "dataset": found.manifest.version}


def segmenter_of(job: Job) -> nets.Segmenter | None:
    """What the change classifier is trained on; None for the other models."""
    return trained_segmenter(job.work) if job.name == "change-classifier" else None


def _params(job: Job) -> dict[str, Any]:
    """What MLflow compares runs by."""
    shares = {"real_share": job.real_share, "paste_share": job.paste_share}
    more = {"simulated": job.simulated, "size": job.size, "width": job.width}
    return {**asdict(job.recipe), **shares, **more, "workers": job.workers}


def _tell(
    tracked: tracking.Run,
    job: Job,
    net: torch.nn.Module,
    judge: validation.Validation,
    record: Mapping[str, Any],
) -> None:
    """What came out, to MLflow: scores, confusion matrix, a picture, the model's folder."""
    tracked.folder(job.store / job.name, "model")
    tracked.json(record, "record.json")
    if not judge.samples:
        return
    confusion = judge.confusion(net)
    scores = validation.scores(judge.classes, confusion)
    tracked.numbers({f"final_{key}": value for key, value in scores.items()})
    table = {"classes": list(judge.classes), "rows are true": confusion.tolist()}
    tracked.json(table, "confusion.json")
    tracked.bytes(judge.panel(net), job.work, f"pictures/{job.name}.png")


def checkpoint(job: Job) -> Path:
    """Where the run's state lies."""
    return job.work / f"{job.name}.pt"


def trained_segmenter(work: Path) -> nets.Segmenter:
    """The segmenter that was trained in the same work folder. Raises Misconfigured."""
    path = work / "segmenter.pt"
    if not path.exists():
        raise Misconfigured(f"{path}: train the segmenter first, into the same work folder")
    width = loop.read(path).get("facts", {}).get("width", 1.0)
    net = loop.load_weights(path, _build("segmenter", width))
    assert isinstance(net, nets.Segmenter)
    return net


def publish(
    job: Job,
    net: torch.nn.Module,
    steps: int,
    *,
    data: Path | None,
    segmenter: nets.Segmenter | None,
    found: collect.Collected,
    seeds: Sequence[int] = (),
) -> dict[str, Any]:
    """Export a trained network, measure the artifact and write its record and card.

    `seeds`: of all its parts, where it is the mean of several; else the recipe's.
    """
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
    story = _story(job, steps, extra, data, found, [*seeds] or [job.recipe.seed])
    record = export.write_model(folder, job.name, net, story, reach)
    # The classifier is measured through the store, threshold and all: the record is written twice.
    measured = replace(story, metrics=_metrics(job, model, data))
    record = export.write_model(folder, job.name, net, measured, reach)
    log.info("%s: %s", job.name, record["metrics"])
    return record


def _segmenters(store: Path) -> list[str]:
    return [export.digest_of(store / "segmenter" / "model.onnx")]


def _metrics(job: Job, model: OnnxModel, data: Path | None) -> dict[str, Any]:
    wanted = ("oscd", "oscd_unlabelled", "s2_slovenia")
    data = data if data is not None and all((data / n).is_dir() for n in wanted) else None
    if job.name == "cloud-mask":
        return measure.cloud_metrics(model, data)
    if job.name == "segmenter":
        return measure.cover_metrics(model)
    return measure.change_metrics(load_change_models(job.store), data)


def _story(
    job: Job,
    steps: int,
    extra: dict[str, Any],
    data: Path | None,
    found: collect.Collected,
    seeds: list[int],
) -> export.Story:
    sentences = [f"{job.simulated} pairs of this project's scene simulator, seeds 0 on"]
    if data is not None:
        places = ", ".join(realdata.UNLABELLED)
        sentences.append(
            f"ten unlabelled Sentinel-2 L1C pairs ({places}), {_USE[job.name]};"
            f" {export.ATTRIBUTION}"
        )
    return export.Story(
        data=[*sentences, *found.described],
        seeds=seeds,
        steps=steps,
        metrics={},
        limits=[*_LIMITS[job.name], *([job.note] if job.note else [])],
        extra=extra,
        dataset=found.manifest.version,
        restricted=found.restricted,
    )


_USE = {
    "cloud-mask": "taken as clear ground, with synthetic clouds and shadows put onto them",
    "segmenter": "with rule labels on sure pixels",
    "change-classifier": "as backgrounds with pasted construction; strong classical change on"
    " ground that is no field served as pseudo-labels, other doubtful pixels were left out",
}
