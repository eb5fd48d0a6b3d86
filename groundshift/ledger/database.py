"""Opening the ledger, its transactions and what one may do in them."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import orjson
from sqlalchemy import (
    URL,
    Connection,
    CursorResult,
    Engine,
    Executable,
    create_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_random

from groundshift.clock import Clock, SystemClock
from groundshift.errors import Misconfigured, Unavailable
from groundshift.events import Event, EventData, new_event
from groundshift.ledger import tables
from groundshift.ledger.migrate import upgrade

FEED_LOCK: Final = 0x6665_6564
"""Key of PostgreSQL's advisory lock under which feed numbers are given ("feed")."""
WRITE_LOCK: Final = 0x7772_6974
"""Key of PostgreSQL's advisory lock of the one writer ("writ")."""
_WAL_S: Final = 30.0
"""How long a new file may take to change its mode under others, seconds."""
_LOCK_ONE: Final = text("SELECT pg_advisory_xact_lock(:key)")


@dataclass
class Tx:
    """One transaction. Every method's effect is there after the commit, or none is."""

    connection: Connection
    """For statements on `groundshift.ledger.tables`."""
    now: datetime
    """When the transaction began, aware, UTC: the stamp of everything written in it."""
    tenant: str
    actor: str
    emitted: int = field(default=0, init=False)
    """Events that were put into the outbox."""

    def execute(self, statement: Executable, values: Any = None) -> CursorResult[Any]:
        """Run a statement of SQLAlchemy Core."""
        return self.connection.execute(statement, values)

    def insert_new(self, table: Any, values: Mapping[str, Any]) -> bool:
        """Insert a row unless its key stands already; whether it was inserted."""
        insert = pg_insert if self.connection.dialect.name == "postgresql" else sqlite_insert
        statement = insert(table).values(values).on_conflict_do_nothing()
        counted = statement.execution_options(preserve_rowcount=True)  # else -1 on PostgreSQL
        return self.execute(counted).rowcount == 1

    def first_time(self, consumer: str, event: Event) -> bool:
        """Note that `consumer` handles `event`; False where it did before: then do nothing."""
        key = {"consumer": consumer, "source": event.source, "event_id": event.id}
        return self.insert_new(tables.handled, {**key, "at": self.now})

    def emit(self, event: Event) -> bool:
        """Put an event into the outbox; False where (source, id) stands there already."""
        row = {
            "id": event.id,
            "source": event.source,
            "type": event.type,
            "subject": event.subject,
            "time": event.time,
            "data": dict(event.data),
            "extensions": dict(event.extensions),
            "tenant": event.tenant,
            "created": self.now,
        }
        new = self.insert_new(tables.outbox, row)
        self.emitted += new
        return new

    def say(
        self,
        data: EventData,
        *,
        source: str,
        subject: str,
        attempt: int = 1,
        tenant: str | None = None,
        actor: str | None = None,
    ) -> bool:
        """Make an event of `data` and emit it; see `events.new_event`."""
        return self.emit(
            new_event(
                data,
                source=source,
                subject=subject,
                time=self.now,
                attempt=attempt,
                tenant=tenant or self.tenant,
                actor=actor or self.actor,
            )
        )

    def append_feed(
        self, *, alert_id: str, type_: str, version: int, payload: Mapping[str, Any], tenant: str
    ) -> int | None:
        """Append to the feed of alerts; the number, or None where (alert, type, version) stands.

        Numbers are given under one lock that lasts to the commit: who reads on from a number
        misses nothing.
        """
        if self.connection.dialect.name == "postgresql":
            self.execute(_LOCK_ONE, {"key": FEED_LOCK})
        last = self.execute(select(func.max(tables.feed.c.seq))).scalar() or 0
        row = {"alert_id": alert_id, "type": type_, "version": version, "tenant": tenant}
        values = {"seq": last + 1, **row, "payload": dict(payload), "created": self.now}
        return last + 1 if self.insert_new(tables.feed, values) else None

    def take_lease(self, name: str, *, owner: str, seconds: float) -> bool:
        """Take or prolong a lease; False while another owner's lasts."""
        lease, until = tables.leases, self.now + timedelta(seconds=seconds)
        if self.insert_new(lease, {"name": name, "owner": owner, "until": until}):
            return True
        free = (lease.c.owner == owner) | (lease.c.until <= self.now)
        update = lease.update().where(lease.c.name == name, free)
        return self.execute(update.values(owner=owner, until=until)).rowcount == 1

    def release_lease(self, name: str, *, owner: str) -> None:
        """Give a lease back; nothing happens where another owner has it."""
        lease = tables.leases
        self.execute(lease.delete().where(lease.c.name == name, lease.c.owner == owner))


