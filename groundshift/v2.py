"""KServe v2 (Open Inference Protocol) messages over REST, tensors as raw bytes behind the JSON.

Both directions, for server and client, without a copy of the tensors: what is decoded are
read-only views of the body. Source: Open Inference Protocol and its binary tensor data extension
(a JSON header of ``Inference-Header-Content-Length`` bytes, then each tensor's little-endian bytes
in the header's order).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from groundshift.models import DATATYPES, ModelRecord, TensorSpec

HEADER_LENGTH: Final = "inference-header-content-length"
"""HTTP header: bytes of JSON in front of the raw tensors."""
BINARY: Final = "application/octet-stream"
JSON: Final = "application/json"
_CHUNK: Final = 1 << 18
"""Bytes handed to a socket at once: httpcore copies what a send() left over."""

Array = NDArray[np.generic]
_T = TypeVar("_T")


class BadMessage(ValueError):
    """The message breaks the protocol or the model's contract; says where and what was expected."""


@dataclass(frozen=True)
class Request:
    """A decoded inference request."""

    id: str | None
    inputs: dict[str, Array]
    outputs: dict[str, bool]
    """Names of the wanted outputs; True where the caller wants raw bytes. Empty: all of them."""
    binary: bool
    """The default for outputs that `outputs` does not name."""


@dataclass(frozen=True)
class Response:
    """A decoded inference response."""

    model_version: str
    parameters: dict[str, Any]
    outputs: dict[str, Array]


def decode_request(body: bytes, header_length: str | None, model: ModelRecord) -> Request:
    """Decode a request and hold every tensor against the model's record. Raises BadMessage."""
    doc, tail = _split(body, header_length)
    by_name = {spec.name: spec for spec in model.inputs}
    inputs: dict[str, Array] = {}
    for row in _rows(doc, "inputs"):
        name = _field(row, "name", str)
        if name in inputs:
            raise BadMessage(f"input {name!r} is given twice")
        if name not in by_name:
            raise BadMessage(f"unknown input {name!r}; the model takes {', '.join(by_name)}")
        _check(row, by_name[name])
        inputs[name], tail = _tensor(row, tail)
    _complete(inputs, by_name, tail)
    binary = bool(_parameters(doc).get("binary_data_output"))
    return Request(
        id=_field(doc, "id", str) if "id" in doc else None,
        inputs=inputs,
        outputs=_wanted(doc, [spec.name for spec in model.outputs], default=binary),
        binary=binary,
    )


def encode_request(inputs: Mapping[str, Array]) -> tuple[dict[str, str], list[memoryview]]:
    """HTTP headers and body parts of a request that wants raw bytes back."""
    arrays = {name: _wire(array) for name, array in inputs.items()}
    rows = [_binary_row(name, array) for name, array in arrays.items()]
    head = orjson.dumps({"inputs": rows, "parameters": {"binary_data_output": True}})
    parts = [memoryview(head), *map(_bytes_of, arrays.values())]
    headers = {
        "content-type": BINARY,
        HEADER_LENGTH: str(len(head)),
        "content-length": str(sum(map(len, parts))),
    }
    return headers, parts


def chunks(parts: Sequence[memoryview]) -> Iterator[bytes]:
    """Body parts as pieces of bounded size."""
    for part in parts:
        for start in range(0, len(part), _CHUNK):
            yield bytes(part[start : start + _CHUNK])


def encode_response(
    head: Mapping[str, Any], outputs: Mapping[str, Array], request: Request
) -> tuple[bytes, int | None]:
    """The body of a response and the length of its JSON; None where the body is JSON throughout."""
    rows, raw = [], []
    for name in request.outputs or outputs:
        array = _wire(outputs[name])
        if request.outputs.get(name, request.binary):
            rows.append(_binary_row(name, array))
            raw.append(_bytes_of(array))
        else:
            rows.append(_tensor_head(name, array) | {"data": array.ravel()})
    body = orjson.dumps({**head, "outputs": rows}, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join((body, *raw)), len(body)) if raw else (body, None)


def decode_response(body: bytes, header_length: str | None) -> Response:
    """Decode a response; arrays are read-only views of `body`. Raises BadMessage."""
    doc, tail = _split(body, header_length)
    outputs: dict[str, Array] = {}
    for row in _rows(doc, "outputs"):
        outputs[_field(row, "name", str)], tail = _tensor(row, tail)
    version = doc.get("model_version") or ""
    return Response(str(version), _parameters(doc), outputs)


def _split(body: bytes, header_length: str | None) -> tuple[dict[str, Any], memoryview]:
    view = memoryview(body)
    length = len(body)
    if header_length is not None:
        if not header_length.isascii() or not header_length.isdigit():
            raise BadMessage(f"{HEADER_LENGTH} is {header_length!r}; expected a number of bytes")
        length = int(header_length)
        if length > len(body):
            raise BadMessage(f"{HEADER_LENGTH} is {length}, the body has {len(body)} bytes")
    try:
        doc = orjson.loads(view[:length])
    except orjson.JSONDecodeError as error:
        cure = "" if header_length else f"; raw tensors need the header {HEADER_LENGTH}"
        raise BadMessage(f"the message's header is not JSON ({error}){cure}") from error
    if not isinstance(doc, dict):
        raise BadMessage(f"the message is a JSON {type(doc).__name__}; expected an object")
    return doc, view[length:]


