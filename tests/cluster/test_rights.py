"""Who may do what: Kubernetes' own answer for each ServiceAccount, and who may reach whom."""

from __future__ import annotations

import json
from typing import Any

import pytest

from groundshift.runs import MODEL_NAMES

STAGES = (
    "ingest",
    "plan",
    "detect",
    "assemble",
    "track",
    "review",
    "retrain",
    "sweep",
    "dead-letter",
    "training",
    "relay",
    "api",
    "dashboard",
)
PROGRAMS = ("relay", "api", "dashboard")
"""Deployments; everything else is a Knative Service, but for the job."""
JOB = "training"
"""A JobSink."""
READ = {("get", "inferenceservices"), ("list", "inferenceservices"), ("list", "revisions")}
ASKED = (
    ("get", "inferenceservices"),
    ("list", "inferenceservices"),
    ("list", "revisions"),
    ("patch", "inferenceservices"),
    ("create", "inferenceservices"),
    ("delete", "inferenceservices"),
    ("get", "secrets"),
    ("list", "secrets"),
    ("get", "pods"),
    ("create", "pods"),
    ("create", "pods/exec"),
    ("patch", "services.serving.knative.dev"),
    ("create", "rolebindings"),
    ("impersonate", "serviceaccounts"),
)
GRANTED = {"plan": READ}
"""Everything else is refused to everyone; of the stages only plan asks the API at all."""


@pytest.mark.parametrize("stage", STAGES)
def test_each_account_may_do_what_its_stage_needs_and_nothing_else(cluster, stage) -> None:
    account = cluster.account_of(stage)
    for verb, resource in ASKED:
        answer = cluster.kubectl(
            "auth", "can-i", verb, resource, "--as", f"system:serviceaccount:{account}", check=False
        )
        expected = "yes" if (verb, resource) in GRANTED.get(stage, ()) else "no"
        assert answer.splitlines()[-1:] == [expected], f"{account}: {verb} {resource}: {answer}"


def test_rollout_may_patch_the_three_models_and_no_other(cluster) -> None:
    account = f"system:serviceaccount:{cluster.namespace}:rollout"

    def may(verb: str, name: str) -> bool:
        target = f"inferenceservices.serving.kserve.io/{name}"
        return cluster.kubectl("auth", "can-i", verb, target, "--as", account, check=False) == "yes"

    assert all(may("patch", name) for name in MODEL_NAMES)
    assert not may("patch", "another")
    assert not any(may("delete", name) for name in MODEL_NAMES)


def test_every_pod_runs_restricted(cluster) -> None:
    enforced = cluster.kubectl(
        "get", "ns", cluster.namespace, "-o",
        r"jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}",
    )  # fmt: skip
    assert enforced == "restricted"
    pods = cluster.pods()
    assert pods
    for pod in pods:
        for container in pod["spec"]["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"]["drop"] == ["ALL"]


OPEN = {
    "ingest": {"ledger", "objects"},
    "plan": {"ledger", "objects", "model", "cluster API"},
    "detect": {"ledger", "objects", "model"},
    "assemble": {"ledger", "objects"},
    "track": {"ledger", "objects"},
    "dead-letter": {"ledger"},
    "review": {"ledger", "objects"},
    "retrain": {"ledger"},
    "sweep": {"ledger"},
    "training": {"ledger", "objects", "tracking"},
    "relay": {"ledger", "broker"},
    "api": {"ledger", "objects"},
    "dashboard": {"API"},
    "model": {"objects"},
    "stranger": set(),
}
"""Who may open a connection to whom; a name that is not there may not."""
PROBE = """
import json, socket, sys, time
def opens(host, port):
    try:
        socket.create_connection((host, port), timeout=3).close()
        return True
    except OSError:
        return False
targets, allowed = map(json.loads, sys.argv[1:])
for _ in range(10):   # policies are set a while after the pod has its address: the last look counts
    found = {name: opens(*where) for name, where in targets.items()}
    if {name for name in found if found[name]} == set(allowed) & set(targets):
        break
    time.sleep(2)
print(json.dumps(found))
"""


