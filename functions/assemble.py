"""assemble: the last block.done of a run -> run.done, or scene.skipped for a scene without a pair.

The block artifacts become the run's rasters, polygons, STAC Item and quicklook.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray

from functions.platform import Platform
from geodata_etl.arrays import unpack
from geodata_etl.grid import Block, Grid
from geodata_etl.mosaic import mosaic_blocks
from geodata_etl.polygons import Change, dated, find_changes
from geodata_etl.products import Products, RunFacts, write_products
from geodata_etl.quicklook import write_quicklook
from groundshift import __version__, keys
from groundshift.events import BlockDone, Event, RunDone, SceneSkipped
from groundshift.ledger import Ledger, Tx, runs, scenes
from groundshift.ledger.runs import Run
from groundshift.ledger.scenes import Scene, Site
from groundshift.runs import ALGORITHM_VERSION, Parameters

STAGE: Final = "assemble"


@dataclass(frozen=True)
class _Task:
    """A run and what its products are made of."""

    run: Run
    site: Site
    scene: Scene
    baseline: tuple[Scene, ...]
    blocks: tuple[str, ...]

    @property
    def grid(self) -> Grid:
        """The run's grid: the scene's part of the site's."""
        return Grid(self.site.epsg, self.scene.extent)


def assemble(event: Event, platform: Platform) -> None:
    """Finish a run once its last block is done; every earlier block.done needs nothing."""
    done = BlockDone.of(event)
    with platform.flights(f"assemble/{done.run_id}"):
        task = _task(done.run_id, platform.ledger)
        ready = task is not None and task.run.state == "planned"
        changes, summary = _make(task, platform) if task and ready and task.baseline else ([], {})
        with platform.ledger.transaction() as tx:
            if tx.first_time(STAGE, event) and task and ready:
                _finish(tx, task, changes, summary)


def _task(run_id: str, ledger: Ledger) -> _Task | None:
    """The run, or None while blocks are missing."""
    with ledger.read() as connection:
        if runs.blocks_left(connection, run_id):
            return None
        run = runs.get(connection, run_id)
        known = scenes.of_site(connection, run.site_id)
        return _Task(
            run=run,
            site=scenes.site(connection, run.site_id),
            scene=scenes.find(known, run.scene_id),
            baseline=tuple(scenes.find(known, name) for name in run.baseline),
            blocks=tuple(runs.blocks_of(connection, run_id)),
        )


