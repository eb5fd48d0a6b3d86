"""The model store: records, digests, what is refused."""

import json
import shutil

import numpy as np
import pytest

from groundshift.errors import Misconfigured, NotFound
from groundshift.models import list_models, read_artifact, read_model
from groundshift.serving.testing import write_test_models


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_test_models(tmp_path_factory.mktemp("store"))


@pytest.fixture
def store(written, tmp_path):
    return shutil.copytree(written, tmp_path / "store")


def edit(folder, **changes):
    path = folder / "model.json"
    record = json.loads(path.read_text())
    record.update(changes)
    path.write_text(json.dumps({k: v for k, v in record.items() if v is not ...}))


def test_a_record_says_what_the_model_takes(store):
    record = read_model(store / "segmenter")
    assert record.name == "segmenter"
    assert record.inputs[0].datatype == "UINT16"
    assert record.inputs[0].dtype == np.uint16
    assert record.inputs[0].shape == (-1, 6, -1, -1)
    assert record.inputs[0].labels == ("blue", "green", "red", "nir", "swir16", "swir22")
    assert record.outputs[0].labels[0] == "water"
    assert (record.tile, record.halo, record.influence_px) == (512, 32, 0)
    assert record.variant == "fp32"
    assert record.card.startswith("# segmenter")
    assert record.digest == "sha256:" + record.digest.removeprefix("sha256:")
    assert record.digest.removeprefix("sha256:").startswith(record.short_digest)
    assert len(record.short_digest) == 12


def test_the_artifact_is_held_against_its_digest(store):
    record = read_model(store / "segmenter")
    assert read_artifact(record) == record.artifact.read_bytes()
    record.artifact.write_bytes(record.artifact.read_bytes()[:-1])
    with pytest.raises(Misconfigured, match=record.digest):
        read_artifact(record)


def test_an_artifact_over_the_limit_is_not_read(store):
    record = read_model(store / "segmenter")
    with pytest.raises(Misconfigured, match="limit of 10 bytes"):
        read_artifact(record, max_bytes=10)


def test_a_missing_artifact_is_not_found(store):
    record = read_model(store / "segmenter")
    record.artifact.unlink()
    with pytest.raises(NotFound, match=r"model\.onnx"):
        read_artifact(record)


def test_the_test_models_are_the_same_bytes_each_time(store, tmp_path):
    again = write_test_models(tmp_path / "again")
    assert [m.digest for m in list_models(again)] == [m.digest for m in list_models(store)]


def test_a_store_lists_its_models_by_name(store):
    (store / "README").write_text("no model")
    (store / "empty").mkdir()
    names = [record.name for record in list_models(store)]
    assert names == ["change-classifier", "cloud-mask", "segmenter"]


def test_a_models_own_folder_is_a_store_of_one(store):
    assert [record.name for record in list_models(store / "segmenter")] == ["segmenter"]


def test_an_empty_store_is_not_found(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(NotFound, match="holds no model"):
            list_models(folder)


def test_two_models_of_one_name_are_refused(store):
    shutil.copytree(store / "segmenter", store / "segmenter-copy")
    with pytest.raises(Misconfigured, match="same name"):
        list_models(store)


@pytest.mark.parametrize(
    ("accepts", "digest", "expected"),
    [
        (["*"], "sha256:x", True),
        (["sha256:x"], "sha256:x", True),
        (["sha256:y"], "sha256:x", False),
        ([], "sha256:x", False),
    ],
)
def test_a_classifier_names_the_segmenters_it_accepts(store, accepts, digest, expected):
    edit(store / "change-classifier", accepts_segmenters=accepts)
    assert read_model(store / "change-classifier").accepts(digest) is expected


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ...},
        {"name": "../segmenter"},
        {"name": "Segmenter"},
        {"name": 7},
        {"digest": ...},
        {"digest": "abc"},
        {"digest": "0" * 64},
        {"digest": "sha256:" + "g" * 64},
        {"inputs": []},
        {"inputs": 3},
        {"inputs": [{"name": "image", "dtype": "FP64", "shape": [1]}]},
        {"outputs": [{"name": "mask", "shape": [1]}]},
        {"tile": "big"},
        {"halo": None},
    ],
    ids=str,
)
def test_a_record_that_does_not_hold_together_is_refused(store, changes):
    edit(store / "segmenter", **changes)
    with pytest.raises(Misconfigured, match="not a model record"):
        read_model(store / "segmenter")


@pytest.mark.parametrize("text", ["", "[]", "{", "\xff", '"x"'])
def test_a_record_that_is_no_json_object_is_refused(store, text):
    (store / "segmenter" / "model.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(Misconfigured, match="not a model record"):
        read_model(store / "segmenter")


def test_numpy_names_and_named_sizes_are_read_too(store):
    edit(
        store / "segmenter",
        inputs=[{"name": "image", "dtype": "uint16", "shape": ["N", 6, None, -1]}],
    )
    (spec,) = read_model(store / "segmenter").inputs
    assert (spec.datatype, spec.shape) == ("UINT16", (-1, 6, -1, -1))
