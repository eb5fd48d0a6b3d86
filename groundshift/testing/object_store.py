"""The contract of `groundshift.ports.ObjectStore`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from groundshift.errors import Misconfigured, NotFound
from groundshift.ports import ObjectStore

BAD_KEYS = (
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    "..",
    "../a",
    "a/../b",
    "a/..",
    ".",
    "./a",
    ".hidden",
    "a/.hidden/b",
    "a\\b",
    "..\\a",
    "a\x00b",
    "a\nb",
    "\ud800",
    "x" * 256,
    "/".join(["part"] * 300),
)


class ObjectStoreContract:
    """Subclass and give the fixture `store`: an empty ObjectStore."""

    def test_what_was_put_comes_back(self, store: ObjectStore) -> None:
        """Bytes of any kind, none included."""
        for key, data in {"a/b.bin": bytes(range(256)), "empty": b"", "ä/ö x.tif": b"1"}.items():
            store.put(key, data)
            assert store.get(key) == data
            assert store.exists(key)

    def test_a_path_is_read_as_a_file_and_stays(self, store: ObjectStore, tmp_path: Path) -> None:
        """The caller keeps the file."""
        source = tmp_path / "scene.tif"
        source.write_bytes(b"pixels" * 1000)
        store.put("scenes/s/scene.tif", source)
        assert store.put_if_absent("scenes/t/scene.tif", source)
        assert store.get("scenes/s/scene.tif") == store.get("scenes/t/scene.tif")
        assert source.read_bytes() == b"pixels" * 1000

    def test_put_replaces(self, store: ObjectStore) -> None:
        """A shorter object leaves nothing of a longer one."""
        store.put("k", b"long object")
        store.put("k", b"short")
        assert store.get("k") == b"short"

    def test_put_if_absent_keeps_the_first(self, store: ObjectStore) -> None:
        """The second caller learns it and changes nothing."""
        assert store.put_if_absent("k", b"first") is True
        assert store.put_if_absent("k", b"second") is False
        assert store.get("k") == b"first"

    def test_one_of_several_racers_wins(self, store: ObjectStore) -> None:
        """Exactly one True, and its bytes are the object."""
        racers = [f"racer {n}".encode() * 500 for n in range(8)]
        with ThreadPoolExecutor(len(racers)) as pool:
            for round_ in range(20):
                key = f"r/{round_}"
                won = list(pool.map(partial(store.put_if_absent, key), racers))
                assert won.count(True) == 1
                assert store.get(key) == racers[won.index(True)]

    def test_a_reader_sees_whole_objects_only(self, store: ObjectStore) -> None:
        """While another thread replaces the object."""
        versions = [bytes([n]) * (100_000 + n) for n in range(10)]
        store.put("k", versions[0])
        with ThreadPoolExecutor(1) as pool:
            writing = pool.map(lambda n: store.put("k", versions[n % 10]), range(60))
            for _ in range(60):
                assert store.get("k") in versions
            list(writing)

    def test_ranges(self, store: ObjectStore) -> None:
        """Past the end there is nothing, as with a slice."""
        data = bytes(range(100))
        store.put("k", data)
        for start, length in ((0, 10), (90, 10), (95, 50), (0, 100), (50, 0), (200, 5)):
            assert store.get_range("k", start=start, length=length) == data[start : start + length]

    def test_a_missing_object_is_not_found(self, store: ObjectStore) -> None:
        """Also where a part of its key is an object, or it is the beginning of another."""
        store.put("a/b", b"1")
        for key in ("missing", "a", "a/b/c"):
            assert not store.exists(key)
            with pytest.raises(NotFound, match=key):
                store.get(key)
            with pytest.raises(NotFound, match=key):
                store.get_range(key, start=0, length=1)
            store.delete(key)
        assert store.get("a/b") == b"1"

    def test_delete_is_idempotent(self, store: ObjectStore) -> None:
        """And the key is free again."""
        store.put("a/b", b"1")
        store.delete("a/b")
        store.delete("a/b")
        assert not store.exists("a/b")
        assert list(store.list()) == []
        assert store.put_if_absent("a/b", b"2")

    def test_list_is_sorted_and_by_prefix_of_the_key(self, store: ObjectStore) -> None:
        """A prefix is one of characters, as in S3, not of folders."""
        keys = ["a", "b/1", "b/10", "b/2", "b-side", "bc/d/e", "c"]
        for key in reversed(keys):
            store.put(key, b"")
        for prefix in ("", "b", "b/", "b/1", "bc/d/", "c", "zzz", "zzz/"):
            expected = sorted(key for key in keys if key.startswith(prefix))
            assert list(store.list(prefix)) == expected, prefix

    @pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
    def test_a_bad_key_is_refused_everywhere(self, store: ObjectStore, key: str) -> None:
        """Nothing outside the store can be named."""
        for call in (
            lambda: store.get(key),
            lambda: store.get_range(key, start=0, length=1),
            lambda: store.put(key, b""),
            lambda: store.put_if_absent(key, b""),
            lambda: store.exists(key),
            lambda: store.delete(key),
            lambda: store.url(key),
        ):
            with pytest.raises(Misconfigured, match="no object key"):
                call()

    def test_a_prefix_cannot_leave_the_store(self, store: ObjectStore) -> None:
        """Listing is bound to the same rule."""
        for prefix in ("..", "../", "/", "a/../../b", ".hidden"):
            with pytest.raises(Misconfigured):
                list(store.list(prefix))
