import shutil
import subprocess
import sys
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from groundshift.errors import Misconfigured
from groundshift.filters import filter_of
from groundshift.manifests import load, topology

ROOT = Path(__file__).parents[2]
EVENT = {"type": "io.x.scene.v1", "source": "ingest", "subject": "sentinel-2-a", "tenant": "t"}

PASSES = [
    ({}, True),
    ({"filters": []}, True),
    ({"filters": [{"exact": {"type": "io.x.scene.v1"}}]}, True),
    ({"filters": [{"exact": {"type": "io.x.scene"}}]}, False),
    ({"filters": [{"exact": {"type": "io.x.scene.v1", "source": "plan"}}]}, False),
    ({"filters": [{"exact": {"colour": "red"}}]}, False),
    ({"filters": [{"prefix": {"type": "io.x."}}]}, True),
    ({"filters": [{"prefix": {"type": "x."}}]}, False),
    ({"filters": [{"suffix": {"type": ".v1"}}]}, True),
    ({"filters": [{"suffix": {"type": ".v2"}}]}, False),
    ({"filters": [{"prefix": {"type": "io."}}, {"suffix": {"type": ".v2"}}]}, False),
    ({"filters": [{"any": [{"suffix": {"type": ".v2"}}, {"exact": {"tenant": "t"}}]}]}, True),
    ({"filters": [{"any": [{"suffix": {"type": ".v2"}}, {"exact": {"tenant": "u"}}]}]}, False),
    ({"filters": [{"all": [{"prefix": {"type": "io."}}, {"exact": {"tenant": "t"}}]}]}, True),
    ({"filters": [{"all": [{"prefix": {"type": "io."}}, {"exact": {"tenant": "u"}}]}]}, False),
    ({"filters": [{"not": {"exact": {"tenant": "u"}}}]}, True),
    ({"filters": [{"not": {"exact": {"tenant": "t"}}}]}, False),
    ({"filters": [{"not": {"exact": {"colour": "red"}}}]}, True),
    ({"filters": [{"not": {"any": [{"not": {"exact": {"tenant": "t"}}}]}}]}, True),
    ({"filter": {"attributes": {"type": "io.x.scene.v1"}}}, True),
    ({"filter": {"attributes": {"type": "io.x.scene.v1", "tenant": ""}}}, True),
    ({"filter": {"attributes": {"type": "io.x.scene.v1", "colour": ""}}}, False),
    ({"filter": {"attributes": {"type": "other"}}}, False),
    (
        {
            "filters": [{"exact": {"tenant": "t"}}],  # overrides `filter`
            "filter": {"attributes": {"type": "other"}},
        },
        True,
    ),
]


@pytest.mark.parametrize(("spec", "passes"), PASSES, ids=[str(spec) for spec, _ in PASSES])
def test_filters_do_what_knative_says(spec, passes):
    assert filter_of(spec)(EVENT) is passes


@pytest.mark.parametrize(
    "filters",
    [
        [{"cesql": "type = 'x'"}],
        [{"exact": {"type": "a"}, "prefix": {"type": "b"}}],
        [{"exact": {}}],
        [{"exact": {"type": ""}}],
        [{"any": []}],
        [{"any": {"exact": {"type": "a"}}}],
        ["exact"],
        [{}],
        {"exact": {"type": "a"}},
    ],
    ids=str,
)
def test_a_filter_that_is_no_filter_is_refused(filters):
    with pytest.raises(Misconfigured, match="filter"):
        filter_of({"filters": filters})


def trigger(**spec):
    ref = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "s"}
    whole = {
        "broker": "default",
        "subscriber": {"ref": ref},
        "delivery": {"deadLetterSink": {"ref": ref}},
        **spec,
    }
    return {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": "t"},
        "spec": whole,
    }


def service(**spec):
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"template": {"spec": {"containers": [{"args": ["serve", "x"]}], **spec}}},
    }


BROKER = {
    "apiVersion": "eventing.knative.dev/v1",
    "kind": "Broker",
    "metadata": {"name": "default"},
}


