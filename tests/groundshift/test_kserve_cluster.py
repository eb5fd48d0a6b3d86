"""KServeClusterClient over recorded statuses: the contract, and what a run may be given when."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from groundshift.adapters.kserve_cluster import KServeClusterClient
from groundshift.errors import Misconfigured, NotYet, Unavailable
from groundshift.modelserver_process import ModelServerProcess
from groundshift.ports import ModelRevision, Split
from groundshift.runs import MODEL_NAMES, canary_bucket, choose_model_set
from groundshift.serving.testing import write_test_models
from groundshift.testing.kube_api import KubeApi, kube_api
from groundshift.testing.model_client import ModelClientContract

OLD, NEW = 1, 2


def service(name, traffic, *, latest, previous=None):
    """An InferenceService as KServe 0.20 reports it; traffic: (revision, percent), latest first."""
    targets = [
        {"revisionName": f"{name}-predictor-{number:05}", "percent": percent}
        | ({"latestRevision": True, "tag": "latest"} if index == 0 else {"tag": "prev"})
        for index, (number, percent) in enumerate(traffic)
    ]
    predictor = {"latestRolledoutRevision": f"{name}-predictor-{latest:05}", "traffic": targets}
    if previous is not None:
        predictor["previousRolledoutRevision"] = f"{name}-predictor-{previous:05}"
    return {"metadata": {"name": name}, "status": {"components": {"predictor": predictor}}}


def revision(name, number, *, version=None, ready="True"):
    source = f"s3://models/{name}/v{version or number}"
    return {
        "metadata": {
            "name": f"{name}-predictor-{number:05}",
            "labels": {"serving.kserve.io/inferenceservice": name},
            "annotations": {"internal.serving.kserve.io/storage-initializer-sourceuri": source},
        },
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


@contextmanager
def described() -> Iterator[str]:
    """Every revision's own address, in a path: what answers names the model and the revision."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            _, revision_, _, _, name = self.path.split("/")
            digest = "sha256:" + ("1" if revision_.endswith("1") else "2") * 64
            body = json.dumps(
                {"name": name, "versions": [digest, revision_], "platform": "s/i/g/n/a"}
            ).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{{revision}}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with kube_api() as api:
        tell(api, [stable(name) for name in MODEL_NAMES])
        yield api


@pytest.fixture
def client(api):
    with (
        described() as url,
        KServeClusterClient("eo", revision_url=url, connect=api.connect) as client,
    ):
        yield client


def tell(api, services, revisions=None):
    api.put("serving.kserve.io/v1beta1", "inferenceservices", services)
    both = [revision(name, number) for name in MODEL_NAMES for number in (OLD, NEW)]
    api.put("serving.knative.dev/v1", "revisions", both if revisions is None else revisions)


def stable(name):
    return service(name, [(OLD, 100)], latest=OLD)


def canary(name, percent=25):
    return service(name, [(NEW, percent), (OLD, 100 - percent)], latest=OLD)


def starting(name):
    """The canary's pod is not ready: the old revision stands on both sides."""
    return service(name, [(OLD, 25), (OLD, 75)], latest=OLD)


def promoted(name):
    return service(name, [(NEW, 100)], latest=NEW, previous=OLD)


def taken_back(name):
    """0 % after a full roll-out: KServe falls back to the revision before."""
    return service(name, [(NEW, 0), (OLD, 100)], latest=NEW, previous=OLD)


def unsettled(name):
    """Seen for seconds after 0 %: both sides still name the release that is taken back."""
    return service(name, [(NEW, 0), (NEW, 100)], latest=OLD, previous=OLD)


def sides(split: Split) -> tuple[set[str], set[str], int]:
    """Revision numbers of each side, and the share."""
    number = [{r.revision[-1] for r in side} for side in (split.stable, split.canary)]
    return number[0], number[1], split.percent


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ModelServerProcess(write_test_models(tmp_path_factory.mktemp("m")), threads=2) as process:
        yield process


class TestContract(ModelClientContract):
    @pytest.fixture
    def client(self, api, server):
        with KServeClusterClient(
            "eo", revision_url=server.url, connect=api.connect, max_in_flight=3
        ) as client:
            yield client


def test_a_run_is_pinned_to_the_revisions_own_addresses(client):
    split = client.split(MODEL_NAMES)
    assert [r.name for r in split.stable] == list(MODEL_NAMES)
    for r in split.stable:
        assert r.revision == f"{r.name}-predictor-00001"
        assert r.url.endswith(f"/{r.revision}")
        assert r.digest == "sha256:" + "1" * 64
        assert r.signature == "s/i/g/n/a"


def test_the_address_is_the_full_name_in_the_cluster():
    with KServeClusterClient.of_url("kserve://eo") as client:
        assert client._revision_url == "http://{revision}.eo.svc.cluster.local"


@pytest.mark.parametrize("url", ["kserve://", "http://eo", "kserve://eo/path"])
def test_an_address_that_is_none_is_misconfigured(url):
    with pytest.raises(Misconfigured, match="kserve://NAMESPACE"):
        KServeClusterClient.of_url(url)


