"""What tests hold against each other: the canonical final state of a platform."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import Table, select

from groundshift import keys
from groundshift.ledger import Ledger, tables
from groundshift.ports import ObjectStore

_VOLATILE: Final = frozenset(
    {"seq", "created", "updated", "finished", "resolved", "attempt", "version", "arrival_id"}
)
"""Columns that say when or how often something happened, not what is the case."""
_TIMED: Final = "run.json"
"""The product that holds timings."""


def canonical_state(ledger: Ledger, store: ObjectStore) -> dict[str, Any]:
    """Everything that must not depend on faults, duplicates or the order of events.

    Runs that were superseded and alerts that only they raised are history, not state. Arrivals
    are left out: each event from outside is one, whatever it announces.
    """
    current = _rows(ledger, tables.runs, lambda row: row["current"])
    names = {row["id"] for row in current}
    scene_ids = {row["scene_id"] for row in current}
    for row in current:
        row["model_set"] = [{**model, "url": ""} for model in row["model_set"]]
    return {
        "sites": _rows(ledger, tables.sites),
        "scenes": _rows(ledger, tables.scenes),
        "runs": current,
        "changes": _rows(ledger, tables.changes, lambda row: row["run_id"] in names),
        "alerts": _rows(ledger, tables.alerts, lambda row: row["reason"] != "superseded"),
        "artifacts": _artifacts(store, names, scene_ids),
    }


def of_sites(state: Mapping[str, Any], sites: Collection[str]) -> dict[str, Any]:
    """The part of a canonical state that belongs to some sites, as any other place has it too.

    The same models have other revisions and addresses there.
    """
    scenes = [row for row in state["scenes"] if row["site_id"] in sites]
    runs = [
        {**row, "model_set": [{**model, "revision": "", "url": ""} for model in row["model_set"]]}
        for row in state["runs"]
        if row["site_id"] in sites
    ]
    run_ids = {row["id"] for row in runs}
    owners = run_ids | {row["id"] for row in scenes}
    return {
        "sites": [row for row in state["sites"] if row["id"] in sites],
        "scenes": scenes,
        "runs": runs,
        "changes": [row for row in state["changes"] if row["run_id"] in run_ids],
        "alerts": [row for row in state["alerts"] if row["site_id"] in sites],
        "artifacts": {k: v for k, v in state["artifacts"].items() if owners & set(k.split("/"))},
    }


def _rows(ledger: Ledger, table: Table, keep: Any = lambda _: True) -> list[dict[str, Any]]:
    with ledger.read() as connection:
        rows = [dict(row) for row in connection.execute(select(table)).mappings()]
    kept = ({k: v for k, v in row.items() if k not in _VOLATILE} for row in rows if keep(row))
    return sorted(kept, key=repr)


def _artifacts(store: ObjectStore, run_ids: set[str], scene_ids: set[str]) -> dict[str, str]:
    """Digest of every object of the current runs and their scenes."""
    prefixes = [f"runs/{run_id}/" for run_id in run_ids]
    prefixes += [f"scenes/{scene_id}/" for scene_id in scene_ids]
    found = {key for prefix in prefixes for key in store.list(prefix)}
    found |= {key for key in store.list("tiles/") if key.split("/")[3] in scene_ids}
    timed = {keys.product(run_id, _TIMED) for run_id in run_ids}
    return {key: hashlib.sha256(store.get(key)).hexdigest() for key in sorted(found - timed)}
