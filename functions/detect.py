"""detect: block.ready -> block.done. The block's tiles through the three models."""

from __future__ import annotations

from typing import Final

from functions.blocks import BlockTask, ensure_artifact
from functions.platform import Platform
from geodata_etl.grid import Block
from groundshift.errors import ModelMismatch
from groundshift.events import BlockDone, BlockReady, Event, SceneReady
from groundshift.ledger import runs, scenes
from groundshift.ledger.runs import Run

STAGE: Final = "detect"


def detect(event: Event, platform: Platform) -> None:
    """Score a block and store its artifact; a run that was superseded needs it no more."""
    ready = BlockReady.of(event)
    with platform.ledger.read() as connection:
        run = runs.get(connection, ready.run_id)
        extent = scenes.get(connection, run.scene_id).extent
    try:
        if run.state == "planned":
            score = platform.score or ensure_artifact
            score(BlockTask(run, Block.parse(ready.block), extent), platform)
    except ModelMismatch as mismatch:
        _plan_again(event, run, mismatch, platform)
        return
    with platform.ledger.transaction() as tx:
        if not tx.first_time(STAGE, event):
            return
        runs.finish_block(tx, run.run_id, ready.block)
        tx.say(
            BlockDone(run_id=run.run_id, block=ready.block),
            source=STAGE,
            subject=f"{run.run_id}/{ready.block}",
            attempt=run.attempt,
            tenant=run.tenant,
        )


def _plan_again(event: Event, run: Run, mismatch: ModelMismatch, platform: Platform) -> None:
    """Another model answers now than when the run was planned: a run never mixes models."""
    with platform.ledger.transaction() as tx:
        if not tx.first_time(STAGE, event):
            return
        if runs.get(tx.connection, run.run_id).state != "planned":
            return
        runs.supersede(tx, run.run_id, reason="model_mismatch", message=str(mismatch))
        tx.say(
            SceneReady(scene_id=run.scene_id, site_id=run.site_id),
            source=STAGE,
            subject=run.scene_id,
            attempt=1 + len(runs.of_scene(tx.connection, run.scene_id)) + run.attempt,
            tenant=run.tenant,
        )
