"""Clients that know KServe's v2 protocol and nothing of this project, through the ingress."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

from groundshift.models import list_models
from groundshift.settings import Settings

MODEL = "segmenter"
IMAGE = np.random.default_rng(5).integers(1, 6000, (1, 6, 64, 64), np.uint16)


@pytest.fixture
def door(cluster):
    """(host:port, Host header) of the endpoint, public for this test."""
    cluster.roll_out("v1")
    with cluster.public(MODEL) as found:
        yield found


def test_tritonclient_binary_and_curl_json_get_the_same_answer(door) -> None:
    address, host = door
    client = InferenceServerClient(address)
    headers = {"Host": host}
    try:
        assert client.is_model_ready(MODEL, headers=headers)
        metadata = client.get_model_metadata(MODEL, headers=headers)
        image = InferInput("image", list(IMAGE.shape), "UINT16")
        image.set_data_from_numpy(IMAGE, binary_data=True)
        wanted = [InferRequestedOutput("probabilities", binary_data=True)]
        answer = client.infer(MODEL, [image], outputs=wanted, headers=headers)
    finally:
        client.close()
    (shipped,) = [r for r in list_models(Settings().models) if r.name == MODEL]
    assert shipped.digest in metadata["versions"]
    assert metadata["inputs"] == [
        {"name": s.name, "datatype": s.datatype, "shape": list(s.shape)} for s in shipped.inputs
    ]
    binary = answer.as_numpy("probabilities")
    body = {
        "inputs": [
            {
                "name": "image",
                "shape": list(IMAGE.shape),
                "datatype": "UINT16",
                "data": IMAGE.ravel().tolist(),
            }
        ]
    }
    said = json.loads(curl(address, host, f"/v2/models/{MODEL}/infer", json.dumps(body)))
    (output,) = said["outputs"]
    np.testing.assert_array_equal(
        np.array(output["data"], np.uint8).reshape(output["shape"]), binary
    )
    assert said["parameters"]["digest"] == shipped.digest


def curl(address: str, host: str, path: str, body: str) -> str:
    headers = ["-H", f"Host: {host}", "-H", "Content-Type: application/json"]
    done = subprocess.run(
        ["curl", "-sSf", "-m", "60", *headers, "--data-binary", "@-", f"http://{address}{path}"],
        input=body,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
