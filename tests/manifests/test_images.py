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
WITHOUT_CUDA = (ROOT / "docker" / "without-cuda").read_text()
TRAINING = "image-training"
"""The lock of the image; ``training`` is the one of the tests."""
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
            {"mlflow"},
        ),
        (
            "dashboard",
            ["functions", "groundshift", "geodata_etl"],
            ("testing", "serving"),
            {"mlflow"},
        ),
        ("models", ["groundshift/serving"], (), set()),
        (
            TRAINING,
            ["training", "functions", "groundshift", "geodata_etl"],
            ("testing", "serving", "api", "dashboard"),
            set(),
        ),
    ],
)
def test_an_image_holds_what_its_programs_import(image, folders, without, elsewhere):
    distributions = packages_distributions()
    held = locked(image)
    modules = imported(*folders, without=(*without, "testing.py"))
    assert modules
    for module in modules - elsewhere:
        names = {canonical(name) for name in distributions.get(module, [module])}
        assert names & held, f"{module}: none of {sorted(names)} is in the image {image}"


def test_the_functions_image_knows_no_kserve_and_no_runtime():
    assert not ELSEWHERE & (locked("functions") | locked("dashboard"))
    assert locked("models") >= ELSEWHERE
    for image in ("functions", "dashboard", "models"):
        assert not {"torch", "mlflow", "pytest", "pip"} & locked(image)


def versions(lock):
    return dict(re.findall(r"^(\S+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize(
    ("image", "tested"),
    [
        *((image, "requirements.lock") for image in ("functions", "dashboard", "models", "build")),
        (TRAINING, "requirements-training.lock"),
    ],
)
def test_every_list_is_hashed_and_of_the_versions_that_are_tested(image, tested):
    whole, text = versions(tested), (ROOT / f"requirements-{image}.lock").read_text()
    for name, version in versions(f"requirements-{image}.lock").items():
        assert whole.get(name, version) == version, name
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
    for target in ("model-server", "functions", "dashboard", "training"):
        stage = final[final.index(f"FROM runtime AS {target}") :]
        assert "HEALTHCHECK" in stage
        assert "org.opencontainers.image.revision" in stage


def test_the_training_image_leaves_cuda_out_and_stands_in_for_it():
    """The runtime alone is there: it is what says that there is no GPU."""
    held = locked(TRAINING)
    assert {name for name in held if name.startswith("nvidia-")} == {"nvidia-cuda-runtime"}
    assert not {"triton", "pytest", "pip"} & held
    assert "libcuda.so" in WITHOUT_CUDA  # the driver's stays the driver's
    stage = DOCKERFILE[DOCKERFILE.index("AS training-libraries") :]
    assert (
        stage.index("install-libraries req")
        < stage.index("&& without-cuda ")
        < stage.index("torch.ones")
    )


def test_the_training_image_tells_nobody_what_runs_in_it():
    stage = DOCKERFILE[DOCKERFILE.index("FROM runtime AS training") :].partition("\nFROM ")[0]
    assert "RAY_USAGE_STATS_ENABLED=0" in stage
    assert "MLFLOW_DISABLE_TELEMETRY=true" in stage


def test_every_lock_that_an_image_takes_goes_to_the_engine():
    sent = (ROOT / ".dockerignore").read_text()
    for lock in re.findall(r"COPY (?:--\S+ )?(requirements\S+\.lock)", DOCKERFILE):
        assert f"!{lock}" in sent
