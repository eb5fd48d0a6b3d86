"""FileObjectStore: the ObjectStore contract, and what is special about a folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundshift.adapters.files import FileObjectStore, checked_key
from groundshift.errors import Conflict, Misconfigured
from groundshift.testing.object_store import ObjectStoreContract


class TestContract(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> FileObjectStore:
        return FileObjectStore(tmp_path / "objects")


class TestContractWithFsync(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> FileObjectStore:
        return FileObjectStore(tmp_path / "objects", fsync=True)


def test_url_is_the_files_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = FileObjectStore(Path("objects"))
    store.put("a/scene.tif", b"x")
    assert Path(store.url("a/scene.tif")).is_absolute()
    assert Path(store.url("a/scene.tif")).read_bytes() == b"x"


def test_a_key_cannot_be_object_and_folder(tmp_path):
    store = FileObjectStore(tmp_path)
    store.put("a/b", b"1")
    for key in ("a", "a/b/c"):
        with pytest.raises(Conflict, match="nest"):
            store.put(key, b"2")
        with pytest.raises(Conflict, match="nest"):
            store.put_if_absent(key, b"2")
    assert store.get("a/b") == b"1"


def test_a_source_that_is_missing_leaves_nothing(tmp_path):
    store = FileObjectStore(tmp_path / "objects")
    with pytest.raises(FileNotFoundError):
        store.put("k", tmp_path / "missing")
    assert list(store.list()) == []
    assert [p for p in (tmp_path / "objects").rglob("*") if p.is_file()] == []


def test_a_writer_killed_half_way_leaves_no_object(tmp_path):
    """The source is sparse and huge, so the writer is inside `put` when it is killed."""
    root, source = tmp_path / "objects", tmp_path / "source"
    source.touch()
    os.truncate(source, 64 << 30)
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path\n"
            "from groundshift.adapters.files import FileObjectStore\n"
            "FileObjectStore(Path(sys.argv[1])).put('a/b', Path(sys.argv[2]))",
            str(root),
            str(source),
        ]
    )
    try:
        while not any(part.stat().st_size for part in root.glob(".partial/*")):
            assert writer.poll() is None, "it ended before it was killed"
    finally:
        writer.kill()
    assert writer.wait() == -signal.SIGKILL
    store = FileObjectStore(root)
    assert list(store.list()) == []
    assert not store.exists("a/b")
    assert store.put_if_absent("a/b", b"whole")


def test_old_partial_files_are_swept_young_ones_stay(tmp_path):
    FileObjectStore(tmp_path)
    old, young = tmp_path / ".partial" / "1-old", tmp_path / ".partial" / "1-young"
    old.write_bytes(b"")
    young.write_bytes(b"")
    os.utime(old, (0, 0))
    FileObjectStore(tmp_path)
    assert not old.exists()
    assert young.exists()


@given(st.text(max_size=40))
def test_every_key_is_taken_or_refused_and_never_leaves_the_root(key):
    root = Path("/root-of-the-store")
    try:
        path = root / checked_key(key)
    except Misconfigured:
        return
    resolved = Path(os.path.normpath(path))
    assert resolved != root
    assert resolved.is_relative_to(root)
    assert resolved.relative_to(root).as_posix() == key
