"""Kafka for real: the sink's contract, and scenes that come by a topic, each once."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from uuid import uuid4

import orjson
import pytest
from kafka import KafkaConsumer, TopicPartition
from sqlalchemy import select

from functions.consume import Consumer
from functions.metrics import ConsumerMetrics
from groundshift.adapters.kafka import KafkaSink, KafkaSource, from_kafka
from groundshift.codec import decode, encode
from groundshift.errors import Misconfigured, Unavailable
from groundshift.events import SceneReady, new_event
from groundshift.ledger import Ledger, tables
from groundshift.settings import Settings
from groundshift.testing.event_sink import NOW, EventSinkContract, arrived
from groundshift.testing.servers import Kafka, Missing

# kafka-python leaves the sockets of connections that came to nothing to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True, scope="module")
def _swept():
    yield
    gc.collect()


def read_all(servers, topic):
    """Every record of a topic, as it stands."""
    reader = KafkaConsumer(bootstrap_servers=servers, consumer_timeout_ms=1000)
    try:
        places = [TopicPartition(topic, n) for n in reader.partitions_for_topic(topic) or ()]
        reader.assign(places)
        reader.seek_to_beginning(*places)
        end, found = reader.end_offsets(places), []
        while any(reader.position(place) < end[place] for place in places):
            for records in reader.poll(timeout_ms=500).values():
                found += records
        return found
    finally:
        reader.close()


@pytest.fixture
def topic():
    return f"t-{uuid4().hex[:12]}"


class TestKafkaSink(EventSinkContract):
    @pytest.fixture
    def sink(self, kafka, topic):
        with KafkaSink(kafka.servers, topic) as made:
            yield made

    @pytest.fixture
    def accepted(self, kafka, topic):
        def got():
            records = read_all(kafka.servers, topic)
            return [decode(from_kafka(record.headers), record.value) for record in records]

        return got

    @pytest.fixture
    def away(self):
        return Away()


class Away:
    """Kafka's client asks at the start already."""

    def publish(self, body, headers):
        with KafkaSink("127.0.0.1:9", "t", timeout_s=2) as sink:
            sink.publish(body, headers)


def test_no_servers_are_for_a_person():
    with pytest.raises(Misconfigured, match="KAFKA_SERVERS"):
        KafkaSink("", "t")


# The consumer


@pytest.fixture
def ledger(database):
    with Ledger.open(database) as opened:
        yield opened


@pytest.fixture
def settings(kafka, topic, database):
    return Settings(
        kafka_servers=kafka.servers,
        kafka_topic=topic,
        kafka_dead_letter_topic=f"{topic}-dead",
        kafka_group=topic,
        database_url=database,
    )


@contextmanager
def consuming(ledger, settings, metrics=None):
    with (
        KafkaSink(settings.kafka_servers, settings.kafka_dead_letter_topic) as dead,
        KafkaSource(
            settings.kafka_servers, settings.kafka_topic, group=settings.kafka_group
        ) as source,
    ):
        consumer = Consumer(ledger, source, dead, settings=settings, metrics=metrics)
        thread = threading.Thread(target=consumer.run)
        thread.start()
        try:
            yield consumer
        finally:
            consumer.stop()
            thread.join()


def eventually(check, seconds=90):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.1)


def subjects(ledger):
    with ledger.read() as connection:
        return sorted(connection.execute(select(tables.outbox.c.subject)).scalars())


def send(sink, *names, mode="binary"):
    for name in names:
        headers, body = encode(arrived(name), mode=mode)
        sink.publish(body, headers)


def committed(settings):
    """Offsets of the group, summed."""
    reader = KafkaConsumer(bootstrap_servers=settings.kafka_servers, group_id=settings.kafka_group)
    try:
        places = reader.partitions_for_topic(settings.kafka_topic) or ()
        offsets = (reader.committed(TopicPartition(settings.kafka_topic, n)) for n in places)
        return sum(offset or 0 for offset in offsets)
    finally:
        reader.close()


def test_scenes_of_every_shape_reach_the_outbox_once(kafka, ledger, settings, topic):
    metrics = ConsumerMetrics()
    place = {"bucket": {"name": "scenes"}, "object": {"key": "a/i.json", "eTag": "e"}}
    put = {"eventSource": "minio:s3", "eventName": "s3:ObjectCreated:Put", "s3": place}
    with KafkaSink(kafka.servers, topic) as sink:
        send(sink, "a", "b")
        send(sink, "c", mode="structured")
        sink.send(encode(arrived("d"), mode="structured")[1])  # no header at all
        for _ in range(2):
            sink.send(orjson.dumps({"Records": [put]}))
        send(sink, "a", "c")
        with consuming(ledger, settings, metrics):
            eventually(lambda: committed(settings) == 8)
    assert subjects(ledger) == ["a", "b", "c", "d", "s3://scenes/a/i.json"]
    value = metrics.registry.get_sample_value
    assert value("groundshift_consumer_messages_total", {"outcome": "taken"}) == 5
    assert value("groundshift_consumer_messages_total", {"outcome": "repeated"}) == 3


