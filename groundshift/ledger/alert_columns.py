"""Every alert of a tenant at once, column by column: what a map and a list of thousands need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, func, select

from groundshift.ledger import tables
from groundshift.ledger.alert_views import Bbox, within

_COLUMNS: Final = (
    *("id", "version", "site_id", "state", "from_class", "to_class", "probability", "area_m2"),
    *("last_seen", "supports", "west", "south", "east", "north"),
)


def stamp(connection: Connection, tenant: str) -> str:
    """Another text whenever an alert or a review of the tenant is new or changed.

    Versions of alerts only grow and reviews are only added, so their sums never come back.
    """
    alerts, reviews = tables.alerts.c, tables.reviews.c
    changed = func.count(), func.sum(alerts.version), func.max(alerts.updated)
    one = connection.execute(select(*changed).where(alerts.tenant == tenant)).one()
    said = connection.scalar(select(func.count()).where(reviews.tenant == tenant))
    return f"{tenant}/{one[0]}/{one[1]}/{one[2]}/{said}"


def rows(connection: Connection, tenant: str) -> Sequence[Row[Any]]:
    """A tenant's alerts by id, without outlines and evidence."""
    c = tables.alerts.c
    query = select(*(c[name] for name in _COLUMNS)).where(c.tenant == tenant).order_by(c.id)
    return connection.execute(query).all()


def outlines(connection: Connection, tenant: str, bbox: Bbox, *, limit: int) -> Sequence[Row[Any]]:
    """(id, geometry) of a tenant's alerts whose bounds meet a box, the largest first."""
    c = tables.alerts.c
    query: Select[Any] = select(c.id, c.geometry).where(c.tenant == tenant, within(bbox))
    return connection.execute(query.order_by(c.area_m2.desc(), c.id).limit(limit)).all()


def verdicts(connection: Connection, tenant: str) -> Mapping[str, Sequence[Row[Any]]]:
    """The latest review of each reviewer, oldest first, by alert: (id, alert_id, alert_version,
    verdict, created, actor).
    """
    c = tables.reviews.c
    said = (c.id, c.alert_id, c.alert_version, c.verdict, c.created, c.actor)
    query: Select[Any] = select(*said).where(c.tenant == tenant)
    latest: dict[str, dict[str, Row[Any]]] = defaultdict(dict)
    for row in connection.execute(query.order_by(c.alert_id, c.number)):
        latest[row.alert_id].pop(row.actor, None)
        latest[row.alert_id][row.actor] = row
    return {alert_id: list(by.values()) for alert_id, by in latest.items()}
