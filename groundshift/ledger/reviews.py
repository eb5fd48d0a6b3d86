"""Reviews: what analysts said of alerts. None is changed or removed; a newer one stands beside."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Row, Select, select

from groundshift.errors import NotFound
from groundshift.ledger import tables
from groundshift.ledger.database import Tx

VERDICTS: Final = ("accept", "reject", "redraw", "unsure")
_PART: Final = 5000
"""Ids that one statement takes."""


@dataclass(frozen=True)
class Verdict:
    """What a reviewer says, before it is stored."""

    alert_id: str
    alert_version: int
    """The version that the reviewer looked at."""
    verdict: str
    """One of `VERDICTS`."""
    from_class: str
    to_class: str
    geometry: str | None = None
    """GeoJSON, EPSG:4326, of a redraw."""
    ignored: str | None = None
    """GeoJSON, EPSG:4326: ground that the reviewer does not vouch for."""
    comment: str | None = None


@dataclass(frozen=True)
class Review:
    """A verdict as it is stored."""

    review_id: str
    tenant: str
    alert_id: str
    number: int
    """Counts the reviews of the alert, from 1."""
    alert_version: int
    site_id: str
    verdict: str
    geometry: str | None
    ignored: str | None
    from_class: str
    to_class: str
    comment: str | None
    run_id: str | None
    """The run that the reviewer saw."""
    model_set: Sequence[Mapping[str, str]]
    """Name and digest of each model of that run."""
    created: datetime
    reviewer: str


def add(
    tx: Tx,
    verdict: Verdict,
    *,
    tenant: str,
    reviewer: str,
    site_id: str,
    run_id: str | None,
    model_set: Sequence[Mapping[str, str]],
) -> tuple[Review, bool]:
    """Store a verdict; (the review, whether it is new).

    The same verdict by the same reviewer again, as a client sends it that missed the answer, is
    the review that stands.
    """
    said = of_alerts(tx.connection, [verdict.alert_id])
    mine = [review for review in said if review.reviewer == reviewer]
    if mine and _verdict(mine[-1]) == verdict:
        return mine[-1], False
    number = len(said) + 1
    review = Review(
        review_id=_review_id(verdict.alert_id, number),
        tenant=tenant,
        alert_id=verdict.alert_id,
        number=number,
        alert_version=verdict.alert_version,
        site_id=site_id,
        verdict=verdict.verdict,
        geometry=verdict.geometry,
        ignored=verdict.ignored,
        from_class=verdict.from_class,
        to_class=verdict.to_class,
        comment=verdict.comment,
        run_id=run_id,
        model_set=[{"name": m["name"], "digest": m["digest"]} for m in model_set],
        created=tx.now,
        reviewer=reviewer,
    )
    tx.execute(tables.reviews.insert().values(_row(review)))
    return review, True


def of_alerts(connection: Connection, alert_ids: Iterable[str]) -> list[Review]:
    """Every review of some alerts, oldest first."""
    table, every = tables.reviews, sorted(set(alert_ids))
    found: list[Review] = []
    for i in range(0, len(every), _PART):
        found += _read(connection, select(table).where(table.c.alert_id.in_(every[i : i + _PART])))
    return sorted(found, key=lambda review: (review.alert_id, review.number))


def of_run(connection: Connection, run_id: str) -> list[Review]:
    """The latest review of each reviewer of each alert that a run raised, by alert and number."""
    table = tables.reviews
    query = select(table).where(table.c.run_id == run_id)
    ordered = query.order_by(table.c.alert_id, table.c.number)
    latest = {(one.alert_id, one.reviewer): one for one in _read(connection, ordered)}
    return sorted(latest.values(), key=lambda one: (one.alert_id, one.number))


def standing(connection: Connection, tenant: str, *, site_id: str | None = None) -> list[Review]:
    """The latest review of each reviewer of each alert of a tenant, by alert and number."""
    table = tables.reviews
    where = [table.c.tenant == tenant] + ([table.c.site_id == site_id] if site_id else [])
    query = select(table).where(*where).order_by(table.c.alert_id, table.c.number)
    latest = {(one.alert_id, one.reviewer): one for one in _read(connection, query)}
    return sorted(latest.values(), key=lambda one: (one.alert_id, one.number))


def of_tenant(
    connection: Connection, tenant: str, *, limit: int, after: tuple[datetime, str] | None = None
) -> list[Review]:
    """A tenant's reviews, newest first; `after` is the last one of a page."""
    table = tables.reviews
    query = select(table).where(table.c.tenant == tenant)
    if after is not None:
        at, review_id = after
        older = (table.c.created < at) | ((table.c.created == at) & (table.c.id > review_id))
        query = query.where(older)
    return _read(connection, query.order_by(table.c.created.desc(), table.c.id).limit(limit))


def get(connection: Connection, review_id: str) -> Review:
    """One review. Raises NotFound."""
    table = tables.reviews
    found = _read(connection, select(table).where(table.c.id == review_id))
    if not found:
        raise NotFound(f"there is no review {review_id!r}: it may not be committed yet")
    return found[0]


def _read(connection: Connection, query: Select[Any]) -> list[Review]:
    return [_review(row) for row in connection.execute(query)]


def _review_id(alert_id: str, number: int) -> str:
    return hashlib.sha256(orjson.dumps([alert_id, number])).hexdigest()[:24]


def _verdict(review: Review) -> Verdict:
    return Verdict(
        alert_id=review.alert_id,
        alert_version=review.alert_version,
        verdict=review.verdict,
        from_class=review.from_class,
        to_class=review.to_class,
        geometry=review.geometry,
        ignored=review.ignored,
        comment=review.comment,
    )


def _row(review: Review) -> dict[str, Any]:
    row = dict(vars(review))
    return {"id": row.pop("review_id"), "actor": row.pop("reviewer"), **row}


def _review(row: Row[Any]) -> Review:
    named = dict(row._mapping)
    return Review(review_id=named.pop("id"), reviewer=named.pop("actor"), **named)