def test_poison_goes_to_the_dead_letters_and_holds_nothing_up(kafka, ledger, settings, topic):
    ours = new_event(SceneReady(scene_id="s", site_id="t"), source="x", subject="s", time=NOW)
    headers, ready = encode(ours)
    with KafkaSink(kafka.servers, topic) as sink:
        poison = [b"\xff\x00", b"{}", b"[" * 100_000, b'{"specversion": "1.0"}', b""]
        for value in poison:
            sink.send(value, key=b"k")
        sink.publish(ready, headers)
        sink.send(b"x" * 2000, headers=(("content-type", b"application/cloudevents+json"),))
        send(sink, "after")
        with consuming(ledger, settings):
            eventually(lambda: committed(settings) == 8)
    assert subjects(ledger) == ["after"]
    letters = read_all(kafka.servers, settings.kafka_dead_letter_topic)
    assert {letter.value for letter in letters} == {*poison, ready, b"x" * 2000}
    for letter in letters:
        said = dict(letter.headers)
        assert said["groundshift_reason"].decode().split(":")[0] in ("BadEvent", "UnknownEvent")
        assert said["groundshift_topic"].decode() == topic
        assert {"groundshift_partition", "groundshift_offset"} <= said.keys()
    assert {letter.key for letter in letters if letter.value in poison} == {b"k"}


DIES = """
import sys, time
from functions.commands import consume
from groundshift.adapters import kafka

def commit(self, messages):
    print("handled", flush=True)
    time.sleep(600)

kafka.KafkaSource.commit = commit
consume.consume()
"""


def environment(settings):
    return os.environ | {
        "GROUNDSHIFT_KAFKA_SERVERS": settings.kafka_servers,
        "GROUNDSHIFT_KAFKA_TOPIC": settings.kafka_topic,
        "GROUNDSHIFT_KAFKA_DEAD_LETTER_TOPIC": settings.kafka_dead_letter_topic,
        "GROUNDSHIFT_KAFKA_GROUP": settings.kafka_group,
        "GROUNDSHIFT_DATABASE_URL": settings.database_url,
        "GROUNDSHIFT_PROBE_PORT": "0",
    }


def test_killed_between_handling_and_commit_nothing_is_doubled_or_lost(
    kafka, ledger, settings, topic
):
    with KafkaSink(kafka.servers, topic) as sink:
        send(sink, *"abcd")
    command = [sys.executable, "-c", DIES]
    with subprocess.Popen(command, env=environment(settings), stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"handled\n"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert subjects(ledger)  # it was handled
    assert committed(settings) == 0
    with consuming(ledger, settings):
        eventually(lambda: committed(settings) == 4)
    assert subjects(ledger) == list("abcd")


def test_members_share_the_partitions_and_the_program_ends_well(kafka, ledger, settings, topic):
    """A second member joins (a rebalance), the first leaves on SIGTERM, messages all the while."""
    command = [sys.executable, "-m", "functions.cli", "consume"]
    names = [f"{n:02}" for n in range(40)]
    with (
        KafkaSink(kafka.servers, topic) as sink,
        subprocess.Popen(command, env=environment(settings)) as child,
    ):
        send(sink, *names[:10])
        eventually(lambda: len(subjects(ledger)) == 10)
        with consuming(ledger, settings):
            send(sink, *names[10:20])
            eventually(lambda: len(subjects(ledger)) == 20)
            child.send_signal(signal.SIGTERM)
            send(sink, *names[20:30])
            assert child.wait(60) == 0
            send(sink, *names[30:])
            eventually(lambda: len(subjects(ledger)) == 40)
    assert subjects(ledger) == names


def test_a_ledger_that_is_cut_off_gets_every_scene_once(kafka, ledger, settings, postgres, topic):
    over = threading.Event()

    def cut():
        while not over.wait(0.2):
            postgres.cut(settings.database_url)

    cutter = threading.Thread(target=cut)
    names = [f"{n:02}" for n in range(30)]
    with KafkaSink(kafka.servers, topic) as sink, consuming(ledger, settings):
        cutter.start()
        send(sink, *names)
        over.set()
        cutter.join()
        eventually(lambda: committed(settings) == 30)
    assert subjects(ledger) == names


def test_a_broker_that_restarts_loses_and_doubles_nothing(cache, tmp_path, ledger, database):
    """A broker of its own, killed in the middle and started again."""
    try:
        own = Kafka(cache, tmp_path)
    except Missing as missing:
        pytest.skip(str(missing))
    names = [f"{n:02}" for n in range(30)]
    with own, KafkaSink(own.servers, "t", timeout_s=60) as sink:
        settings = Settings(
            kafka_servers=own.servers, kafka_topic="t", kafka_group="g", database_url=database
        )
        send(sink, *names[:10])
        with consuming(ledger, settings):
            eventually(lambda: len(subjects(ledger)) >= 5)
            own.kill()
            own.start()
            for name in names[10:]:
                eventually(lambda name=name: sent(sink, name))
            eventually(lambda: len(subjects(ledger)) == 30)
            eventually(lambda: committed(settings) >= 30)
    assert subjects(ledger) == names


def sent(sink, name):
    try:
        send(sink, name)
    except Unavailable:
        return False
    return True
