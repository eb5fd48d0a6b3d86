"""Programs from the Go, Maven and Debian registries, made once into a folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from groundshift.testing.servers.process import Missing

_POM: Final = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>groundshift</groupId><artifactId>servers</artifactId><version>1</version>
  <dependencies>{dependencies}</dependencies>
</project>
"""
_DEPENDENCY: Final = (
    "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
)


def go_program(cache: Path, *, name: str, module: str, package: str) -> Path:
    """Build a program of `module` (``path@version``) unless it is there. Raises Missing.

    Built in a copy of the module, so that its own go.mod, replacements included, is what counts.
    """
    program = cache / "bin" / name
    if program.exists():
        return program
    go = _tool("go", f"to build {name}: install Go 1.26 or newer")
    work = cache / "build" / name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    _run([go, "mod", "init", "groundshift.local/servers"], work)
    said = json.loads(_run([go, "mod", "download", "-json", module], work))
    source = work / "source"
    shutil.copytree(said["Dir"], source)
    _run(["chmod", "-R", "u+w", str(source)], work)
    program.parent.mkdir(exist_ok=True)
    target = program.with_suffix(".partial")
    _run([go, "build", "-trimpath", "-ldflags", "-s -w", "-o", str(target), package], source)
    target.replace(program)
    shutil.rmtree(work)
    return program


def maven_jars(cache: Path, *, name: str, artifacts: Sequence[str]) -> Path:
    """A folder with the jars of ``group:artifact:version`` and all they need. Raises Missing."""
    jars = cache / name
    if jars.exists():
        return jars
    mvn = _tool("mvn", f"to fetch {name}: install Maven (Debian: maven)")
    work = cache / "build" / name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    wanted = "".join(_DEPENDENCY.format(*artifact.split(":")) for artifact in artifacts)
    (work / "pom.xml").write_text(_POM.format(dependencies=wanted), encoding="utf-8")
    goal = ["dependency:copy-dependencies", "-DoutputDirectory=jars", "-DincludeScope=runtime"]
    _run([mvn, "-q", "-B", *goal], work)
    (work / "jars").replace(jars)
    shutil.rmtree(work)
    return jars


def debian_package(cache: Path, name: str) -> Path:
    """The unpacked files of a Debian package, without what it depends on. Raises Missing."""
    unpacked = cache / name
    if unpacked.exists():
        return unpacked
    apt = _tool("apt-get", f"to fetch {name}: install {name} as your system has it")
    dpkg = _tool("dpkg-deb", f"to unpack {name}")
    work = cache / "build" / name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    _run([apt, "download", name], work)
    (package,) = work.glob("*.deb")
    _run([dpkg, "--extract", str(package), "files"], work)
    (work / "files").replace(unpacked)
    shutil.rmtree(work)
    return unpacked


def _tool(name: str, why: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Missing(f"no {name!r} on the PATH, needed {why}")
    return found


def _run(command: Sequence[str], folder: Path) -> str:
    settings = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}
    done = subprocess.run(
        command, cwd=folder, env=os.environ | settings, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Missing(
            f"`{' '.join(command)}` failed, so this server cannot be had here: "
            f"{(done.stderr or done.stdout)[-600:]}"
        )
    return done.stdout
