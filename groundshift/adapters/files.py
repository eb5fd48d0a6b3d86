"""`ObjectStore` on a folder: the embedded mode's objects."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from groundshift.errors import Conflict, Misconfigured, NotFound

MAX_KEY_BYTES: Final = 1024
"""Longest key, as in S3."""
_MAX_PART_BYTES: Final = 255
"""Longest part between slashes: NAME_MAX of the usual file systems."""
_PART: Final = re.compile(r"[^\x00-\x1f\x7f/\\\ud800-\udfff]+")
_TEMPORARY: Final = ".partial"
"""Folder of files being written; keys never begin a part with a dot."""
_STALE_S: Final = 24 * 3600
"""A partial file older than this was left by a process that died."""


def checked_key(key: str) -> str:
    """The key, if it is one: relative, ``/``-separated, no part empty or beginning with a dot.

    The rule of every ObjectStore, so that what one stores every other can. Raises Misconfigured.
    """
    parts = key.split("/")
    if not all(map(_is_part, parts)) or len(key.encode()) > MAX_KEY_BYTES:
        raise Misconfigured(
            f"{key!r:.200} is no object key: parts between slashes, none empty, none beginning "
            f"with a dot, no backslash or control character, {MAX_KEY_BYTES} bytes at most"
        )
    return key


def checked_prefix(prefix: str) -> str:
    """The prefix, if keys can begin with it. Raises Misconfigured."""
    if prefix:
        checked_key(prefix + "x" if prefix.endswith("/") else prefix)
    return prefix


class FileObjectStore:
    """Objects as files under `root`; `url` is the file's path.

    Every write goes to a file of its own and appears in one step, so that a reader, or a process
    that starts after a kill, sees whole objects only. With `fsync` they also outlive a power cut.
    """

    def __init__(self, root: Path, *, fsync: bool = False) -> None:
        """Make the folder where it is missing and clear what dead processes left half written."""
        self._root = root.absolute()
        self._fsync = fsync
        self._partial = self._root / _TEMPORARY
        self._partial.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def get(self, key: str) -> bytes:
        """The whole object. Raises NotFound."""
        with _found(key):
            return self._path(key).read_bytes()

    def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Bytes ``[start, start + length)``, fewer where the object ends. Raises NotFound."""
        with _found(key), self._path(key).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def put(self, key: str, data: bytes | Path) -> None:
        """Write or replace in one atomic step; a Path is read as a file and stays where it is."""
        path = self._path(key)
        with self._written(data) as partial:
            self._place(partial, path, replace=True)

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        """Write only where no object stands; False where one did. One of several racers wins."""
        path = self._path(key)
        if path.is_file():
            return False
        with self._written(data) as partial:
            return self._place(partial, path, replace=False)

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        return self._path(key).is_file()

    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys that start with `prefix`, sorted."""
        folder = self._root / checked_prefix(prefix).rpartition("/")[0]
        keys = []
        for where, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            keys += [(Path(where) / name).relative_to(self._root).as_posix() for name in names]
        yield from sorted(key for key in keys if key.startswith(prefix))

    def delete(self, key: str) -> None:
        """Remove; nothing happens where there is no such object."""
        try:
            self._path(key).unlink(missing_ok=True)
        except (NotADirectoryError, IsADirectoryError, PermissionError):
            if self.exists(key):
                raise

    def url(self, key: str) -> str:
        """What GDAL opens: the file's absolute path."""
        return str(self._path(key))

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)

    @contextmanager
    def _written(self, data: bytes | Path) -> Iterator[Path]:
        partial = self._partial / f"{os.getpid()}-{uuid.uuid4().hex}"
        try:
            if isinstance(data, Path):
                shutil.copyfile(data, partial)  # in the kernel, where it can
            else:
                partial.write_bytes(data)
            if self._fsync:
                _sync(partial)
            yield partial
        finally:
            partial.unlink(missing_ok=True)

    def _place(self, partial: Path, path: Path, *, replace: bool) -> bool:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if replace:
                partial.replace(path)
            else:
                path.hardlink_to(partial)  # fails where the name is taken, in one step
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            if not replace and path.is_file():
                return False
            raise Conflict(
                f"{path}: a key cannot be an object and the beginning of another key; "
                "choose keys that do not nest"
            ) from error
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV):
                raise Misconfigured(
                    f"{self._root}: this file system has no hard links ({error.strerror}); "
                    "put the objects on a local disk"
                ) from error
            raise
        if self._fsync:
            _sync(path.parent)
        return True

    def _sweep(self) -> None:
        limit = time.time() - _STALE_S
        for path in self._partial.iterdir():
            try:
                if path.stat().st_mtime < limit:
                    path.unlink()
            except FileNotFoundError:  # another process sweeps, or has just placed it
                continue


def _is_part(part: str) -> bool:
    return (
        _PART.fullmatch(part) is not None
        and not part.startswith(".")
        and len(part.encode()) <= _MAX_PART_BYTES
    )


def _sync(path: Path) -> None:
    """Bring a file or a folder to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _found(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise NotFound(f"no object {key!r}") from error
