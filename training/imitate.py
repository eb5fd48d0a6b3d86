"""After an exchange of the segmenter: a classifier that answers over the new one as before.

``python -m training.imitate OLD --segmenter NEW --out models``: the classifier of the model set in
OLD goes on from its weights until it says over the class probabilities of the segmenter in NEW what
it said over those of its own. It learns nothing else, so it needs no label, and its faults stay.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from groundshift.errors import Misconfigured
from training import export, lessons, loop, nets, pipeline, realdata, samples, warm

NAME = "change-classifier"
_NOTE = (
    "It went on from an earlier classifier and learnt to say over this set's segmenter what that"
    " one said over its own (training.imitate): the steps and seeds above are of that alone."
)


@dataclass(frozen=True)
class Model:
    """A classifier over its own segmenter."""

    net: nets.ChangeClassifier
    segmenter: nets.Segmenter

    @classmethod
    def of(cls, store: Path) -> Model:
        """Those of a model set."""
        net = nets.ChangeClassifier()
        warm.from_onnx(net, store / NAME / "model.onnx", [])
        return cls(net, lessons.segmenter_of(store))

    def teach(self, sample: samples.Arrays) -> samples.Arrays:
        """The sample with what this model says of it: ``teacher`` [S,S]."""
        dates = torch.from_numpy(np.stack([sample["before"], sample["after"]]))
        with torch.no_grad():
            planes = self.segmenter(dates)
            said = self.net.logits(dates[:1], dates[1:], planes[:1], planes[1:])
        return {**sample, "teacher": said[0, 0].numpy()}


def imitating(draw: loop.Draw, teacher: Model) -> loop.Draw:
    """Samples with the teacher's logits in place of a label: every pixel with data counts."""

    def drawn(rng: np.random.Generator, count: int) -> list[samples.Arrays]:
        return [teacher.teach(_everywhere(sample)) for sample in draw(rng, count)]

    return drawn


def _everywhere(sample: samples.Arrays) -> samples.Arrays:
    seen = (sample["before"].min(axis=0) > 0) & (sample["after"].min(axis=0) > 0)
    return {**sample, "weight": seen.astype(np.float32)}


def run(job: pipeline.Job, old: Path, new: Path, data: Path | None) -> None:
    """Write a model set into the job's store: the old one's, over the segmenter in `new`."""
    found = pipeline.gather(job, data)
    for name, store in (("cloud-mask", old), ("segmenter", new)):
        shutil.copytree(store / name, job.store / name, dirs_exist_ok=True)
    segmenter = lessons.segmenter_of(job.store)
    facts = {"segmenter": export.digest_of(job.store / "segmenter" / "model.onnx")}
    net, steps = learn(job, old, segmenter, found.source, facts=facts)
    pipeline.publish(job, net, steps, data=data, segmenter=segmenter, found=found)


def learn(
    job: pipeline.Job,
    old: Path,
    segmenter: nets.Segmenter,
    source: samples.Source,
    *,
    facts: loop.Facts | None = None,
) -> tuple[nets.ChangeClassifier, int]:
    """The classifier of `old` over another segmenter, and the steps that took."""
    draw = imitating(loop.drawer(NAME, source, segmenter), Model.of(old))
    net = lessons.go_on(nets.build(NAME), NAME, old, draw)
    assert isinstance(net, nets.ChangeClassifier)
    keeper = loop.FileKeeper(job.work / f"{NAME}-imitates.pt")
    state = loop.Course(NAME, net, draw, job.recipe, keeper, loop.alone(), facts=facts or {}).run()
    net.to("cpu")
    return net, state.done


def main(
    old: Annotated[Path, typer.Argument(help="Model set whose classifier goes on.")],
    segmenter: Annotated[Path, typer.Option(help="Model store with the new segmenter.")],
    out: Annotated[Path, typer.Option(help="Model store to write into.")] = Path("models"),
    work: Annotated[Path, typer.Option(help="Checkpoints; a cut-off run goes on.")] = Path(
        "imitate-work"
    ),
    steps: Annotated[int, typer.Option(help="Most steps to train.")] = 4500,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Seed of the samples.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Teach the classifier in OLD to answer over another segmenter as it does over its own."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    data = realdata.data_root()
    if data is None:
        raise Misconfigured("no unlabelled pairs: set GROUNDSHIFT_DATA to the development data")
    recipe = loop.Recipe(steps=steps, rate=rate, seed=seed, threads=threads)
    job = pipeline.Job(NAME, work, out, recipe, simulated=300, real_share=0.7, note=_NOTE)
    run(job, old, segmenter, data)


if __name__ == "__main__":
    typer.run(main)
