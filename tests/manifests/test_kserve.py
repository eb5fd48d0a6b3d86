"""kserve/base: strict against the real CRDs, and at one with the model store and the server."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from groundshift import manifests
from groundshift.models import RECORD
from groundshift.modelserver_process import runtime_args
from groundshift.runs import MODEL_NAMES
from groundshift.serving.main import ServeOptions, parse

ROOT = Path(__file__).parents[2]
BASE = ROOT / "kserve" / "base"
CLUSTER = ROOT / "kserve" / "cluster"
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="module")
def loaded():
    return manifests.load(BASE)


def of_kind(loaded, kind):
    return [m for m in loaded if m["kind"] == kind]


@pytest.fixture
def runtime(loaded):
    (found,) = of_kind(loaded, "ServingRuntime")
    return found


@pytest.fixture
def container(runtime):
    (found,) = runtime["spec"]["containers"]
    return found


@pytest.fixture
def services(loaded):
    return of_kind(loaded, "InferenceService")


def test_the_custom_resources_pass_the_strict_check(tmp_path):
    """With two wrong copies as the control: only they are complained of."""
    tool, crds = SHARED / "tools" / "validate_manifests.py", tmp_path / "crds"
    if not tool.is_file():
        pytest.skip("no ../shared/tools/validate_manifests.py: the CRDs are not there")
    crds.mkdir()
    for kind in ("servingruntimes", "inferenceservices"):  # parsing all of them takes half a minute
        shutil.copy(SHARED / "crds" / f"serving.kserve.io_{kind}.yaml", crds)
    right = (BASE / "20-segmenter.yaml").read_text()
    (tmp_path / "misspelt.yaml").write_text(right.replace("minReplicas:", "minReplica:"))
    (tmp_path / "mistyped.yaml").write_text(right.replace("timeout: 120", "timeout: soon"))
    files = [*BASE.glob("*.yaml"), *tmp_path.glob("*.yaml")]
    result = subprocess.run(
        [sys.executable, tool, crds, *files], capture_output=True, text=True, check=False
    )
    *problems, summary = result.stdout.splitlines()
    assert summary.startswith("6 checked, 2 problem(s)"), result.stdout
    assert sorted(Path(line.partition(":")[0]).name for line in problems) == [
        "misspelt.yaml",
        "mistyped.yaml",
    ]


def test_the_kustomization_names_every_file():
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    files = sorted(path.name for path in BASE.glob("*.yaml"))
    assert sorted([*kustomization["resources"], "kustomization.yaml"]) == files


def test_there_is_a_service_for_each_model(services):
    assert sorted(s["metadata"]["name"] for s in services) == sorted(MODEL_NAMES)
    for service in services:
        model = service["spec"]["predictor"]["model"]
        assert model["storageUri"] == f"s3://models/{service['metadata']['name']}/v1"


def test_the_shipped_store_holds_what_the_services_serve(services):
    store = ROOT / "groundshift" / "model_store"
    if not store.is_dir():
        pytest.skip("no model store in this checkout")
    shipped = {path.parent.name for path in store.glob(f"*/{RECORD}")}
    assert shipped == {service["metadata"]["name"] for service in services}


def test_the_services_use_the_runtime(services, runtime):
    (model_format,) = runtime["spec"]["supportedModelFormats"]
    for service in services:
        model = service["spec"]["predictor"]["model"]
        assert model["runtime"] == runtime["metadata"]["name"]
        assert model["modelFormat"] == {k: model_format[k] for k in ("name", "version")}
        assert [model["protocolVersion"]] == runtime["spec"]["protocolVersions"]


def test_the_services_are_tagged_private_knative_services(services):
    for service in services:
        annotations = service["metadata"]["annotations"]
        assert annotations["serving.kserve.io/deploymentMode"] == "Knative"
        assert annotations["serving.kserve.io/enable-tag-routing"] == "true"
        labels = service["metadata"]["labels"]
        assert labels["networking.knative.dev/visibility"] == "cluster-local"


def test_the_services_differ_in_their_model_only(services):
    texts = {yaml.safe_dump(s).replace(s["metadata"]["name"], "NAME") for s in services}
    assert len(texts) == 1


def test_the_service_account_is_there(loaded, services):
    accounts = {m["metadata"]["name"] for m in of_kind(loaded, "ServiceAccount")}
    assert {s["spec"]["predictor"]["serviceAccountName"] for s in services} == accounts


def test_the_server_understands_its_arguments(loaded, container, services):
    assert container["command"] == ["python", "-m", "groundshift.serving"]
    for service in services:
        name = service["metadata"]["name"]
        options = parse([arg.replace("{{.Name}}", name) for arg in runtime_args(loaded)])
        assert options.model_name == name
        assert options.model_dir == Path("/mnt/models")
        assert options.host == "0.0.0.0"
        ports = {p["containerPort"] for p in container["ports"]}
        probes = {container[p]["httpGet"]["port"] for p in ("readinessProbe", "livenessProbe")}
        assert ports == probes == {options.port}
        # KServe's agent must never meet the server's own 503 below the limit it is told of
        limit = service["spec"]["predictor"]["containerConcurrency"]
        assert options.workers + options.queue >= limit
        assert not options.exit_with_stdin
        assert isinstance(options, ServeOptions)


def test_the_probes_ask_the_servers_own_endpoints(container):
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"


def test_the_container_is_admitted_where_pod_security_is_restricted(container):
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert context["runAsUser"] > 0


def test_nothing_names_a_registry_or_a_namespace():
    for path in BASE.glob("[0-9]*.yaml"):
        text = path.read_text()
        assert not re.search(r"image: \S*[./]", text), path.name
        assert "namespace:" not in text, path.name


def test_the_init_container_is_the_hardened_one(services):
    (container,) = yaml.safe_load_all((CLUSTER / "storage.yaml").read_text())
    names = {s["spec"]["predictor"]["storageContainerName"] for s in services}
    assert names == {container["metadata"]["name"]}
    context = container["spec"]["container"]["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    prefixes = [uri["prefix"] for uri in container["spec"]["supportedUriFormats"]]
    for service in services:
        assert service["spec"]["predictor"]["model"]["storageUri"].startswith(tuple(prefixes))
