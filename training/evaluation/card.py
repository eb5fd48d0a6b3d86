"""An evaluation's numbers in model.json and card.md: what a user of the models reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from training.evaluation.slices import SLICED

HEADING: Final = "## Evaluated"
_BEFORE: Final = "## Limits"
_OF_A_SET: Final = (
    *("f1", "precision", "recall", "iou", "auroc", "area_bias", "budget_precision", "ece"),
    "false_share",
)


def write(store: Path, found: Mapping[str, Any]) -> None:
    """Put a summary into the records and cards of the store that it was made of.

    ``metrics.evaluation`` and ``metamorphic`` of each model.json, and the section "Evaluated" of
    each card.md. The artifacts and their digests stay as they are.
    """
    for name, numbers in of_models(found).items():
        folder = store / name
        record = json.loads((folder / "model.json").read_text("utf-8"))
        record["metrics"] = {**record.get("metrics", {}), "evaluation": numbers}
        record["metamorphic"] = {
            test: {key: row[key] for key in ("measured", "tolerance", "passed")}
            for test, row in found["templates"].items()
        }
        text = json.dumps(record, indent=2) + "\n"
        (folder / "model.json").write_text(text, encoding="utf-8")
        card = folder / "card.md"
        card.write_text(with_section(card.read_text("utf-8"), numbers, found), encoding="utf-8")


def of_models(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What each model's record says, by model."""
    sets = found["sets"]
    return {
        "cloud-mask": {
            "sets": {n: _classes(s["clouds"]) for n, s in sets.items() if s["clouds"]},
            "cloud_chips": found["cloud_chips"],
            "slices": dict(_class_slices(sets, "cloud F1")),
        },
        "segmenter": {
            "sets": {n: _classes(s["covers"]) for n, s in sets.items() if s["covers"]},
            "slices": dict(_class_slices(sets, "cover accuracy")),
        },
        "change-classifier": {
            "threshold": found["threshold"],
            "sets": {name: _change(one) for name, one in sets.items()},
            "slices": dict(_change_slices(sets)),
        },
    }


def _classes(one: Mapping[str, Any]) -> dict[str, Any]:
    return {"accuracy": one["accuracy"], "iou": one["iou"]}


def _change(one: Mapping[str, Any]) -> dict[str, Any]:
    """The classifier alone, and what the platform makes of it."""
    alone, means, plain = one["pooled"]["classifier"], one["mean_over_sites"], one["cva_otsu"]
    return {
        "sites": one["sites"],
        **{key: alone[key] for key in _OF_A_SET},
        "mean_f1": means["classifier_f1"],
        "mean_auroc": means["classifier_auroc"],
        "platform_f1": one["pooled"]["platform"]["f1"],
        "shown_share": one["pooled"]["shown_share"],
        "cva_otsu_f1": plain and plain["pooled_f1"],
        "cva_otsu_mean_f1": plain and plain["mean_f1"],
    }


def _change_slices(sets: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each slice's one telling number, of the platform."""
    for name in SLICED:
        for dimension, values in sets.get(name, {}).get("slices", {}).items():
            for value, row in values.items():
                numbers = row["platform"]
                measure = next(
                    (m for m in ("f1", "recall", "false_share") if numbers[m] is not None), "f1"
                )
                yield (
                    f"{name} / {dimension}: {value}",
                    {"sites": row["sites"], "measure": measure, "value": numbers[measure]},
                )


def _class_slices(sets: Mapping[str, Any], measure: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in SLICED:
        if name in sets:
            for key, row in sets[name]["class_slices"][measure].items():
                yield f"{name} / {key}", {**row, "measure": measure}


def with_section(card: str, numbers: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """The card with its section "Evaluated" renewed, before its limits."""
    head, _, rest = card.partition(f"{HEADING}\n")
    if rest:
        rest = rest[rest.find(_BEFORE) :] if _BEFORE in rest else ""
    else:
        place = card.find(_BEFORE)
        head, rest = (card, "") if place < 0 else (card[:place], card[place:])
    return f"{head.rstrip()}\n\n{HEADING}\n\n{_section(numbers, found)}\n\n{rest}".rstrip() + "\n"


def _section(numbers: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    sets = [[name, *map(_shown, row.values())] for name, row in numbers["sets"].items()]
    heads = ["set", *next(iter(numbers["sets"].values()), {})]
    slices = [
        [key, row["measure"].replace("_", " "), _shown(row["value"]), str(row["sites"])]
        for key, row in numbers["slices"].items()
    ]
    tests = [
        [name, _shown(t["measured"]), _shown(t["tolerance"]), "holds" if t["passed"] else "fails"]
        for name, t in found["templates"].items()
    ]
    parts = [_table([head.replace("_", " ") for head in heads], sets)]
    if numbers.get("cloud_chips"):
        chips = {**numbers["cloud_chips"]["cloud_iou"], "mean": numbers["cloud_chips"]["mean_iou"]}
        parts.append(
            _table(["labelled cloud chip", "cloud IoU"], [[n, _shown(v)] for n, v in chips.items()])
        )
    parts.append(_table(["slice", "measure", "value", "sites"], slices))
    parts.append(_table(["template test", "measured", "at most", ""], tests))
    return "\n\n".join(part for part in parts if part)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)
