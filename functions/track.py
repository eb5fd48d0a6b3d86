"""track: run.done -> alert.raised, alert.updated, alert.withdrawn.

The alerts of a site are a pure fold over its current runs (`groundshift.alerts`). Each run.done
folds them all anew and says what became different; so it does not matter which event came last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import shapely
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Row

from functions.platform import Platform
from geodata_etl.evidence import class_shares
from geodata_etl.polygons import to_lonlat
from groundshift import keys
from groundshift.alerts import Alert, AlertState, Evidence, RunChange, TrackedRun, fold
from groundshift.events import (
    AlertData,
    AlertRaised,
    AlertUpdated,
    AlertWithdrawn,
    Event,
    RunDone,
)
from groundshift.ledger import Tx, runs, scenes
from groundshift.ledger import alerts as alert_rows
from groundshift.ledger.runs import Run
from groundshift.ledger.scenes import Site
from groundshift.ports import ObjectStore

STAGE: Final = "track"
_SUPERSEDED: Final = "superseded"
"""Reason of an alert whose runs were all superseded: the canonical state does not hold it."""


def track(event: Event, platform: Platform) -> None:
    """Fold the site's current runs into its alerts and say what changed."""
    done = RunDone.of(event)
    with platform.flights(f"track/{done.site_id}"):
        while not _track_once(event, done, platform):
            continue  # another run was done meanwhile: fold again with it


def _track_once(event: Event, done: RunDone, platform: Platform) -> bool:
    """Fold outside the transaction, since rasters are slow; commit if the runs are still those."""
    with platform.ledger.read() as connection:
        current = runs.current_of_site(connection, done.site_id)
        tracked = [_tracked(run, connection) for run in current]
        known = alert_rows.observations(connection, [run.run_id for run in current])
    looked = _Evidence(known, platform.store)
    alerts = fold(tracked, looked.of)
    with platform.ledger.transaction() as tx:
        now = runs.current_of_site(tx.connection, done.site_id)
        if {run.run_id for run in now} != {run.run_id for run in current}:
            return False
        if tx.first_time(STAGE, event):
            alert_rows.add_observations(tx, looked.new)
            _commit(tx, scenes.site(tx.connection, done.site_id), alerts, current)
    return True


class _Evidence:
    """Evidence of runs about alerts: what the ledger knows, else the run's class raster."""

    def __init__(self, known: Mapping[tuple[str, str], Any], store: ObjectStore) -> None:
        self._known = dict(known)
        self._store = store
        self.new: dict[tuple[str, str], Any] = {}
        """What the ledger did not know yet."""

    def of(self, alerts: Sequence[Alert], run: TrackedRun) -> list[Evidence]:
        """What a run's scene shows inside each alert's polygon."""
        found = [(_geometry_digest(alert.geometry), run.run_id) for alert in alerts]
        missing = {
            k: a.geometry for k, a in zip(found, alerts, strict=True) if k not in self._known
        }
        if missing:
            url = self._store.url(keys.product(run.run_id, "after_class.tif"))
            looks = map(asdict, class_shares(url, list(missing.values())))
            self.new.update(zip(missing, looks, strict=True))
            self._known.update(self.new)
        values = (self._known[key] for key in found)
        return [Evidence(value["observed_fraction"], value["classes"]) for value in values]


def _tracked(run: Run, connection: Any) -> TrackedRun:
    scene = scenes.get(connection, run.scene_id)
    found = tuple(
        RunChange(
            change_id=row.id,
            geometry=shapely.from_wkb(row.geometry),
            from_class=row.from_class,
            to_class=row.to_class,
            area_m2=row.area_m2,
            probability=row.mean_probability,
        )
        for row in runs.changes_of(connection, run.run_id)
    )
    return TrackedRun(run.run_id, run.scene_id, scene.acquired, found)


def _commit(tx: Tx, site: Site, alerts: Sequence[Alert], current: Sequence[Run]) -> None:
    known = alert_rows.of_site(tx.connection, site.site_id)
    scene_of = {run.run_id: run.scene_id for run in current}
    outlines = _geojson([alert.geometry for alert in alerts], site.epsg)
    for alert, outline in zip(alerts, outlines, strict=True):
        row = _row(alert, site, scene_of, outline)
        before = known.pop(alert.alert_id, None)
        if before is None or any(getattr(before, name) != row[name] for name in row):
            _announce(tx, row, alert.first_run, before)
    for gone in known.values():
        if gone.reason != _SUPERSEDED:
            row = {name: getattr(gone, name) for name in _COLUMNS}
            row |= {"state": str(AlertState.WITHDRAWN), "reason": _SUPERSEDED}
            _announce(tx, row, None, gone)


_COLUMNS: Final = (
    "id",
    "tenant",
    "site_id",
    "state",
    "reason",
    "from_class",
    "to_class",
    "geometry",
    "area_m2",
    "probability",
    "first_seen",
    "last_seen",
    "first_scene",
    "supports",
    "evidence",
)


def _row(alert: Alert, site: Site, scene_of: dict[str, str], outline: str) -> dict[str, Any]:
    contradicted = alert.state is AlertState.WITHDRAWN
    values = (
        alert.alert_id,
        site.tenant,
        site.site_id,
        str(alert.state),
        "contradicted" if contradicted else None,
        alert.from_class,
        alert.to_class,
        outline,
        alert.area_m2,
        alert.probability,
        alert.first_seen,
        alert.last_seen,
        scene_of[alert.first_run],
        len(alert.supports),
        {
            "supports": list(alert.supports),
            "contradictions": list(alert.contradictions),
            "runs": list(alert.runs),
        },
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _announce(tx: Tx, row: dict[str, Any], run_id: str | None, before: Row[Any] | None) -> None:
    """Store an alert's new version, and say so in the feed and as an event."""
    row["version"] = 1 if before is None else before.version + 1
    alert_rows.store(tx, row)
    data = _event_data(row, run_id, before)
    payload = data.model_dump(mode="json", exclude_none=True)
    tx.append_feed(
        alert_id=row["id"],
        type_=data.WORD,
        version=row["version"],
        payload=payload,
        tenant=row["tenant"],
    )
    tx.say(data, source=STAGE, subject=row["id"], attempt=row["version"], tenant=row["tenant"])


def _event_data(row: dict[str, Any], run_id: str | None, before: Row[Any] | None) -> AlertData:
    withdrawn = str(AlertState.WITHDRAWN)
    kind: type[AlertData] = AlertUpdated
    if row["state"] == withdrawn and before is not None and before.state != withdrawn:
        kind = AlertWithdrawn
    elif before is None or before.reason == _SUPERSEDED:
        kind = AlertRaised
    return kind(
        alert_id=row["id"],
        site_id=row["site_id"],
        version=row["version"],
        state=row["state"],
        from_class=row["from_class"],
        to_class=row["to_class"],
        area_m2=row["area_m2"],
        probability=row["probability"],
        run_id=run_id,
    )


def _geometry_digest(geometry: BaseGeometry) -> str:
    return hashlib.sha256(shapely.to_wkb(geometry)).hexdigest()


def _geojson(geometries: Sequence[BaseGeometry], epsg: int) -> list[str]:
    """UTM to GeoJSON texts, EPSG:4326, 7 decimals (about 1 cm)."""
    lonlat = shapely.set_precision(to_lonlat(geometries, epsg), 1e-7)
    return [str(text) for text in shapely.to_geojson(lonlat)]