def delivery(**fields):
    return {**trigger()["spec"]["delivery"], **fields}


def test_defaults_are_the_clusters():
    known = topology([BROKER, trigger(), service()])
    spec = known.triggers["t"]
    assert (spec.retry, spec.backoff_delay) == (10, timedelta(seconds=0.2))
    assert (spec.timeout, spec.path) == (timedelta(minutes=10), "/")
    assert known.subscriber("t").stage == "x"
    assert known.subscriber("t").concurrency(7) == 7  # no limit of its own


@pytest.mark.parametrize(
    ("policy", "waits"),
    [("exponential", [0.5, 1, 2, 4]), ("linear", [0, 0.5, 1, 1.5])],
)
def test_waits_are_those_seen_live(policy, waits):
    fields = delivery(backoffPolicy=policy, backoffDelay="PT0.5S", retry=4)
    spec = topology([BROKER, trigger(delivery=fields), service()]).triggers["t"]
    assert [spec.backoff(n).total_seconds() for n in (1, 2, 3, 4)] == waits


@pytest.mark.parametrize(
    "broken",
    [
        [trigger(), service()],
        [BROKER, trigger()],
        [BROKER, trigger(subscriber={"uri": "http://elsewhere"}), service()],
        [BROKER, trigger(delivery={}), service()],
        [BROKER, trigger(delivery=delivery(timeout="10 minutes")), service()],
        [BROKER, trigger(delivery=delivery(backoffPolicy="random")), service()],
    ],
    ids=["no broker", "no service", "no ref", "no dead letter sink", "no duration", "no policy"],
)
def test_a_broken_topology_is_refused(broken):
    with pytest.raises(Misconfigured):
        topology(broken)


def test_triggers_of_other_brokers_are_not_ours():
    assert topology([BROKER, trigger(broker="other"), service()]).triggers == {}


def test_a_folder_is_read_in_order_without_its_kustomization(tmp_path):
    (tmp_path / "20-b.yaml").write_text(yaml.safe_dump_all([service(), BROKER]))
    (tmp_path / "10-a.yaml").write_text(yaml.safe_dump_all([trigger(), None]))
    (tmp_path / "kustomization.yaml").write_text("kind: Kustomization")
    assert [m["kind"] for m in load(tmp_path)] == ["Trigger", "Service", "Broker"]


@pytest.mark.parametrize("text", ["a: [", "just text", "a: 1"])
def test_what_is_no_manifest_is_refused(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(Misconfigured, match=r"x\.yaml"):
        load(tmp_path)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(Misconfigured, match="nowhere"):
        load(tmp_path / "nowhere")


BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
ASK = """
import pathlib, sys, tempfile
import groundshift
from groundshift.ledger import Ledger
from groundshift.manifests import load, topology
assert pathlib.Path(groundshift.__file__).is_relative_to(sys.argv[1]), groundshift.__file__
with tempfile.TemporaryDirectory() as folder:
    Ledger.open(f"sqlite:///{folder}/ledger.db").close()
print(*topology().triggers, len(load("kserve")))
"""


def test_the_wheel_works_outside_the_repository(tmp_path):
    """It carries the manifests and the migrations, and no folder that shadows a package."""
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    skip = shutil.ignore_patterns("__pycache__", "model_store", "_manifests")
    for name in ("geodata_etl", "groundshift", "functions", "training", "knative", "kserve"):
        shutil.copytree(ROOT / name, source / name, ignore=skip)
    build = [sys.executable, "-W", "ignore", "-c", BUILD, str(tmp_path)]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert not tops & {"kserve", "knative", "tests"}
    shutil.rmtree(source)
    ask = [sys.executable, "-c", ASK, str(site)]
    env = {"PYTHONPATH": str(site), "PATH": ""}
    answer = subprocess.run(ask, cwd=tmp_path, env=env, check=True, capture_output=True, text=True)
    stages, isvcs = answer.stdout.split()[:-1], int(answer.stdout.split()[-1])
    assert stages == list(topology().triggers)
    assert isvcs == len(load("kserve"))