def test_the_network_is_closed_but_for_the_flow(cluster, capsys) -> None:
    """From pods that carry the labels of each caller, to each listener: open, or no answer."""
    targets = listeners(cluster)
    pods = {caller: f"probe-{caller}" for caller in OPEN}
    manifests = [probe(cluster, caller, name, targets) for caller, name in pods.items()]
    try:
        cluster.kubectl("apply", "-f", "-", stdin=json.dumps(kube_list(manifests)))
        found = {caller: verdicts(cluster, name) for caller, name in pods.items()}
    finally:
        cluster.kubectl("delete", "pod", "--now", "--ignore-not-found", *pods.values())
    with capsys.disabled():
        print("\n" + " ".join(f"{name:>12}" for name in ("", *targets)))
        for caller, seen in found.items():
            row = ("open" if seen[name] else "-" for name in targets)
            print(" ".join(f"{cell:>12}" for cell in (caller, *row)))
    assert found == {
        caller: {name: name in allowed for name in targets} for caller, allowed in OPEN.items()
    }


def listeners(cluster: Any) -> dict[str, tuple[str, int]]:
    """Each listener's address as a pod would name it; MLflow's where the component is applied."""
    model = model_pod(cluster)
    path = ("get", "service", "mlflow", "--ignore-not-found", "-o", "name")
    tracking = f"mlflow.{cluster.namespace}.svc.cluster.local", 5000
    return {
        **({"tracking": tracking} if cluster.kubectl(*path) else {}),
        "ledger": (f"postgres.{cluster.namespace}.svc.cluster.local", 5432),
        "objects": (f"s3.{cluster.namespace}.svc.cluster.local", 9000),
        "model": (model["status"]["podIP"], 8012),
        "broker": ("broker-ingress.knative-eventing.svc.cluster.local", 80),
        "cluster API": ("kubernetes.default.svc.cluster.local", 443),
        "API": (f"api.{cluster.namespace}.svc.cluster.local", 80),
    }


def model_pod(cluster: Any) -> dict[str, Any]:
    """A model server that serves: beside it a revision that never got ready may keep its pods."""
    pods = cluster.pods(**{"serving.kserve.io__inferenceservice": MODEL_NAMES[1]})
    return next(
        pod
        for pod in pods
        if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])
    )


def probe(
    cluster: Any, caller: str, name: str, targets: dict[str, tuple[str, int]]
) -> dict[str, Any]:
    """A pod with a caller's labels that tries every listener and says which opened."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels_of(cluster, caller)},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "probe",
                    "image": image_of(cluster),
                    "command": [
                        *("python", "-c", PROBE),
                        *(json.dumps(targets), json.dumps(sorted(OPEN[caller]))),
                    ],
                    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "runAsNonRoot": True,
                        "runAsUser": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                }
            ],
        },
    }


def labels_of(cluster: Any, caller: str) -> dict[str, str]:
    """What NetworkPolicies know a caller by, without what a controller would adopt it for."""
    if caller == "stranger":
        return {}
    if caller == "model":
        labels = model_pod(cluster)["metadata"]["labels"]
    elif caller == JOB:
        found = json.loads(cluster.kubectl("get", "jobsink", caller, "-o", "json"))
        labels = found["spec"]["job"]["spec"]["template"]["metadata"]["labels"]
    else:
        kind = "deployment" if caller in PROGRAMS else "ksvc"
        found = json.loads(cluster.kubectl("get", kind, caller, "-o", "json"))
        labels = dict(found["spec"]["template"]["metadata"]["labels"])
        labels |= {} if caller in PROGRAMS else {"serving.knative.dev/service": caller}
    kept = ("serving.knative.dev/service", "serving.kserve.io/", "groundshift.io/", "app.")
    return {key: value for key, value in labels.items() if key.startswith(kept)}


def image_of(cluster: Any) -> str:
    path = "jsonpath={.spec.template.spec.containers[0].image}"
    return str(cluster.kubectl("get", "ksvc", "detect", "-o", path))


def verdicts(cluster: Any, pod: str) -> dict[str, bool]:
    def ended() -> bool:
        return cluster.kubectl("get", "pod", pod, "-o", "jsonpath={.status.phase}") == "Succeeded"

    cluster.wait_for(f"the end of {pod}", ended, timeout_s=300)
    found: dict[str, bool] = json.loads(cluster.kubectl("logs", pod))
    return found


def kube_list(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": items}
