"""knative/base: what a cluster applies and the embedded runtime follows."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from functions.docs import commands
from functions.stages import DEAD_LETTER, JOBS, STAGES, TABLE, stages_table
from groundshift.events import EVENTS, Event, event_type
from groundshift.manifests import load, topology
from groundshift.runs import MODEL_NAMES
from groundshift.settings import Settings

ROOT = Path(__file__).parents[2]
BASE = ROOT / "knative" / "base"
FILES = sorted(BASE.glob("*.yaml"))
SHARED = Path(os.environ.get("GROUNDSHIFT_DATA", ROOT.parent / "shared" / "data")).parent


def services():
    """Knative's, not those of the core API."""
    return [m for m in of_kind("Service") if m["apiVersion"].startswith("serving.knative.dev/")]


def of_kind(kind):
    return [m for m in load("knative") if m["kind"] == kind]


def template(manifest):
    return manifest["spec"]["template"]


def container(manifest):
    (only,) = template(manifest)["spec"]["containers"]
    return only


IMAGE = "groundshift-functions"
IMAGES = {
    "api": "groundshift-dashboard",
    "dashboard": "groundshift-dashboard",
    "training": "groundshift-training",
}
"""Of the pods that need more than the stages do."""
OURS = (
    "serving.knative.dev_services",
    "eventing.knative.dev_brokers",
    "eventing.knative.dev_triggers",
    "sinks.knative.dev_jobsinks",
    "sources.knative.dev_pingsources",
    "sources.knative.dev_sinkbindings",
)


