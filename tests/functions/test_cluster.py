"""`groundshift cluster`: what it says of recorded objects, through a Kubernetes API on loopback."""

import json
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from kubernetes.client import ApiClient

from functions.cluster import apply as applying
from functions.cluster.doctor import examine
from functions.cluster.logs import read_logs
from functions.cluster.state import read_state
from groundshift.errors import Misconfigured, NotFound, Unavailable
from groundshift.runs import MODEL_NAMES
from groundshift.testing.kube_api import KubeApi, kube_api

SERVING, EVENTING = "serving.knative.dev/v1", "eventing.knative.dev/v1"
KSERVE, APPS = "serving.kserve.io/v1beta1", "apps/v1"
VERSION_FIELDS = (
    "major", "minor", "platform", "compiler", "goVersion", "buildDate", "gitCommit", "gitTreeState"
)  # fmt: skip


def conditions(status="True", message="", type_="Ready"):
    return {"conditions": [{"type": type_, "status": status, "message": message}]}


def named(name, status=None, spec=None, **labels):
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": spec or {},
        "status": conditions() if status is None else status,
    }


def function(name, status=None):
    container = {"envFrom": [{"configMapRef": {"name": "groundshift"}}], "name": "user-container"}
    return named(name, status, {"template": {"spec": {"containers": [container]}}})


def pod(name, waiting=None, phase="Running", **labels):
    state = {"waiting": waiting} if waiting else {"running": {}}
    started = {"name": "user-container", "image": "i", "imageID": "", "ready": not waiting}
    status = {"phase": phase, "containerStatuses": [started | {"restartCount": 0, "state": state}]}
    found = named(name, status, {"containers": [{"name": "user-container"}]})
    found["metadata"]["labels"] = {key.replace("_", "/"): value for key, value in labels.items()}
    return found


def model(name, *, traffic=((1, 100),), rolled_out=1, model_status=None, status="True"):
    targets = [{"revisionName": f"{name}-predictor-0000{n}", "percent": p} for n, p in traffic]
    predictor = {
        "traffic": targets,
        "latestCreatedRevision": targets[0]["revisionName"],
        "latestRolledoutRevision": f"{name}-predictor-0000{rolled_out}",
    }
    found = named(name, conditions(status), {"predictor": {"model": {"storageUri": "s3://m/v1"}}})
    found["status"] |= {"components": {"predictor": predictor}, "modelStatus": model_status or {}}
    return found


def revision(name, number, status="True", message=""):
    found = named(f"{name}-predictor-0000{number}", conditions(status, message))
    found["metadata"] |= {
        "labels": {"serving.kserve.io/inferenceservice": name},
        "annotations": {
            "internal.serving.kserve.io/storage-initializer-sourceuri": f"s3://m/{name}/v{number}"
        },
    }
    return found


TRIGGER = named(
    "plan",
    spec={
        "filters": [{"exact": {"type": "io.groundshift.scene.ready.v1"}}],
        "subscriber": {"ref": {"kind": "Service", "name": "plan"}},
    },
)
RELAY = named(
    "relay",
    {"readyReplicas": 1},
    {"replicas": 1, "selector": {"matchLabels": {"app": "relay"}}},
)


@pytest.fixture
def api() -> Iterator[KubeApi]:
    """A platform on which everything is well."""
    with kube_api() as api:
        api.put(SERVING, "services", [function("plan"), function("detect")])
        api.put(SERVING, "revisions", [revision(n, v) for n in MODEL_NAMES for v in (1, 2)])
        api.put(EVENTING, "brokers", [named("default")])
        api.put(EVENTING, "triggers", [TRIGGER])
        api.put(KSERVE, "inferenceservices", [model(n) for n in MODEL_NAMES])
        api.put(APPS, "deployments", [RELAY])
        api.put(APPS, "statefulsets", [])
        api.put("v1", "pods", [pod("detect-1", **{"serving.knative.dev_service": "detect"})])
        groups = [SERVING, EVENTING, KSERVE]
        api.documents = {
            "/version/": dict.fromkeys(VERSION_FIELDS, "") | {"gitVersion": "v1.34.4"},
            "/apis/": {
                "groups": [{"name": g.split("/")[0], "versions": [version(g)]} for g in groups]
            },
            "/api/v1/namespaces/eo": {
                "metadata": {
                    "name": "eo",
                    "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
                }
            },
            "/api/v1/namespaces/eo/configmaps/groundshift": {"metadata": {"name": "groundshift"}},
        }
        api.put("networking.k8s.io/v1", "networkpolicies", [named("closed")])
        yield api


