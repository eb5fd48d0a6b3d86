"""Every overlay, rendered by Kustomize and held against the real CRDs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from groundshift.serving.main import parse

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("GROUNDSHIFT_DATA", ROOT.parent / "shared" / "data")).parent
OVERLAYS = [
    *(
        f"{tree}/overlays/{name}"
        for tree in ("knative", "kserve")
        for name in ("staging", "canary")
    ),
    "knative/overlays/production",
    "kserve/overlays/production",
    "tests/cluster/overlay",
]
GPU = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [{root}/kserve/base]
components: [{root}/kserve/components/gpu]
"""
TRAINING = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: groundshift
resources: [{root}/knative/base]
components: [{root}/knative/components/mlflow, {root}/knative/components/rayjob]
"""
CRDS = (
    "eventing.knative.dev_brokers",
    "eventing.knative.dev_kafkasinks",
    "eventing.knative.dev_triggers",
    "ray.io_rayjobs",
    "serving.knative.dev_domainmappings",
    "serving.knative.dev_services",
    "serving.kserve.io_clusterstoragecontainers",
    "serving.kserve.io_inferenceservices",
    "serving.kserve.io_servingruntimes",
    "sinks.knative.dev_jobsinks",
    "sources.knative.dev_kafkasources",
    "sources.knative.dev_pingsources",
    "sources.knative.dev_sinkbindings",
)
FOREIGN = {"external-secrets.io", "monitoring.coreos.com"}
"""Groups whose operators run in no test: checked where their CRDs are at hand."""
INTERNAL = {"networking.internal.knative.dev"}
"""Knative's own, which a user meets in one kind; its CRD is not at hand."""
BUILT_IN = {"", "apps", "batch", "networking.k8s.io", "policy", "rbac.authorization.k8s.io"}


def build(folder):
    kubectl, kustomize = shutil.which("kubectl"), shutil.which("kustomize")
    command = [kubectl, "kustomize"] if kubectl else [kustomize, "build"]
    if command[0] is None:
        pytest.skip("neither kubectl nor kustomize on this machine")
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [m for m in yaml.safe_load_all(done.stdout) if m]


@pytest.fixture(scope="session")
def rendered(training):
    return {**{overlay: build(ROOT / overlay) for overlay in OVERLAYS}, "training": training}


@pytest.fixture(scope="session")
def training(tmp_path_factory):
    """The base with what a training on several nodes needs."""
    folder = tmp_path_factory.mktemp("training")
    text = TRAINING.format(root=os.path.relpath(ROOT, folder))
    (folder / "kustomization.yaml").write_text(text)
    return build(folder)


def group(manifest):
    name, slash, _ = manifest["apiVersion"].partition("/")
    return name if slash else ""


def find(manifests, kind, name=None):
    found = [m for m in manifests if m["kind"] == kind]
    return [m for m in found if name in (None, m["metadata"]["name"])]


def image_of(manifest):
    """Images at any depth."""
    if isinstance(manifest, list):
        return {image for item in manifest for image in image_of(item)}
    if isinstance(manifest, dict):
        own = {manifest["image"]} if isinstance(manifest.get("image"), str) else set()
        return own | {image for item in manifest.values() for image in image_of(item)}
    return set()


