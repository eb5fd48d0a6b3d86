"""The model server as others see it: a foreign client, bad requests, load, limits, its end."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from groundshift import v2
from groundshift.adapters.kserve_http import KServeClient
from groundshift.errors import Misconfigured
from groundshift.models import artifact_digest, read_model
from groundshift.modelserver_process import ModelServerProcess
from groundshift.serving import session
from groundshift.serving.gate import Gate, Limits
from groundshift.serving.metrics import ServerMetrics
from groundshift.serving.session import compute_signature
from groundshift.serving.testing import write_test_models
from groundshift.settings import Settings
from groundshift.testing.model_client import image


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_test_models(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def server(store):
    with ModelServerProcess(store, threads=1) as process:
        yield process


@pytest.fixture(scope="module")
def small(store):
    """One model from its own folder, as KServe mounts it; takes one small request at a time."""
    args = ["--model-name={{.Name}}", "--port=8080", "--queue=0", "--max-body-mib=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("K_REVISION", "segmenter-predictor-00001")
        with ModelServerProcess(store / "segmenter", threads=1, runtime_args=args) as process:
            yield process


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def expected_mask(x):
    return np.where((x == 0).all(axis=1), 255, x.astype("f4").mean(axis=1) > 3000)


def post(http, model, doc, tensors=b"", **headers):
    head = json.dumps(doc).encode()
    if tensors:
        headers.setdefault(v2.HEADER_LENGTH, str(len(head)))
    return http.post(f"/v2/models/{model}/infer", content=head + tensors, headers=headers)


def mask_request(x, **more):
    row = {"name": "image", "datatype": "UINT16", "shape": list(x.shape)}
    return {"inputs": [row | {"parameters": {"binary_data_size": x.nbytes}}], **more}


# ---- a foreign client


@pytest.fixture
def triton(server):
    tritonclient = pytest.importorskip("tritonclient.http")
    client = tritonclient.InferenceServerClient(server.url.removeprefix("http://"))
    yield tritonclient, client
    client.close()


def test_triton_reads_health_and_metadata(triton, store):
    _, client = triton
    assert client.is_server_live()
    assert client.is_server_ready()
    for name in ("cloud-mask", "segmenter", "change-classifier"):
        record = read_model(store / name)
        meta = client.get_model_metadata(name)
        assert client.is_model_ready(name)
        assert meta["name"] == name
        assert meta["versions"] == [record.digest, record.short_digest]
        assert meta["platform"].startswith("onnxruntime-")
        for key, specs in (("inputs", record.inputs), ("outputs", record.outputs)):
            assert meta[key] == [
                {"name": s.name, "datatype": s.datatype, "shape": list(s.shape)} for s in specs
            ]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_triton_infers(triton, binary_in, binary_out):
    tritonclient, client = triton
    x = image(4)
    tensor = tritonclient.InferInput("image", list(x.shape), "UINT16")
    tensor.set_data_from_numpy(x, binary_data=binary_in)
    outputs = None
    if binary_out is not None:
        outputs = [tritonclient.InferRequestedOutput("mask", binary_data=binary_out)]
    result = client.infer("cloud-mask", [tensor], outputs=outputs, request_id="42")
    np.testing.assert_array_equal(result.as_numpy("mask"), expected_mask(x))
    assert result.as_numpy("mask").dtype == np.uint8
    assert result.get_response()["id"] == "42"


def test_triton_learns_why_it_was_refused(triton):
    tritonclient, client = triton
    tensor = tritonclient.InferInput("image", [1, 4, 32, 32], "UINT8")
    tensor.set_data_from_numpy(np.zeros((1, 4, 32, 32), np.uint8))
    with pytest.raises(tritonclient.InferenceServerException, match="takes UINT16"):
        client.infer("cloud-mask", [tensor])


# ---- answers


def test_json_in_json_out(http):
    x = image(4, size=32)
    row = {"name": "image", "datatype": "UINT16", "shape": list(x.shape), "data": x.tolist()}
    response = http.post("/v2/models/cloud-mask/infer", json={"inputs": [row]})
    assert response.headers["content-type"] == "application/json"
    (output,) = response.json()["outputs"]
    mask = np.reshape(output["data"], output["shape"])
    np.testing.assert_array_equal(mask, expected_mask(x))


def test_an_answer_says_which_model_gave_it(http, store):
    x = image(4, size=32)
    record = read_model(store / "cloud-mask")
    response = post(http, "cloud-mask", mask_request(x), x.tobytes()).json()
    assert response["model_name"] == "cloud-mask"
    assert response["model_version"] == record.short_digest
    assert response["parameters"]["digest"] == record.digest
    assert response["parameters"]["revision"] == record.short_digest
    assert response["parameters"]["signature"].split("/")[2:4] == ["fp32", "b1"]


def test_binary_answers_are_typed(http):
    x = image(4, size=32)
    doc = mask_request(x, parameters={"binary_data_output": True})
    response = post(http, "cloud-mask", doc, x.tobytes())
    assert response.headers["content-type"] == "application/octet-stream"
    head = int(response.headers[v2.HEADER_LENGTH])
    mask = np.frombuffer(response.content[head:], np.uint8).reshape(1, 32, 32)
    np.testing.assert_array_equal(mask, expected_mask(x))


def test_metrics_count_inferences(http):
    def count(name):
        text = http.get("/metrics").text
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    seconds = r'groundshift_inference_seconds_count\{model_name="cloud-mask"\}'
    images = r'groundshift_inference_images_total\{model_name="cloud-mask"\}'
    before = count(seconds), count(images)
    x = np.concatenate([image(4), image(4)])
    assert post(http, "cloud-mask", mask_request(x), x.tobytes()).status_code == 200
    assert (count(seconds), count(images)) == (before[0] + 1, before[1] + 2)
    assert count("groundshift_requests_in_flight") == 0
    assert count("groundshift_queue_depth") == 0


def test_a_revision_is_named_by_knative(small, store):
    with KServeClient(small.url, revision_url=small.url) as client:
        revision = client.resolve("segmenter")
        assert revision.revision == "segmenter-predictor-00001"
        assert revision.digest == read_model(store / "segmenter").digest
        assert client.infer(revision, {"image": image(6)})["probabilities"].shape == (1, 6, 64, 64)
    assert httpx.get(f"{small.url}/v2/models").json() == {"models": ["segmenter"]}


# ---- bad requests

X = image(4, size=32)
RAW = X.tobytes()
GOOD = mask_request(X)


def changed(**fields):
    return {"inputs": [GOOD["inputs"][0] | fields]}


BAD = {
    "truncated": (400, "truncated", "cloud-mask", GOOD, RAW[:-2], {}),
    "left over": (400, "left over", "cloud-mask", GOOD, RAW + b"xx", {}),
    "wrong dtype": (400, "takes UINT16", "cloud-mask", changed(datatype="FP32"), RAW, {}),
    "wrong bands": (400, "shape", "cloud-mask", changed(shape=[1, 6, 32, 32]), RAW, {}),
    "wrong rank": (400, "shape", "cloud-mask", changed(shape=[4, 32, 32]), RAW, {}),
    "no multiple of 32": (
        400, "multiples of 32", "cloud-mask",
        changed(shape=[1, 4, 16, 64]), RAW, {},
    ),
    "unknown input": (400, "unknown input", "cloud-mask", changed(name="x"), RAW, {}),
    "input missing": (400, "missing", "change-classifier", {"inputs": []}, b"", {}),
    "unknown output": (400, "unknown output", "cloud-mask", GOOD | {"outputs": [{"name": "x"}]},
                       RAW, {}),
    "unknown model": (404, "no-such-model", "no-such-model", GOOD, RAW, {}),
    "no header length": (400, "inference-header", "cloud-mask", GOOD, RAW,
                         {v2.HEADER_LENGTH: ""}),
    "header length wrong": (400, "JSON", "cloud-mask", GOOD, RAW, {v2.HEADER_LENGTH: "7"}),
    "header length absurd": (400, "the body has", "cloud-mask", GOOD, RAW,
                             {v2.HEADER_LENGTH: "99999999999999999999"}),
    "not json, said to be": (400, "JSON", "cloud-mask", GOOD, RAW,
                             {v2.HEADER_LENGTH: "5", "content-type": "application/json"}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "reason", "model", "doc", "raw", "headers"), BAD.values(), ids=BAD
)
def test_a_bad_request_is_refused_and_harms_nobody(http, status, reason, model, doc, raw, headers):
    response = post(http, model, doc, raw, **headers)
    assert response.status_code == status
    assert reason in response.json()["error"]
    good = post(http, "cloud-mask", GOOD, RAW).json()["outputs"][0]
    np.testing.assert_array_equal(np.reshape(good["data"], good["shape"]), expected_mask(X))


def test_inputs_that_differ_in_size_are_refused(http):
    row = {"name": "", "datatype": "UINT16", "shape": [1, 6, 32, 32], "data": [1] * 6 * 32 * 32}
    rows = [
        row | {"name": "before"},
        row | {"name": "after", "shape": [1, 6, 64, 32], "data": [1] * 6 * 64 * 32},
        row | {"name": "before_probabilities", "datatype": "UINT8"},
        row | {"name": "after_probabilities", "datatype": "UINT8"},
    ]
    response = http.post("/v2/models/change-classifier/infer", json={"inputs": rows})
    assert response.status_code == 400
    assert "differ in N, H or W" in response.json()["error"]


def test_an_empty_body_is_refused(http):
    response = http.post("/v2/models/cloud-mask/infer")
    assert (response.status_code, response.json()["error"]) == (400, "the body is empty")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/repository/models/segmenter/unload"),
        ("POST", "/v2/repository/models/segmenter/load"),
        ("POST", "/v1/models/segmenter:predict"),
        ("POST", "/v1/models/segmenter:explain"),
        ("DELETE", "/v2/models/segmenter"),
        ("PUT", "/v2/models/segmenter/infer"),
    ],
)
def test_nothing_but_inferences_can_be_posted(http, method, path):
    response = http.request(method, path, json={"instances": []})
    assert response.status_code == 405
    assert "infer only" in response.json()["error"]
    assert http.get("/v2/models/segmenter/ready").status_code == 200


@pytest.mark.parametrize("form", ["declared", "chunked"])
def test_a_body_over_the_limit_is_refused(small, form):
    body = b"x" * ((1 << 20) + 1)
    url = f"{small.url}/v2/models/segmenter/infer"
    response = httpx.post(url, content=body if form == "declared" else iter([body, b"x"]))
    assert response.status_code == 413
    assert "1048576 bytes" in response.json()["error"]
    assert httpx.get(f"{small.url}/v2/health/ready").status_code == 200


def test_a_full_server_says_when_to_come_back(small):
    """A request whose body is still on its way holds the only place."""
    x = image(6)
    headers, parts = v2.encode_request({"image": x})
    lines = [f"{key}: {value}" for key, value in {**headers, "host": "x"}.items()]
    head = "\r\n".join(["POST /v2/models/segmenter/infer HTTP/1.1", *lines, "", ""]).encode()
    url = f"{small.url}/v2/models/segmenter/infer"
    with socket.create_connection(("127.0.0.1", int(small.url.rpartition(":")[2]))) as first:
        first.sendall(head + bytes(parts[0]))
        in_flight(small, 1)
        second = httpx.post(url, content=b"".join(v2.chunks(parts)), headers=headers)
        assert second.status_code == 503
        assert int(second.headers["retry-after"]) >= 1
        assert httpx.get(f"{small.url}/v2/health/live").status_code == 200
        first.sendall(bytes(parts[1]))
        assert first.recv(64).startswith(b"HTTP/1.1 200")
    in_flight(small, 0)
    third = httpx.post(url, content=b"".join(v2.chunks(parts)), headers=headers)
    assert third.status_code == 200


def in_flight(server, count):
    """Ask until the server has so many requests."""
    while (
        f"groundshift_requests_in_flight {count}.0" not in httpx.get(f"{server.url}/metrics").text
    ):
        pass


@pytest.mark.parametrize(
    ("message", "status"),
    [(None, 408), ({"type": "http.disconnect"}, 400)],
    ids=["body never comes", "client is gone"],
)
def test_a_lost_body_gives_its_place_back(message, status):
    async def receive():
        if message is None:
            await asyncio.Event().wait()
        return message

    async def run():
        sent = []
        scope = {"type": "http", "method": "POST", "path": "/v2/models/m/infer", "headers": []}
        metrics = ServerMetrics(CollectorRegistry())
        limits = Limits(in_flight=1, body_bytes=9, body_s=0.01)
        gate = Gate(None, limits=limits, metrics=metrics)
        for _ in range(2):  # were the place not given back, the second would get 503
            await gate(scope, receive, lambda m: asyncio.sleep(0, sent.append(m)))
        assert [m["status"] for m in sent if "status" in m] == [status, status]

    asyncio.run(run())


# ---- load


def test_probes_answer_while_inferences_run(server):
    """Answers about the request in flight can only be had while it is in flight."""
    x = np.repeat(image(6, size=256), 40, axis=0)
    with KServeClient(server.url) as client, ThreadPoolExecutor(1) as pool:
        revision = client.resolve("segmenter")
        running = pool.submit(client.infer, revision, {"image": x})
        seen = 0
        while not running.done():
            text = httpx.get(f"{server.url}/metrics").text
            live = httpx.get(f"{server.url}/v2/health/live").status_code
            if "groundshift_requests_in_flight 1.0" in text and not running.done():
                assert live == 200
                seen += 1
        assert running.result()["probabilities"].shape == (40, 6, 256, 256)
    assert seen > 0


# ---- loading


def test_it_is_ready_only_when_every_model_is_loaded(store, tmp_path):
    """A pipe stands for the segmenter's artifact, so that its loading lasts until we write."""
    slow = shutil.copytree(store, tmp_path / "store")
    artifact = (slow / "segmenter" / "model.onnx").read_bytes()
    (slow / "segmenter" / "model.onnx").unlink()
    os.mkfifo(slow / "segmenter" / "model.onnx")
    process = ModelServerProcess(slow, threads=1)
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(process.start)
        with (slow / "segmenter" / "model.onnx").open("wb") as pipe:  # opens once it is read
            url = process.url
            assert status(url, "/v2/health/live") == 200
            assert status(url, "/v2/health/ready") == 503
            assert status(url, "/v2/models/cloud-mask/ready") == 200
            assert status(url, "/v2/models/segmenter/ready") == 503
            response = httpx.post(f"{url}/v2/models/segmenter/infer", content=b"{}")
            assert response.status_code == 503
            assert not started.done()
            pipe.write(artifact)
        started.result()
        assert status(url, "/v2/health/ready") == 200
        process.stop()