def version(group):
    return {"groupVersion": group, "version": group.split("/")[1]}


@pytest.fixture
def client(api: KubeApi) -> ApiClient:
    return api.connect()


def parts(state):
    return {(part.what, part.name): part for part in state.parts}


def test_what_stands_is_shown_in_our_words(client):
    state = read_state(client, "eo")
    assert not state.troubles
    found = parts(state)
    assert found["function", "plan"].shows == "asleep, 0 pods"
    assert found["function", "detect"].shows == "1 pods"
    assert found["trigger", "plan"].shows == "scene.ready -> plan"
    assert found["program", "relay"].shows == "1/1 pods"
    assert {name for what, name in found if what == "model"} == set(MODEL_NAMES)
    assert state.releases.stable == "s3://m/v1"
    assert state.releases.canary == ""


def test_a_canary_is_shown_with_its_share(api, client):
    rows = [model(n, traffic=((2, 25), (1, 75))) for n in MODEL_NAMES]
    api.put(KSERVE, "inferenceservices", rows)
    state = read_state(client, "eo")
    assert (state.releases.stable, state.releases.canary, state.releases.percent) == (
        "s3://m/v1",
        "s3://m/v2",
        25,
    )
    shown = {(r.model, r.revision[-1]): (r.percent, r.release) for r in state.revisions}
    assert shown["segmenter", "2"] == (25, "s3://m/v2")
    assert shown["segmenter", "1"] == (75, "s3://m/v1")


def test_a_function_that_is_not_ready_says_why_from_the_pod_up(api, client):
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    broken = conditions("Unknown", "Revision is not ready")
    api.put(SERVING, "services", [function("plan", broken), function("detect", broken)])
    api.put(
        "v1",
        "pods",
        [pod("plan-1", waiting, "Pending", **{"serving.knative.dev_service": "plan"})],
    )
    found = parts(read_state(client, "eo"))
    assert found["function", "plan"].why == (
        "pod plan-1 user-container waits: ImagePullBackOff (no such image)"
    )
    assert found["function", "detect"].why == "Revision is not ready"


def test_a_pod_without_a_node_says_so(api, client):
    lost = pod("relay-1", phase="Pending", app="relay")
    lost["status"] |= conditions("False", "Insufficient cpu", "PodScheduled")
    api.put(APPS, "deployments", [RELAY | {"status": {}}])
    api.put("v1", "pods", [lost])
    found = parts(read_state(client, "eo"))
    assert found["program", "relay"].why == "pod relay-1 has no node (Insufficient cpu)"


def test_a_model_that_cannot_load_is_told_although_its_service_answers(api, client):
    failed = {
        "states": {"targetModelState": "FailedToLoad"},
        "lastFailureInfo": {"message": "Traceback\nRuntimeError: No model found in m/v9."},
    }
    rows = [model(MODEL_NAMES[0], model_status=failed), *map(model, MODEL_NAMES[1:])]
    api.put(KSERVE, "inferenceservices", rows)
    (trouble,) = read_state(client, "eo").troubles
    assert trouble.why == "cannot load its model: RuntimeError: No model found in m/v9."


def test_a_failure_that_is_over_is_none(api, client):
    """KServe keeps `lastFailureInfo` after the recovery."""
    healed = {
        "states": {"targetModelState": "Loaded"},
        "lastFailureInfo": {"message": "RuntimeError: of old"},
    }
    api.put(KSERVE, "inferenceservices", [model(n, model_status=healed) for n in MODEL_NAMES])
    assert not read_state(client, "eo").troubles


