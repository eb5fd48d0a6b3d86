"""Where the load goes: a `groundshift up` of this machine, or a cluster's Broker and models."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from groundshift.codec import encode
from groundshift.events import Event
from groundshift.kube import connect
from load import watch

LONGEST_S = 180.0
PREDICTOR = "segmenter-predictor"


@dataclass(frozen=True)
class Target:
    """A platform under load."""

    name: str
    intake: str
    """Base address, then path, of where events go."""
    intake_path: str
    predict: str
    predict_host: str
    """Host header; empty: the address's own."""
    usage: watch.Look
    age: watch.Look
    outcomes: Callable[[], dict[str, int]]
    href: Callable[[Path], str]
    """Make a scene's Item readable for the platform; its address there."""
    pids: dict[str, int] = field(default_factory=dict)

    def post(self, event: Event) -> None:
        """Announce until it is taken, as a careful sender does."""
        headers, body = encode(event)
        deadline = time.monotonic() + LONGEST_S
        while True:
            try:
                url = f"{self.intake}{self.intake_path}"
                answer = httpx.post(url, content=body, headers=headers, timeout=LONGEST_S)
                if answer.status_code == httpx.codes.ACCEPTED:
                    return
            except httpx.TransportError:
                answer = None
            if time.monotonic() > deadline:
                raise SystemExit(f"no 202 from {url}: {answer}")
            time.sleep(0.5)


# ---- embedded


@contextmanager
def embedded(folder: Path, scenes: Path, *, models: Path | None) -> Iterator[Target]:
    """A `groundshift up` on a fresh data folder; `models`: instead of the shipped ones."""
    settings = {"GROUNDSHIFT_ALLOWED_ROOTS": json.dumps([str(scenes)])}
    if models:
        settings["GROUNDSHIFT_MODEL_DIR"] = str(models)
        settings["GROUNDSHIFT_MIN_AREA_PX"] = "400"  # the test classifier marks every season
    log = folder.with_suffix(".log")
    command = [sys.executable, "-m", "functions.cli", "up", f"--data={folder}", "--port=0"]
    with log.open("wb") as said:
        process = subprocess.Popen(command, env=os.environ | settings, stdout=said, stderr=said)
    try:
        url = _until(lambda: re.search(r"is up on (http://[\d.:]+)\.\s", log.read_text()))[1]
        _until(lambda: _is_ready(url))
        pids = {"platform": process.pid}
        (server,) = psutil.Process(process.pid).children()
        pids["models"] = server.pid
        yield Target(
            name="embedded",
            intake=url,
            intake_path="/events",
            predict=url,
            predict_host="",
            usage=watch.cores(lambda: pids),
            age=watch.age(f"{url}/metrics"),
            outcomes=lambda: httpx.get(f"{url}/status", timeout=LONGEST_S).json()["scenes"],
            href=str,
            pids=pids,
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(LONGEST_S)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=30).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _until(look: Callable[[], object]) -> re.Match[str]:
    deadline = time.monotonic() + LONGEST_S
    while not (found := look()):
        if time.monotonic() > deadline:
            raise SystemExit(f"the platform did not start within {LONGEST_S:g} s")
        time.sleep(0.1)
    return found  # type: ignore[return-value]


# ---- cluster


@contextmanager
def cluster(namespace: str) -> Iterator[Target]:
    """The platform in a cluster's namespace, by the KUBECONFIG in the environment."""
    with ExitStack() as stack:
        broker = stack.enter_context(reach("knative-eventing", "svc/broker-ingress", 80))
        gateway = stack.enter_context(reach("kourier-system", "svc/kourier-internal", 80))
        relay = stack.enter_context(reach(namespace, "deployment/relay", 9090))
        settings = _settings(namespace)
        s3 = urlsplit(settings["GROUNDSHIFT_S3_ENDPOINT"])
        service, place = [*(s3.hostname or "").split("."), namespace][:2]
        door = stack.enter_context(reach(place, f"svc/{service}", s3.port or 80))
        yield Target(
            name="cluster",
            intake=f"http://{broker}",
            intake_path=f"/{namespace}/default",
            predict=f"http://{gateway}",
            predict_host=f"{PREDICTOR}.{namespace}.svc.cluster.local",
            usage=watch.pods(connect(), namespace),
            age=watch.age(f"http://{relay}/metrics"),
            outcomes=lambda: _outcomes(namespace),
            href=_uploader(settings, door),
        )


def kubectl(namespace: str, *arguments: str) -> str:
    """What kubectl printed."""
    command = ["kubectl", "-n", namespace, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def reach(namespace: str, what: str, port: int) -> Iterator[str]:
    """host:port of a port-forward: load goes to this machine's loopback and nowhere else.

    Whatever a kubeconfig names, nothing beside that one cluster can be flooded by mistake.
    """
    command = ["kubectl", "-n", namespace, "port-forward", what, f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout is not None
            local = forward.stdout.readline().partition(" -> ")[0].rpartition(":")[2]
            yield f"127.0.0.1:{local}"
        finally:
            forward.terminate()


def _settings(namespace: str) -> dict[str, str]:
    plain = json.loads(kubectl(namespace, "get", "configmap", "groundshift", "-o", "json"))["data"]
    secret = json.loads(kubectl(namespace, "get", "secret", "groundshift", "-o", "json"))["data"]
    return plain | {key: base64.b64decode(value).decode() for key, value in secret.items()}


def _outcomes(namespace: str) -> dict[str, int]:
    said = kubectl(namespace, "exec", "deployment/relay", "--", "groundshift", "status", "--json")
    found: dict[str, int] = json.loads(said)["scenes"]
    return found


def _uploader(settings: Mapping[str, str], door: str) -> Callable[[Path], str]:
    """Puts an Item and the files beside it into the bucket of incoming scenes."""
    from minio import Minio

    client = Minio(
        door,
        access_key=settings["GROUNDSHIFT_S3_ACCESS_KEY"],
        secret_key=settings["GROUNDSHIFT_S3_SECRET_KEY"],
        secure=False,
        region=settings.get("GROUNDSHIFT_S3_REGION", "us-east-1"),
    )
    buckets: Sequence[str] = json.loads(settings.get("GROUNDSHIFT_ALLOWED_BUCKETS", "[]"))
    bucket = next(iter(buckets), "scenes")

    def upload(item: Path) -> str:
        for path in sorted(item.parent.glob(f"{item.stem}*")):
            client.fput_object(bucket, f"load/{item.parent.name}/{path.name}", str(path))
        endpoint = settings["GROUNDSHIFT_S3_ENDPOINT"].rstrip("/")
        return f"{endpoint}/{bucket}/load/{item.parent.name}/{item.name}"

    return upload
