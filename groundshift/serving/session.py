"""One loaded model: ONNX Runtime behind the tensor contract, one image at a time."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from groundshift.errors import Misconfigured
from groundshift.models import MAX_ARTIFACT_BYTES, ModelRecord, TensorSpec, read_artifact
from groundshift.v2 import Array, BadMessage

PROVIDER: Final = "CPUExecutionProvider"
PROVIDERS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "cpu": (PROVIDER, {}),
    # one algorithm instead of a search among them, whose outcome varies, and full 32-bit products
    "cuda": ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "DEFAULT", "use_tf32": "0"}),
    # its default rounds to bfloat16 where the CPU has it; one thread as on the CPU (see `_options`)
    "openvino": (
        "OpenVINOExecutionProvider",
        {"device_type": "CPU", "precision": "ACCURACY", "num_of_threads": "1", "num_streams": "1"},
    ),
}
"""What computes, by the name it has on the command line: ONNX Runtime's provider, its options."""
MULTIPLE_PX: Final = 32
"""H and W of an input are multiples of this: five halvings of the U-Nets (tensor contract)."""
BATCH_POLICY: Final = "b1"
"""Images are computed one by one, so that batch mates can never change a pixel."""

_BUILDS: Final = {
    "cpu": "onnxruntime",
    "cuda": "onnxruntime-gpu (on a machine with an NVIDIA driver)",
    "openvino": "onnxruntime-openvino",
}
"""The build of ONNX Runtime that holds a provider."""
_NO_PROVIDER: Final = (
    "ONNX Runtime has no provider {!r} here, only {}: take --provider cpu, or install {} "
    "instead of the build that is installed"
)
_ISA: Final = ("avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd")
"""CPU flags (as Linux names them) by which ONNX Runtime's MLAS chooses its kernels."""
_ORT_TYPES: Final = {
    "BOOL": "tensor(bool)",
    "UINT8": "tensor(uint8)",
    "UINT16": "tensor(uint16)",
    "INT16": "tensor(int16)",
    "INT32": "tensor(int32)",
    "INT64": "tensor(int64)",
    "FP32": "tensor(float)",
}
_LOAD_ERRORS: Final = (
    ort.Fail,
    ort.InvalidArgument,
    ort.InvalidGraph,
    ort.InvalidProtobuf,
    ort.NotImplemented,
    ort.RuntimeException,
)