A, B, C = MODEL_NAMES


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        ([stable(A), stable(B), stable(C)], ({"1"}, set(), 0)),
        ([canary(A), canary(B), canary(C)], ({"1"}, {"2"}, 25)),
        ([canary(A), starting(B), starting(C)], ({"1"}, set(), 0)),
        ([canary(A), canary(B), stable(C)], ({"1"}, set(), 0)),
        ([canary(A, 50), canary(B), canary(C, 50)], ({"1"}, {"2"}, 25)),
        ([canary(A, 0), canary(B), canary(C)], ({"1"}, set(), 0)),
        ([promoted(A), canary(B), canary(C)], ({"1"}, {"2"}, 25)),
        ([promoted(A), promoted(B), canary(C)], ({"1"}, {"2"}, 25)),
        ([promoted(A), promoted(B), promoted(C)], ({"2"}, set(), 0)),
        ([promoted(A), stable(B), stable(C)], ({"1"}, set(), 0)),
        ([taken_back(A), promoted(B), promoted(C)], ({"2"}, set(), 0)),
        ([unsettled(A), promoted(B), taken_back(C)], ({"1"}, set(), 0)),
        ([unsettled(A), unsettled(B), unsettled(C)], ({"1"}, {"2"}, 100)),
        ([taken_back(A), taken_back(B), taken_back(C)], ({"1"}, set(), 0)),
    ],
    ids=[
        "stable", "canary", "two still start", "one was not patched", "raised in two of three",
        "paused in one of three", "promoted in one", "promoted in two", "promoted",
        "replaced in one without a canary", "taken back in one", "each elsewhere", "unsettled",
        "taken back",
    ],
)  # fmt: skip
def test_services_that_move_at_different_moments_never_mix(api, client, services, expected):
    tell(api, services)
    assert sides(client.split(MODEL_NAMES)) == expected


def test_a_canary_counts_only_when_all_three_of_its_revisions_are_ready(api, client):
    services = [canary(name) for name in MODEL_NAMES]
    for state in ("False", "Unknown"):
        rows = [revision(n, OLD) for n in MODEL_NAMES] + [revision(A, NEW), revision(B, NEW)]
        tell(api, services, [*rows, revision(C, NEW, ready=state)])
        assert sides(client.split(MODEL_NAMES)) == ({"1"}, set(), 0)


def test_the_same_model_again_at_zero_percent_is_the_same_release(api, client):
    """A roll-back's third revision holds the old model: runs stay where the traffic is."""
    services = [service(n, [(3, 0), (OLD, 100)], latest=OLD) for n in MODEL_NAMES]
    rows = [revision(n, OLD) for n in MODEL_NAMES]
    rows += [revision(n, NEW) for n in MODEL_NAMES]
    rows += [revision(n, 3, version=OLD) for n in MODEL_NAMES]
    tell(api, services, rows)
    assert sides(client.split(MODEL_NAMES)) == ({"1"}, set(), 0)


def test_nothing_whole_is_worth_a_retry(api, client):
    tell(
        api,
        [promoted(A), stable(B), stable(C)],
        [revision(A, NEW), revision(B, OLD), revision(C, OLD)],
    )
    with pytest.raises(Unavailable, match="no release"):
        client.split(MODEL_NAMES)
    tell(api, [{"metadata": {"name": n}} for n in MODEL_NAMES])
    with pytest.raises(NotYet, match="never rolled out"):
        client.split(MODEL_NAMES)


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (HTTPStatus.FORBIDDEN, Misconfigured),
        (HTTPStatus.INTERNAL_SERVER_ERROR, Unavailable),
        (HTTPStatus.TOO_MANY_REQUESTS, Unavailable),
    ],
)
def test_the_apis_refusals_are_told_in_our_words(api, client, status, raised):
    api.lists.clear()
    api.status = status
    with pytest.raises(raised, match=rf"inferenceservices of namespace eo.*{int(status)}"):
        client.split(MODEL_NAMES)


def test_an_api_that_is_not_there_is_unavailable():
    with kube_api() as api:
        pass
    with (
        KServeClusterClient("eo", connect=api.connect) as client,
        pytest.raises(Unavailable, match="no answer from the Kubernetes API"),
    ):
        client.split(MODEL_NAMES)


def test_without_a_kubeconfig_the_cure_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with (
        KServeClusterClient("eo") as client,
        pytest.raises(Misconfigured, match="set KUBECONFIG"),
    ):
        client.split(MODEL_NAMES)


def split(percent):
    def side(digit):
        return tuple(ModelRevision(n, f"{n}-{digit}", digit, "s", "u") for n in MODEL_NAMES)

    return Split(side("1"), side("2"), percent)


PAIRS = [(f"scene-{n}", (f"scene-{n - 1}",)) for n in range(400)]


@pytest.mark.parametrize("percent", [0, 1, 25, 99, 100])
def test_the_share_is_exactly_the_runs_whose_hash_is_below_the_percentage(percent):
    chosen = [
        choose_model_set(split(percent), scene_id=scene, baseline=baseline)
        for scene, baseline in PAIRS
    ]
    assert all(len({r.digest for r in one.revisions}) == 1 for one in chosen)
    on_canary = [one.segmenter.digest == "2" for one in chosen]
    assert on_canary == [canary_bucket(*pair) < percent for pair in PAIRS]


def test_the_buckets_are_spread_evenly_and_depend_on_the_baseline():
    counts = [0] * 4
    for pair in PAIRS:
        counts[canary_bucket(*pair) // 25] += 1
    assert min(counts) > 60  # 100 expected; 60 is 4.6 sigma away
    assert len({canary_bucket("scene", (f"b{n}",)) for n in range(50)}) > 20


def test_without_a_canary_the_percentage_means_nothing():
    one = Split(split(0).stable, (), 100)
    assert choose_model_set(one, scene_id="s", baseline=()).segmenter.digest == "1"
