"""Arrivals: every scene that was announced, and what became of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from types import MappingProxyType

import orjson
from sqlalchemy import select

from groundshift.events import Event, SceneArrived
from groundshift.ledger import tables
from groundshift.ledger.database import Tx


def arrival_id(event: Event) -> str:
    """The arrival that a scene.arrived announces: hex SHA-256 of (source, event id).

    An event that names its arrival (a sweeper's second attempt) keeps it.
    """
    named = event.data.get("arrival")
    return str(named) if named else _digest(event)


def _digest(event: Event) -> str:
    return hashlib.sha256(orjson.dumps([event.source, event.id])).hexdigest()


def record_arrival(tx: Tx, event: Event) -> str:
    """Write the arrival row of a scene.arrived unless it stands; its id.

    Raises BadEvent, UnknownEvent for another event.
    """
    data, key = SceneArrived.of(event), arrival_id(event)
    options = data.model_dump(mode="json", exclude_none=True, exclude={"href", "arrival"})
    tx.insert_new(
        tables.arrivals,
        {
            "id": key,
            "tenant": data.tenant or event.tenant or tx.tenant,
            "href": data.href,
            "options": options,
            "state": "arrived",
            "attempt": 1,
            "created": tx.now,
            "actor": event.actor or tx.actor,
        },
    )
    return key


def announce(tx: Tx, event: Event) -> str:
    """Commit to a scene: the arrival row and its scene.arrived in the outbox; the arrival's id.

    The same (source, id) again changes nothing; an arrival that the event names is not believed.
    """
    named = replace(event, data=MappingProxyType({**event.data, "arrival": _digest(event)}))
    tx.emit(named)
    return record_arrival(tx, named)


def owner(tx: Tx, key: str) -> str | None:
    """The tenant of an arrival; None where there is no such."""
    table = tables.arrivals
    found = tx.connection.execute(select(table.c.tenant).where(table.c.id == key)).scalar()
    return None if found is None else str(found)


def resolve(
    tx: Tx, key: str, *, state: str, reason: str | None = None, message: str | None = None
) -> None:
    """Say what became of an arrival: ``ready``, ``refused`` or ``failed`` (or again ``arrived``).

    A scene that is ready or refused stays so whatever a late failure says.
    """
    table = tables.arrivals
    update = table.update().where(table.c.id == key)
    if state == "failed":
        update = update.where(table.c.state == "arrived")
    resolved = None if state == "arrived" else tx.now
    tx.execute(update.values(state=state, reason=reason, message=message, resolved=resolved))
