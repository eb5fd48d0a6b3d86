"""The v2 wire format: round trips, and no message that breaks the decoder."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundshift import v2
from groundshift.models import DATATYPES, ModelRecord, TensorSpec

MODEL = ModelRecord(
    name="m",
    digest="sha256:" + "0" * 64,
    inputs=(TensorSpec("a", "UINT16", (-1, 2, -1)), TensorSpec("b", "UINT8", (-1,))),
    outputs=(TensorSpec("y", "UINT8", (-1,)), TensorSpec("z", "UINT8", (-1,))),
    tile=512,
    halo=32,
    influence_px=0,
    variant="fp32",
    accepts_segmenters=(),
    folder=Path(),
    raw={},
)
A = np.arange(12, dtype=np.uint16).reshape(2, 2, 3)
B = np.array([7, 8], np.uint8)


def message(inputs=None):
    headers, parts = v2.encode_request(inputs or {"a": A, "b": B})
    body = b"".join(v2.chunks(parts))
    assert len(body) == int(headers["content-length"])
    return body, headers[v2.HEADER_LENGTH]


def binary(doc, *tensors):
    head = json.dumps(doc).encode()
    return head + b"".join(tensors), str(len(head))


def row(name, datatype, shape, **parameters):
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": parameters}


@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**32 - 1), st.sampled_from("CFT"))
def test_a_request_comes_back_whatever_its_memory_layout(n, w, seed, layout):
    a = np.random.default_rng(seed).integers(0, 65536, (n, 2, w), np.uint16)
    a = a.astype(">u2")[::-1] if layout == "T" else np.asarray(a, order=layout)
    request = v2.decode_request(*message({"a": a, "b": B}), MODEL)
    np.testing.assert_array_equal(request.inputs["a"], a)
    np.testing.assert_array_equal(request.inputs["b"], B)
    assert request.binary
    assert request.outputs == {}


def test_decoded_tensors_are_views_of_the_body():
    body, length = message()
    request = v2.decode_request(body, length, MODEL)
    for array in request.inputs.values():
        assert not array.flags.owndata
        assert not array.flags.writeable
        assert np.shares_memory(array, np.frombuffer(body, np.uint8))


@pytest.mark.parametrize("name", DATATYPES)
def test_every_datatype_goes_out_and_comes_back(name):
    y = np.array([[0, 1], [1, 0]], DATATYPES[name])
    for wants_binary in (True, False):
        request = v2.Request(None, {}, {}, binary=wants_binary)
        body, length = v2.encode_response({"model_version": "r1"}, {"y": y}, request)
        assert (length is not None) is wants_binary
        answer = v2.decode_response(body, None if length is None else str(length))
        assert answer.model_version == "r1"
        assert answer.outputs["y"].dtype == y.dtype
        np.testing.assert_array_equal(answer.outputs["y"], y)


def test_each_output_may_choose_its_form():
    outputs = {"y": B, "z": B + 1}
    request = v2.Request(None, {}, {"z": True, "y": False}, binary=False)
    body, length = v2.encode_response({}, outputs, request)
    doc = json.loads(body[:length])
    assert [o["name"] for o in doc["outputs"]] == ["z", "y"]
    assert doc["outputs"][1]["data"] == [7, 8]
    assert body[length:] == bytes([8, 9])


def test_json_tensors_may_be_nested_or_flat():
    for data in (A.tolist(), A.ravel().tolist()):
        doc = {
            "id": "7",
            "inputs": [
                {"name": "a", "datatype": "UINT16", "shape": [2, 2, 3], "data": data},
                {"name": "b", "datatype": "UINT8", "shape": [2], "data": [7, 8]},
            ],
            "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
        }
        request = v2.decode_request(json.dumps(doc).encode(), None, MODEL)
        np.testing.assert_array_equal(request.inputs["a"], A)
        assert request.inputs["a"].dtype == np.uint16
        assert (request.id, request.outputs) == ("7", {"y": True})


@given(st.data())
def test_a_message_cut_or_changed_anywhere_is_refused_or_whole(data):
    """Never another exception, never a tensor from outside the body."""
    body, length = message()
    cut = data.draw(st.integers(0, len(body)))
    noise = data.draw(st.binary(max_size=8))
    at = data.draw(st.integers(0, cut))
    changed = body[:at] + noise + body[at + len(noise) : cut]
    try:
        request = v2.decode_request(changed, length, MODEL)
    except v2.BadMessage:
        return
    assert request.inputs["a"].shape[1] == 2
    assert request.inputs["b"].ndim == 1


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda c: st.lists(c, max_size=3) | st.dictionaries(
                        st.sampled_from(["inputs", "outputs", "name", "shape", "datatype", "data",
                                         "parameters", "binary_data_size", "id"]), c, max_size=5),
                    max_leaves=20))  # fmt: skip
def test_any_json_is_refused_with_a_reason(doc):
    with pytest.raises(v2.BadMessage, match=r"\w"):
        v2.decode_request(json.dumps(doc).encode(), None, MODEL)


BAD = {
    "no header length": ((message()[0], None), "needs? the header inference-header"),
    "length beyond the body": ((b"{}", "3"), "has 2 bytes"),
    "length not a number": ((b"{}", "-1"), "number of bytes"),
    "length in other digits": ((b"{}", "٣"), "number of bytes"),
    "not an object": ((b"[]", None), "expected an object"),
    "no inputs": (binary({}), "'inputs' is missing"),
    "inputs empty": (binary({"inputs": []}), "'inputs' is missing"),
    "input without a name": (binary({"inputs": [{}]}), "'name' is None"),
    "unknown input": (binary({"inputs": [row("x", "UINT8", [1])]}), "unknown input 'x'"),
    "one input missing": (
        binary({"inputs": [row("b", "UINT8", [1], binary_data_size=1)]}, b"1"),
        "input a is missing",
    ),
    "wrong datatype": (binary({"inputs": [row("b", "FP32", [1])]}), "the model takes UINT8"),
    "unknown datatype": (binary({"inputs": [row("b", "BYTES", [1])]}), "the model takes UINT8"),
    "too many dimensions": (binary({"inputs": [row("b", "UINT8", [1, 1])]}), r"shape \[1, 1\]"),
    "fixed size differs": (binary({"inputs": [row("a", "UINT16", [1, 3, 1])]}), "-1, 2, -1"),
    "size zero": (binary({"inputs": [row("b", "UINT8", [0])]}), "sizes over 0"),
    "size negative": (binary({"inputs": [row("b", "UINT8", [-1])]}), "sizes over 0"),
    "size true": (binary({"inputs": [row("b", "UINT8", [True])]}), "sizes over 0"),
    "huge shape": (
        binary({"inputs": [row("b", "UINT8", [2**40], binary_data_size=4)]}, b"1234"),
        "takes 1099511627776",
    ),
    "byte count differs": (
        binary({"inputs": [row("b", "UINT8", [2], binary_data_size=3)]}, b"123"),
        "takes 2",
    ),
    "truncated": (
        binary({"inputs": [row("b", "UINT8", [4], binary_data_size=4)]}, b"12"),
        "truncated: 2 of 4",
    ),
    "left over": ((message()[0] + b"x", message()[1]), "1 bytes are left over"),
    "given twice": (
        binary({"inputs": [row("b", "UINT8", [1], binary_data_size=1)] * 2}, b"12"),
        "given twice",
    ),
    "neither data nor size": (binary({"inputs": [row("b", "UINT8", [1])]}), "neither"),
    "parameters no object": (
        binary({"inputs": [{**row("b", "UINT8", [1]), "parameters": 3}]}),
        "expected an object",
    ),
    "data out of range": (
        binary({"inputs": [{**row("b", "UINT8", [1]), "data": [256]}]}),
        "are no uint8",
    ),
    "data fractional": (
        binary({"inputs": [{**row("b", "UINT8", [1]), "data": [1.5]}]}),
        "are no uint8",
    ),
    "data ragged": (
        binary({"inputs": [{**row("b", "UINT8", [2]), "data": [[1], [1, 2]]}]}),
        "no uint8 tensor",
    ),
    "data text": (binary({"inputs": [{**row("b", "UINT8", [1]), "data": ["1"]}]}), "no uint8"),
    "data too few": (binary({"inputs": [{**row("b", "UINT8", [2]), "data": [1]}]}), "1 values"),
}


@pytest.mark.parametrize(("sent", "reason"), BAD.values(), ids=BAD)
def test_a_bad_message_is_refused_with_its_reason(sent, reason):
    with pytest.raises(v2.BadMessage, match=reason):
        v2.decode_request(*sent, MODEL)


def test_an_unknown_output_is_refused_before_anything_runs():
    body, length = message()
    doc = json.loads(body[: int(length)]) | {"outputs": [{"name": "w"}]}
    with pytest.raises(v2.BadMessage, match="unknown output 'w'"):
        v2.decode_request(*binary(doc, body[int(length) :]), MODEL)


def test_a_dtype_outside_the_protocol_is_refused():
    with pytest.raises(v2.BadMessage, match="complex64"):
        v2.encode_request({"a": np.zeros(1, np.complex64)})
