"""Bucket notifications in the shapes of four stores."""

import pytest

from groundshift.errors import BadEvent
from groundshift.notifications import is_notification, scenes_of

PUT = {"size": 123, "sequencer": "0A"}


def record(source, name, key, **stored):
    bucket = {"name": "scenes", "arn": "arn:aws:s3:::scenes"}
    time = "2026-05-04T12:30:00.123Z"
    place = {"s3SchemaVersion": "1.0", "bucket": bucket, "object": {"key": key, **PUT, **stored}}
    return {
        "eventVersion": "2.1",
        "eventSource": source,
        "eventName": name,
        "eventTime": time,
        "s3": place,
    }


def minio(key="S2A%2Fitem+1.json"):
    one = record("minio:s3", "s3:ObjectCreated:Put", key, eTag="e1", contentType="x")
    return {"EventName": "s3:ObjectCreated:Put", "Key": "scenes/S2A/item 1.json", "Records": [one]}


def aws(key="S2A/item+1.json", **stored):
    return {"Records": [record("aws:s3", "ObjectCreated:Put", key, eTag="e1", **stored)]}


def ceph(key="S2A/item 1.json"):
    return {"Records": [record("ceph:s3", "ObjectCreated:Put", key, etag="e1", versionId="")]}


@pytest.mark.parametrize("message", [minio(), aws(), ceph()], ids=["minio", "aws", "ceph"])
def test_a_created_item_is_a_scene(message):
    assert is_notification(message)
    (event,) = scenes_of(message, suffixes=(".json",))
    assert event.data == {"href": "s3://scenes/S2A/item 1.json"}
    assert (event.source, event.subject) == ("s3://scenes", "s3://scenes/S2A/item 1.json")
    assert event.time.isoformat() == "2026-05-04T12:30:00.123000+00:00"


def test_every_store_names_the_same_upload_alike():
    ids = {scenes_of(m, suffixes=(".json",))[0].id for m in (minio(), aws(), ceph())}
    assert len(ids) == 1


def test_another_version_or_upload_is_another_event():
    messages = [aws(), aws(versionId="v2"), aws(sequencer="0B"), aws("other.json")]
    assert len({scenes_of(m, suffixes=(".json",))[0].id for m in messages}) == 4


def test_a_plus_of_ceph_is_a_plus():
    (event,) = scenes_of(ceph("a+b%20.json"), suffixes=(".json",))
    assert event.subject == "s3://scenes/a+b%20.json"


def test_what_is_no_scene_is_passed_over():
    removed = {"Records": [record("aws:s3", "ObjectRemoved:Delete", "a.json")]}
    test_message = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "scenes"}
    for message in (removed, aws("bands/B02.tif"), test_message):
        assert is_notification(message)
        assert scenes_of(message, suffixes=(".json",)) == []
    assert len(scenes_of(aws("bands/B02.tif"), suffixes=(".json", ".tif"))) == 1


@pytest.mark.parametrize("other", [None, 1, [], {}, {"specversion": "1.0"}, {"Records": 1}])
def test_other_json_is_none(other):
    assert not is_notification(other)


@pytest.mark.parametrize(
    "broken",
    [
        {"Records": [{}]},
        {"Records": ["x"]},
        {"Records": [record("aws:s3", "ObjectCreated:Put", "")]},
        {"Records": [{**record("aws:s3", "ObjectCreated:Put", "a.json"), "eventTime": "soon"}]},
    ],
)
def test_a_broken_one_is_a_bad_event(broken):
    with pytest.raises(BadEvent, match="bucket notification"):
        scenes_of(broken, suffixes=(".json",))
