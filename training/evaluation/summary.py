"""Everything that an evaluation found, as one JSON document: reports are made of it alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from geodata_etl.bands import Cloud, Cover
from training.evaluation import failures, metrics
from training.evaluation.counts import Confusion, Counts, Outcome
from training.evaluation.metrics import rounded
from training.evaluation.real import NEIGHBOURS
from training.evaluation.run import Evaluation
from training.evaluation.slices import EVERYTHING, Slice
from training.evaluation.tally import mean_over_sites, pooled
from training.evaluation.templates import Result, as_record


def summary(done: Evaluation, tested: tuple[Result, ...] = ()) -> dict[str, Any]:
    """JSON-ready; shares and scores are rounded to four digits."""
    wholes = [key for key in done.tally.changes if key.dimension == EVERYTHING]
    return {
        "models": done.models,
        "threshold": done.threshold,
        "budget": metrics.BUDGET,
        "sets": {key.set: _set(done, key) for key in wholes},
        "failure_modes": {
            mode.name: {"shows": mode.shows, "hiding_is_right": mode.hiding_is_right}
            for mode in failures.MODES
        },
        "cloud_chips": _chips(done.chips),
        "templates": {
            name: {**row, "holds": r.holds, "measures": r.measures}
            for (name, row), r in zip(as_record(tested).items(), tested, strict=True)
        },
    }


def _set(done: Evaluation, key: Slice) -> dict[str, Any]:
    sites = done.tally.changes[key]
    threshold = done.threshold
    found = {
        "sites": len(sites),
        "pooled": metrics.describe(pooled(sites), threshold),
        "mean_over_sites": _means(sites, threshold),
        "reliability": {
            "platform": [asdict(b) for b in metrics.reliability(pooled(sites).shown)],
            "classifier": [asdict(b) for b in metrics.reliability(pooled(sites).everything)],
        },
        "cva_otsu": _yardstick(done.yardstick.get(key.set, {})),
        "slices": _slices(done, key.set),
        "by_site": {site: metrics.describe(c, threshold) for site, c in sorted(sites.items())},
        "clouds": _classes(done.tally.clouds.get(key, {}), [c.name.lower() for c in Cloud]),
        "covers": _classes(done.tally.covers.get(key, {}), [c.label for c in Cover]),
        "class_slices": {
            "cloud F1": _class_slices(done.tally.clouds, key.set, _cloud_f1),
            "cover accuracy": _class_slices(done.tally.covers, key.set, lambda c: c.accuracy),
        },
    }
    apart = {site: c for site, c in sites.items() if site not in NEIGHBOURS}
    if len(apart) < len(sites):
        found["without_neighbours"] = {
            "left_out": sorted(sites.keys() - apart.keys()),
            "pooled": metrics.describe(pooled(apart), threshold),
            "mean_over_sites": _means(apart, threshold),
            "cva_otsu": _yardstick(
                {s: o for s, o in done.yardstick[key.set].items() if s not in NEIGHBOURS}
            ),
        }
    return found


def _means(sites: Mapping[str, Counts], threshold: int) -> dict[str, Any]:
    """Over the sites where something changed: without change there is nothing to find."""
    changed = {site: c for site, c in sites.items() if c.pixels[:, 1].any()}
    numbers: dict[str, Callable[[Counts], float | None]] = {
        "platform_f1": lambda c: metrics.f1(c.platform(threshold)),
        "classifier_f1": lambda c: metrics.f1(c.classifier(threshold)),
        "platform_auroc": lambda c: metrics.auroc(c.shown),
        "classifier_auroc": lambda c: metrics.auroc(c.everything),
    }
    return {
        "sites": len(changed),
        **{name: rounded(mean_over_sites(changed, number)) for name, number in numbers.items()},
    }


def _slices(done: Evaluation, name: str) -> dict[str, Any]:
    """By dimension and value; sites stand apart."""
    found: dict[str, Any] = {}
    for key, sites in sorted(done.tally.changes.items(), key=lambda item: item[0].rank):
        if key.set == name and key.dimension not in (EVERYTHING, "site"):
            row = {"sites": len(sites), **metrics.describe(pooled(sites), done.threshold)}
            found.setdefault(key.dimension, {})[key.value] = row
    return found


def _yardstick(sites: Mapping[str, Outcome]) -> dict[str, Any] | None:
    """Change-vector analysis with Otsu's threshold on each pair; None where nothing changed."""
    if not sites:
        return None
    total = sum(sites.values(), start=Outcome(0, 0, 0, 0))
    each = [f1 for f1 in map(metrics.f1, sites.values()) if f1 is not None]
    return {
        "pooled_f1": rounded(metrics.f1(total)),
        "mean_f1": rounded(sum(each) / len(each)) if each else None,
        "precision": rounded(metrics.precision(total)),
        "recall": rounded(metrics.recall(total)),
    }


def _classes(sites: Mapping[str, Confusion], names: list[str]) -> dict[str, Any] | None:
    if not sites:
        return None
    total = _total(sites)
    return {
        "accuracy": rounded(total.accuracy),
        "iou": {n: rounded(v) for n, v in zip(names, total.iou(), strict=True) if v is not None},
        "confusion": total.pixels.tolist(),
    }


def _class_slices(
    table: Mapping[Slice, Mapping[str, Confusion]],
    name: str,
    number: Callable[[Confusion], float | None],
) -> dict[str, Any]:
    """By slice: how many sites, and the number of all of them together."""
    found = {}
    for key, sites in sorted(table.items(), key=lambda item: item[0].rank):
        if key.set == name and key.dimension not in (EVERYTHING, "site"):
            value = rounded(number(_total(sites)))
            found[f"{key.dimension}: {key.value}"] = {"sites": len(sites), "value": value}
    return found


def _cloud_f1(confusion: Confusion) -> float | None:
    return metrics.f1(confusion.against_first())


def _total(sites: Mapping[str, Confusion]) -> Confusion:
    first, *rest = sites.values()
    return sum(rest, start=first)


def _chips(chips: Mapping[str, Confusion]) -> dict[str, Any] | None:
    """Cloud's intersection over union on each chip and their mean."""
    if not chips:
        return None
    cloud = {name: confusion.iou()[1] for name, confusion in chips.items()}
    known = [value for value in cloud.values() if value is not None]
    return {
        "cloud_iou": {name: rounded(value) for name, value in cloud.items()},
        "mean_iou": rounded(sum(known) / len(known)) if known else None,
    }
