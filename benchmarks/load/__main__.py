"""Measure and report: PYTHONPATH=benchmarks python -m load embedded|cluster|report.

`embedded` starts platforms of its own; `cluster` takes the one in GROUNDSHIFT_NAMESPACE of the
KUBECONFIG's cluster as it stands, its models included. Results go to benchmarks/load/results, the
report to docs/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform as machine_
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from functions.commands.submit import scene_arrived
from geodata_etl.simulate import SiteSpec, default_dates, simulate_site, write_scene
from groundshift import __version__
from groundshift.serving.testing import write_test_models
from load import report, results, targets, watch
from load.results import Burst, Curve, Result, Series, Step
from load.targets import Target

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
SITES, SITE_PX = 8, 256
INTAKE = (
    "`POST` of one CloudEvent {to}, each for another scene that the platform then refuses to read."
)
PREDICT = (
    "KServe v2 binary requests of one 512 x 512 tile (3 MB) to the shipped `segmenter`{through}."
)


@dataclass(frozen=True)
class Plan:
    """What is driven how far."""

    intake: str
    predict: str
    intake_bound_ms: float
    predict_bound_ms: float
    seconds: float
    scenes: int


MODELS = "the models that the cluster serves"

Measured = tuple[tuple[Curve, ...], Burst | None]

PLANS = {
    "embedded": Plan("10,25,50,100,200,300,400,600,800", "0.5,1,2,3,4,6,8,12", 500, 2000, 6, 200),
    "cluster": Plan("5,10,20,40,80,160", "1,2,4,6,8,12,16,24", 2000, 2000, 15, 200),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=(*PLANS, "report"))
    parser.add_argument("--machine", default=machine(), help="what to call it in the report")
    parser.add_argument("--scenes", type=int, help="scenes of the burst; 0: none")
    parser.add_argument("--seconds", type=float, help="how long each rate is held")
    parser.add_argument("--burst-only", action="store_true", help="keep the curves that there are")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends what it started
    if options.target != "report":
        plan = PLANS[options.target]
        given = {k: getattr(options, k) for k in ("scenes", "seconds")}
        plan = Plan(**{**vars(plan), **{k: v for k, v in given.items() if v is not None}})
        when = datetime.now(UTC).date().isoformat()
        measure = embedded if options.target == "embedded" else cluster
        path = RESULTS / f"{options.target}.json"
        known = results.read(path).curves if options.burst_only else ()
        # what is known is kept, should the burst take long
        for curves, done in measure(plan, known):
            result = Result(options.target, options.machine, when, __version__, curves, done)
            results.write(path, result)
            publish()
    publish()


def publish() -> None:
    """Write the report of what lies in the results' folder."""
    found = [results.read(RESULTS / f"{n}.json") for n in PLANS if (RESULTS / f"{n}.json").exists()]
    for name, text in report.make(found).files().items():
        (ROOT / "docs" / name).write_text(text, "utf-8")


def machine() -> str:
    """This machine in words."""
    memory = psutil.virtual_memory().total / 2**30
    busy, nice = os.getloadavg()[0], os.nice(0)
    others = f"; load average of other work before the start: {busy:.1f}"
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {machine_.system()} {machine_.machine()}, "
        f"the load generator on the same cores{others}{f', at nice {nice}' if nice else ''}"
    )


# ---- embedded


def embedded(plan: Plan, known: tuple[Curve, ...]) -> Iterator[Measured]:
    """The intake on the test models, the shipped segmenter, then the burst on the test models."""
    with tempfile.TemporaryDirectory(prefix="groundshift-load-") as name:
        folder = Path(name)
        models, scenes = write_test_models(folder / "models"), folder / "scenes"
        if not known:
            with targets.embedded(folder / "a", scenes, models=models) as target:
                intake = curve(target, "intake", plan, INTAKE.format(to="to `/events`"))
            with targets.embedded(folder / "b", scenes, models=None) as target:
                predict = curve(target, "predict", plan, PREDICT.format(through=""))
            known = intake, predict
            yield known, None
        if items := make_scenes(scenes, plan.scenes):
            with targets.embedded(folder / "c", scenes, models=models) as target:
                yield known, burst(target, items)


def cluster(plan: Plan, known: tuple[Curve, ...]) -> Iterator[Measured]:
    """The same on the cluster, which answers with the models that it has."""
    namespace = os.environ.get("GROUNDSHIFT_NAMESPACE", "groundshift")
    through = ", through Kourier's internal gateway"
    to = "to the Broker, which answers when every function behind it has"
    with tempfile.TemporaryDirectory() as name, targets.cluster(namespace) as target:
        if not known:
            intake = curve(target, "intake", plan, INTAKE.format(to=to))
            predict = curve(target, "predict", plan, PREDICT.format(through=through))
            known = intake, predict
            yield known, None
        if items := make_scenes(Path(name), plan.scenes):
            yield known, replace(burst(target, items), models=MODELS)


