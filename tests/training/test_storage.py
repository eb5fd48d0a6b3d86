"""Where a training keeps what must outlive it."""

from __future__ import annotations

import pytest

from groundshift.errors import Misconfigured
from groundshift.settings import Settings
from training.storage import open_files, open_objects


def test_a_folder_is_a_folder(tmp_path):
    place, files = open_files(str(tmp_path / "kept"), Settings())
    assert (place, files) == (str(tmp_path / "kept"), None)
    store = open_objects(str(tmp_path / "kept"), Settings())
    store.put("a/b", b"content")
    assert (tmp_path / "kept" / "a" / "b").read_bytes() == b"content"


def test_a_bucket_is_opened_with_the_settings_server():
    settings = Settings(s3_endpoint="http://127.0.0.1:9000", s3_access_key="key", s3_secret_key="x")
    place, files = open_files("s3://bucket/some/prefix/", settings)
    assert place == "bucket/some/prefix"
    assert files.type_name == "s3"
    assert files.region == settings.s3_region


def test_another_place_is_refused():
    for opened in (open_files, open_objects):
        with pytest.raises(Misconfigured, match="gs://bucket"):
            opened("gs://bucket/prefix", Settings())
