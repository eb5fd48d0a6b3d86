"""``groundshift train`` and ``groundshift tune``: make the three models.

Loaded by the entry point `groundshift.commands`. Nothing here imports torch until a training
starts, so that the command line works without it.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from groundshift.errors import Misconfigured

app = typer.Typer(no_args_is_help=True)
tune_app = typer.Typer(no_args_is_help=True)
_STEPS: Final = 6000
_SMOKE_STEPS: Final = 2


class ModelName(StrEnum):
    """What can be trained."""

    CLOUD_MASK = "cloud-mask"
    SEGMENTER = "segmenter"
    CHANGE_CLASSIFIER = "change-classifier"


Model = Annotated[
    ModelName, typer.Argument(help="The segmenter comes before the change classifier.")
]
Out = Annotated[Path, typer.Option(help="Model store to write into.")]
Work = Annotated[Path, typer.Option(help="Checkpoints; what was cut off goes on from here.")]
Storage = Annotated[
    str,
    typer.Option(
        help="Folder or s3://bucket/prefix of the dataset's manifest and of Ray's checkpoints;"
        " empty: the work folder."
    ),
]
Minutes = Annotated[float, typer.Option(help="Most minutes, over all starts of a cut-off run.")]
Steps = Annotated[
    int | None,
    typer.Option(help=f"Most steps to train; default: {_STEPS}, with --smoke {_SMOKE_STEPS}."),
]
Every = Annotated[int, typer.Option(help="Steps between two checkpoints.")]
Batch = Annotated[int, typer.Option(help="Samples of a step, of all workers together.")]
Rate = Annotated[float, typer.Option(help="Highest learning rate.")]
Width = Annotated[float, typer.Option(help="Factor on the network's channels.")]
RealShare = Annotated[float, typer.Option(help="Share of samples from unlabelled real pairs.")]
PasteShare = Annotated[float, typer.Option(help="Of those, the share with construction pasted in.")]
Threads = Annotated[
    int, typer.Option(help="CPU threads of each process; 0: the cores, shared by all.")
]
Seed = Annotated[int, typer.Option(help="Seed of weights and samples.")]
Workers = Annotated[int, typer.Option(help="Ray Train's workers; 0: train here, without Ray.")]
Address = Annotated[
    str, typer.Option(help="Ray cluster to train on (auto); empty: start a Ray for this run.")
]
Simulated = Annotated[int, typer.Option(help="Simulated pairs.")]
Data = Annotated[
    Path | None,
    typer.Option(help="Folder with oscd_unlabelled; default: the development data, if any."),
]
Pairs = Annotated[
    list[Path] | None, typer.Option(help="Folder of labelled pairs with STAC Items; repeat.")
]
Oscd = Annotated[Path | None, typer.Option(help="The OSCD download, unpacked.")]
Clouds = Annotated[Path | None, typer.Option(help="The CloudSEN12 download.")]
Labels = Annotated[
    str, typer.Option(help="Object store with reviewers' labels: folder or s3://bucket/prefix.")
]
HoldOut = Annotated[
    list[str] | None, typer.Option(help="Site that neither trains nor validates; repeat.")
]
Accept = Annotated[
    bool,
    typer.Option(
        "--accept-licence",
        help="Train on data for non-commercial use too; the model's card then says so.",
    ),
]
Smoke = Annotated[
    bool, typer.Option("--smoke", help="A few steps on a few simulated pairs: does it run?")
]
Trials = Annotated[int, typer.Option(help="Trials.")]
AtOnce = Annotated[int, typer.Option(help="Trials at a time.")]
TrialSteps = Annotated[int, typer.Option(help="Steps of a trial that is not stopped early.")]


# A callback, so that the `groundshift` command can mount it as `train MODEL` and not `train train`.
@app.callback(
    invoke_without_command=True,
    context_settings={"allow_interspersed_args": True, "auto_envvar_prefix": "GROUNDSHIFT_TRAIN"},
)
def train(
    model: Model,
    out: Out = Path("models"),
    work: Work = Path("training-work"),
    storage: Storage = "",
    minutes: Minutes = 45.0,
    steps: Steps = None,
    every: Every = 200,
    batch: Batch = 12,
    rate: Rate = 2e-3,
    width: Width = 1.0,
    real_share: RealShare = 0.6,
    paste_share: PasteShare = 0.5,
    threads: Threads = 0,
    seed: Seed = 0,
    workers: Workers = 0,
    address: Address = "",
    simulated: Simulated = 400,
    data: Data = None,
    pairs: Pairs = None,
    oscd: Oscd = None,
    cloudsen12: Clouds = None,
    labels: Labels = "",
    hold_out: HoldOut = None,
    accept_licence: Accept = False,
    smoke: Smoke = False,
) -> None:
    """Train one model: model.onnx, model.json, card.md (needs the training extra).

    A run that was cut off goes on from its last checkpoint when the same command is given again.
    Every option can be given in the environment too. MLflow keeps each run: in the work folder, or
    where MLFLOW_TRACKING_URI says.
    """
    require_torch(*(["ray"] if workers else []))
    from training import collect, loop, pipeline, realdata

    _say()
    most = steps or (_SMOKE_STEPS if smoke else _STEPS)
    given = tuple(pairs or ()), oscd, cloudsen12, labels, tuple(hold_out or ()), accept_licence
    job = pipeline.Job(
        model.value, work, out,
        loop.Recipe(most, minutes, batch, rate, seed, _threads(threads, workers), every),
        simulated=simulated, real_share=real_share, paste_share=paste_share, width=width,
        workers=workers, address=address or None, storage=storage,
        inputs=collect.Inputs(simulated, None, *given),
    )  # fmt: skip
    if smoke:
        job = pipeline.smoke(job)
    record = pipeline.run(job, data=None if smoke else data or realdata.data_root())
    typer.echo(f"{model.value} {record['digest']} -> {out / model.value}")


@tune_app.callback(
    invoke_without_command=True,
    context_settings={"allow_interspersed_args": True, "auto_envvar_prefix": "GROUNDSHIFT_TUNE"},
)
def tune(
    model: Model,
    work: Work = Path("training-work"),
    storage: Storage = "",
    trials: Trials = 12,
    steps: TrialSteps = 800,
    minutes: Minutes = 60.0,
    at_once: AtOnce = 1,
    threads: Threads = 0,
    seed: Seed = 0,
    address: Address = "",
    simulated: Simulated = 400,
    data: Data = None,
    smoke: Smoke = False,
) -> None:
    """Search hyper-parameters; print the command of the best (needs the training extra).

    Each trial is a short training, judged on held-out sites; those that do badly are stopped early
    (ASHA). Searched: rate, batch, width, real share and, for the classifier, paste share.
    """
    require_torch("ray")
    from training import loop, pipeline, realdata
    from training import tune as searching

    _say()
    recipe = loop.Recipe(steps, minutes, seed=seed, threads=_threads(threads, at_once))
    job = pipeline.Job(
        model.value, work, work, recipe,
        simulated=simulated, address=address or None, storage=storage,
    )  # fmt: skip
    wanted = searching.Search(trials, steps, minutes, at_once)
    if smoke:
        job, wanted = pipeline.smoke(job), searching.Search(2, _SMOKE_STEPS, minutes)
    found = searching.search(job, wanted, data=None if smoke else data or realdata.data_root())
    typer.echo(f"best of {found.trials} trials: score {found.score:.3f}")
    typer.echo(found.command(model.value))


def _threads(wanted: int, processes: int) -> int:
    return wanted or max(1, (os.cpu_count() or 1) // max(1, processes))


def _say() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("numexpr").setLevel(logging.WARNING)


def require_torch(*more: str) -> None:
    """Raise Misconfigured where the training extra, or `more` of it, is not installed."""
    wanted = ("torch", "segmentation_models_pytorch", "onnx", "mlflow", *more)
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise Misconfigured(
            f"training needs {', '.join(missing)}: pip install 'groundshift[training]'"
        )
    # Read when torch is imported. Threads that wait for each other by spinning make a step ten
    # times slower as soon as another program wants a core (docs/training.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