def test_all_of_it_passes_the_strict_check(rendered, tmp_path):
    """With one misspelt copy as the control: only that is complained of."""
    checker, crds = SHARED / "tools" / "validate_manifests.py", SHARED / "crds"
    if not checker.exists():
        pytest.skip(f"no CRDs beside the project: {crds}")
    (tmp_path / "crds").mkdir()
    foreign = {name: sorted(crds.glob(f"{name}_*.yaml")) for name in FOREIGN}
    known = [crds / f"{name}.yaml" for name in CRDS]  # all of them take a minute to parse
    for path in (*known, *(path for paths in foreign.values() for path in paths)):
        (tmp_path / "crds" / path.name).symlink_to(path)
    unchecked = BUILT_IN | INTERNAL | {name for name, paths in foreign.items() if not paths}
    custom = [m for docs in rendered.values() for m in docs if group(m) not in unchecked]
    distinct = list({yaml.safe_dump(m): m for m in custom}.values())
    kinds = {"KafkaSource", "KafkaSink", "PingSource", "SinkBinding", "JobSink", "RayJob"}
    assert kinds <= {m["kind"] for m in custom}
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(distinct))
    wrong = find(rendered["kserve/overlays/canary"], "InferenceService", "segmenter")[0]
    text = yaml.safe_dump(wrong).replace("canaryTrafficPercent", "canaryTraficPercent")
    (tmp_path / "wrong.yaml").write_text(text)
    files = [tmp_path / "all.yaml", tmp_path / "wrong.yaml"]
    answer = subprocess.run(
        [sys.executable, checker, tmp_path / "crds", *files],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    *problems, summary = answer.stdout.splitlines()
    assert summary.startswith(f"{len(distinct) + 1} checked, 1 problem(s)"), answer.stdout
    assert "canaryTraficPercent" in problems[0]
    assert summary.endswith("no schema for []")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_lies_in_the_platforms_namespace(rendered, overlay):
    cluster_scoped = {"Namespace", "ClusterDomainClaim", "ClusterStorageContainer"}
    for manifest in rendered[overlay]:
        expected = None if manifest["kind"] in cluster_scoped else "groundshift"
        assert manifest["metadata"].get("namespace") == expected, manifest["metadata"]["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_image_has_a_version(rendered, overlay):
    for image in image_of(rendered[overlay]):
        name, _, tag = image.rpartition(":")
        assert name, image
        assert tag not in ("latest", ""), image
    for ours in ("groundshift-functions", "groundshift-dashboard"):
        found = {i for i in image_of(rendered[overlay]) if ours in i}
        assert len(found) == int(overlay.startswith(("knative", "tests")))


def test_no_secret_stands_in_what_a_user_applies(rendered):
    for overlay, manifests in rendered.items():
        if not overlay.startswith("tests/"):
            assert not find(manifests, "Secret"), overlay


def test_overlays_only_patch():
    """A resource of an overlay's own would be a topology of its own; budgets follow replicas."""
    for overlay in OVERLAYS[:-1]:
        kustomization = yaml.safe_load((ROOT / overlay / "kustomization.yaml").read_text())
        allowed = {"../../base", "../../cluster", "../production", "disruption.yaml"}
        assert set(kustomization["resources"]) <= allowed, overlay


def test_a_canary_changes_all_three_models_and_their_share_at_once(rendered):
    before = find(rendered["kserve/overlays/production"], "InferenceService")
    after = find(rendered["kserve/overlays/canary"], "InferenceService")
    assert len(after) == len(before) == 3
    for old, new in zip(before, after, strict=True):
        predictor = dict(new["spec"]["predictor"])
        assert 0 < predictor.pop("canaryTrafficPercent") < 100
        uri = old["spec"]["predictor"]["model"]["storageUri"]
        model = {**old["spec"]["predictor"]["model"], "storageUri": uri.replace("/v1", "/v2")}
        assert predictor == {**old["spec"]["predictor"], "model": model}


def test_production_takes_its_events_through_kafka(rendered):
    manifests = rendered["knative/overlays/production"]
    (broker,) = find(manifests, "Broker")
    assert broker["metadata"]["annotations"]["eventing.knative.dev/broker.class"] == "Kafka"
    config = broker["spec"]["config"]
    assert find(manifests, config["kind"], config["name"])
    (settings,) = find(manifests, "ConfigMap", "groundshift")
    (source,) = find(manifests, "KafkaSource")
    assert settings["data"]["GROUNDSHIFT_KAFKA_SERVERS"] in source["spec"]["bootstrapServers"]
    for trigger in find(manifests, "Trigger"):
        assert trigger["spec"]["delivery"]["deadLetterSink"]["ref"]["name"] == "dead-letter"


@pytest.mark.parametrize("overlay", ["staging", "canary", "production"])
def test_detect_never_asks_the_models_more_than_they_take(rendered, overlay):
    (detect,) = find(rendered[f"knative/overlays/{overlay}"], "Service", "detect")
    template = detect["spec"]["template"]
    pods = int(template["metadata"]["annotations"]["autoscaling.knative.dev/max-scale"])
    asked = pods * template["spec"]["containerConcurrency"] * 4  # GROUNDSHIFT_MAX_IN_FLIGHT
    services = find(rendered[f"kserve/overlays/{overlay}"], "InferenceService")
    taken = sum(
        s["spec"]["predictor"]["maxReplicas"] * s["spec"]["predictor"]["containerConcurrency"]
        for s in services
    )
    assert asked <= taken


def test_the_gpu_component_asks_for_a_gpu(tmp_path):
    relative = os.path.relpath(ROOT, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(GPU.format(root=relative))
    manifests = build(tmp_path)
    (runtime,) = find(manifests, "ServingRuntime")
    (container,) = runtime["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["image"].startswith("groundshift-models-gpu:")
    assert parse(container["args"]).provider == "cuda"
    for service in find(manifests, "InferenceService"):
        assert service["spec"]["predictor"]["nodeSelector"] == {"nvidia.com/gpu.present": "true"}


def pods_of(rayjob):
    """(who, pod spec) of everything that KubeRay makes of a RayJob."""
    spec = rayjob["spec"]
    yield "submitter", spec["submitterPodTemplate"]["spec"]
    cluster = spec["rayClusterSpec"]
    yield "head", cluster["headGroupSpec"]["template"]["spec"]
    for group in cluster["workerGroupSpecs"]:
        yield group["groupName"], group["template"]["spec"]


def test_a_training_through_kuberay_passes_restricted_and_needs_no_tool_in_the_image(training):
    """KubeRay adds nothing to a pod that has probes of its own, and hands the context on."""
    (rayjob,) = find(training, "RayJob")
    accounts = {m["metadata"]["name"]: m for m in find(training, "ServiceAccount")}
    for who, pod in pods_of(rayjob):
        (container,) = pod["containers"]
        security = container["securityContext"]
        assert security["runAsNonRoot"] is True, who
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["serviceAccountName"] in accounts
        assert pod["automountServiceAccountToken"] is False
        assert container["image"].startswith("groundshift-training:")
        for probe in ("readinessProbe", "livenessProbe"):
            assert ("httpGet" in container.get(probe, {})) is (who != "submitter"), (who, probe)
    workers = rayjob["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"]
    assert f"--workers {workers} --address auto" in rayjob["spec"]["entrypoint"]


def test_ray_is_the_version_that_the_image_holds(training):
    (rayjob,) = find(training, "RayJob")
    version = rayjob["spec"]["rayClusterSpec"]["rayVersion"]
    assert f"\nray=={version} " in (ROOT / "requirements-image-training.lock").read_text()


def test_whoever_speaks_to_the_tracking_server_is_let_out_and_in(training):
    """The settings name the component's server, and its policy the label that opens the way."""
    (settings,) = find(training, "ConfigMap", "groundshift")
    (service,) = (s for s in find(training, "Service", "mlflow") if s["apiVersion"] == "v1")
    (port,) = service["spec"]["ports"]
    host = f"mlflow.groundshift.svc.cluster.local:{port['port']}"
    assert settings["data"]["GROUNDSHIFT_MLFLOW_URI"] == f"http://{host}"
    (server,) = find(training, "Deployment", "mlflow")
    (container,) = server["spec"]["template"]["spec"]["containers"]
    assert f"--allowed-hosts={host}" in container["args"]
    (out,) = find(training, "NetworkPolicy", "to-tracking")
    (into,) = find(training, "NetworkPolicy", "mlflow")
    label = out["spec"]["podSelector"]["matchLabels"]
    (rule,) = into["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": label}}]
    (sink,) = find(training, "JobSink")
    pod = sink["spec"]["job"]["spec"]["template"]
    assert label.items() <= pod["metadata"]["labels"].items()
