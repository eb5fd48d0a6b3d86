"""Cheaper graphs of the same model: folded by ONNX Runtime, and with static int8 inside.

Nothing here knows a model by name: what stays float is found in the graph. Before the first
convolution stand the spectral indices, whose differences of a few per mille are the signal; after
the last one the probabilities. Between them 8 bits are enough.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from groundshift.serving.session import PROVIDER

Feed = Mapping[str, NDArray[np.generic]]
"""The inputs of one inference by name."""

OPERATORS: Final = ("Conv", "Relu", "Resize", "Concat")
"""What is quantised: convolutions, and what would else cost a way to float and back."""
_CONVOLUTIONS: Final = ("Conv", "ConvTranspose")


def folded(artifact: bytes) -> bytes:
    """The same float graph with less to do: ``basic`` optimisations, softmax by planes.

    Results differ by at most one level (of 254) in a few pixels of a million. ``basic`` and no
    more: what ``extended`` and ``all`` write (fused and blocked operators) is bound to this runtime
    and to the instruction set of the machine that wrote it. Each machine does that for itself when
    it loads the model, in a few milliseconds.
    """
    model = onnx.load_from_string(artifact)
    _plane_softmax(model.graph)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[PROVIDER])
        result = onnx.load(path)
    return _finished(result, model.doc_string)


def int8(artifact: bytes, feeds: Iterable[Feed], *, lead: int = 1) -> bytes:
    """The graph with static 8-bit convolutions (QDQ, U8S8, per channel), calibrated on `feeds`.

    Ranges are the least and the greatest value seen: cutting the tails off agrees a little better
    on average and then errs by half the scale on the brightest roofs. Weights have 7 bits
    (`reduce_range`): with 8 the 16-bit sums of AVX2 and AVX-512 without VNNI overflow, and the
    same file would answer differently there (255 x 64 x 2 < 2**15). All `feeds` have one size. The
    `lead` first convolutions stay float.
    """
    model = onnx.load_from_string(artifact)
    _name_nodes(model.graph)
    inside = between_convolutions(model.graph, lead=lead)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            path,
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            nodes_to_exclude=[n.name for n in model.graph.node if n.name not in inside],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        result = onnx.load(path)
    return _finished(result, model.doc_string)


def between_convolutions(graph: Any, *, lead: int = 1) -> frozenset[str]:
    """Names of the nodes that have `lead` convolutions or more before them, and one after.

    The first convolution (it reads the indices) and the last (it writes the logits) are not among
    them. Nodes are in topological order, as ONNX asks for.
    """
    passed: dict[str, int] = {}
    for node in graph.node:
        before = max((passed.get(name, 0) for name in node.input), default=0)
        passed |= dict.fromkeys(node.output, before + (node.op_type in _CONVOLUTIONS))
    ahead: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in _CONVOLUTIONS or ahead & set(node.output):
            ahead |= set(node.input)
    return frozenset(
        node.name
        for node in graph.node
        if ahead & set(node.output)
        and max((passed.get(name, 0) for name in node.input), default=0) >= lead
    )


def _plane_softmax(graph: Any) -> None:
    """Softmax over the channels, written out: ONNX Runtime's own one turns the image around first.

    In the segmenter that turn took a fifth of the whole inference.
    """
    nodes = []
    for number, node in enumerate(graph.node):
        if node.op_type == "Softmax" and helper.get_node_attr_value(node, "axis") == 1:
            nodes += _written_out(node, f"softmax_{number}", graph)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _written_out(node: Any, name: str, graph: Any) -> list[Any]:
    (given,), (asked,) = node.input, node.output
    greatest, lower, power, total = (f"{name}_{part}" for part in ("max", "sub", "exp", "sum"))
    axes = f"{name}_axes"
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), axes))
    make = helper.make_node
    return [
        make("ReduceMax", [given], [greatest], name=greatest, axes=[1], keepdims=1),
        make("Sub", [given, greatest], [lower], name=lower),
        make("Exp", [lower], [power], name=power),
        make("ReduceSum", [power, axes], [total], name=total, keepdims=1),
        make("Div", [power, total], [asked], name=f"{name}_div"),
    ]


def _name_nodes(graph: Any) -> None:
    """A node without a name could not be left out."""
    for number, node in enumerate(graph.node):
        node.name = node.name or f"node_{number}"


def _finished(model: Any, doc_string: str) -> bytes:
    """Only the operator sets in use, and who made it."""
    used = {node.domain for node in model.graph.node}
    kept = [opset for opset in model.opset_import if opset.domain in used | {""}]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    del model.metadata_props[:]
    model.producer_name, model.producer_version, model.doc_string = "groundshift", "", doc_string
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        """The next inputs; None at the end."""
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice to optimise a graph that `folded` has optimised."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
