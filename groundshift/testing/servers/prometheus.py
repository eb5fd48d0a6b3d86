"""Prometheus and its promtool, from Debian's package, unpacked and not installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx

from groundshift.testing.servers.fetch import debian_package
from groundshift.testing.servers.process import Missing, Server

_NAME: Final = "prometheus"
_CURE: Final = "run `make test-services`, which fetches it, or install Debian's prometheus"
_CONFIG: Final = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
scrape_configs:
  - {{job_name: groundshift, static_configs: [{{targets: {targets}}}]}}
"""


class Prometheus(Server):
    """A Prometheus on loopback that scrapes `targets` (host:port) every second."""

    def __init__(self, cache: Path, folder: Path, targets: Sequence[str]) -> None:
        """Raises Missing where the package was not fetched."""
        super().__init__(folder)
        self._program = _program(cache, _NAME)
        self._config = folder / "prometheus.yml"
        self._config.write_text(_CONFIG.format(targets=json.dumps(list(targets))), "utf-8")

    @staticmethod
    def get(cache: Path) -> Path:
        """Fetch the package unless it is there. Raises Missing."""
        return debian_package(cache, _NAME)

    def command(self) -> Sequence[str]:
        """Nothing of it outlives the test."""
        return [
            str(self._program),
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]

    def query(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        """(labels, value) of each series that an instant query finds now."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query"
        answer = httpx.get(url, params={"query": expression}, trust_env=False)
        found = answer.raise_for_status().json()["data"]["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]


def promtool(cache: Path, *arguments: str, stdin: str | None = None) -> tuple[int, str]:
    """Run ``promtool``; its exit code and everything that it said. Raises Missing."""
    command = [str(_program(cache, "promtool")), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def _program(cache: Path, name: str) -> Path:
    unpacked, installed = cache / _NAME / "usr" / "bin" / name, shutil.which(name)
    if not unpacked.exists() and installed is None:
        raise Missing(f"no {name} in {unpacked.parent}: {_CURE}")
    return unpacked if unpacked.exists() else Path(str(installed))
