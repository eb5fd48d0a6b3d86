"""Weights of an exported graph, back in the network they came from.

Export folds batch norm into the convolutions; here every convolution of the graph becomes a
convolution and a norm again, which together give what the folded one gave.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn


def from_onnx(net: nn.Module, path: Path, inputs: Iterable[tuple[Tensor, ...]]) -> nn.Module:
    """Fill `net` from the graph that was exported from one of its kind.

    `inputs`: samples of what the network will see (arguments of `net.logits`), one batch each: the
    norms' statistics are taken from them, so that training goes on where it was. Raises ValueError
    where the graph is not of this network.
    """
    graph = onnx.load(path).graph
    stored = _stored(graph)
    folded = [n for n in graph.node if n.op_type == "Conv"]
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    if len(folded) != len(convolutions):
        raise ValueError(f"{path}: {len(folded)} convolutions; the network has {len(convolutions)}")
    norms = _norms(net)
    for node, conv in zip(folded, convolutions, strict=True):
        weight, bias = (stored[name] for name in node.input[1:3])
        if weight.shape != conv.weight.shape:
            raise ValueError(f"{path}: {node.name} is {list(weight.shape)}, not as the network's")
        conv.weight.data.copy_(weight)
        _set_bias(conv, norms.get(conv), bias)
    for name in ("bias", "spread"):
        if name in stored:
            getattr(net, name).copy_(stored[name])
    _standardise(net, norms, inputs)
    return net.eval()


def _stored(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """Weights by name; the exporter keeps equal ones once and names the others after them."""
    stored = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in stored:
            stored[node.output[0]] = stored[node.input[0]]
    return stored


def _norms(net: nn.Module) -> dict[nn.Module, nn.BatchNorm2d]:
    """The norm that follows each convolution that one follows."""
    return {
        first: second
        for block in net.modules()
        for first, second in pairwise(block.children())
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d)
    }


def _set_bias(conv: nn.Conv2d, norm: nn.BatchNorm2d | None, bias: Tensor) -> None:
    if norm is None:
        assert conv.bias is not None
        conv.bias.data.copy_(bias)
        return
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.data.fill_(1)
    norm.bias.data.copy_(bias)


def _standardise(
    net: nn.Module,
    norms: dict[nn.Module, nn.BatchNorm2d],
    inputs: Iterable[tuple[Tensor, ...]],
) -> None:
    """Give every norm the statistics of its input and scale and shift that undo them."""
    sums = {norm: torch.zeros(3, norm.num_features, dtype=torch.float64) for norm in norms.values()}

    def note(norm: nn.BatchNorm2d, given: tuple[Tensor, ...]) -> None:
        x = given[0].to(torch.float64)
        counted = torch.full_like(x.sum((0, 2, 3)), x.numel() / x.shape[1])
        sums[norm] += torch.stack([x.sum((0, 2, 3)), (x * x).sum((0, 2, 3)), counted])

    hooks = [norm.register_forward_pre_hook(note) for norm in norms.values()]
    net.eval()
    with torch.no_grad():
        for batch in inputs:
            net.logits(*batch)
    for hook in hooks:
        hook.remove()
    for norm, (total, squares, count) in sums.items():
        mean = total / count.clamp(min=1)
        var = (squares / count.clamp(min=1) - mean**2).clamp(min=1e-6)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)
        scale = torch.sqrt(var + norm.eps).to(torch.float32)
        norm.weight.data.copy_(scale)
        norm.bias.data.add_(mean.to(torch.float32))
