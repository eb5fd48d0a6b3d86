"""An evaluation as artifacts and metrics of an MLflow run."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groundshift.errors import Misconfigured


def require() -> None:
    """Raise Misconfigured where mlflow is not installed: better before the minutes than after."""
    if importlib.util.find_spec("mlflow") is None:
        raise Misconfigured("tracking needs mlflow: pip install 'groundshift[training]'")


def log(folder: Path, found: Mapping[str, Any], *, uri: str, run_id: str | None = None) -> str:
    """Log the report folder under ``evaluation`` and the pooled numbers; gives the run's id.

    Without `run_id` a new run is made.
    """
    import mlflow

    mlflow.set_tracking_uri(uri)
    with mlflow.start_run(run_id=run_id) as run:
        mlflow.log_artifacts(str(folder), artifact_path="evaluation")
        mlflow.log_metrics(numbers(found))
        return str(run.info.run_id)


def numbers(found: Mapping[str, Any]) -> dict[str, float]:
    """The numbers worth a curve over runs, by MLflow's name for each."""
    rows: dict[str, float | None] = {}
    for name, one in found["sets"].items():
        slug = name.replace(" ", "_")
        for view in ("classifier", "platform"):
            for key in ("f1", "auroc", "false_share", "ece", "budget_precision"):
                rows[f"{slug}.{view}.{key}"] = one["pooled"][view][key]
    if found["cloud_chips"]:
        rows["cloud_chips.mean_iou"] = found["cloud_chips"]["mean_iou"]
    rows |= {
        f"template.{n.replace(' ', '_')}": t["measured"] for n, t in found["templates"].items()
    }
    return {_allowed(name): value for name, value in rows.items() if value is not None}


def _allowed(name: str) -> str:
    """MLflow takes letters, digits, ``_-./`` and spaces."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name)
