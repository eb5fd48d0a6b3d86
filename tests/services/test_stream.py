"""The stream through a real Kafka into the ledger: each scene once, whatever was sent."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from uuid import uuid4

import pytest
from kafka import KafkaConsumer, TopicPartition
from sqlalchemy import select

from groundshift.ledger import Ledger, tables

# kafka-python leaves the sockets of connections that came to nothing to the garbage collector
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

COMMAND = [sys.executable, "-m", "functions.cli"]
SCENES = 12
MESSAGES = 60
STREAM = (
    *("--stream", "--href-prefix", "s3://scenes/site 1", "--rate", "200", "--burst-every", "0.1"),
    *("--burst-size", "5", "--late-share", "0.3", "--duplicate-share", "0.2"),
    *("--broken-share", "0.15", "--label-share", "0.1", "--count", str(MESSAGES), "--json"),
)


@pytest.fixture(autouse=True, scope="module")
def _swept():
    yield
    gc.collect()


@pytest.fixture
def environment(kafka, database):
    topic = f"t-{uuid4().hex[:12]}"
    return os.environ | {
        "GROUNDSHIFT_KAFKA_SERVERS": kafka.servers,
        "GROUNDSHIFT_KAFKA_TOPIC": topic,
        "GROUNDSHIFT_KAFKA_LABEL_TOPIC": f"{topic}-labels",
        "GROUNDSHIFT_KAFKA_DEAD_LETTER_TOPIC": f"{topic}-dead",
        "GROUNDSHIFT_KAFKA_GROUP": topic,
        "GROUNDSHIFT_DATABASE_URL": database,
        "GROUNDSHIFT_PROBE_PORT": "0",
    }


@contextmanager
def consuming(environment):
    """`groundshift consume`, until SIGTERM."""
    with subprocess.Popen([*COMMAND, "consume"], env=environment) as program:
        try:
            yield
        finally:
            program.terminate()
            assert program.wait(60) == 0


def streamed(environment, out, *options):
    command = [*COMMAND, "simulate", "--out", str(out), *STREAM, *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def number(environment, name):
    """Messages on a topic."""
    topic = environment[f"GROUNDSHIFT_KAFKA_{name}"]
    reader = KafkaConsumer(bootstrap_servers=environment["GROUNDSHIFT_KAFKA_SERVERS"])
    try:
        places = [TopicPartition(topic, n) for n in reader.partitions_for_topic(topic) or ()]
        return sum(reader.end_offsets(places).values()) if places else 0
    finally:
        reader.close()


def eventually(check, seconds=90):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.1)


def test_every_scene_of_a_stream_stands_in_the_ledger_once(environment, tmp_path):
    """A seed, the same again (a repetition), and another seed (other arrivals)."""
    items = [tmp_path / "scenes" / f"sim-{n:02}.json" for n in range(SCENES)]
    for index, item in enumerate(items):
        item.parent.mkdir(exist_ok=True)
        when = {"datetime": f"2024-{index + 1:02}-01T10:00:00Z"}
        item.write_text(
            json.dumps({"type": "Feature", "stac_version": "1.0.0", "properties": when})
        )

    def arrivals():
        with ledger.read() as connection:
            return Counter(connection.execute(select(tables.arrivals.c.href)).scalars())

    with Ledger.open(environment["GROUNDSHIFT_DATABASE_URL"]) as ledger, consuming(environment):
        first = streamed(environment, tmp_path, "--seed", "1")
        kinds = Counter()
        for row in first["by_kind"]:
            kinds[row["kind"]] += row["messages"]
        announced = kinds["scene"] + kinds["late"]
        assert first["messages"] == MESSAGES
        assert all(kinds[kind] for kind in ("scene", "late", "duplicate", "broken", "label"))
        assert first["scenes"] == SCENES, "each is announced, most of them twice or more"
        eventually(lambda: arrivals().total() == announced)
        eventually(lambda: number(environment, "DEAD_LETTER_TOPIC") == kinds["broken"])
        whole, rest = divmod(announced, SCENES)
        wanted = {
            f"s3://scenes/site 1/{item.name}": whole + (index < rest)
            for index, item in enumerate(items)
        }
        assert arrivals() == wanted
        assert number(environment, "LABEL_TOPIC") >= kinds["label"]

        assert streamed(environment, tmp_path, "--seed", "1")["by_kind"] == first["by_kind"]
        other = streamed(environment, tmp_path, "--seed", "2")
        more = sum(r["messages"] for r in other["by_kind"] if r["kind"] in ("scene", "late"))
        eventually(lambda: arrivals().total() >= announced + more)
        assert arrivals().total() == announced + more, "what was sent again changed nothing"