def curve(target: Target, name: str, plan: Plan, what: str) -> Curve:
    """Drive one address with growing rates."""
    bound = plan.intake_bound_ms if name == "intake" else plan.predict_bound_ms
    with driving(target, name, plan, bound) as driver, watch.Watch(_usage(target, driver)) as seen:
        out = Path(driver.args[-1])
        if driver.wait() != 0:
            raise SystemExit(f"locust ended with {driver.returncode}")
    steps = tuple(Step(**step) for step in json.loads(out.read_text()))
    out.unlink()
    return Curve(name, what, bound, steps, thinned(seen.series()))


@contextmanager
def driving(
    target: Target, name: str, plan: Plan, bound: float
) -> Iterator[subprocess.Popen[bytes]]:
    """The load generator, a process of its own."""
    host = target.intake if name == "intake" else target.predict
    rates = plan.intake if name == "intake" else plan.predict
    said = {"GROUNDSHIFT_LOAD_PATH": target.intake_path}
    if name == "predict":
        said["GROUNDSHIFT_LOAD_HOST"] = target.predict_host
    out = Path(tempfile.mkstemp(suffix=".json")[1])
    options = [f"--host={host}", f"--rates={rates}", f"--seconds={plan.seconds}"]
    command = [sys.executable, "-m", "load.drive", name, *options, f"--bound-ms={bound}"]
    with subprocess.Popen([*command, "--out", str(out)], env=os.environ | said) as process:
        yield process


def _usage(target: Target, driver: subprocess.Popen[bytes]) -> watch.Look:
    """What the platform uses; on one machine the generator's share too."""
    if target.pids:
        return watch.cores(lambda: {**target.pids, "generator": driver.pid})
    return target.usage


# ---- the burst


def make_scenes(folder: Path, count: int) -> list[Path]:
    """Small scenes of several sites, in the order of their dates."""
    per_site = -(-count // SITES)
    made: list[tuple[datetime, Path]] = []
    for seed in range(SITES if count else 0):
        # far from each other, so that no scene touches two sites
        site = simulate_site(
            SiteSpec(seed=seed, size_px=SITE_PX, top=-539_840 + 96, left=44_896 + 1344 * seed)
        )
        for date in default_dates(per_site):
            place = folder / f"site{seed}"
            made.append((date, write_scene(site.scene(date, cloud_fraction=0.05), site, place)))
    return [path for _, path in sorted(made)][:count]


def burst(target: Target, items: list[Path]) -> Burst:
    """Post all of them at once, then wait until the queue is empty."""
    events = [scene_arrived(target.href(item), {}) for item in items]
    before = target.outcomes()
    with watch.Watch(target.age, interval_s=0.5) as age, watch.Watch(target.usage) as usage:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(target.post, events))
        posted = age.seconds
        wait_for_all(target, before, len(items))
    (oldest,) = [s for s in age.series() if s.name == "oldest"]
    after = target.outcomes()
    return Burst(
        scenes=len(items),
        posted_s=round(posted, 1),
        age=thinned([oldest])[0],
        outcomes={k: v - before.get(k, 0) for k, v in after.items() if v > before.get(k, 0)},
        usage=thinned(usage.series()),
    )


def wait_for_all(target: Target, before: dict[str, int], count: int) -> None:
    """Until every scene has an outcome and the queue is empty; an hour at most."""
    deadline = time.monotonic() + 3600
    while time.monotonic() < deadline:
        now = target.outcomes()
        ended = sum(v for k, v in now.items() if k != "pending") - sum(
            v for k, v in before.items() if k != "pending"
        )
        if ended >= count and target.age().get("oldest") == 0:
            time.sleep(2)  # so that the curve shows the zero
            return
        time.sleep(1)
    raise SystemExit(f"not every scene has an outcome after an hour: {target.outcomes()}")


def thinned(series: tuple[Series, ...] | list[Series], most: int = 160) -> tuple[Series, ...]:
    """Fewer points, the largest of each group: a peak stays."""
    found = []
    for one in series:
        size = -(-len(one.points) // most)
        groups = [one.points[i : i + size] for i in range(0, len(one.points), size or 1)]
        kept = [(g[-1][0], max(v for _, v in g)) for g in groups]
        found.append(Series(one.name, tuple(kept)))
    return tuple(found)


if __name__ == "__main__":
    main()
