"""Runs, their blocks and the changes they found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select
from sqlalchemy.sql import ColumnElement

from groundshift.errors import NotFound
from groundshift.ledger import tables
from groundshift.ledger.database import Tx


@dataclass(frozen=True)
class Run:
    """One comparison of a scene with its baseline by one model set."""

    run_id: str
    tenant: str
    site_id: str
    scene_id: str
    kind: str
    """``change``, or ``prime`` for a scene without a baseline: its caches serve later ones."""
    baseline: tuple[str, ...]
    """Scene ids, most recent first."""
    model_set: Sequence[Mapping[str, str]]
    params: Mapping[str, Any]
    state: str = "planned"
    """planned, done, superseded or failed."""
    current: bool = False
    """Whether its changes count: one run per scene."""
    attempt: int = 1
    reason: str | None = None
    """Why a prime run has no baseline."""
    message: str | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    created: datetime | None = None
    finished: datetime | None = None


def plan(tx: Tx, run: Run, blocks: Iterable[str]) -> None:
    """Store a run with its blocks; one that was superseded before is planned again."""
    table = tables.runs
    row = {
        "id": run.run_id,
        "tenant": run.tenant,
        "site_id": run.site_id,
        "scene_id": run.scene_id,
        "kind": run.kind,
        "baseline": list(run.baseline),
        "model_set": [dict(model) for model in run.model_set],
        "params": dict(run.params),
        "state": "planned",
        "current": False,
        "attempt": run.attempt,
        "reason": run.reason,
        "message": run.message,
        "summary": {},
        "created": tx.now,
        "actor": tx.actor,
    }
    if not tx.insert_new(table, row):
        tx.execute(table.update().where(table.c.id == run.run_id).values(row))
        tx.execute(tables.blocks.delete().where(tables.blocks.c.run_id == run.run_id))
    rows = [{"run_id": run.run_id, "block": block, "state": "ready"} for block in blocks]
    tx.execute(tables.blocks.insert(), rows)


def supersede_unfinished(tx: Tx, scene_id: str) -> None:
    """End a scene's runs that are still under way; one that is done counts until a newer one is."""
    table = tables.runs
    unfinished = table.c.state == "planned"
    tx.execute(
        table.update().where(table.c.scene_id == scene_id, unfinished).values(state="superseded")
    )


def finish(tx: Tx, run: Run, summary: Mapping[str, Any]) -> None:
    """Make a run the current one of its scene; the one before is superseded."""
    table = tables.runs
    others = (table.c.scene_id == run.scene_id) & (table.c.id != run.run_id)
    tx.execute(table.update().where(others).values(state="superseded", current=False))
    done = {"state": "done", "current": True, "summary": dict(summary), "finished": tx.now}
    tx.execute(table.update().where(table.c.id == run.run_id).values(**done))


def supersede(tx: Tx, run_id: str, *, reason: str, message: str) -> None:
    """End one run, and say why."""
    table = tables.runs
    values = {"state": "superseded", "current": False, "reason": reason, "message": message}
    tx.execute(table.update().where(table.c.id == run_id).values(**values))


def finish_block(tx: Tx, run_id: str, block: str) -> None:
    """Note that a block's artifact is stored."""
    table = tables.blocks
    where = (table.c.run_id == run_id) & (table.c.block == block)
    tx.execute(table.update().where(where).values(state="done", finished=tx.now))


def get(connection: Connection, run_id: str) -> Run:
    """One run. Raises NotFound."""
    found = _runs(connection, tables.runs.c.id == run_id)
    if not found:
        raise unknown(run_id)
    return found[0]


def unknown(run_id: str) -> NotFound:
    """What to say of a run that is not there."""
    return NotFound(f"there is no run {run_id!r}: `groundshift status` lists those there are")


def of_scene(connection: Connection, scene_id: str) -> list[Run]:
    """Every run of a scene, oldest first."""
    return _runs(connection, tables.runs.c.scene_id == scene_id)


def current_of_site(connection: Connection, site_id: str) -> list[Run]:
    """The runs whose changes count."""
    table = tables.runs
    counts = (table.c.site_id == site_id) & table.c.current & (table.c.kind == "change")
    return _runs(connection, counts)


def all_of(connection: Connection, tenant: str) -> list[Run]:
    """Every run of a tenant, oldest first."""
    return _runs(connection, tables.runs.c.tenant == tenant)


def blocks_of(connection: Connection, run_id: str) -> dict[str, str]:
    """State of each block, by block."""
    table = tables.blocks
    query = select(table.c.block, table.c.state).where(table.c.run_id == run_id)
    return {row.block: row.state for row in connection.execute(query.order_by(table.c.block))}


def blocks_left(connection: Connection, run_id: str) -> int:
    """How many blocks have no artifact yet."""
    table = tables.blocks
    query = select(func.count()).where(table.c.run_id == run_id, table.c.state != "done")
    return int(connection.execute(query).scalar_one())


def last_block_finished(connection: Connection, run_id: str) -> datetime | None:
    """When the last block was done."""
    table = tables.blocks
    query = select(table.c.finished).where(table.c.run_id == run_id)
    times = [row.finished for row in connection.execute(query) if row.finished]
    return max(times, default=None)


def add_changes(tx: Tx, run_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store the changes of a run in their order, in place of what stood there."""
    table = tables.changes
    tx.execute(table.delete().where(table.c.run_id == run_id))
    if rows:
        tx.execute(
            table.insert(), [{**row, "run_id": run_id, "seq": i} for i, row in enumerate(rows)]
        )


def changes_of(connection: Connection, run_id: str) -> list[Row[Any]]:
    """The changes of a run, in their order."""
    table = tables.changes
    query = select(table).where(table.c.run_id == run_id).order_by(table.c.seq)
    return list(connection.execute(query))


def _runs(connection: Connection, where: ColumnElement[bool]) -> list[Run]:
    table = tables.runs
    query = select(table).where(where).order_by(table.c.created, table.c.id)
    return [_run(row) for row in connection.execute(query)]


def _run(r: Row[Any]) -> Run:
    return Run(
        run_id=r.id,
        tenant=r.tenant,
        site_id=r.site_id,
        scene_id=r.scene_id,
        kind=r.kind,
        baseline=tuple(r.baseline),
        model_set=r.model_set,
        params=r.params,
        state=r.state,
        current=r.current,
        attempt=r.attempt,
        reason=r.reason,
        message=r.message,
        summary=r.summary,
        created=r.created,
        finished=r.finished,
    )
