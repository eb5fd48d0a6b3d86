"""``groundshift train``: make the three models. Loaded by the entry point `groundshift.commands`.

Nothing here imports torch until a training starts, so that the command line works without it.
"""

from __future__ import annotations

import importlib.util
import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from groundshift.errors import Misconfigured

app = typer.Typer(help="Train the models (needs the training extra).", no_args_is_help=True)


class ModelName(StrEnum):
    """What can be trained."""

    CLOUD_MASK = "cloud-mask"
    SEGMENTER = "segmenter"
    CHANGE_CLASSIFIER = "change-classifier"


# A callback, so that the `groundshift` command can mount it as `train MODEL` and not `train train`.
@app.callback(invoke_without_command=True, context_settings={"allow_interspersed_args": True})
def train(
    model: Annotated[ModelName, typer.Argument(help="The segmenter comes before the classifier.")],
    out: Annotated[Path, typer.Option(help="Model store to write into.")] = Path("models"),
    work: Annotated[
        Path, typer.Option(help="Checkpoints; a cut-off run goes on from here.")
    ] = Path("training-work"),
    minutes: Annotated[float, typer.Option(help="Most minutes to train.")] = 30.0,
    steps: Annotated[int, typer.Option(help="Most steps to train.")] = 6000,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    seed: Annotated[int, typer.Option(help="Seed of weights and samples.")] = 0,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Two steps on a few simulated pairs: does it run?")
    ] = False,
) -> None:
    """Train one model and write model.onnx, model.json and card.md."""
    require_torch()
    from training import loop, pipeline, realdata

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = loop.Recipe(steps=steps, minutes=minutes, seed=seed, threads=threads)
    job = pipeline.Job(model.value, work=work, store=out, recipe=recipe)
    if smoke:
        small = loop.Recipe(steps=2, minutes=minutes, batch=2, seed=seed, threads=threads)
        job = pipeline.Job(model.value, work=work, store=out, recipe=small, simulated=4, size=64)
    record = pipeline.run(job, data=None if smoke else realdata.data_root())
    typer.echo(f"{model.value} {record['digest']} -> {out / model.value}")


def require_torch() -> None:
    """Raise Misconfigured where the training extra is not installed."""
    wanted = ("torch", "segmentation_models_pytorch", "onnx")
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise Misconfigured(
            f"training needs {', '.join(missing)}: pip install 'groundshift[training]'"
        )
