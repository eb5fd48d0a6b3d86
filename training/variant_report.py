"""The table of variants as a page: docs/models/variants.md is written by this and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

MODELS: Final = ("cloud-mask", "segmenter", "change-classifier")
_NAMES: Final[Mapping[str, str]] = {
    "f1": "F1",
    "recall": "recall",
    "false_share": "false alarms",
}
_MEASURED: Final = ("measure", "base", "variant", "loss")

_HEAD: Final = """# Variants of the models

Written by `groundshift optimise` (see [models](../models.md#variants)): every number is measured.
`fp32-folded` is the same network with a lighter graph; `int8-static` has static 8-bit convolutions
between its first one and its last one.
"""
_MADE: Final = """Measured on {cpu}, signature `{signature}`:
{sites} held-out simulated sites, {failure_sites} of each failure mode, {real}.
"""
_SPEED: Final = """## Speed

One 512 px tile, one thread, ONNX Runtime on the CPU. CPU time of the thread in paired runs, base
and variant in turn; medians. A tile of a pair asks the cloud mask and the segmenter twice, the
classifier once.

"""
_ACCURACY: Final = """## Accuracy beside the base

The set of three models as a whole, at the same threshold. F1 is that of the platform (cloud mask
included), AUROC the classifier's; where nothing changed, the share of the ground that is called
changed. *Same*: share of pixels with the same answer. *Dice*: overlap of what both call changed.

"""
_SLICES: Final = """## Loss per slice

Every slice on which a variant differs from its base in the fourth digit; on all others it does not.
Above zero the variant is worse.

"""
_GATE: Final = """## The gate

Each variant as challenger, its base as champion (`groundshift evaluate --against`). What the base
fails too does not keep its variant back. The template tests ran on `int8-static` alone.

"""


def page(found: Mapping[str, Any]) -> str:
    """The Markdown page of what `training.optimise` found."""
    parts = [_HEAD, _made(found), _speed(found), _accuracy(found), _slices(found), _gate(found)]
    return "\n".join(parts)


def _made(found: Mapping[str, Any]) -> str:
    real = "and the real scenes" if found["plan"]["real"] else "no real scenes"
    return _MADE.format(**found["machine"], **{**found["plan"], "real": real})


def _table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [" | ".join(heads), "|".join("---" for _ in heads), *map(" | ".join, rows)]
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines) + "\n"


def _speed(found: Mapping[str, Any]) -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for variant, one in found["variants"].items():
            for name in MODELS:
                m = one["models"][name]
                yield (
                    variant, f"`{name}`", f"`{m['digest'][7:19]}`", f"{m['bytes'] / 1024:.0f}",
                    f"{m['base_ms']:.1f}", f"{m['ms']:.1f}", f"{m['ratio']:.2f}",
                )  # fmt: skip
            pair = one["pair"]
            yield (
                variant, "both dates, all models", "", "",
                f"{pair['base_ms']:.1f}", f"{pair['ms']:.1f}", f"{pair['ratio']:.2f}",
            )  # fmt: skip

    heads = ("variant", "model", "digest", "KiB", "base, CPU ms", "variant, CPU ms", "times faster")
    return _SPEED + _table(heads, rows())


def _accuracy(found: Mapping[str, Any]) -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for variant, one in found["variants"].items():
            for name, row in one["sets"].items():
                same, dice = f"{row['same_share']:.4f}", f"{row['dice']:.3f}"
                yield variant, name, *_measured(row), *_numbers(row["auroc"]), same, dice

    heads = ("variant", "set", *_MEASURED, "AUROC", "variant", "loss", "same", "Dice")
    return _ACCURACY + _table(heads, rows())


def _measured(row: Mapping[str, Any]) -> Iterator[str]:
    """F1; recall where there is only change, the share of false alarms where there is none."""
    name = next((n for n in _NAMES if row[n]["base"] is not None), "f1")
    yield _NAMES[name]
    yield from _numbers(row[name])


def _numbers(one: Mapping[str, Any]) -> Iterator[str]:
    yield from (_n(one["base"]), _n(one["variant"]), _n(one["loss"], sign=True))


def _slices(found: Mapping[str, Any]) -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for variant, one in found["variants"].items():
            for name, row in one["slices"].items():
                if " / " in name and _differs(row):
                    auroc = _numbers(row["auroc"])
                    yield variant, name, str(row["sites"]), *_measured(row), *auroc

    heads = ("variant", "slice", "sites", *_MEASURED, "AUROC", "variant", "loss")
    return _SLICES + _table(heads, rows())


def _differs(row: Mapping[str, Any]) -> bool:
    return any(row[name]["loss"] for name in (*_NAMES, "auroc"))


def _gate(found: Mapping[str, Any]) -> str:
    return _GATE + "".join(_ruling(*item) for item in found["variants"].items())


def _ruling(variant: str, one: Mapping[str, Any]) -> str:
    line = f"- {variant}: {one['gate']['reason']}."
    if inherited := one["gate"]["inherited"]:
        line += f" Its base fails the same: {', '.join(inherited)}."
    return f"{line} {'May ship.' if one['gate']['ships'] else 'Must not ship.'}\n"


def _n(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.4f}" if sign else f"{value:.4f}"