def test_every_manifest_passes_the_real_schemas(tmp_path):
    checker, crds = SHARED / "tools" / "validate_manifests.py", SHARED / "crds"
    if not checker.exists():
        pytest.skip(f"no CRDs beside the project: {crds}")
    for name in OURS:  # all of them take a minute to parse
        (tmp_path / f"{name}.yaml").symlink_to(crds / f"{name}.yaml")
    command = [sys.executable, str(checker), str(tmp_path), *map(str, FILES)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
    known = topology()
    custom = 2 + len(services()) + len(known.triggers) + len(known.clocks) + len(known.jobs)
    assert f"{custom} checked" in answer.stdout


def test_each_stage_has_a_trigger_and_a_service_of_its_name():
    known = topology()
    assert tuple(known.triggers) == (*STAGES, *JOBS)
    assert tuple(known.services) == (*STAGES, DEAD_LETTER)
    assert tuple(known.jobs) == JOBS
    for stage in STAGES:
        assert known.subscriber(stage).args == ("serve", stage)
    assert known.services[DEAD_LETTER].stage == DEAD_LETTER


@pytest.mark.parametrize("type_", EVENTS)
def test_each_event_reaches_exactly_the_stages_that_take_it(type_):
    event = Event("1", "x", type_, "s", datetime(2026, 1, 1, tzinfo=UTC), {})
    takers = tuple(s for s in (*STAGES, *JOBS) if type_ in TABLE[s].takes)
    assert topology().route(event) == (() if EVENTS[type_].from_clock else takers)


def test_each_clock_reaches_the_stage_of_its_name_and_no_other():
    known = topology()
    assert list(known.clocks) == ["retrain", "sweep"]
    for name, clock in known.clocks.items():
        assert clock.data.clock == name
        assert event_type("clock.ticked") in TABLE[name].takes
        event = clock.event(datetime(2026, 1, 1, tzinfo=UTC))
        assert known.route(event) == (name,)
        other = replace(event, source=event.source.replace(name, "another"))
        assert known.route(other) == ()


def test_a_clock_says_json_in_utc():
    """Data of another media type would be refused by the stage, each time."""
    for ping in of_kind("PingSource"):
        assert ping["spec"]["contentType"] == "application/json"
        assert ping["spec"]["timezone"] == "UTC"
        assert ping["spec"]["sink"]["ref"]["kind"] == "Broker"


LATER = ("drift.found",)
"""Words whose speaker is not built yet: who takes them is ready."""


def test_every_event_that_a_stage_takes_is_said_by_someone():
    said = {type_ for stage in TABLE.values() for type_ in stage.says}
    said |= {t for t, k in EVENTS.items() if k.from_outside or k.from_clock or k.from_people}
    taken = {type_ for stage in TABLE.values() for type_ in stage.takes}
    assert taken - said == {event_type(word) for word in LATER}
    assert said == set(EVENTS) - {event_type(word) for word in LATER}


def test_every_trigger_gives_up_into_its_own_sink():
    for spec in topology().triggers.values():
        assert spec.dead_letter_service == DEAD_LETTER
        assert spec.retry > 0
        if spec.service not in JOBS:  # a JobSink answers at once
            assert spec.timeout.total_seconds() <= topology().services[spec.service].timeout_s


def test_retries_outlast_a_restart_of_what_a_stage_needs():
    for spec in topology().triggers.values():
        waits = (spec.backoff(n).total_seconds() for n in range(1, spec.retry + 1))
        assert sum(waits) >= 60, spec.name


@pytest.mark.parametrize("manifest", services(), ids=lambda m: m["metadata"]["name"])
def test_services_are_restricted_probed_and_scale_to_zero(manifest):
    assert manifest["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"
    notes = template(manifest)["metadata"]["annotations"]
    assert notes["autoscaling.knative.dev/min-scale"] == "0"
    assert int(notes["autoscaling.knative.dev/max-scale"]) >= 1
    spec, only = template(manifest)["spec"], container(manifest)
    assert spec["containerConcurrency"] >= 1
    assert spec["timeoutSeconds"] <= 600  # Knative's max-revision-timeout-seconds
    assert only["readinessProbe"]["httpGet"]["path"] == "/healthz"
    assert only["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert only["resources"]["requests"].keys() == only["resources"]["limits"].keys()
    security = only["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}


def test_a_job_ends_and_one_that_died_is_asked_for_again_after_its_end():
    """A Job that is made twice, or never reports, costs a while and never the flow."""
    (sink,) = of_kind("JobSink")
    spec = job(sink)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["backoffLimit"] >= 1  # a pod that died
    assert spec["activeDeadlineSeconds"] < Settings().retrain_deadline_s
    # JobSink forgets an event with its Job: not before the ledger has asked for it again
    assert spec["ttlSecondsAfterFinished"] > Settings().retrain_deadline_s
    known = topology().jobs["training"]
    assert (known.args, known.retries) == (("retrain",), spec["backoffLimit"])
    assert known.deadline_s == spec["activeDeadlineSeconds"]


def test_a_pod_that_follows_one_that_died_goes_by_the_same_name():
    """Else it would wait for the lease of the dead one."""
    (sink,) = of_kind("JobSink")
    (only,) = job(sink)["template"]["spec"]["containers"]
    (name,) = (e for e in only["env"] if e["name"] == "JOB_NAME")
    label = "metadata.labels['batch.kubernetes.io/job-name']"
    assert name["valueFrom"]["fieldRef"]["fieldPath"] == label


def test_no_manifest_names_a_registry_or_a_version():
    for manifest in services():
        assert container(manifest)["image"] == IMAGE


def test_the_kustomization_lists_every_file():
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    assert listed["resources"] == [f.name for f in FILES if f.name != "kustomization.yaml"]
    assert {image["name"] for image in listed["images"]} == {IMAGE, *IMAGES.values()}


def test_kustomize_builds_what_the_runtime_reads():
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl on this machine")
    built = subprocess.run(
        [kubectl, "kustomize", str(BASE)], capture_output=True, text=True, check=True
    )
    manifests = [m for m in yaml.safe_load_all(built.stdout) if m]
    assert topology(manifests).services == topology().services
    assert {t.name: (t.service, t.retry) for t in topology(manifests).triggers.values()} == {
        t.name: (t.service, t.retry) for t in topology().triggers.values()
    }


def pods():
    """(name, pod template) of everything that runs."""
    running = [(m["metadata"]["name"], template(m)) for m in services() + of_kind("Deployment")]
    jobs = [(m["metadata"]["name"], job(m)["template"]) for m in of_kind("JobSink")]
    return running + jobs


def job(sink):
    return sink["spec"]["job"]["spec"]


@pytest.mark.parametrize(("name", "pod"), pods(), ids=[name for name, _ in pods()])
def test_every_pod_has_an_account_of_its_own_and_passes_restricted(name, pod):
    assert pod["spec"]["serviceAccountName"] == name
    (only,) = pod["spec"]["containers"]
    assert only["image"] == IMAGES.get(name, IMAGE)
    security = only["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["runAsNonRoot"] is True
    assert security["readOnlyRootFilesystem"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    written = {v["mountPath"]: v["name"] for v in only["volumeMounts"]}
    assert written == {"/tmp": "tmp"}
    assert {"name": "tmp", "emptyDir": {}} in pod["spec"]["volumes"]
    sources = [next(iter(entry.values()))["name"] for entry in only["envFrom"]]
    assert sources == ["groundshift", "groundshift-login" if name == "dashboard" else "groundshift"]


def test_each_program_is_a_command_that_there_is():
    known = commands()
    for name, pod in pods():
        first, *rest = pod["spec"]["containers"][0]["args"]
        assert first in known, name
        assert first != "serve" or rest == [name]


def test_only_who_asks_the_cluster_gets_a_token():
    asking = {a["metadata"]["name"] for a in of_kind("ServiceAccount") if _has_token(a)}
    assert asking == {"plan", "rollout"}
    assert {a["metadata"]["name"] for a in of_kind("ServiceAccount")} == {
        *(name for name, _ in pods()),
        "rollout",
    }


def _has_token(account):
    return account.get("automountServiceAccountToken", True)


def test_only_rollout_may_change_a_model_and_only_one_of_the_three():
    roles = {m["metadata"]["name"]: m["rules"] for m in of_kind("Role")}
    granted = {}
    for binding in of_kind("RoleBinding"):
        for subject in binding["subjects"]:
            granted.setdefault(subject["name"], []).extend(roles[binding["roleRef"]["name"]])
    writing = {"create", "update", "patch", "delete", "deletecollection", "*"}
    for account, rules in granted.items():
        for rule in rules:
            assert set(rule["apiGroups"]) <= {"serving.kserve.io", "serving.knative.dev"}
            if account != "rollout":
                assert not writing & set(rule["verbs"]), account
    (change,) = [r for r in granted["rollout"] if "patch" in r["verbs"]]
    assert sorted(change["resourceNames"]) == sorted(MODEL_NAMES)
    assert change["verbs"] == ["patch"]


def test_the_settings_are_settings():
    (plain,) = of_kind("ConfigMap")
    known = {f"GROUNDSHIFT_{name.upper()}" for name in Settings.model_fields}
    assert set(plain["data"]) <= known
    assert not {key for key in plain["data"] if "SECRET" in key or "DATABASE" in key}


def test_nothing_comes_in_and_nothing_goes_out_but_what_is_named():
    policies = {m["metadata"]["name"]: m["spec"] for m in of_kind("NetworkPolicy")}
    assert policies.pop("deny-all") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, spec in policies.items():
        for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
            assert rule["ports"], name
        for rule in spec.get("ingress", []):
            assert rule["from"], name


def test_what_has_replicas_outlives_a_drained_node():
    budgets = {m["metadata"]["name"]: m["spec"] for m in of_kind("PodDisruptionBudget")}
    for program in of_kind("Deployment"):
        budget = budgets.pop(program["metadata"]["name"], None)
        if program["spec"]["replicas"] == 1:
            assert budget is None  # one that may never go would hold a drain up for ever
            continue
        assert program["spec"]["replicas"] > budget["minAvailable"] >= 1
        assert budget["selector"] == program["spec"]["selector"]
    assert not budgets


def test_the_map_has_neither_ledger_nor_objects_and_what_is_asked_answers_to_the_ingress():
    programs = {m["metadata"]["name"]: m for m in of_kind("Deployment")}
    labels = template(programs["dashboard"])["metadata"]["labels"]
    assert not {"groundshift.io/ledger", "groundshift.io/objects"} & labels.keys()
    core = {m["metadata"]["name"]: m["spec"] for m in of_kind("Service") if m["apiVersion"] == "v1"}
    for name, spec in core.items():
        assert spec["selector"].items() <= template(programs[name])["metadata"]["labels"].items()
        assert [port["port"] for port in spec["ports"]] == [80]
    assert core.keys() == {"api", "dashboard"}


def test_the_relay_says_what_it_holds_before_it_ends():
    (relay,) = (d for d in of_kind("Deployment") if d["metadata"]["name"] == "relay")
    grace = template(relay)["spec"]["terminationGracePeriodSeconds"]
    assert grace > Settings().relay_grace_s
    (binding,) = of_kind("SinkBinding")
    assert binding["spec"]["subject"]["name"] == relay["metadata"]["name"]


def test_yaml_folders_hold_no_python():
    for folder in ("knative", "kserve"):
        assert list((ROOT / folder).rglob("*.py")) == []


def test_the_embedded_runtime_bounds_what_the_manifests_allow():
    most = Settings().dispatch_concurrency
    for service in topology().services.values():
        assert 1 <= service.concurrency(most) <= most


def test_the_table_of_stages_has_every_row():
    for name, stage in TABLE.items():
        assert f"| `{name}` |" in stages_table()
        assert stage.does in stages_table()


@pytest.mark.parametrize("name", [*STAGES, DEAD_LETTER])
def test_a_stages_function_has_its_name(name):
    assert callable(TABLE[name].handler())