class Ledger:
    """A database of the platform. Safe for threads; close it when done."""

    def __init__(self, engine: Engine, *, clock: Clock, tenant: str, actor: str) -> None:
        self.engine = engine
        self.clock = clock
        self._tenant, self._actor = tenant, actor
        self._listeners: list[Callable[[], None]] = []
        self._writing = threading.local()
        # SQLite's busy handler polls with growing sleeps; threads of one process queue here instead
        self._turn = threading.Lock() if engine.dialect.name == "sqlite" else nullcontext()

    @classmethod
    def open(
        cls,
        url: str,
        *,
        clock: Clock | None = None,
        tenant: str = "local",
        actor: str = "groundshift",
        timeout_s: float = 60.0,
    ) -> Self:
        """Open, and bring the schema up to date; quick where it is.

        `url` is a SQLAlchemy address, of SQLite with a file, or of PostgreSQL; `timeout_s` the
        longest wait for the write lock. Raises Misconfigured for any other database, or
        one that a newer groundshift made; Unavailable where the database does not answer.
        """
        engine = _engine(url, timeout_s)
        with ExitStack() as undo:
            undo.callback(engine.dispose)
            cls._upgrade(engine)
            undo.pop_all()
        return cls(engine, clock=clock or SystemClock(), tenant=tenant, actor=actor)

    @staticmethod
    def _upgrade(engine: Engine) -> None:
        try:
            upgrade(engine)
        except DatabaseError as error:
            kind = Unavailable if isinstance(error, OperationalError) else Misconfigured
            raise kind(
                f"the ledger {engine.url.render_as_string()!r} cannot be read ({error.orig}): "
                "check that this is its address, and that it can be reached"
            ) from error

    @contextmanager
    def transaction(self, *, alone: bool = True) -> Iterator[Tx]:
        """A read-write transaction: commits at the end, rolls back on an error.

        One writer at a time, so that what a stage reads still holds when it commits; keep slow
        work outside. Not `alone`: for statements that lock the rows they touch (PostgreSQL only;
        SQLite has one writer anyway). Does not nest within a thread (RuntimeError), it would wait
        for itself. Raises Unavailable where the database went away; then nothing is committed, or,
        where the last answer was lost, everything.
        """
        if getattr(self._writing, "on", False):
            raise RuntimeError("a transaction inside a transaction: pass the Tx on instead")
        with self._as_writer(), self._reachable(), self.engine.connect() as connection:
            connection = connection.execution_options(groundshift_write=True)
            with connection.begin():
                if alone and connection.dialect.name == "postgresql":
                    connection.execute(_LOCK_ONE, {"key": WRITE_LOCK})
                tx = Tx(connection, self.clock.now(), self._tenant, self._actor)
                yield tx
        if tx.emitted:
            self.wake()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view for reading; what is written in it is rolled back."""
        with self._reachable(), self.engine.connect() as connection:
            if connection.dialect.name == "postgresql":  # SQLite's transactions see one moment
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            raise Unavailable(
                f"the ledger {self.engine.url.render_as_string()!r} went away ({error.orig}): "
                "the same works once it is back"
            ) from error

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after every commit of this process that emitted; returns the undo.

        The listener runs in the committing thread and must be quick.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def wake(self) -> None:
        """Tell the listeners that there is something to do."""
        for listener in tuple(self._listeners):
            listener()

    @contextmanager
    def sole_process(self) -> Iterator[bool]:
        """Whether no other holder of this lock is alive, and the lock for as long as it lasts.

        A lock of the operating system beside SQLite's file: it ends with its process, however
        that dies. Always False on PostgreSQL, where leases run out instead.
        """
        if self.engine.dialect.name != "sqlite":
            yield False
            return
        with Path(f"{self.engine.url.database}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _as_writer(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(self._turn)
            self._writing.on = True
            stack.callback(setattr, self._writing, "on", False)
            yield


def _engine(url: str, timeout_s: float) -> Engine:
    parsed = make_url(url)
    kind = parsed.get_backend_name()
    if kind == "postgresql":
        return _postgres(parsed, timeout_s)
    if kind != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise Misconfigured(
            f"database_url {parsed.render_as_string()!r}: "
            "use sqlite:///a/file.db or postgresql+psycopg://..."
        )
    Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        parsed,
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        max_overflow=-1,  # one connection per thread that asks; threads are bounded elsewhere
        connect_args={"timeout": timeout_s, "isolation_level": None},  # we say BEGIN ourselves
    )
    event.listen(engine, "connect", _sqlite_pragmas)
    event.listen(engine, "begin", _sqlite_begin)
    return engine


def _postgres(url: URL, timeout_s: float) -> Engine:
    wait_ms = int(timeout_s * 1000)
    limits = {
        "lock_timeout": wait_ms,
        # whoever hangs, or whose machine is gone, must not hold the one writer's lock for ever
        "idle_in_transaction_session_timeout": wait_ms,
    }
    options = " ".join(f"-c {name}={value}" for name, value in limits.items())
    alive = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
    return create_engine(
        url,
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        pool_pre_ping=True,  # a server that was restarted cut every connection of the pool
        connect_args={"connect_timeout": 10, "options": options, **alive},
    )


def _dumps(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _sqlite_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    _enter_wal(cursor)
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


@retry(
    retry=retry_if_exception_type(sqlite3.OperationalError),
    stop=stop_after_delay(_WAL_S),
    wait=wait_random(0, 0.05),
    reraise=True,
)
def _enter_wal(cursor: sqlite3.Cursor) -> None:
    """SQLite does not wait where another connection is just changing a new file's mode: we do."""
    cursor.execute("PRAGMA journal_mode=WAL")


def _sqlite_begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("groundshift_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
