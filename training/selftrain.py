"""Going on from a model set: the cloud mask taught by ukis-csmask, the classifier by itself.

``python -m training.selftrain change-classifier --out models`` starts from the shipped weights.
What is written is the mean of the weights it began with and those it came to (of the students of
several seeds, their mean; with ``--share`` it counts more or less than half). Students of one work
folder may be trained side by side, each by a command of its own with its ``--seed``; a last command
with ``--seeds`` finds them done.
"""

from __future__ import annotations

import copy
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from groundshift.errors import Misconfigured
from groundshift.settings import Settings
from training import collect, export, lessons, loop, nets, pipeline, realdata, samples
from training.cli import ModelName


def run(job: pipeline.Job, start: Path, data: Path, *, seeds: int = 1, share: float = 0.5) -> None:
    """Train the job's model on from the set in `start` and publish it into the job's store.

    `seeds` students, from the recipe's seed on, learn from the same teacher; `share` is what their
    mean counts beside where they began.
    """
    found = pipeline.gather(job, data)
    segmenter = lessons.segmenter_of(start) if job.name == "change-classifier" else None
    source = lessons.taught(job.name, found.source, start, segmenter)
    draw = loop.drawer(job.name, source, segmenter)
    first = lessons.go_on(nets.build(job.name), job.name, start, draw)
    numbers = range(job.recipe.seed, job.recipe.seed + seeds)
    facts = _facts(job, start, found)
    students, steps = [], 0
    for number in numbers:
        net, done = _student(job, copy.deepcopy(first), number, source, segmenter, facts)
        students.append(net)
        steps += done
    student = lessons.alike(lessons.mean_of(students), job.name, draw)
    net = lessons.mean_of([first, student], shares=[1 - share, share])
    for name in pipeline.ORDER:
        if name != job.name and not (job.store / name).exists():
            shutil.copytree(start / name, job.store / name)
    pipeline.publish(job, net, steps, data=data, segmenter=segmenter, found=found, seeds=numbers)


def _facts(job: pipeline.Job, start: Path, found: collect.Collected) -> loop.Facts:
    """What students must have in common to be averaged."""
    shares = {"paste_share": job.paste_share, "real_share": job.real_share}
    begun = export.digest_of(start / job.name / "model.onnx")
    return {**pipeline.facts(job, found), **shares, "start": begun}


def _student(
    job: pipeline.Job,
    net: torch.nn.Module,
    seed: int,
    source: samples.Source,
    segmenter: nets.Segmenter | None,
    facts: loop.Facts,
) -> tuple[torch.nn.Module, int]:
    """One student of a seed, trained in place, and its steps."""
    torch.manual_seed(seed)
    recipe, checkpoint = replace(job.recipe, seed=seed), job.work / f"{job.name}-seed-{seed}.pt"
    steps = loop.train(
        job.name,
        net,
        source,
        recipe,
        checkpoint=checkpoint,
        segmenter=segmenter,
        facts=facts,
    )
    return net, steps


def main(
    model: Annotated[ModelName, typer.Argument(help="The cloud mask or the change classifier.")],
    start: Annotated[Path | None, typer.Option(help="Model set to start from.")] = None,
    out: Annotated[Path, typer.Option(help="Model store to write into.")] = Path("models"),
    work: Annotated[Path, typer.Option(help="Checkpoints; a cut-off run goes on.")] = Path(
        "selftrain-work"
    ),
    steps: Annotated[int, typer.Option(help="Most steps to train.")] = 2500,
    minutes: Annotated[float, typer.Option(help="Most minutes to train.")] = 60.0,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-3,
    simulated: Annotated[int, typer.Option(help="Simulated pairs.")] = 300,
    real_share: Annotated[float, typer.Option(help="Share of samples from real pairs.")] = 0.7,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    paste_share: Annotated[
        float, typer.Option(help="Of these, share with pasted construction.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(help="Seed of the samples.")] = 0,
    seeds: Annotated[int, typer.Option(help="Students, of as many seeds; their mean counts.")] = 1,
    share: Annotated[
        float,
        typer.Option(min=0, max=1, help="What it counts beside the weights it began with."),
    ] = 0.5,
) -> None:
    """Teach a model what it, or another's published model, believes of the unlabelled pairs."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if model == ModelName.SEGMENTER:
        raise Misconfigured("the segmenter has no teacher: groundshift train segmenter")
    data = realdata.data_root()
    if data is None:
        raise Misconfigured("no unlabelled pairs: set GROUNDSHIFT_DATA to the development data")
    recipe = loop.Recipe(steps=steps, minutes=minutes, rate=rate, seed=seed, threads=threads)
    job = pipeline.Job(
        model.value,
        work,
        out,
        recipe,
        simulated=simulated,
        real_share=real_share,
        paste_share=paste_share,
    )
    run(job, start or Settings().models, data, seeds=seeds, share=share)


if __name__ == "__main__":
    typer.run(main)