def _make(task: _Task, platform: Platform) -> tuple[list[Change], dict[str, Any]]:
    """Write every product of a run to the store."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=platform.scratch) as name:
        folder = Path(name)
        mosaic_blocks(_artifacts(task, platform), task.grid, folder)
        changes = _polygons(task, folder)
        products = write_products(folder, run=_facts(task), changes=changes)
        _quicklook(task, folder, changes, platform)
        record = _record(task, products, platform, assemble_s=time.perf_counter() - begun)
        (folder / "run.json").write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2))
        for product in keys.PRODUCTS:
            platform.store.put(keys.product(task.run.run_id, product), folder / product)
    return changes, products.summary.as_dict()


def _artifacts(
    task: _Task, platform: Platform
) -> Iterator[tuple[Block, Mapping[str, NDArray[np.generic]]]]:
    for block in task.blocks:
        blob = platform.store.get(keys.block_artifact(task.run.run_id, block))
        yield Block.parse(block), unpack(blob)


def _polygons(task: _Task, folder: Path) -> list[Change]:
    parameters = Parameters(**task.run.params)
    changes = find_changes(
        folder / "change.tif",
        folder / "observed.tif",
        folder / "before_class.tif",
        folder / "after_class.tif",
        threshold=max(1, parameters.threshold_level),
        min_area_px=parameters.min_area_px,
    )
    before, after = task.baseline[0].acquired, task.scene.acquired
    return dated(changes, before=before.date(), after=after.date())


def _facts(task: _Task) -> RunFacts:
    parameters = Parameters(**task.run.params)
    return RunFacts(
        run_id=task.run.run_id,
        grid=task.grid,
        before=task.baseline[0].acquired,
        after=task.scene.acquired,
        after_scene=task.scene.scene_id,
        before_scenes=task.run.baseline,
        threshold=parameters.threshold,
        min_area_px=parameters.min_area_px,
        models={model["name"]: model["digest"] for model in task.run.model_set},
        software=__version__,
        derived_from=tuple(
            f"../../{keys.scene_item(scene)}" for scene in (*task.run.baseline, task.run.scene_id)
        ),
    )


def _quicklook(task: _Task, folder: Path, changes: Sequence[Change], platform: Platform) -> None:
    cogs = [
        platform.store.url(keys.scene_cog(scene.scene_id))
        for scene in (task.baseline[0], task.scene)
    ]
    write_quicklook(
        folder / "quicklook.png",
        before_cog=cogs[0],
        after_cog=cogs[1],
        change_tif=folder / "change.tif",
        observed_tif=folder / "observed.tif",
        changes=changes,
        title=task.scene.stac_id,
        before_date=task.baseline[0].acquired.date(),
        after_date=task.scene.acquired.date(),
    )


def _record(
    task: _Task, products: Products, platform: Platform, *, assemble_s: float
) -> dict[str, Any]:
    """run.json: what was compared, how, by what, and how long it took."""
    run = task.run
    with platform.ledger.read() as connection:
        scored = runs.last_block_finished(connection, run.run_id)
    detect_s = (scored - run.created).total_seconds() if scored and run.created else None
    return {
        "run_id": run.run_id,
        "outcome": "done",
        "scene": run.scene_id,
        "baseline": list(run.baseline),
        "acquired": task.scene.acquired.isoformat(),
        "site": run.site_id,
        "reference": task.site.reference_scene_id,
        "shift_px": {"dy": task.scene.shift_yx[0], "dx": task.scene.shift_yx[1]},
        "shift_state": task.scene.shift_state,
        **run.params,
        "algorithm_version": ALGORITHM_VERSION,
        "groundshift": __version__,
        "models": [dict(model) for model in run.model_set],
        "summary": products.summary.as_dict(),
        "timings": {"detect_s": detect_s, "assemble_s": round(assemble_s, 3)},
    }


def _finish(tx: Tx, task: _Task, changes: Sequence[Change], summary: Mapping[str, Any]) -> None:
    """Make the run count, unless a newer plan superseded it meanwhile."""
    run = task.run
    if runs.get(tx.connection, run.run_id).state != "planned":
        return
    runs.add_changes(tx, run.run_id, [_row(change, task) for change in changes])
    runs.finish(tx, run, summary)
    if task.baseline:
        scenes.set_outcome(tx, run.scene_id, "done")
        said: RunDone | SceneSkipped = RunDone(
            run_id=run.run_id, site_id=run.site_id, scene_id=run.scene_id
        )
        subject = run.run_id
    else:
        reason, message = run.reason or "no_baseline", run.message or ""
        scenes.set_outcome(tx, run.scene_id, "skipped", reason=reason, message=message)
        said = SceneSkipped(
            scene_id=run.scene_id, site_id=run.site_id, reason=reason, message=message
        )
        subject = run.scene_id
    tx.say(said, source=STAGE, subject=subject, attempt=run.attempt, tenant=run.tenant)


def _row(change: Change, task: _Task) -> dict[str, Any]:
    return {
        "id": change.id,
        "geometry": shapely.to_wkb(change.geometry, hex=True, byte_order=1),
        "from_class": change.from_class.label,
        "to_class": change.to_class.label,
        "area_m2": change.area_m2,
        "pixels": change.pixels,
        "mean_probability": change.mean_probability,
        "max_probability": change.max_probability,
        "observed_fraction": change.observed_fraction,
        "before": task.baseline[0].acquired,
        "after": task.scene.acquired,
    }
