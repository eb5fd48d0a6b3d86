"""What `status`, `gaps` and `alerts` say, as plain records for tables and for --json."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, func, select

from groundshift import ranking
from groundshift.ledger import Ledger, alerts, runs, scenes, tables, trainings

PENDING: Final = "pending"
"""Outcome of a scene whose work is still under way."""


@dataclass(frozen=True)
class Gap:
    """A scene that was not compared, or a training that came to nothing, and why."""

    subject: str
    """Scene id, the href of one that was refused, or ``training ID``."""
    acquired: str | None
    outcome: str
    """refused, failed, skipped or pending."""
    reason: str
    message: str


def status(ledger: Ledger, tenant: str) -> dict[str, Any]:
    """Counts of everything a tenant has, and what is still to do."""
    with ledger.read() as connection:
        known = scenes.all_of(connection, tenant)
        every_run = runs.all_of(connection, tenant)
        return {
            "tenant": tenant,
            "sites": [site.name for site in scenes.sites_of(connection, tenant)],
            "scenes": _scene_counts(connection, tenant, [s.outcome for s in known]),
            "reasons": dict(Counter(gap.reason for gap in _gaps(connection, tenant))),
            "runs": dict(Counter(run.state for run in every_run)),
            "alerts": _alert_counts(alerts.of_tenant(connection, tenant)),
            "trainings": _trainings(connection, tenant),
            "deliveries": _delivery_counts(connection),
        }


def progress(ledger: Ledger) -> dict[str, tuple[int, int]]:
    """(done, all) of scenes and of blocks of runs that still count."""
    arrived, scene, block, run = tables.arrivals, tables.scenes, tables.blocks, tables.runs
    live = select(block.c.state).join(run, run.c.id == block.c.run_id)
    with ledger.read() as connection:
        waiting = _count(connection, select(arrived.c.id).where(arrived.c.state == "arrived"))
        refused = _count(
            connection, select(arrived.c.id).where(arrived.c.state.in_(("refused", "failed")))
        )
        known = _count(connection, select(scene.c.id))
        open_ = _count(connection, select(scene.c.id).where(scene.c.outcome == "ready"))
        blocks = [r.state for r in connection.execute(live.where(run.c.state != "superseded"))]
    scenes_done = refused + known - open_
    return {
        "scenes": (scenes_done, refused + known + waiting),
        "blocks": (blocks.count("done"), len(blocks)),
    }


def _count(connection: Connection, query: Select[Any]) -> int:
    return int(connection.execute(select(func.count()).select_from(query.subquery())).scalar_one())


def gaps(ledger: Ledger, tenant: str) -> list[Gap]:
    """Every scene of a tenant that was not compared, in the order of acquisition or arrival."""
    with ledger.read() as connection:
        return _gaps(connection, tenant)


def alert_list(
    ledger: Ledger, tenant: str, *, states: tuple[str, ...] = (), to_class: str | None = None
) -> list[dict[str, Any]]:
    """A tenant's alerts, oldest first; withdrawn ones only where they are asked for."""
    with ledger.read() as connection:
        rows = alerts.of_tenant(connection, tenant)
    wanted = states or ("first", "provisional", "confirmed", "finished")
    return [_alert(row) for row in rows if row.state in wanted and to_class in (None, row.to_class)]


def _alert(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "state": row.state,
        "from_class": row.from_class,
        "to_class": row.to_class,
        "area_m2": round(row.area_m2, 1),
        "probability": round(row.probability, 3),
        "first_seen": row.first_seen.isoformat(),
        "last_seen": row.last_seen.isoformat(),
        "supports": row.supports,
        "score": ranking.score(row),
        "site": row.site_id,
        "geometry": row.geometry,
    }


def _scene_counts(connection: Connection, tenant: str, outcomes: list[str]) -> dict[str, int]:
    counts = Counter(PENDING if outcome == "ready" else outcome for outcome in outcomes)
    table = tables.arrivals
    query = select(table.c.state, func.count()).where(table.c.tenant == tenant)
    for state, number in connection.execute(query.group_by(table.c.state)):
        if state in ("refused", "failed"):
            counts[state] += number
        elif state == "arrived":
            counts[PENDING] += number
    return dict(sorted(counts.items()))


def _alert_counts(rows: list[Row[Any]]) -> dict[str, dict[str, int]]:
    return {
        "by_state": dict(Counter(row.state for row in rows)),
        "by_class": dict(
            Counter(f"{r.from_class} -> {r.to_class}" for r in rows if r.state != "withdrawn")
        ),
    }


def _trainings(connection: Connection, tenant: str) -> list[dict[str, Any]]:
    """Every training, oldest first: what was asked for and what came of it."""
    return [
        {
            "id": one.id,
            "state": one.state,
            "cause": one.cause,
            "labels": one.labels,
            "new": one.new,
            "reason": one.reason,
            "message": one.message,
            "set_digest": one.set_digest,
            "version": one.version,
            "report": one.report,
            "created": one.created.isoformat(),
        }
        for one in trainings.in_state(connection)
        if one.tenant == tenant
    ]


def _delivery_counts(connection: Connection) -> dict[str, int]:
    table = tables.deliveries
    query = select(table.c.state, func.count()).group_by(table.c.state)
    return {row[0]: row[1] for row in connection.execute(query)}


def _gaps(connection: Connection, tenant: str) -> list[Gap]:
    return [
        *_unread(connection, tenant),
        *_uncompared(connection, tenant),
        *_untrained(connection, tenant),
    ]


def _unread(connection: Connection, tenant: str) -> list[Gap]:
    """Arrivals that never became a scene."""
    table = tables.arrivals
    query = select(table).where(table.c.tenant == tenant, table.c.state != "ready")
    return [
        Gap(
            subject=row.href,
            acquired=None,
            outcome=PENDING if row.state == "arrived" else row.state,
            reason=row.reason or "in_work",
            message=row.message or "ingest has not finished",
        )
        for row in connection.execute(query.order_by(table.c.seq))
    ]


def _untrained(connection: Connection, tenant: str) -> list[Gap]:
    """Trainings that a person must look after."""
    return [
        Gap(
            subject=f"training {one.id}",
            acquired=None,
            outcome=PENDING if one.state == "parked" else one.state,
            reason=one.reason or "in_work",
            message=one.message or "",
        )
        for one in trainings.in_state(connection, "parked", "failed")
        if one.tenant == tenant
    ]


def _uncompared(connection: Connection, tenant: str) -> list[Gap]:
    """Scenes without a comparison."""
    return [
        Gap(
            subject=scene.scene_id,
            acquired=scene.acquired.isoformat(),
            outcome=PENDING if scene.outcome == "ready" else scene.outcome,
            reason=scene.reason or "in_work",
            message=scene.message or "its run has not finished",
        )
        for scene in scenes.all_of(connection, tenant)
        if scene.outcome != "done"
    ]
