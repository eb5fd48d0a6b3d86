"""An MLflow server of its own: runs and registry in SQLite, artifacts in a folder beside it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

import httpx

from groundshift.testing.servers.process import Server


class Mlflow(Server):
    """``mlflow server`` of this environment, on loopback."""

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        """One worker: it starts in half the time."""
        return [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host=127.0.0.1",
            f"--port={self.port}",
            "--workers=1",
            f"--backend-store-uri=sqlite:///{self.folder / 'mlflow.db'}",
            f"--artifacts-destination={self.folder / 'artifacts'}",
        ]

    def environment(self) -> Mapping[str, str]:
        """It tells nobody that it runs, and starts no workers for jobs that it has none of."""
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        return {**os.environ, **quiet}

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            return httpx.get(f"{self.url}/health", timeout=2.0, trust_env=False).is_success
        except httpx.TransportError:
            return False
