"""Going on from a model set: its weights to start from, and as the teacher of the real pairs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from training import cloudteacher, export, loop, nets, samples, teacher, warm

_LOOKS: Final = 24
"""Samples that set the statistics of the norms."""


def go_on(net: torch.nn.Module, name: str, store: Path, draw: loop.Draw) -> torch.nn.Module:
    """`net` with the weights of the model `name` in `store`.

    Raises ValueError where that model is of another width.
    """
    drawn = draw(np.random.default_rng(0), _LOOKS)
    return warm.from_onnx(net, store / name / "model.onnx", [_inputs(name, one) for one in drawn])


def alike(net: torch.nn.Module, name: str, draw: loop.Draw) -> torch.nn.Module:
    """The same function as `net`, its norms' statistics of the samples that `go_on` takes: networks
    whose norms were set by other samples have no mean worth having.
    """
    with tempfile.TemporaryDirectory() as folder:
        export.export_onnx(name, net, Path(folder) / name / "model.onnx")
        return go_on(nets.build(name), name, Path(folder), draw)


def mean_of(
    nets: Sequence[torch.nn.Module], shares: Sequence[float] | None = None
) -> torch.nn.Module:
    """The last of `nets` with the mean of all their weights, which is better than any where all
    began as one (Wortsman et al. 2022: Model soups; Robust fine-tuning of zero-shot models).

    `shares`: what each counts, 1 in all; default: alike.
    """
    counts = [1 / len(nets)] * len(nets) if shares is None else shares
    states, last = [net.state_dict() for net in nets], nets[-1]
    mixed = {
        key: torch.stack([n * s[key] for n, s in zip(counts, states, strict=True)]).sum(dim=0)
        if value.dtype.is_floating_point
        else value
        for key, value in last.state_dict().items()
    }
    last.load_state_dict(mixed)
    return last.eval()


def _inputs(name: str, sample: samples.Arrays) -> tuple[torch.Tensor, ...]:
    if name != "change-classifier":
        return (torch.from_numpy(sample["image"])[None],)
    keys = ("before", "after", "before_probabilities", "after_probabilities")
    return tuple(torch.from_numpy(sample[key])[None] for key in keys)


def segmenter_of(store: Path) -> nets.Segmenter:
    """The segmenter of a model set, to predict with."""
    net = nets.Segmenter()
    warm.from_onnx(net, store / "segmenter" / "model.onnx", [])
    return net


def taught(
    name: str, source: samples.Source, store: Path | None, segmenter: nets.Segmenter | None
) -> samples.Source:
    """`source` with what teachers say of its real pairs.

    Clouds are taught by ukis-csmask where that is installed, change by the model set in `store`.
    """
    if not source.real:
        return source
    if name == "cloud-mask" and (wise := cloudteacher.find()) is not None:
        return replace(source, taught=samples.taught_clouds(source.real, wise))
    if name == "change-classifier" and store is not None and segmenter is not None:
        net = nets.ChangeClassifier()
        warm.from_onnx(net, store / name / "model.onnx", [])
        return replace(source, real=teacher.teach(net, segmenter, source.real))
    return source
