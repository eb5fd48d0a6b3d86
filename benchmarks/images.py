"""What is in the container images, and how long they take to answer: `make images`.

usage: images.py FUNCTIONS_IMAGE MODELS_IMAGE   (needs a Docker engine)
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

ROUNDS = 3
LONGEST_S = 180
LISTING = (
    "import json, pathlib, sysconfig as s; root = pathlib.Path(s.get_path('purelib'));"
    "print(json.dumps({p.name: sum(f.lstat().st_size for f in [p, *p.rglob('*')] if f.is_file())"
    " for p in root.iterdir()}))"
)
RESTRICTED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "host")


@dataclass(frozen=True)
class Program:
    """An image as it is started here."""

    image: str
    path: str
    """What answers 200 once it serves."""
    options: Sequence[str]
    arguments: Sequence[str]


def docker(*arguments: str) -> str:
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def packed_bytes(image: str) -> int:
    """Bytes that a registry holds and a node pulls: the layers, compressed."""
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as save:
        assert save.stdout is not None
        packer, total = zlib.compressobj(6), 0
        while chunk := save.stdout.read(1 << 20):
            total += len(packer.compress(chunk))
    return total + len(packer.flush())


def contents(image: str) -> dict[str, int]:
    found: dict[str, int] = json.loads(
        docker("run", "--rm", "--network", "host", "--entrypoint", "python", image, "-c", LISTING)
    )
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def start_s(program: Program, port: int, *options: str) -> float:
    """Seconds from `docker run` to the first 200."""
    name = f"groundshift-images-{port}"
    began = time.monotonic()
    command = ["run", "-d", "--name", name, *RESTRICTED, *program.options, *options]
    docker(*command, program.image, *program.arguments, f"--port={port}")
    try:
        while not answers(f"http://127.0.0.1:{port}{program.path}"):
            if time.monotonic() - began > LONGEST_S:
                raise SystemExit(f"{program.image} does not answer:\n{docker('logs', name)}")
            time.sleep(0.02)
        return time.monotonic() - began
    finally:
        docker("rm", "-f", name)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def report(program: Program) -> None:
    on_disk = int(docker("image", "inspect", program.image, "--format", "{{.Size}}"))
    parts = contents(program.image)
    shown = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in list(parts.items())[:14])
    print(f"\n{program.image}")
    print(
        f"  on disk {on_disk / 1e6:.0f} MB, compressed {packed_bytes(program.image) / 1e6:.0f} MB"
    )
    print(f"  packages {sum(parts.values()) / 1e6:.0f} MB: {shown}, ...")
    with_code, without = [], []
    for _ in range(ROUNDS):  # interleaved, so that a busy machine slows both
        with_code.append(start_s(program, free_port()))
        without.append(start_s(program, free_port(), "-e", "PYTHONPYCACHEPREFIX=/tmp/none"))
    fast, slow = statistics.median(with_code), statistics.median(without)
    print(f"  start to first 200: {fast:.1f} s (median of {ROUNDS})")
    print(f"  the same without the bytecode in the image: {slow:.1f} s")


def main() -> None:
    functions, models = sys.argv[1:]
    stage = ("-e", "GROUNDSHIFT_MODELS_URL=http://127.0.0.1:9")
    store = "/opt/app/groundshift/model_store"
    arguments = (f"--model-dir={store}", "--host=127.0.0.1")
    report(Program(functions, "/healthz", stage, ("serve", "detect", "--host=127.0.0.1")))
    report(Program(models, "/v2/health/ready", (), arguments))


if __name__ == "__main__":
    main()
