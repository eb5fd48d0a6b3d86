"""plan: scene.ready -> block.ready x n, or scene.skipped.

A scene changes the baseline of every later scene that would choose it, so the scene and all later
ones of its site are planned anew; where nothing changes, the run id stays and nothing happens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from functions.platform import Platform
from geodata_etl.grid import Grid
from groundshift.baseline import Candidate, Choice, Skip, choose_baseline
from groundshift.events import BlockReady, Event, SceneReady, SceneSkipped
from groundshift.ledger import Tx, runs, scenes
from groundshift.ledger.runs import Run
from groundshift.ledger.scenes import Scene, Site
from groundshift.ports import Split
from groundshift.runs import MODEL_NAMES, choose_model_set, model_set_record, run_id

STAGE: Final = "plan"
_PRIMED: Final = frozenset({Skip.NO_BASELINE, Skip.LOW_OVERLAP, Skip.OUT_OF_SEASON})
"""Scenes without a pair that still run the first two models: they are later scenes' baseline."""


@dataclass(frozen=True)
class _Plan:
    """What all scenes of one planning share."""

    platform: Platform
    site: Site
    split: Split
    """What serves: read once, before the transaction; each run chooses its side."""
    candidates: Sequence[Candidate]


def plan(event: Event, platform: Platform) -> None:
    """Plan a scene's run, and again every later run whose baseline it changes."""
    ready = SceneReady.of(event)
    split = platform.models.split(MODEL_NAMES)
    with platform.ledger.transaction() as tx:
        if not tx.first_time(STAGE, event):
            return
        site = scenes.site(tx.connection, ready.site_id)
        known = scenes.of_site(tx.connection, site.site_id)
        subject = scenes.find(known, ready.scene_id)
        shared = _Plan(platform, site, split, [_candidate(s) for s in known])
        for scene in known:
            if scene.order >= subject.order:
                _plan_scene(tx, scene, shared)


def _plan_scene(tx: Tx, scene: Scene, shared: _Plan) -> None:
    choice = choose_baseline(_candidate(scene), shared.candidates, shared.platform.rules)
    if choice.skip and choice.skip not in _PRIMED:
        _skip(tx, scene, choice)
        return
    run = _run(scene, choice, shared)
    known = runs.of_scene(tx.connection, scene.scene_id)
    wanted = next((r for r in known if r.run_id == run.run_id), None)
    if wanted is not None and wanted.state != "superseded":
        return
    runs.supersede_unfinished(tx, scene.scene_id)
    run = replace(run, attempt=wanted.attempt + 1) if wanted else run
    blocks = _blocks(scene, shared)
    runs.plan(tx, run, blocks)
    scenes.set_outcome(tx, scene.scene_id, "ready")
    for block in blocks:
        tx.say(
            BlockReady(run_id=run.run_id, block=block),
            source=STAGE,
            subject=f"{run.run_id}/{block}",
            attempt=run.attempt,
            tenant=scene.tenant,
        )


def _skip(tx: Tx, scene: Scene, choice: Choice) -> None:
    """End a scene that no run may compare."""
    reason, message = str(choice.skip), choice.detail
    if (scene.outcome, scene.reason) == ("skipped", reason):
        return
    runs.supersede_unfinished(tx, scene.scene_id)
    scenes.set_outcome(tx, scene.scene_id, "skipped", reason=reason, message=message)
    tx.say(
        SceneSkipped(
            scene_id=scene.scene_id, site_id=scene.site_id, reason=reason, message=message
        ),
        source=STAGE,
        subject=scene.scene_id,
        tenant=scene.tenant,
    )


def _run(scene: Scene, choice: Choice, shared: _Plan) -> Run:
    parameters = shared.platform.parameters
    model_set = choose_model_set(shared.split, scene_id=scene.scene_id, baseline=choice.baseline)
    return Run(
        run_id=run_id(
            scene_id=scene.scene_id,
            baseline=choice.baseline,
            site_id=scene.site_id,
            reference=shared.site.reference_scene_id or "",
            model_set=model_set,
            parameters=parameters,
        ),
        tenant=scene.tenant,
        site_id=scene.site_id,
        scene_id=scene.scene_id,
        kind="change" if choice.baseline else "prime",
        baseline=choice.baseline,
        model_set=model_set_record(model_set),
        params=parameters.as_dict(),
        reason=str(choice.skip) if choice.skip else None,
        message=choice.detail or None,
    )


def _blocks(scene: Scene, shared: _Plan) -> list[str]:
    s = shared.platform.settings
    grid = Grid(shared.site.epsg, scene.extent)
    return [str(b) for b in grid.blocks(rows=s.block_tiles_rows, cols=s.block_tiles_cols)]


def _candidate(scene: Scene) -> Candidate:
    return Candidate(
        scene_id=scene.scene_id,
        acquired=scene.acquired,
        extent=scene.extent,
        valid_fraction=scene.valid_fraction,
        shift_spread_px=scene.shift_spread,
    )
