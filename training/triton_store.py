"""A model set as a Triton model repository: NAME/1/model.onnx and NAME/config.pbtxt.

For GPU servers that run Triton's ONNX Runtime backend, on CUDA or through TensorRT. Written from
its documentation; no GPU was at hand to run it on.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from groundshift.models import ARTIFACT, ModelRecord, TensorSpec
from groundshift.registry import read_set

VERSION: Final = 1
_BATCH: Final = 1


def write(store: Path, to: Path, *, tensorrt: bool = False) -> None:
    """Write the three models of `store` into the repository `to`. Raises as `read_set` does."""
    for record in read_set(store):
        folder = to / record.name
        (folder / str(VERSION)).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(record.artifact, folder / str(VERSION) / ARTIFACT)
        (folder / "config.pbtxt").write_text(config(record, tensorrt=tensorrt), encoding="utf-8")


def config(record: ModelRecord, *, tensorrt: bool = False) -> str:
    """``config.pbtxt`` of one model.

    One image an inference and no batching by the server, so that no answer depends on its batch
    mates; fixed sizes, so that a TensorRT engine is built once. The digest and the variant stand
    among the parameters, which Triton shows at ``/v2/models/NAME/config``.
    """
    parameters = {"groundshift_digest": record.digest, "groundshift_variant": record.variant}
    return "\n".join(
        [
            f'name: "{record.name}"',
            'backend: "onnxruntime"',
            f'default_model_filename: "{ARTIFACT}"',
            "max_batch_size: 0  # the server never puts requests together",
            _tensors("input", record.inputs, record.tile),
            _tensors("output", record.outputs, record.tile),
            "instance_group [ { kind: KIND_GPU, count: 1 } ]",
            f"version_policy: {{ specific {{ versions: [ {VERSION} ] }} }}",
            _accelerator(tensorrt=tensorrt),
            *(
                f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}'
                for key, value in parameters.items()
            ),
            "",
        ]
    )


def _tensors(side: str, specs: Iterable[TensorSpec], edge: int) -> str:
    rows = ",\n".join(
        f'  {{ name: "{s.name}", data_type: TYPE_{s.datatype}, dims: [ {_dims(s, edge)} ] }}'
        for s in specs
    )
    return f"{side} [\n{rows}\n]"


def _dims(spec: TensorSpec, edge: int) -> str:
    inner = [str(size) for size in spec.shape[1:-2]]
    return ", ".join([str(_BATCH), *inner, str(edge), str(edge)])


def _accelerator(*, tensorrt: bool) -> str:
    """CUDA with one fixed convolution algorithm, or TensorRT at full precision before it."""
    wanted = {"cudnn_conv_algo_search": "2"}  # DEFAULT: no search, whose outcome varies
    name = "cuda"
    if tensorrt:
        name, wanted = "tensorrt", {"precision_mode": "FP32", "trt_engine_cache_enable": "1"}
    options = " ".join(f'parameters {{ key: "{k}" value: "{v}" }}' for k, v in wanted.items())
    return (
        "optimization { execution_accelerators { gpu_execution_accelerator : [ "
        f'{{ name : "{name}" {options} }} ] }} }}'
    )
