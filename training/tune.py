"""A search for good hyper-parameters: Ray Tune, bad trials stopped early (ASHA).

Each trial is a short training with `training.loop`, judged on held-out sites at each checkpoint.
The search goes on where it was cut off; what it found is printed as options of ``groundshift
train``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from groundshift.errors import Misconfigured
from groundshift.opening import settings_of
from training import loop, pipeline, tracking, validation
from training.storage import open_files
from training.train_ray import session

OPTIONS: Final = ("rate", "batch", "width", "real_share", "paste_share")
"""What is searched; each is an option of ``groundshift train`` too."""


@dataclass(frozen=True)
class Search:
    """How much to try."""

    trials: int = 12
    steps: int = 800
    """Of the trials that ASHA lets run to the end."""
    minutes: float = 60.0
    """Of the whole search; trials that run then are ended."""
    at_once: int = 1
    """Trials at a time: each takes ``recipe.threads`` CPUs."""

    @property
    def every(self) -> int:
        """Steps between two looks of ASHA."""
        return max(1, self.steps // 8)


@dataclass(frozen=True)
class Found:
    """The best trial."""

    score: float
    options: Mapping[str, float]
    trials: int

    def command(self, model: str) -> str:
        """How to train with it."""
        said = (f"--{key.replace('_', '-')} {value:.4g}" for key, value in self.options.items())
        return f"groundshift train {model} {' '.join(said)}"


def search(job: pipeline.Job, wanted: Search, *, data: Path | None) -> Found:
    """Try; the best trial. Raises Misconfigured where no trial gave a score."""
    place, files = open_files(job.storage or str(job.work / "tune"), settings_of())
    pipeline.segmenter_of(job)  # says what is missing before trials start
    job = pipeline.absolute(job)
    params = {**asdict(wanted), "simulated": job.simulated, "seed": job.recipe.seed}
    with (
        tracking.tracked(f"tune-{job.name}", job.work, params=params, tags={}) as tracked,
        session(job.address, workers=wanted.at_once * job.recipe.threads),
    ):
        results = _tuner(job, wanted, data, place, files).fit()
        found = _best(job, results)
        tracked.numbers({"score": found.score, **found.options})
        tracked.json({"trials": [_told(result) for result in results]}, "trials.json")
        for number, result in enumerate(results):
            tracked.child(f"trial {number}", params=result.config or {}, history=_history(result))
    return found


def _tuner(job: pipeline.Job, wanted: Search, data: Path | None, place: str, files: Any) -> Any:
    """The search, from where it was cut off in its storage."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.basic_variant import BasicVariantGenerator

    trainable = tune.with_resources(
        tune.with_parameters(_try, job=job, wanted=wanted, data=data and data.absolute()),
        {"cpu": job.recipe.threads},
    )
    path = f"{place}/{job.name}"
    if tune.Tuner.can_restore(path, storage_filesystem=files):
        return tune.Tuner.restore(path, trainable, resume_unfinished=True, storage_filesystem=files)
    asha = ASHAScheduler(time_attr="step", max_t=wanted.steps, grace_period=wanted.every)
    return tune.Tuner(
        trainable,
        param_space=space(job),
        tune_config=tune.TuneConfig(
            metric="score",
            mode="max",
            num_samples=wanted.trials,
            time_budget_s=60 * wanted.minutes,
            scheduler=asha,
            search_alg=BasicVariantGenerator(
                random_state=job.recipe.seed, max_concurrent=wanted.at_once
            ),
        ),
        run_config=tune.RunConfig(
            name=job.name, storage_path=place, storage_filesystem=files, verbose=0
        ),
    )


def _told(result: Any) -> dict[str, Any]:
    """A trial as JSON."""
    said = result.metrics or {}
    return {**dict(result.config or {}), "score": said.get("score"), "step": said.get("step")}


def _history(result: Any) -> list[dict[str, float]]:
    """Score and loss of a trial at each look; none where it ended before the first."""
    looks = result.metrics_dataframe
    if looks is None or "score" not in looks:
        return []
    told = looks[["step", "score", "loss"]].assign(at_ms=1000 * looks["timestamp"])
    points: list[dict[str, float]] = told.to_dict("records")
    return points


def space(job: pipeline.Job) -> dict[str, Any]:
    """What each option is drawn from."""
    from ray import tune

    drawn = {
        "rate": tune.loguniform(5e-4, 8e-3),
        "batch": tune.choice([8, 12, 16]),
        "width": tune.choice([0.75, 1.0, 1.25, 1.5]),
        "real_share": tune.uniform(0.3, 0.8),
        "paste_share": tune.uniform(0.2, 0.8),
    }
    if job.name != "change-classifier":
        del drawn["paste_share"]  # nothing is pasted for the other models
    return drawn


def _try(
    config: Mapping[str, float], *, job: pipeline.Job, wanted: Search, data: Path | None
) -> None:
    """One trial, in a process of its own."""
    from ray import tune

    recipe = replace(
        job.recipe,
        steps=wanted.steps,
        every=wanted.every,
        rate=config["rate"],
        batch=int(config["batch"]),
    )
    job = replace(
        job,
        recipe=recipe,
        width=config["width"],
        real_share=config["real_share"],
        paste_share=config.get("paste_share", job.paste_share),
    )
    found = pipeline.gather(job, data)
    segmenter = pipeline.segmenter_of(job)
    judge = validation.Validation(job.name, found.validation, segmenter)
    if not judge.samples:
        raise Misconfigured("no site to judge trials on: simulate more pairs (--simulated)")

    def report(state: loop.State) -> None:
        scored = [point for point in state.history if "score" in point]
        if scored and int(scored[-1]["step"]) == state.done:
            tune.report({"score": scored[-1]["score"], "step": state.done, "loss": state.loss})

    loop.Course(
        job.name,
        pipeline.network(job),
        loop.drawer(job.name, found.source, segmenter),
        job.recipe,
        keeper=loop.Nowhere(),
        team=loop.alone(),
        judge=judge,
        watch=report,
    ).run()


def _best(job: pipeline.Job, results: Any) -> Found:
    scored = [r for r in results if r.metrics and "score" in r.metrics]
    if not scored:
        errors = "; ".join(str(error).splitlines()[-1] for error in results.errors[:1])
        raise Misconfigured(f"no trial gave a score: give more minutes. {errors}")
    best = max(scored, key=lambda r: float(r.metrics["score"]))
    options = {key: float(best.config[key]) for key in OPTIONS if key in best.config}
    found = Found(float(best.metrics["score"]), options, len(scored))
    content = {"score": found.score, "trials": found.trials, **options}
    job.work.mkdir(parents=True, exist_ok=True)
    path = job.work / f"{job.name}.tuned.json"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return found
