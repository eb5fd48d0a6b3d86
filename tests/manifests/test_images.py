"""The Dockerfile and the lists of what each image holds, against what its programs import."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"geodata_etl", "groundshift", "functions", "training"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTALLER = (ROOT / "docker" / "install-libraries").read_text()
ELSEWHERE = {"kserve", "onnxruntime"}
"""Imported by the model server only; `groundshift/serving`."""


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(image):
    text = (ROOT / f"requirements-{image}.lock").read_text()
    return {canonical(name) for name in re.findall(r"^([A-Za-z0-9_.-]+)==", text, re.MULTILINE)}


def imported(*folders, without=()):
    """Third-party top-level modules that the folders' sources import, anywhere in a file."""
    found = set()
    for path in (p for f in folders for p in (ROOT / f).rglob("*.py")):
        if any(part in path.parts for part in without):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module.partition(".")[0])
    return found - OURS - sys.stdlib_module_names - {"__future__"}


@pytest.mark.parametrize(
    ("image", "folders", "without", "elsewhere"),
    [
        (
            "functions",
            ["functions", "groundshift", "geodata_etl"],
            ("testing", "serving", "api", "dashboard"),
            set(),
        ),
        ("dashboard", ["functions", "groundshift", "geodata_etl"], ("testing", "serving"), set()),
        ("models", ["groundshift/serving"], (), set()),
    ],
)
def test_an_image_holds_what_its_programs_import(image, folders, without, elsewhere):
    distributions = packages_distributions()
    held = locked(image)
    modules = imported(*folders, without=(*without, "testing.py"))
    assert modules
    for module in modules:
        names = {canonical(name) for name in distributions.get(module, [module])}
        assert names & held, f"{module}: none of {sorted(names)} is in the image {image}"


def test_the_functions_image_knows_no_kserve_and_no_runtime():
    assert not ELSEWHERE & (locked("functions") | locked("dashboard"))
    assert locked("models") >= ELSEWHERE
    for image in ("functions", "dashboard", "models"):
        assert not {"torch", "mlflow", "pytest", "pip"} & locked(image)


def test_every_list_is_hashed_and_of_the_versions_that_are_tested():
    whole = dict(
        re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    )
    for image in ("functions", "dashboard", "models", "build"):
        text = (ROOT / f"requirements-{image}.lock").read_text()
        for name, version in re.findall(r"^(\S+)==(\S+)", text, re.MULTILINE):
            assert whole.get(name, version) == version, f"{image}: {name}"
        for entry in re.split(r"^(?=\S+==)", text, flags=re.MULTILINE)[1:]:
            assert "--hash=sha256:" in entry


def test_the_dockerfile_names_no_index_and_installs_only_what_is_hashed():
    assert not re.search(r"https?://(?!127\.0\.0\.1)", DOCKERFILE)
    installs = re.findall(r"pip[^\n]* install [^\n]*", DOCKERFILE + INSTALLER)
    assert len(installs) == 3
    for line in installs:
        assert "--require-hashes" in line or "--no-index" in line, line


def test_images_run_as_nobody_and_keep_no_tool():
    final = DOCKERFILE[DOCKERFILE.index("FROM ${BASE} AS runtime") :]
    assert "USER 65532:65532" in final
    assert "USER root" not in final
    assert "apt-get" not in final
    for target in ("model-server", "functions", "dashboard"):
        stage = final[final.index(f"FROM runtime AS {target}") :]
        assert "HEALTHCHECK" in stage
        assert "org.opencontainers.image.revision" in stage