def _rows(doc: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    rows = doc.get(key)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise BadMessage(f"{key!r} is missing; expected a list of tensors")
    return rows


def _field(row: Mapping[str, Any], key: str, kind: type[_T]) -> _T:
    value = row.get(key)
    if not isinstance(value, kind):
        raise BadMessage(f"{key!r} is {value!r:.80}; expected a {kind.__name__}")
    return value


def _parameters(row: Mapping[str, Any]) -> dict[str, Any]:
    value = row.get("parameters") or {}
    if not isinstance(value, dict):
        raise BadMessage(f"'parameters' is {value!r:.80}; expected an object")
    return value


def _shape(row: Mapping[str, Any]) -> tuple[int, ...]:
    sizes = _field(row, "shape", list)
    if not all(type(size) is int and size > 0 for size in sizes):
        raise BadMessage(f"shape of {row.get('name')!r} is {sizes!r:.80}; expected sizes over 0")
    return tuple(sizes)


def _check(row: Mapping[str, Any], spec: TensorSpec) -> None:
    datatype, shape = _field(row, "datatype", str), _shape(row)
    if datatype != spec.datatype:
        raise BadMessage(f"input {spec.name!r} is {datatype}; the model takes {spec.datatype}")
    if len(shape) != len(spec.shape) or any(
        want not in (-1, size) for size, want in zip(shape, spec.shape, strict=False)
    ):
        raise BadMessage(
            f"input {spec.name!r} has shape {list(shape)}; the model takes {list(spec.shape)}"
        )


def _tensor(row: Mapping[str, Any], tail: memoryview) -> tuple[Array, memoryview]:
    name, datatype, shape = _field(row, "name", str), _field(row, "datatype", str), _shape(row)
    dtype = DATATYPES.get(datatype)
    if dtype is None:
        raise BadMessage(f"{name!r} is {datatype}; known are {', '.join(DATATYPES)}")
    size = _parameters(row).get("binary_data_size")
    if size is None:
        return _json_tensor(name, row.get("data"), dtype, shape), tail
    expected = math.prod(shape) * dtype.itemsize
    if type(size) is not int or size != expected:
        raise BadMessage(f"{name!r} has {size!r} bytes; {datatype} {list(shape)} takes {expected}")
    if size > len(tail):
        raise BadMessage(f"{name!r} is truncated: {len(tail)} of {size} bytes are there")
    return np.frombuffer(tail[:size], dtype).reshape(shape), tail[size:]


def _json_tensor(name: str, data: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    if not isinstance(data, list):
        raise BadMessage(f"{name!r} has neither 'data' nor 'binary_data_size'")
    try:
        wide = np.asarray(data)
        array = wide.astype(dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadMessage(f"'data' of {name!r} is no {dtype.name} tensor: {error}") from error
    if wide.dtype.kind not in "iufb" or not np.array_equal(array, wide):
        raise BadMessage(f"'data' of {name!r} holds values that are no {dtype.name}")
    if array.size != math.prod(shape):
        raise BadMessage(f"'data' of {name!r} has {array.size} values; {list(shape)} takes others")
    return array.reshape(shape)


def _complete(
    inputs: Mapping[str, Array], specs: Mapping[str, TensorSpec], tail: memoryview
) -> None:
    missing = [name for name in specs if name not in inputs]
    if missing:
        raise BadMessage(f"input {', '.join(missing)} is missing")
    if len(tail):
        raise BadMessage(f"{len(tail)} bytes are left over behind the last tensor")


def _wanted(doc: Mapping[str, Any], known: Sequence[str], *, default: bool) -> dict[str, bool]:
    if not doc.get("outputs"):
        return {}
    wanted = {
        _field(row, "name", str): bool(_parameters(row).get("binary_data", default))
        for row in _rows(doc, "outputs")
    }
    for name in wanted:
        if name not in known:
            raise BadMessage(f"unknown output {name!r}; the model gives {', '.join(known)}")
    return wanted


def _wire(array: Array) -> Array:
    """C order, little-endian, and of a datatype that the protocol has."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _bytes_of(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _tensor_head(name: str, array: Array) -> dict[str, Any]:
    for datatype, dtype in DATATYPES.items():
        if dtype == array.dtype:
            return {"name": name, "datatype": datatype, "shape": list(array.shape)}
    raise BadMessage(f"{name!r} is {array.dtype}; known are {', '.join(DATATYPES)}")


def _binary_row(name: str, array: Array) -> dict[str, Any]:
    return _tensor_head(name, array) | {"parameters": {"binary_data_size": array.nbytes}}
