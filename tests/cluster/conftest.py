"""A platform on a real cluster, as the tests reach it: its bucket, its ledger, its Broker."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from kubernetes.client import ApiClient
from minio import Minio
from sqlalchemy import Connection, func, select
from sqlalchemy.engine import make_url

from functions.cluster.state import read_state
from functions.commands.publish_models import publish_models
from functions.testing import canonical_state, of_sites
from groundshift.codec import encode
from groundshift.events import Event, SceneArrived, new_event
from groundshift.kube import Object, connect, list_pods
from groundshift.ledger import Ledger, deliveries, tables
from groundshift.opening import open_ledger, open_store
from groundshift.ports import ObjectStore
from groundshift.runs import MODEL_NAMES
from groundshift.settings import Settings

NAMESPACE = os.environ.get("GROUNDSHIFT_NAMESPACE", "groundshift")
DATA = Path(os.environ.get("GROUNDSHIFT_DATA", Path(__file__).parents[3] / "shared" / "data"))
SCENES_BUCKET = "scenes"
SHIPPED = "v1"
"""Release of the models inside the package."""
INGRESS = ("kourier-system", "kourier", 80)
GATEWAY = ("kourier-system", "kourier-internal", 80)
BROKER = ("knative-eventing", "broker-ingress", 80)
PREFIX = "GROUNDSHIFT_"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the cluster: `make test-cluster` brings it and asks for the marker."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(1800))


def wait_for(what: str, look: Callable[[], Any], *, timeout_s: float = 300.0) -> Any:
    """The first answer of `look` that is not empty; its name in the failure otherwise."""
    deadline = time.monotonic() + timeout_s
    while True:
        if found := look():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not after {timeout_s:g} s: {what}")
        time.sleep(0.5)


def kubectl(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
    """Run kubectl in the platform's namespace; what it printed."""
    done = subprocess.run(
        ["kubectl", "-n", NAMESPACE, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, f"kubectl {arguments}: {done.stderr}"
    return done.stdout.strip()


@contextmanager
def reach(namespace: str, service: str, port: int) -> Iterator[str]:
    """host:port of a Service as this machine reaches it: by cluster IP, else a port-forward."""
    address = kubectl("-n", namespace, "get", "svc", service, "-o", "jsonpath={.spec.clusterIP}")
    if _answers(address, port):
        yield f"{address}:{port}"
        return
    with _forwarded(namespace, service, port) as local:
        yield f"127.0.0.1:{local}"


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


@contextmanager
def _forwarded(namespace: str, service: str, port: int) -> Iterator[int]:
    """A port-forward that comes back at the same port when its pod dies."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        local = int(probe.getsockname()[1])
    stop = threading.Event()
    current: list[subprocess.Popen[bytes]] = []

    def keep() -> None:
        while not stop.is_set():
            command = ["kubectl", "-n", namespace, "port-forward", f"svc/{service}"]
            current[:] = [
                subprocess.Popen([*command, f"{local}:{port}"], stdout=subprocess.DEVNULL)
            ]
            current[0].wait()
            stop.wait(0.5)

    thread = threading.Thread(target=keep, name=f"forward {service}")
    thread.start()
    try:
        wait_for(f"port-forward to {service}", lambda: _answers("127.0.0.1", local), timeout_s=60)
        yield local
    finally:
        stop.set()
        for process in current:
            process.terminate()
        thread.join()


@dataclass(frozen=True)
class Cluster:
    """The platform in its namespace."""

    api: ApiClient
    settings: Settings
    """Those of the pods, with addresses as this machine reaches them."""
    inside: Mapping[str, str]
    """The pods' own settings."""
    ledger: Ledger
    store: ObjectStore
    s3: Minio
    broker: str
    """Address of the Broker, as this machine reaches it."""

    @property
    def namespace(self) -> str:
        """The platform's namespace."""
        return NAMESPACE

    kubectl = staticmethod(kubectl)
    wait_for = staticmethod(wait_for)

    def publish(self, store: Path, version: str) -> None:
        """Publish a model set to the bucket that KServe loads from."""
        secret = self.settings.s3_secret_key.get_secret_value()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(f"{PREFIX}S3_ENDPOINT", self.settings.s3_endpoint)
            patch.setenv(f"{PREFIX}S3_ACCESS_KEY", self.settings.s3_access_key)
            patch.setenv(f"{PREFIX}S3_SECRET_KEY", secret)
            publish_models(store, to="s3://models", version=version)

    @contextmanager
    def gateway(self, service: str) -> Iterator[httpx.Client]:
        """A client of the address that pods call a service by, through the cluster's gateway."""
        host = f"{service}.{NAMESPACE}.svc.cluster.local"
        with (
            reach(*GATEWAY) as address,
            httpx.Client(base_url=f"http://{address}", headers={"host": host}, timeout=60) as one,
        ):
            yield one

    @contextmanager
    def public(self, model: str) -> Iterator[tuple[str, str]]:
        """(host:port, Host header) of a model at the cluster's outer gateway, while it is open."""
        label = "networking.knative.dev/visibility"
        kubectl("label", "isvc", model, f"{label}-")
        host = f"{model}-predictor.{NAMESPACE}.{self.domain}"
        try:
            with reach(*INGRESS) as address:
                url = f"http://{address}/v2/health/ready"

                def open_() -> bool:
                    return httpx.get(url, headers={"host": host}, timeout=30).status_code == 200

                wait_for(f"{host} at the ingress", open_)
                yield address, host
        finally:
            kubectl("label", "isvc", model, f"{label}=cluster-local")

    @staticmethod
    def ingress() -> AbstractContextManager[str]:
        """host:port of the cluster's outer gateway."""
        return reach(*INGRESS)

    @staticmethod
    def service(name: str, port: int) -> AbstractContextManager[str]:
        """host:port of a Service of the platform's namespace."""
        return reach(NAMESPACE, name, port)

    @property
    def domain(self) -> str:
        """The domain that Knative gives public services; its own example where none is set."""
        found = kubectl("-n", "knative-serving", "get", "configmap", "config-domain", "-o", "json")
        names = [n for n in json.loads(found).get("data", {}) if not n.startswith("_")]
        return names[0] if names else "example.com"

    def account_of(self, part: str) -> str:
        """``namespace:name`` of the ServiceAccount that a function or program runs under."""
        kind, pod = "deployment" if part in ("relay", "api", "dashboard") else "ksvc", ".spec"
        if part == "training":
            kind, pod = "jobsink", ".spec.job.spec"
        path = f"jsonpath={{{pod}.template.spec.serviceAccountName}}"
        return f"{NAMESPACE}:{kubectl('get', kind, part, '-o', path)}"

    def restart_s3(self) -> None:
        """The S3 server dies and comes back; its volume stays."""
        kubectl("delete", "pod", "-l", "app=s3", "--force", "--grace-period=0", check=False)

    def quiet(self) -> bool:
        """Whether the outbox is empty and every event was taken."""
        with self.ledger.read() as connection:
            return not (
                deliveries.unpublished(connection) or deliveries.open_deliveries(connection)
            )

    def upload(self, folder: Path, *, prefix: str) -> None:
        """Put a folder's files into the bucket of incoming scenes."""
        for path in sorted(p for p in folder.iterdir() if p.is_file()):
            self.s3.fput_object(SCENES_BUCKET, f"{prefix}/{path.name}", str(path))

    def href(self, key: str) -> str:
        """The address of an incoming scene, as the pods reach it."""
        return f"{self.inside['s3_endpoint'].rstrip('/')}/{SCENES_BUCKET}/{key}"

    def arrive(self, key: str, **said: Any) -> Event:
        """Tell the Broker of a scene until it has taken the event, as any careful sender does."""
        event = arrival(self.href(key), **said)
        headers, body = encode(event)

        def sent() -> bool:
            try:
                answer = httpx.post(self.broker, content=body, headers=dict(headers), timeout=900)
            except httpx.TransportError:
                return False
            return answer.status_code == 202

        wait_for(f"a 202 for {key}", sent, timeout_s=600)
        return event

    def pods(self, **labels: str) -> list[Object]:
        """Pods that run, by label (``__`` stands for ``/``)."""
        wanted = {key.replace("__", "/"): value for key, value in labels.items()}
        return [
            pod
            for pod in list_pods(self.api, NAMESPACE)
            if wanted.items() <= pod["metadata"].get("labels", {}).items()
            and "deletionTimestamp" not in pod["metadata"]
        ]

    def serve(self, version: str, *, percent: int | None = None) -> None:
        """Patch the three InferenceServices at once; `percent`: as a canary."""
        patches = [
            {
                "spec": {
                    "predictor": {
                        "canaryTrafficPercent": percent,
                        "model": {"storageUri": f"s3://models/{name}/{version}"},
                    }
                }
            }
            for name in MODEL_NAMES
        ]
        self.patch(patches)

    def roll_out(self, version: str) -> None:
        """Serve a release alone; nothing moves where it does already."""
        found = self.releases()
        if (found.stable, found.canary, found.percent) != (_release(version), "", 0):
            self.serve(version)
            self.wait_release(version)

    def promote(self) -> None:
        """Give the newest revision all the traffic."""
        self.patch([{"spec": {"predictor": {"canaryTrafficPercent": None}}}] * 3)

    def pause(self) -> None:
        """Take all traffic from the canary."""
        self.patch([{"spec": {"predictor": {"canaryTrafficPercent": 0}}}] * 3)

    def wait_ready_at(self, version: str) -> None:
        """Wait until the newest revision of each service is ready and of this release."""

        def look() -> bool:
            newest: dict[str, Any] = {}
            for row in read_state(self.api, NAMESPACE).revisions:  # newest first
                newest.setdefault(row.model, row)
            return len(newest) == len(MODEL_NAMES) and all(
                row.ready and row.release == _release(version) for row in newest.values()
            )

        wait_for(f"newest revisions ready at {version}", look, timeout_s=600)

    def patch(self, patches: Sequence[Mapping[str, Any]]) -> None:
        """One merge patch per InferenceService, all on their way together."""
        command = ["kubectl", "-n", NAMESPACE, "patch", "isvc", "--type", "merge"]
        running = [
            subprocess.Popen([*command, name, "-p", json.dumps(patch)], stdout=subprocess.DEVNULL)
            for name, patch in zip(MODEL_NAMES, patches, strict=True)
        ]
        assert [process.wait() for process in running] == [0, 0, 0]

    def releases(self) -> Any:
        """What runs are planned with now."""
        return read_state(self.api, NAMESPACE).releases

    def wait_release(self, stable: str, canary: str = "", percent: int = 0) -> None:
        """Wait until KServe's split is this, with the releases by version."""

        def look() -> bool:
            found = self.releases()
            shown = (found.stable, found.canary, found.percent)
            return shown == (_release(stable), _release(canary), percent)

        wait_for(f"{stable}, canary {canary} at {percent} %", look, timeout_s=600)

    def wait_scenes(self, wanted: Mapping[str, str], *, timeout_s: float = 900) -> None:
        """Wait until scenes, by STAC id, have these outcomes, and no work is under way.

        A scene that was refused will never get there: that fails at once, with the reason.
        """
        scenes, runs = tables.scenes, tables.runs
        unfinished = select(func.count()).where(runs.c.state == "planned")

        def look() -> bool:
            with self.ledger.read() as connection:
                refused = _refused(connection, wanted)
                rows = connection.execute(select(scenes.c.stac_id, scenes.c.outcome)).all()
                under_way = connection.execute(unfinished).scalar_one()
            assert not refused, refused
            found = {row.stac_id: row.outcome for row in rows}
            right = all(found.get(name) == outcome for name, outcome in wanted.items())
            return right and not under_way and self.quiet()

        wait_for(f"scenes {dict(wanted)}", look, timeout_s=timeout_s)


def _refused(connection: Connection, names: Collection[str]) -> list[str]:
    """What was said of those of the scenes that were refused or failed."""
    table = tables.arrivals
    query = select(table.c.href, table.c.message).where(table.c.state.in_(("refused", "failed")))
    rows = connection.execute(query).all()
    return [row.message for row in rows if Path(row.href).stem in names]


def _release(version: str) -> str:
    return f"s3://models/{version}" if version else ""


def arrival(href: str, **said: Any) -> Event:
    """A scene.arrived from outside."""
    data = SceneArrived.fit({"href": href, **said})
    return new_event(data, source="tests", subject=href, time=datetime.now(UTC))


@pytest.fixture(scope="session")
def platform_state() -> Callable[..., dict[str, Any]]:
    """What holds the platform's state, of all sites or of some, as another place has it too."""
    return state_of


def state_of(
    ledger: Ledger, store: ObjectStore, sites: Collection[str] | None = None
) -> dict[str, Any]:
    """The canonical state; Items apart, without the address that a scene was read from."""
    whole = canonical_state(ledger, store)
    state = of_sites(whole, sites or {row["id"] for row in whole["sites"]})
    items = [key for key in state["artifacts"] if key.startswith("scenes/") and "/item." in key]
    state["items"] = {key: json.loads(store.get(key)) for key in items}
    for key, item in state["items"].items():
        assert item["properties"].pop("groundshift:source")
        del state["artifacts"][key]
    return state


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real imagery; whoever needs a part of it skips where that is not there."""
    return DATA


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The platform that `make test-cluster` applied, everything ready."""
    api = connect()
    inside = _pod_settings()
    with ExitStack() as stack:
        endpoint = urlsplit(inside["s3_endpoint"])
        database = make_url(inside["database_url"])
        s3 = stack.enter_context(_of_host(endpoint.hostname or "", endpoint.port or 80))
        postgres = stack.enter_context(_of_host(database.host or "", database.port or 5432))
        broker = stack.enter_context(reach(*BROKER))
        host, _, port = postgres.partition(":")
        url = database.set(host=host, port=int(port)).render_as_string(hide_password=False)
        settings = Settings(**{**inside, "s3_endpoint": f"http://{s3}", "database_url": url})
        client = Minio(
            s3,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key.get_secret_value(),
            secure=False,
            region=settings.s3_region,
        )
        ledger = stack.enter_context(open_ledger(settings))
        found = Cluster(
            api,
            settings,
            inside,
            ledger,
            open_store(settings),
            client,
            f"http://{broker}/{NAMESPACE}/default",
        )
        yield found
        if found.releases().stable != _release(SHIPPED):  # whoever goes on with it has real models
            found.serve(SHIPPED)


def _pod_settings() -> dict[str, str]:
    """The settings in the ConfigMap and the Secret of the functions."""
    plain = json.loads(kubectl("get", "configmap", "groundshift", "-o", "json"))["data"]
    secret = json.loads(kubectl("get", "secret", "groundshift", "-o", "json"))["data"]
    both = plain | {key: base64.b64decode(value).decode() for key, value in secret.items()}
    return {
        key.removeprefix(PREFIX).lower(): _value(value)
        for key, value in both.items()
        if key.startswith(PREFIX)
    }


def _value(text: str) -> Any:
    """Lists are JSON in the environment, everything else is text."""
    return json.loads(text) if text.startswith("[") else text


def _of_host(host: str, port: int) -> Any:
    """How to reach ``service.namespace.svc...``; a bare name is in the platform's namespace."""
    service, namespace, *_ = [*host.split("."), NAMESPACE]
    return reach(namespace, service, port)
