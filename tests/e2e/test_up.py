"""`groundshift up` as a process of its own: its one port, its end, and its return."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
from up_process import LONGEST_S, Up, until

from functions.commands.submit import submit
from functions.local import Embedded
from functions.testing import canonical_state
from groundshift.codec import encode
from groundshift.events import SceneArrived, new_event

Open = Callable[..., AbstractContextManager[Embedded]]

STRUCTURED: Final = "application/cloudevents+json"
ARRIVED: Final = "io.groundshift.scene.arrived.v1"
READY: Final = "io.groundshift.scene.ready.v1"
START: Final = datetime(2024, 5, 1, 10, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def up(model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A platform with a model server of its own; the tests leave its work alone."""
    with Up(tmp_path_factory.mktemp("up") / "data", model_dir=model_store) as running:
        yield running
        assert running.end(signal.SIGTERM) == 0, running.said()
        assert "Traceback" not in running.said()


# ---- events


def arrived(**changes: Any) -> dict[str, Any]:
    event = {"specversion": "1.0", "id": "1", "source": "test", "type": ARRIVED}
    return {**event, "data": {"href": "/nowhere/scene.json"}, **changes}


def post(up: Up, body: bytes | str, media: str, **headers: str) -> httpx.Response:
    return up.http.post("/events", content=body, headers={"content-type": media, **headers})


def test_a_structured_event_is_taken_once(up: Up) -> None:
    body = json.dumps(arrived(id="structured"))
    first, again = (post(up, body, STRUCTURED) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert first.json()["id"] == "structured"


def test_a_binary_event_is_taken(up: Up) -> None:
    headers = {f"ce-{k}": v for k, v in arrived(id="binary").items() if k != "data"}
    answer = post(up, '{"href": "/nowhere/scene.json"}', "application/json", **headers)
    assert answer.status_code == 202
    assert len(answer.json()["arrival"]) == 64


@pytest.mark.parametrize(
    ("body", "media", "status", "why"),
    [
        ("hello", "text/plain", 400, "not a CloudEvent"),
        ("{}", "application/json", 400, "not a CloudEvent"),
        ("{", STRUCTURED, 400, "no JSON"),
        (json.dumps(arrived(specversion="0.3")), STRUCTURED, 400, "specversion"),
        (json.dumps(arrived(data={"href": ""})), STRUCTURED, 400, "href"),
        (json.dumps(arrived(type="com.example.x")), STRUCTURED, 422, "com.example.x"),
        (
            json.dumps(arrived(type=READY, data={"scene_id": "x", "site_id": "s"})),
            STRUCTURED,
            422,
            "this platform's own",
        ),
        (json.dumps([arrived()]), "application/cloudevents-batch+json", 415, "one by one"),
        (json.dumps([arrived()]), STRUCTURED, 400, "a CloudEvent is an object"),
        (b"x" * (10 << 20), STRUCTURED, 413, "at most 1048576"),
    ],
    ids=["text", "json", "cut", "version", "href", "type", "own", "batch", "list", "10 MB"],
)
def test_what_is_no_event_is_refused_with_the_reason(
    up: Up, body: bytes | str, media: str, status: int, why: str
) -> None:
    answer = post(up, body, media)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert why in answer.json()["detail"]


def test_a_scene_that_is_not_there_is_a_gap_and_no_crash(up: Up) -> None:
    post(up, json.dumps(arrived(id="gap", data={"href": "/etc/passwd"})), STRUCTURED)
    until(lambda: "href_forbidden" in up.status()["reasons"], up)
    assert up.http.get("/healthz").status_code == 200


# ---- the other doors


def test_health_readiness_status_and_metrics_answer(up: Up) -> None:
    assert up.http.get("/healthz").text == "ok"
    assert up.http.get("/readyz").json() == {"ready": True, "missing": []}
    assert up.status()["tenant"] == "local"
    metrics = up.http.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "groundshift_deliveries_total" in metrics.text
    assert up.http.get("/nothing").status_code == 404


def test_a_foreign_client_infers_through_the_same_port(up: Up) -> None:
    tritonclient = pytest.importorskip("tritonclient.http")
    client = tritonclient.InferenceServerClient(str(up.http.base_url.netloc.decode()))
    try:
        metadata = client.get_model_metadata("cloud-mask")
        image = np.full((1, 4, 512, 512), 1200, np.uint16)
        image[:, :, :100] = 4000
        image[:, :, 500:] = 0
        tensor = tritonclient.InferInput("image", list(image.shape), "UINT16")
        tensor.set_data_from_numpy(image, binary_data=True)
        mask = client.infer("cloud-mask", [tensor]).as_numpy("mask")
    finally:
        client.close()
    assert [t["datatype"] for t in metadata["inputs"]] == ["UINT16"]
    assert mask.dtype == np.uint8
    assert (mask[0, :100] == 1).all()
    assert (mask[0, 100:500] == 0).all()
    assert (mask[0, 500:] == 255).all()


def test_a_second_platform_on_the_folder_is_sent_away(up: Up) -> None:
    command = [sys.executable, "-m", "functions.cli", "up", f"--data={up.folder}", "--port=0"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S)
    assert second.returncode == 4
    assert "a platform runs on" in second.stderr
    assert "Traceback" not in second.stderr
    assert up.http.get("/readyz").status_code == 200


# ---- its end and its return


def test_scenes_over_http_then_sigkill_then_sigterm_end_as_if_undisturbed(
    model_store: Path,
    items: list[Path],
    open_platform: Open,
    undisturbed: dict[str, Any],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    settings = {
        "model_dir": model_store,
        "allowed_roots": json.dumps([str(items[0].parent)]),
        "backoff_scale": 0.02,
        "min_area_px": 400,
    }
    with Up(folder, **settings) as first:
        url = str(first.http.base_url)
        submit([str(item) for item in items[:2]], data_dir=None, url=url, options={})
        for item in items[2:]:
            data = SceneArrived(href=str(item))
            event = new_event(data, source="test", subject=str(item), time=START)
            headers, body = encode(event, mode="structured")
            assert post(first, body, headers["content-type"]).status_code == 202
        until(lambda: first.status()["runs"], first)
        assert first.end(signal.SIGKILL) == -signal.SIGKILL
    with Up(folder, **settings) as second:
        assert set(second.status()["deliveries"]) != {"done"}, "it is stopped at work"
        assert second.end(signal.SIGTERM) == 0, second.said()
    with Up(folder, **settings) as third:
        until(lambda: set(third.status()["deliveries"]) == {"done"}, third)
        status = third.status()
        assert third.end(signal.SIGTERM) == 0, third.said()
    assert status["runs"]["done"] >= 1
    assert sum(status["alerts"]["by_state"].values()) >= 1
    with open_platform(folder) as platform:
        state = canonical_state(platform.platform.ledger, platform.platform.store)
    assert state == undisturbed
