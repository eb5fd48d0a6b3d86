"""The picture of the platform is what the manifests give."""

import re
from copy import deepcopy
from pathlib import Path
from xml.etree import ElementTree

import pytest

from functions import architecture, docs
from functions.drawing import Drawing
from functions.picture import picture
from functions.stages import DEAD_LETTER, JOBS, STAGES
from groundshift.manifests import load
from groundshift.runs import MODEL_NAMES

ROOT = Path(__file__).parents[2]


@pytest.fixture
def parts():
    return architecture.read()


def changed(kind, name, change):
    """The parts where one manifest of knative/base is another."""
    manifests = deepcopy(load("knative"))
    (one,) = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name]
    change(one)
    return architecture.read(manifests)


def test_every_part_is_there_and_reaches_what_it_is_let(parts):
    assert parts.broker == "default"
    assert [f.name for f in parts.functions] == [*STAGES, DEAD_LETTER]
    assert [m.name for m in parts.models] == list(MODEL_NAMES)
    assert {p.name: (p.sink, p.callers, p.reach.words) for p in parts.programs} == {
        "relay": ("default", (), "ledger"),
        "api": ("", ("the ingress", "dashboard"), "ledger, objects"),
        "dashboard": ("", ("the ingress",), ""),
    }
    assert [j.name for j in parts.jobs] == list(JOBS)
    assert [name for name, _ in parts.clocks] == ["retrain", "sweep"]
    assert [f.name for f in parts.letters] == [DEAD_LETTER]
    reach = {f.name: f.reach.words for f in parts.functions}
    assert reach["detect"] == "ledger, objects, models"
    assert reach["ingest"] == "ledger, objects"
    assert reach["sweep"] == reach[DEAD_LETTER] == "ledger"


def test_a_filter_says_the_event_in_our_word_and_the_rest_as_it_stands(parts):
    takes = {f.name: f.takes for f in parts.functions}
    assert takes["plan"] == ("scene.ready",)
    assert takes["sweep"] == ("clock.ticked", "source .../pingsources/sweep")
    assert takes["retrain"] == (
        "label.accepted",
        "drift.found",
        "clock.ticked of .../retrain",
    )
    assert takes[DEAD_LETTER] == ()


def test_a_job_is_no_service(parts):
    (job,) = parts.jobs
    assert (job.takes, job.size) == (("retrain.due",), "a Job per event, 6 h at most")
    assert job.reach.words == "ledger, objects"
    text = architecture.mermaid(parts)
    assert 'broker -- "retrain.due" --> training' in text
    assert "| job | `training` |" in architecture.table(parts)


def test_another_filter_another_arrow():
    def other(trigger):
        trigger["spec"]["filters"] = [{"prefix": {"type": "com.example."}}]

    text = architecture.mermaid(changed("Trigger", "plan", other))
    assert 'broker -- "com.example." --> plan' in text
    assert 'broker -- "scene.ready" --> plan' not in text


def test_a_trigger_without_a_filter_takes_everything():
    def bare(trigger):
        del trigger["spec"]["filters"]

    assert architecture.read().functions[1].takes != ("everything",)
    assert changed("Trigger", "plan", bare).functions[1].takes == ("everything",)


def test_who_loses_a_label_loses_the_arrow():
    def shut(service):
        del service["spec"]["template"]["metadata"]["labels"]["groundshift.io/objects"]

    (line,) = [x for x in architecture.mermaid().splitlines() if x.endswith("--> objects")]
    assert "ingest & plan" in line
    after = architecture.mermaid(changed("Service", "ingest", shut))
    (line,) = [x for x in after.splitlines() if x.endswith("--> objects")]
    assert "ingest" not in line


def test_a_policy_says_who_asks_models():
    def only_detect(policy):
        policy["spec"]["podSelector"]["matchExpressions"][0]["values"] = ["detect"]

    assert "plan & detect --> models" in architecture.mermaid()
    after = architecture.mermaid(changed("NetworkPolicy", "to-models", only_detect))
    assert "  detect --> models" in after


def test_a_number_in_the_manifest_is_the_number_in_the_table():
    def bigger(service):
        notes = service["spec"]["template"]["metadata"]["annotations"]
        notes["autoscaling.knative.dev/max-scale"] = "17"

    assert "up to 17 pods of 1" in architecture.table(changed("Service", "detect", bigger))
    assert "17 pods" not in architecture.table()


def test_the_diagram_names_each_node_before_it_is_used_in_brackets(parts):
    """Mermaid makes a node of any word: a misspelt one would appear as a box of its own."""
    lines = architecture.mermaid(parts).splitlines()
    ids = r"([\w-]+)(?:[\[({]|\s*$)"
    defined = {m[1] for line in lines if (m := re.match(rf"\s+(?:subgraph )?{ids}", line))}
    defined |= {m[1] for line in lines if (m := re.match(r"\s+subgraph ([\w-]+)", line))}
    used = set()
    for line in lines:
        if "-->" in line or ".->" in line:
            bare = re.sub(r'(\(\[|\[\(|\[|\{\{)".*?"(\]\)|\)\]|\]|\}\})|"[^"]*"', "", line)
            used |= set(re.findall(r"[A-Za-z][\w-]*[A-Za-z]", bare.replace("-->", " ")))
    assert {"broker", "ledger", "relay", "functions"} <= used
    assert used <= defined


def test_the_picture_shows_every_part(parts):
    tree = ElementTree.fromstring(picture(parts))
    words = {element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")}
    assert {f.name for f in (*parts.functions, *parts.jobs)} <= words
    assert {p.name for p in parts.programs} <= words
    assert {word for f in parts.woken for word in f.takes} <= words
    assert any("*/10" in word for word in words)
    for model in parts.models:
        assert any(word.startswith(f"{model.name}:") for word in words)
    dots = list(tree.iter("{http://www.w3.org/2000/svg}circle"))
    reach = [f.reach for f in (*parts.functions, *parts.jobs)] + [p.reach for p in parts.programs]
    assert len(dots) == sum(len(r.words.split(", ")) for r in reach if r.words)


def test_what_is_drawn_stays_inside_the_picture(parts):
    tree = ElementTree.fromstring(picture(parts))
    _, _, width, height = map(float, tree.get("viewBox").split())
    for element in tree.iter():
        if x := element.get("x"):
            assert 0 <= float(x) <= width
            assert 0 <= float(element.get("y")) <= height


def test_words_cannot_break_the_svg():
    drawing = Drawing(10, 10, title="<a & b>")
    drawing.text(1, 1, '<script>"&')
    tree = ElementTree.fromstring(drawing.svg())
    assert [e.text for e in tree.iter("{http://www.w3.org/2000/svg}text")] == ['<script>"&']


@pytest.mark.parametrize("name", docs.PICTURES)
def test_pictures_are_those_of_the_code(name):
    assert (ROOT / name).read_text() == docs.PICTURES[name](), "renew: python -m functions.docs"


def test_every_class_that_the_page_names_is_there():
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`([A-Z]\w*[a-z][A-Z]\w*|S3\w+|Dispatcher|Ledger)`", page))
    assert {"S3ObjectStore", "KServeClusterClient", "BrokerSink", "Dispatcher"} <= named
    sources = "\n".join(
        path.read_text()
        for tree in ("groundshift", "functions")
        for path in (ROOT / tree).rglob("*.py")
    )
    assert [name for name in named if f"class {name}" not in sources] == []
