"""Every command of docs/deployment.md does what the page says, on the cluster at hand.

What would make again what stands already is asked for as a dry run by the API server.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deployment.md").read_text()
ELSEWHERE = (
    r"export KUBECONFIG=",  # the environment of this test
    r"make images ",  # tests/cluster/run, as the next
    r"make image-training ",
    r"groundshift publish-models .*--registered ",  # tests/functions/test_cli.py
    r"docker push ",  # no registry here: images are loaded
    r"docker compose up ",  # tests/manifests/test_compose.py
)
"""Commands that others prove."""


def commands() -> Iterator[str]:
    """The lines of the page's shell blocks, continued ones joined."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        if not language:
            lines = block.replace("\\\n", " ").splitlines()
            yield from (line.split("  #")[0].strip() for line in lines if line.strip())


COMMANDS = [line for line in commands() if not re.match("|".join(ELSEWHERE), line)]
"""In the page's order."""


def test_the_page_holds_what_is_tested_here() -> None:
    text = "\n".join(COMMANDS)
    for part in ("cluster doctor", "create secret", "publish-models", "cluster apply", "curl"):
        assert part in text


@pytest.fixture(scope="module")
def run(cluster, tmp_path_factory) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """What runs a line as a person's shell does, with the secrets in the environment."""
    settings = cluster.settings
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GROUNDSHIFT_DATABASE_URL": settings.database_url,
        "GROUNDSHIFT_S3_ENDPOINT": settings.s3_endpoint,
        "GROUNDSHIFT_S3_ACCESS_KEY": settings.s3_access_key,
        "GROUNDSHIFT_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
        "BROKER": cluster.broker,
    }
    checkout = own_overlay(tmp_path_factory.mktemp("checkout"))

    def run_(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    return run_


def own_overlay(checkout: Path) -> Path:
    """The manifests, and the page's own kustomization beside them."""
    for name in ("knative", "kserve"):
        shutil.copytree(ROOT / name, checkout / name)
    (block,) = re.findall(r"^```yaml\n# (\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    path = checkout / block[0]
    path.parent.mkdir()
    path.write_text(block[1])
    return checkout


def rehearsed(line: str) -> str:
    """The same line, as a dry run where it would make what stands."""
    if re.match(r"kubectl apply |kubectl .* annotate ", line):
        return (
            f"{line} --dry-run=server --overwrite"
            if "annotate" in line
            else f"{line} --dry-run=server"
        )
    if re.match(r"kubectl .* create secret ", line):
        return f"{line} --dry-run=client"
    if line == "groundshift cluster apply my":
        return "kubectl apply --dry-run=server -k my"
    return line


@pytest.mark.parametrize("line", COMMANDS)
def test_the_command_works(run: Any, line: str) -> None:
    if line.startswith("BROKER="):
        found = run(f"{line}; echo $BROKER")
        assert found.stdout.startswith("http://broker-ingress"), found.stderr
        return
    done = run(rehearsed(line))
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
