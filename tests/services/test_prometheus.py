"""A real Prometheus reads the platform, and promtool the rules and the exposition."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import yaml

from functions.commands.submit import submit
from geodata_etl.simulate import SiteSpec, simulate_site, write_scene
from groundshift.runs import MODEL_NAMES
from groundshift.serving.testing import write_test_models
from groundshift.testing.servers import Missing, Prometheus, promtool

ROOT = Path(__file__).parents[2]
RULES = ROOT / "knative" / "components" / "service-monitor" / "rules.yaml"
START = datetime(2024, 5, 1, 10, 30, tzinfo=UTC)
LONGEST_S = 180.0


def until(what, look):
    """The first answer of `look` that is not empty."""
    deadline = time.monotonic() + LONGEST_S
    while not (found := look()):
        assert time.monotonic() < deadline, f"not after {LONGEST_S} s: {what}"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Two dates of one site, large enough to be at work while Prometheus looks."""
    site = simulate_site(SiteSpec(seed=11, size_px=900, top=-539_840 + 100, left=44_800 + 100))
    folder = tmp_path_factory.mktemp("scenes")
    days = (START, START + timedelta(days=60))
    return [write_scene(site.scene(day), site, folder) for day in days]


@pytest.fixture(scope="module")
def up(scenes, tmp_path_factory):
    """Address of a `groundshift up` with the test models."""
    folder = tmp_path_factory.mktemp("up")
    log = folder / "log"
    settings = {
        "GROUNDSHIFT_MODEL_DIR": str(write_test_models(folder / "models")),
        "GROUNDSHIFT_ALLOWED_ROOTS": json.dumps([str(scenes[0].parent)]),
    }
    command = [sys.executable, "-m", "functions.cli", "up", f"--data={folder / 'data'}", "--port=0"]
    with log.open("wb") as said:
        process = subprocess.Popen(command, env=os.environ | settings, stdout=said, stderr=said)
    try:
        pattern = r"is up on (http://[\d.:]+)\.\s"
        yield until("the platform", lambda: re.search(pattern, log.read_text()))[1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(LONGEST_S)


@pytest.fixture(scope="module")
def prometheus(cache, up, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prometheus")
    try:
        server = Prometheus(cache, folder, [up.removeprefix("http://")])
    except Missing as missing:
        pytest.skip(str(missing))
    with server:
        yield server


@pytest.fixture(scope="module")
def tool(cache):
    """promtool, by its arguments."""

    def run(*arguments, stdin=None):
        try:
            return promtool(cache, *arguments, stdin=stdin)
        except Missing as missing:
            pytest.skip(str(missing))

    return run


@pytest.fixture(scope="module")
def watched(prometheus, up, scenes):
    """The Prometheus, once it has read a platform that has handled both scenes."""
    until("a first look of Prometheus", lambda: prometheus.query('up{job="groundshift"} == 1'))
    submit([str(scene) for scene in scenes], data_dir=None, url=up, options={})
    answered = 'groundshift_deliveries_total{trigger="track",outcome="done"} >= 1'
    until("track in Prometheus", lambda: prometheus.query(answered))
    until("an empty outbox", lambda: prometheus.query("groundshift_outbox_oldest_seconds == 0"))
    return prometheus


def by(series, label):
    return {labels[label]: value for labels, value in series}


def test_the_platform_is_a_healthy_target(watched):
    assert [value for _, value in watched.query('max_over_time(up{job="groundshift"}[5m])')] == [
        1.0
    ]


def test_events_that_were_handled_arrive_by_trigger(watched):
    # the last value known: a scrape that comes too late on a busy machine empties the plain query
    done = by(
        watched.query('last_over_time(groundshift_deliveries_total{outcome="done"}[5m])'), "trigger"
    )
    assert done["ingest"] == 2
    assert done["track"] >= 1
    assert set(done) >= {"ingest", "plan", "detect", "assemble", "track"}
    spent = by(watched.query("last_over_time(groundshift_delivery_seconds_sum[5m])"), "trigger")
    assert all(spent[name] > 0 for name in done)


def test_the_age_of_the_queue_was_seen_to_rise_and_to_return_to_zero(watched):
    ((_, most),) = watched.query("max_over_time(groundshift_outbox_oldest_seconds[10m])")
    ((_, now),) = watched.query("last_over_time(groundshift_outbox_oldest_seconds[5m])")
    assert most > 0
    assert now == 0
    assert [
        value for _, value in watched.query("last_over_time(groundshift_dead_letters[5m])")
    ] == [0.0]


def test_runs_arrive_by_state(watched):
    runs = by(watched.query("last_over_time(groundshift_runs[5m])"), "state")
    assert runs["done"] >= 1


def test_the_models_latency_arrives_as_a_quantile(watched):
    count = by(
        watched.query("last_over_time(groundshift_inference_seconds_count[5m])"), "model_name"
    )
    assert set(count) == set(MODEL_NAMES)
    assert all(count[name] > 0 for name in MODEL_NAMES)
    p95 = "histogram_quantile(0.95, sum by (le) (groundshift_inference_seconds_bucket))"
    ((_, seconds),) = watched.query(p95)
    assert 0 < seconds < 30


def test_the_exposition_parses_and_our_metrics_are_named_as_promtool_likes(watched, up, tool):
    text = httpx.get(f"{up}/metrics", trust_env=False).text
    code, said = tool("check", "metrics", stdin=text)
    assert "error while linting" not in said, said
    complaints = [line for line in said.splitlines() if line.startswith("groundshift_")]
    assert complaints == [], f"exit {code}"


def test_a_broken_exposition_is_seen(tool):
    code, said = tool("check", "metrics", stdin="groundshift_runs{state=1\n")
    assert code == 1
    assert "error" in said


# ---- rules


@pytest.fixture
def rules(tmp_path):
    """The operator's resource as Prometheus reads it."""
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(RULES.read_text())["spec"]))
    return path


