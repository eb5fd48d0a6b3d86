"""Where each object lies in the object store."""

from __future__ import annotations

from typing import Final

PRODUCTS: Final = (
    "change.tif",
    "observed.tif",
    "before_class.tif",
    "after_class.tif",
    "changes.geojson",
    "changes.parquet",
    "item.json",
    "run.json",
    "quicklook.png",
)
"""The files of a run."""


def scene_cog(scene_id: str) -> str:
    """The aligned stack of a scene."""
    return f"scenes/{scene_id}/scene.tif"


def scene_item(scene_id: str) -> str:
    """The STAC Item of a scene."""
    return f"scenes/{scene_id}/item.json"


def scene_stats(scene_id: str) -> str:
    """What `groundshift.scene_stats` measured of a scene."""
    return f"scenes/{scene_id}/stats.json"


def run_stats(run_id: str) -> str:
    """What `groundshift.scene_stats` measured of a run."""
    return f"runs/{run_id}/stats.json"


def block_artifact(run_id: str, block: str) -> str:
    """The arrays of a block."""
    return f"runs/{run_id}/blocks/{block}.gsa"


def product(run_id: str, name: str) -> str:
    """One of a run's `PRODUCTS`."""
    return f"runs/{run_id}/{name}"


def gate_report(training_id: str) -> str:
    """What the gate said of a training's models."""
    return f"trainings/{training_id}/gate.json"