def test_half_a_release_is_told(api, client):
    api.put(SERVING, "revisions", [revision(n, 1) for n in MODEL_NAMES[:2]])
    assert "never rolled out" in read_state(client, "eo").releases.why
    api.put(KSERVE, "inferenceservices", [model(MODEL_NAMES[0])])
    assert "no InferenceService segmenter" in read_state(client, "eo").releases.why


def test_a_cluster_without_knative_is_no_empty_platform(api, client):
    del api.lists[f"/apis/{SERVING}/namespaces/eo/services"]
    with pytest.raises(NotFound, match="services of namespace eo"):
        read_state(client, "eo")


def test_the_wait_ends_with_what_is_not_ready(api, client):
    assert applying.wait_ready(client, "eo", timeout_s=0).namespace == "eo"
    api.put(SERVING, "services", [function("plan", conditions("False", "the reason"))])
    with pytest.raises(Unavailable, match="function plan: the reason"):
        applying.wait_ready(client, "eo", timeout_s=0)


def verdicts(api):
    return {check.name: check for check in examine("eo", open_api=api.connect)}


def test_the_doctor_finds_nothing_where_all_is_well(api):
    found = verdicts(api)
    assert [c.name for c in found.values() if not c.ok] == ["Knative sources (clocks)"]
    assert not found["Knative sources (clocks)"].needed
    assert found["Kubernetes"].found == "v1.34.4"
    assert found["ConfigMap groundshift"].ok


def test_the_doctor_says_what_is_missing_and_the_cure(api):
    del api.documents["/api/v1/namespaces/eo/configmaps/groundshift"]
    api.put("networking.k8s.io/v1", "networkpolicies", [])
    api.put(SERVING, "services", [function("plan", conditions("False", "the reason"))])
    found = verdicts(api)
    assert not found["ConfigMap groundshift"].ok
    assert not found["default deny"].ok
    assert found["function plan"].found == "the reason"
    assert "groundshift cluster logs plan" in found["function plan"].cure


def test_the_doctor_stops_where_the_cluster_is_none(api):
    api.documents["/apis/"] = {"groups": []}
    found = verdicts(api)
    assert not found["KServe"].ok
    assert "PodSecurity" not in found
    api.documents.clear()
    api.status = HTTPStatus.UNAUTHORIZED
    (only,) = examine("eo", open_api=api.connect)
    assert "401" in only.found


def test_logs_of_a_sleeping_function_say_that_it_sleeps(client):
    with pytest.raises(NotFound, match="sleeps at zero pods"):
        read_logs(client, "eo", "plan", lines=5)


def test_render_reads_files_and_says_what_is_wrong(tmp_path):
    file = tmp_path / "one.yaml"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {}}))
    assert applying.render(str(file))[0]["kind"] == "Namespace"
    with pytest.raises(NotFound, match="no folder"):
        applying.render(str(tmp_path / "none"))
    file.write_text("kind: Nothing")
    with pytest.raises(Misconfigured, match="apiVersion"):
        applying.render(str(file))


def test_a_folder_without_a_renderer_names_the_cure(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Misconfigured, match="kustomize"):
        applying.render(str(tmp_path))


SINKS = "sinks.knative.dev/v1alpha1"


def test_a_jobsink_is_a_part_too_and_one_that_is_not_ready_says_why(api, client):
    job = {"job": {"spec": {"activeDeadlineSeconds": 7200}}}
    well, ill = named("training", spec=job), named("other", conditions("False", "no address"))
    api.put(SINKS, "jobsinks", [well, ill])
    state = read_state(client, "eo")
    parts = {p.name: p for p in state.parts if p.what == "job"}
    assert parts["training"].ready
    assert parts["training"].shows == "one per event, 2 h at most"
    assert (parts["other"].ready, parts["other"].why) == (False, "no address")
