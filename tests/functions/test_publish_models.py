"""`groundshift publish-models`: the layout storageUri needs, and versions that never change."""

import json
import shutil

import pytest

from functions.commands.publish_models import publish_models
from groundshift.errors import Conflict, Misconfigured
from groundshift.models import artifact_digest, list_models, read_artifact
from groundshift.runs import MODEL_NAMES
from groundshift.serving.testing import write_test_models


@pytest.fixture
def store(tmp_path):
    return write_test_models(tmp_path / "store")


def change(folder):
    """Another model of the same name."""
    artifact, record = folder / "model.onnx", folder / "model.json"
    artifact.write_bytes(artifact.read_bytes() + b"\0")
    said = json.loads(record.read_text()) | {"digest": artifact_digest(artifact.read_bytes())}
    record.write_text(json.dumps(said))


def test_each_folder_is_a_store_of_one_model_as_kserve_mounts_it(store, tmp_path):
    to = tmp_path / "bucket"
    rows = publish_models(store, to=str(to), version="v1")
    assert [row.name for row in rows] == list(MODEL_NAMES)
    for row in rows:
        assert row.new
        assert row.storage_uri == f"{to}/{row.name}/v1"
        (record,) = list_models(to / row.name / "v1")
        assert record.name == row.name
        read_artifact(record)


def test_again_changes_nothing_and_another_model_is_a_conflict(store, tmp_path):
    to = str(tmp_path / "bucket")
    publish_models(store, to=to, version="v1")
    assert not any(row.new for row in publish_models(store, to=to, version="v1"))
    change(store / "segmenter")
    with pytest.raises(Conflict, match=r"segmenter/v1/model\.onnx.*--version"):
        publish_models(store, to=to, version="v1")


def test_the_version_follows_from_the_models(store, tmp_path):
    to = str(tmp_path / "bucket")
    first = publish_models(store, to=to, version=None)
    assert first[0].storage_uri == publish_models(store, to=to, version=None)[0].storage_uri
    change(store / "segmenter")
    second = publish_models(store, to=to, version=None)
    versions = {row.storage_uri.rpartition("/")[2] for row in (*first, *second)}
    assert len(versions) == 2
    assert all(row.new for row in second), "one release holds all three models"


def test_half_a_set_is_refused(store, tmp_path):
    shutil.rmtree(store / "segmenter")
    with pytest.raises(Misconfigured, match="no segmenter"):
        publish_models(store, to=str(tmp_path / "bucket"), version=None)


def test_a_classifier_of_another_segmenter_is_refused(store, tmp_path):
    record = store / "change-classifier" / "model.json"
    said = json.loads(record.read_text()) | {"accepts_segmenters": ["sha256:" + "0" * 64]}
    record.write_text(json.dumps(said))
    with pytest.raises(Misconfigured, match="exported together"):
        publish_models(store, to=str(tmp_path / "bucket"), version=None)