class Session:
    """A model ready to infer; `run` may be called from several threads at once."""

    def __init__(
        self, record: ModelRecord, *, max_bytes: int = MAX_ARTIFACT_BYTES, provider: str = "cpu"
    ) -> None:
        """Load and check the artifact; `provider` is one of `PROVIDERS`.

        Raises NotFound or Misconfigured: no artifact, another digest, not ONNX, tensors that are
        not those of the record, or no such provider here.
        """
        self.record = record
        self.signature = compute_signature(record.variant, provider)
        name, options = _available(provider)
        _refuse_wrong_answers(record, provider)
        artifact = read_artifact(record, max_bytes=max_bytes)
        try:
            self._session = onnxruntime.InferenceSession(
                artifact, _options(), providers=[(name, dict(options))]
            )
        except _LOAD_ERRORS as error:
            raise Misconfigured(
                f"{record.artifact}: ONNX Runtime {onnxruntime.__version__} cannot load it: {error}"
            ) from error
        if self._session.get_providers()[0] != name:  # it falls back to the CPU with a log line
            raise _missing(provider, self._session.get_providers())
        _hold(record, "input", record.inputs, self._session.get_inputs())
        _hold(record, "output", record.outputs, self._session.get_outputs())

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Infer ``[N, C, H, W]`` inputs, image by image.

        Returns the outputs by name. Raises BadMessage where the inputs do not fit each other.
        """
        count = _batch(inputs)
        names = [spec.name for spec in self.record.outputs]
        images = [
            self._session.run(names, {name: x[n : n + 1] for name, x in inputs.items()})
            for n in range(count)
        ]
        planes = zip(*images, strict=True)  # per output, one array per image
        return {name: _joined(arrays) for name, arrays in zip(names, planes, strict=True)}


def compute_signature(variant: str, provider: str = "cpu") -> str:
    """What the numbers depend on beside the model: two equal signatures give equal bits.

    ``onnxruntime-<version>/<provider>/<variant>/<batch policy>/<machine and its CPU flags>``; on a
    GPU its model stands behind the flags. Raises Misconfigured for an unknown provider.
    """
    name, _ = _known(provider)
    gpus = _gpu_models() if provider == "cuda" else []
    isa = "+".join((platform.machine(), *_cpu_flags(), *gpus))
    return f"onnxruntime-{onnxruntime.__version__}/{name}/{variant}/{BATCH_POLICY}/{isa}"


def _known(provider: str) -> tuple[str, Mapping[str, str]]:
    try:
        return PROVIDERS[provider]
    except KeyError as error:
        raise Misconfigured(
            f"provider {provider!r} is unknown: there are {', '.join(PROVIDERS)}"
        ) from error


def _available(provider: str) -> tuple[str, Mapping[str, str]]:
    name, options = _known(provider)
    found = onnxruntime.get_available_providers()
    if name not in found:
        raise _missing(provider, found)
    return name, options


def _missing(provider: str, found: Sequence[str]) -> Misconfigured:
    return Misconfigured(_NO_PROVIDER.format(provider, found, _BUILDS[provider]))


def _refuse_wrong_answers(record: ModelRecord, provider: str) -> None:
    """onnxruntime-openvino 1.24.1 takes the 8-bit graphs and answers noise (docs/models.md)."""
    if provider == "openvino" and record.variant.startswith("int8"):
        raise Misconfigured(
            f"{record.name}: OpenVINO's provider answers wrongly for the variant {record.variant}: "
            "serve the fp32 models with it, or the 8-bit ones with --provider cpu"
        )


def _gpu_models() -> list[str]:
    """As the driver names them, e.g. ``NVIDIA-L4``; empty without a driver."""
    told = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = (line for path in told for line in path.read_text("ascii", "replace").splitlines())
    models = {line.partition(":")[2].strip() for line in lines if line.startswith("Model:")}
    return sorted("-".join(model.split()) for model in models)


def _cpu_flags() -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines()
    except OSError:  # not Linux: one build serves one kind of CPU there
        return []
    rows = (line.partition(":") for line in lines)
    flags = next((row[2].split() for row in rows if row[0].strip() in ("flags", "Features")), [])
    return [flag for flag in _ISA if flag in flags]


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    # One thread per inference: sums are split the same way whatever the number of cores, and the
    # server's own threads keep the cores busy.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    return options


def _hold(record: ModelRecord, kind: str, specs: Iterable[TensorSpec], found: Any) -> None:
    expected = {spec.name: (_ORT_TYPES[spec.datatype], len(spec.shape)) for spec in specs}
    actual = {node.name: (node.type, len(node.shape)) for node in found}
    if expected != actual:
        raise Misconfigured(
            f"{record.artifact}: its {kind}s (type, dimensions) are {actual}, "
            f"model.json says {expected}; export the model again"
        )


def _joined(images: Sequence[Array]) -> Array:
    return images[0] if len(images) == 1 else np.concatenate(images)


def _batch(inputs: Mapping[str, Array]) -> int:
    sizes = {(x.shape[0], *x.shape[-2:]) for x in inputs.values()}
    if len(sizes) > 1:
        shapes = {name: list(x.shape) for name, x in inputs.items()}
        raise BadMessage(f"inputs differ in N, H or W: {shapes}")
    ((count, height, width),) = sizes
    if height % MULTIPLE_PX or width % MULTIPLE_PX:
        raise BadMessage(f"H x W is {height} x {width}; both must be multiples of {MULTIPLE_PX}")
    return int(count)