def status(url, path):
    """The status of a GET, asked again while nobody listens."""
    while True:
        try:
            return httpx.get(url + path).status_code
        except httpx.ConnectError:
            threading.Event().wait(0.02)


def serve(*args):
    command = [sys.executable, "-m", "groundshift.serving", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_wrong_artifact_ends_it_with_the_reason(store, tmp_path):
    broken = shutil.copytree(store / "segmenter", tmp_path / "segmenter")
    (broken / "model.onnx").write_bytes(b"another model")
    result = serve(f"--model-dir={broken}", "--port=0")
    assert result.returncode == 4
    assert artifact_digest(b"another model") in result.stderr
    assert "Traceback" not in result.stderr


def test_bad_arguments_end_it_before_anything_is_loaded(store):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for args, code, reason in (
            ([], 2, "--model-dir"),
            ([f"--model-dir={store}", "--threads=-1"], 2, "from 0 on"),
            ([f"--model-dir={store}/nowhere"], 4, "holds no model"),
            ([f"--model-dir={store}", "--model-name=x"], 4, "holds change-classifier"),
            ([f"--model-dir={store}", "--port=0", "--provider=cuda"], 4, "onnxruntime-gpu"),
            (
                [f"--model-dir={store}", "--port=0", "--provider=openvino"],
                4,
                "onnxruntime-openvino",
            ),
            ([f"--model-dir={store}", f"--port={port}"], 4, "choose another --port"),
        ):
            result = serve(*args)
            assert result.returncode == code
            assert reason in result.stderr


def test_the_signature_names_what_computes():
    on_cpu, on_gpu = (compute_signature("fp32", name).split("/") for name in ("cpu", "cuda"))
    assert (on_cpu[1], on_gpu[1]) == ("CPUExecutionProvider", "CUDAExecutionProvider")
    assert on_cpu[2:4] == on_gpu[2:4] == ["fp32", "b1"]
    assert compute_signature("fp32", "openvino").split("/")[1] == "OpenVINOExecutionProvider"
    with pytest.raises(Misconfigured, match="there are cpu, cuda, openvino"):
        compute_signature("fp32", "tpu")


def test_eight_bits_are_not_served_by_a_provider_that_answers_them_wrongly(monkeypatch):
    have = ["OpenVINOExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(session.onnxruntime, "get_available_providers", lambda: have)
    record = read_model(Settings().edge_models / "segmenter")
    with pytest.raises(Misconfigured, match=r"segmenter: .* int8-static: serve the fp32"):
        session.Session(record, provider="openvino")


# ---- the end


def test_sigterm_answers_what_is_in_flight_then_ends(store):
    x = np.repeat(image(6, size=256), 30, axis=0)
    process = ModelServerProcess(store, threads=1, max_restarts=0).start()
    with KServeClient(process.url, retry_s=0) as client, ThreadPoolExecutor(1) as pool:
        revision = client.resolve("segmenter")
        running = pool.submit(client.infer, revision, {"image": x})
        in_flight(process, 1)
        stopping = threading.Thread(target=process.stop)
        stopping.start()
        assert running.result()["probabilities"].shape == (30, 6, 256, 256)
        stopping.join()
    assert process._process.returncode == 128 + signal.SIGTERM
