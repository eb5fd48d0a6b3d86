"""What is reported about each model: on held-out simulation and on real scenes, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from geodata_etl.bands import NOT_OBSERVED, Cloud, Cover
from groundshift.influence import Influence, measure_influence, standard_inputs
from training import corpus, realdata
from training.evaluate import (
    ChangeModels,
    Measured,
    OnnxModel,
    Row,
    Scores,
    auroc,
    cva_otsu,
    evaluate_pairs,
    from_simulation,
    mean_f1,
    score,
    tiled,
)

CLEAR_DATES = ("20150711", "20150830", "20150909")
"""Dates of the Slovenian series on which its own mask calls every pixel clear."""
CLOUDY_DATES = ("20150731", "20150820")
"""Dates on which it calls every pixel cloud."""


def held_out(count: int = 16) -> list[corpus.SimPair]:
    """Simulated pairs that no model was trained on."""
    first = corpus.HELD_OUT_SEED
    return [corpus.simulate(seed) for seed in range(first, first + count)]


def changed_pairs(pairs: Iterable[corpus.SimPair]) -> list[Measured]:
    """Those with something to find (at least 50 clear changed pixels)."""
    measured = (from_simulation(pair) for pair in pairs)
    return [m for m in measured if int((m.truth & m.valid).sum()) >= 50]


def cities(data: Path) -> Iterable[Measured]:
    """The eight labelled cities; all pixels that both dates cover count."""
    for name in realdata.LABELLED:
        pair = realdata.read_pair(data / "oscd" / name)
        assert pair.label is not None
        yield Measured(name, pair.before, pair.after, pair.label, pair.valid)


def slovenia(data: Path, date: str) -> NDArray[np.uint16]:
    """One date of the Slovenian series, [6,H,W]."""
    return realdata.read_scene(data / "s2_slovenia" / f"{date}_L1C_13b.tif")


def overlap(
    predicted: NDArray[np.uint8], truth: NDArray[np.uint8], classes: type
) -> dict[str, Any]:
    """Intersection over union of each class that occurs, and the overall accuracy."""
    found: dict[str, Any] = {"accuracy": round(float((predicted == truth).mean()), 4)}
    for kind in classes:  # type: ignore[attr-defined]
        p, t = predicted == kind, truth == kind
        if t.any():
            found[kind.name.lower()] = round(float((p & t).sum() / (p | t).sum()), 4)
    return found


def cloud_metrics(model: OnnxModel, data: Path | None) -> dict[str, Any]:
    """Overlap per class on held-out simulation; clear shares of real scenes."""
    predicted, truth = [], []
    for pair in held_out():
        for stack, mask in ((pair.before, pair.before_cloud), (pair.after, pair.after_cloud)):
            seen = (stack.min(0) > 0) & (mask != NOT_OBSERVED)
            predicted.append(tiled(model, {"image": stack[:4]}).astype(np.uint8)[seen])
            truth.append(mask[seen])
    metrics = {"simulated_iou": overlap(np.concatenate(predicted), np.concatenate(truth), Cloud)}
    if data is not None:
        metrics["chips_cloud_iou"] = chip_overlap(model, data)
        metrics["slovenia_clear_share"] = {
            date: _clear(model, slovenia(data, date)) for date in (*CLEAR_DATES, *CLOUDY_DATES)
        }
        metrics["unlabelled_clear_share"] = {
            name: min(_clear(model, pair.before), _clear(model, pair.after))
            for name in realdata.UNLABELLED
            for pair in (realdata.read_pair(data / "oscd_unlabelled" / name),)
        }
    return metrics


def chip_overlap(model: OnnxModel, data: Path) -> dict[str, float]:
    """Overlap of cloud and thin cloud together with what people marked on the cloud chips."""
    found = {}
    for path in sorted((data / "s2_cloud_chips").glob("chip_?.tif")):
        mask = tiled(model, {"image": chip(path)})
        with rasterio.open(path.with_name(f"{path.stem}_cloud_label.tif")) as label:
            marked = label.read(1) == 1
        hidden = (mask == Cloud.CLOUD) | (mask == Cloud.THIN)
        found[path.stem] = round(float((hidden & marked).sum() / (hidden | marked).sum()), 4)
    return {**found, "mean": round(float(np.mean(list(found.values()))), 4)}


def chip(path: Path) -> NDArray[np.uint16]:
    """A cloud chip, [4,H,W] reflectance x 10000."""
    with rasterio.open(path) as image:
        bands: NDArray[np.uint16] = image.read().astype(np.uint16)
    return bands


def _clear(model: OnnxModel, stack: NDArray[np.uint16]) -> float:
    mask = tiled(model, {"image": stack[:4]})
    seen = mask != NOT_OBSERVED
    return round(float((mask[seen] == Cloud.CLEAR).mean()), 4)


def cover_metrics(model: OnnxModel) -> dict[str, Any]:
    """Overlap per class on clear pixels of held-out simulation."""
    predicted, truth = [], []
    for pair in held_out():
        for stack, cloud, cover in (
            (pair.before, pair.before_cloud, pair.before_cover),
            (pair.after, pair.after_cloud, pair.after_cover),
        ):
            seen = (stack.min(0) > 0) & (cloud == Cloud.CLEAR)
            best = tiled(model, {"image": stack}).argmax(axis=0).astype(np.uint8)
            predicted.append(best[seen])
            truth.append(cover[seen])
    return {"simulated_iou": overlap(np.concatenate(predicted), np.concatenate(truth), Cover)}


def change_metrics(models: ChangeModels, data: Path | None) -> dict[str, Any]:
    """F1 beside change-vector analysis on simulation and the cities; false alarms in Slovenia."""
    metrics: dict[str, Any] = {
        "simulated": _summary(evaluate_pairs(models, changed_pairs(held_out())))
    }
    if data is not None:
        metrics["cities"] = city_metrics(models, data)
        metrics["slovenia_changed_share"] = false_alarms(models, data)
    return metrics


def city_metrics(models: ChangeModels, data: Path) -> dict[str, Any]:
    """F1 of each labelled city, its mean, and F1 and AUROC over all their pixels together."""
    looks = [_look(models, pair) for pair in cities(data)]
    return {
        **_summary([look.row for look in looks]),
        "pooled": _pooled(looks),
        "pooled_without_saclay_e": _pooled([k for k in looks if k.row.name != "saclay_e"]),
    }


@dataclass(frozen=True)
class _Look:
    row: Row
    levels: NDArray[np.uint8]
    """Of the pixels that count, flat, like their truth."""
    truth: NDArray[np.bool_]


def _look(models: ChangeModels, pair: Measured) -> _Look:
    levels = models.change(pair.before, pair.after)
    over = (levels >= models.threshold) & (levels != NOT_OBSERVED)
    plain = cva_otsu(pair.before, pair.after, pair.valid)
    row = Row(pair.name, score(over, pair.truth, pair.valid), score(plain, pair.truth, pair.valid))
    return _Look(row, levels[pair.valid], pair.truth[pair.valid])


def _pooled(looks: list[_Look]) -> dict[str, float]:
    nothing = Scores(0, 0, 0)
    ours = sum((look.row.ours for look in looks), nothing)
    plain = sum((look.row.yardstick for look in looks), nothing)
    levels = np.concatenate([look.levels for look in looks])
    truth = np.concatenate([look.truth for look in looks])
    return {
        "f1": round(ours.f1, 4),
        "precision": round(ours.precision, 4),
        "recall": round(ours.recall, 4),
        "auroc": round(auroc(levels, truth), 4),
        "cva_otsu_f1": round(plain.f1, 4),
    }


def false_alarms(models: ChangeModels, data: Path) -> dict[str, float]:
    """Share of pixels called changed between clear summer dates on which nothing was built."""
    first = slovenia(data, CLEAR_DATES[0])
    return {
        f"{CLEAR_DATES[0]}-{date}": round(
            float(models.changed(first, slovenia(data, date)).mean()), 5
        )
        for date in CLEAR_DATES[1:]
    }


def _summary(rows: list[Row]) -> Mapping[str, Any]:
    ours, plain = mean_f1(rows)
    return {
        "mean_f1": round(ours, 4),
        "cva_otsu_mean_f1": round(plain, 4),
        "f1": {row.name: round(row.ours.f1, 3) for row in rows},
    }


def influence_of(name: str, model: OnnxModel, segmenter: OnnxModel | None) -> Influence:
    """The artifact's reach, measured on a held-out simulated pair."""
    pair = corpus.simulate(corpus.HELD_OUT_SEED + 2, cloud_fraction=0.3)
    image = pair.before[None]
    inputs: dict[str, NDArray[np.generic]] = {"image": image}
    if name == "cloud-mask":
        inputs = {"image": np.ascontiguousarray(image[:, :4])}
    if name == "change-classifier":
        assert segmenter is not None
        dates = {"before": image, "after": pair.after[None]}
        planes = {f"{k}_probabilities": segmenter({"image": v}) for k, v in dates.items()}
        inputs = {**dates, **planes}
    others = standard_inputs(inputs)
    return measure_influence(model, inputs, others, categorical=name == "cloud-mask")