def test_every_rule_in_the_repository_passes_promtool(tool, tmp_path):
    found = []
    for path in (p for tree in ("knative", "kserve") for p in (ROOT / tree).rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document and document.get("kind") == "PrometheusRule":
                found.append(tmp_path / f"{len(found)}.yaml")
                found[-1].write_text(yaml.safe_dump(document["spec"]))
    assert found
    code, said = tool("check", "rules", *map(str, found))
    assert code == 0, said


def test_the_rules_name_series_that_there_are(rules):
    from functions.metrics import ConsumerMetrics, RelayMetrics

    known = {
        name
        for registry in (RelayMetrics().registry, ConsumerMetrics().registry)
        for metric in registry.collect()
        for name in (metric.name, f"{metric.name}_total")
    }
    (group,) = yaml.safe_load(rules.read_text())["groups"]
    for rule in group["rules"]:
        named = set(re.findall(r"groundshift_\w+", rule["expr"]))
        assert named, rule["alert"]
        assert named <= known, rule["alert"]


QUIET = {"groundshift_dead_letters": "0x90", "groundshift_outbox_oldest_seconds": "0x90"}
CASES = [
    ("quiet", {}, set()),
    ("dead", {"groundshift_dead_letters": "0x5 2x90"}, {"GroundshiftDeadLetters"}),
    ("a burst", {"groundshift_outbox_oldest_seconds": "0+60x59 0x90"}, set()),
    ("stuck", {"groundshift_outbox_oldest_seconds": "0+60x120"}, {"GroundshiftQueueIsOld"}),
    ("gone", {"groundshift_outbox_oldest_seconds": "0 stale"}, {"GroundshiftNobodyRelays"}),
    (
        "bad messages",
        {'groundshift_consumer_messages_total{outcome="dead"}': "0x80 3x40"},
        {"GroundshiftMessagesRefused"},
    ),
]


@pytest.mark.parametrize(("name", "series", "firing"), CASES, ids=[c[0] for c in CASES])
def test_a_rule_fires_when_it_should_and_only_then(name, series, firing, rules, tool, tmp_path):
    """90 minutes of values, one a minute; what fires at the end."""
    (group,) = yaml.safe_load(rules.read_text())["groups"]
    alerts = [rule["alert"] for rule in group["rules"]]
    test = {
        "rule_files": [str(rules)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": series_, "values": values}
                    for series_, values in (QUIET | series).items()
                ],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) '
                        "or vector(0)",
                        "eval_time": "85m",
                        "exp_samples": [{"labels": "{}", "value": int(alert in firing)}],
                    }
                    for alert in alerts
                ],
            }
        ],
    }
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump(test))
    code, said = tool("test", "rules", str(path))
    assert code == 0, said
