"""PostgreSQL in a folder of its own, as an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg

from groundshift.testing.servers.process import Missing, Server

_PLACES: Final = "usr/lib/postgresql"
_USERS: Final = ("postgres", "nobody")


class Postgres(Server):
    """A PostgreSQL server on loopback, trusting everybody; its folder goes with `close`."""

    stop_signal = signal.SIGINT
    """Fast shutdown: connections are cut, nothing is lost."""

    def __init__(self) -> None:
        """Raises Missing where Debian's package is not installed."""
        self._bin = _programs()
        # not below pytest's folder, which only its owner may enter
        super().__init__(Path(tempfile.mkdtemp(prefix="groundshift-pg-")))
        self._uid = _unprivileged()
        if self._uid is not None:
            os.chown(self.folder, self._uid, -1)
        options = ["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"]
        subprocess.run(
            [self._bin / "initdb", *options, f"--pgdata={self._data}"],
            check=True,
            capture_output=True,
            user=self._uid,
            cwd=self.folder,
        )

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def user(self) -> int | None:
        """An unprivileged one where we are root: PostgreSQL refuses root."""
        return self._uid

    def command(self) -> Sequence[str]:
        """Loopback only."""
        where = ["-D", str(self._data), "-k", str(self.folder), "-p", str(self.port)]
        listen = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=90"]
        return [str(self._bin / "postgres"), *where, *listen]

    def ready(self) -> bool:
        """Whether it answers a query."""
        try:
            with self.admin() as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    @contextmanager
    def admin(self) -> Iterator[psycopg.Connection]:
        """A superuser's connection, each statement a transaction."""
        address = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            yield connection

    def database(self, template: str = "template1") -> str:
        """A new database; its address for SQLAlchemy."""
        name = f"t{uuid4().hex[:16]}"
        with self.admin() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def cut(self, database: str) -> int:
        """End every connection to a database as a failing network would; how many."""
        query = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = %s AND pid <> pg_backend_pid()"
        )
        with self.admin() as connection:
            (ended,) = connection.execute(query, [database.rpartition("/")[2]]).fetchone() or (0,)
        return int(ended)

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _programs() -> Path:
    """The folder of initdb and postgres. Raises Missing."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    places = sorted(Path("/", _PLACES).glob("*/bin/initdb"), key=lambda p: float(p.parts[-3]))
    if not places:
        raise Missing("no PostgreSQL here: install its server (Debian: apt-get install postgresql)")
    return places[-1].parent


def _unprivileged() -> int | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    for name in _USERS:
        if name in known:
            return known[name]
    raise Missing(f"PostgreSQL refuses root and there is no user {' or '.join(_USERS)}")
