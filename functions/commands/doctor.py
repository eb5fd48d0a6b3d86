"""Check the installation and its surroundings; every finding that is not well has a cure."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import httpx

from groundshift.errors import GroundshiftError
from groundshift.ledger import Ledger
from groundshift.manifests import load
from groundshift.models import list_models, read_artifact
from groundshift.opening import settings_of
from groundshift.settings import Settings

_CORE: Final = ("rasterio", "onnxruntime", "kserve", "xarray", "dask", "geopandas", "sqlalchemy")
_TRAINING: Final = ("torch", "segmentation-models-pytorch", "mlflow")
_OF_TRAINING: Final = ("GROUNDSHIFT_TRAIN_", "GROUNDSHIFT_TUNE_")
_FREE_BYTES: Final = 2 << 30
_TIMEOUT_S: Final = 3.0


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    ok: bool
    found: str
    cure: str = ""
    """What to do where it is not well."""
    needed: bool = True
    """Whether the embedded platform cannot do without it."""


def doctor(*, data_dir: Path | None) -> list[Check]:
    """Look at packages, models, manifests, the data folder and the services that settings name."""
    settings = settings_of(data_dir)
    looked = (_packages(), _misspelt(), [_models(settings), _manifests()])
    return [check for some in (*looked, _places(settings), _services(settings)) for check in some]


def _packages() -> Iterator[Check]:
    for name in _CORE:
        yield _package(name, needed=True, cure="pip install --require-hashes -r requirements.lock")
    for name in _TRAINING:
        yield _package(name, needed=False, cure="pip install 'groundshift[training]'")


def _package(name: str, *, needed: bool, cure: str) -> Check:
    try:
        return Check(name, ok=True, found=version(name), needed=needed)
    except PackageNotFoundError:
        return Check(name, ok=False, found="not installed", cure=cure, needed=needed)


def _misspelt() -> Iterator[Check]:
    """A variable that nothing reads does nothing, and nothing else says so."""
    known = ["GROUNDSHIFT_DATA", *(f"GROUNDSHIFT_{name.upper()}" for name in Settings.model_fields)]
    ours = (name for name in sorted(os.environ) if name.startswith("GROUNDSHIFT_"))
    for name in ours:
        if name not in known and not name.startswith(_OF_TRAINING):
            meant = " or ".join(get_close_matches(name, known, n=2)) or "a name of docs/settings.md"
            yield Check(name, ok=False, found="no such setting", cure=meant, needed=False)


def _models(settings: Settings) -> Check:
    def look() -> str:
        records = list_models(settings.models)
        for record in records:
            read_artifact(record)
        return ", ".join(f"{record.name} {record.short_digest}" for record in records)

    return _try("models", look, cure="set GROUNDSHIFT_MODEL_DIR to a model store")


def _manifests() -> Check:
    def look() -> str:
        return f"{len(load('knative'))} knative, {len(load('kserve'))} kserve"

    return _try("manifests", look, cure="install groundshift again")


def _places(settings: Settings) -> Iterator[Check]:
    def ledger() -> str:
        with Ledger.open(settings.ledger_url):
            return settings.ledger_url

    if settings.database_url or (settings.data_dir / "ledger.db").exists():
        yield _try("ledger", ledger, cure="check GROUNDSHIFT_DATABASE_URL")
    else:
        yield Check(
            "ledger", ok=True, found=f"none yet; `groundshift up` makes it in {settings.data_dir}"
        )
    place = next(p for p in (settings.data_dir, *settings.data_dir.parents) if p.exists())
    free = shutil.disk_usage(place).free
    writable = os.access(place, os.W_OK)
    yield Check(
        "data folder",
        ok=writable and free >= _FREE_BYTES,
        found=f"{settings.data_dir}, {free >> 30} GiB free",
        cure=f"it needs {_FREE_BYTES >> 30} GiB: make room, or name another folder with --data or "
        "GROUNDSHIFT_DATA_DIR",
    )


def _services(settings: Settings) -> Iterator[Check]:
    if settings.models_url:
        yield _try(
            "model server",
            lambda: _ready(settings.models_url),
            cure="start it: groundshift serve-models --model-dir DIR",
        )
    with socket.socket() as probe:
        probe.settimeout(_TIMEOUT_S)
        up = probe.connect_ex(("127.0.0.1", 8080)) == 0
    found = "something answers on port 8080" if up else "not running"
    yield Check("groundshift up", ok=up, found=found, cure="groundshift up", needed=False)


def _ready(url: str) -> str:
    answer = httpx.get(f"{url.rstrip('/')}/v2/health/ready", timeout=_TIMEOUT_S)
    return f"{url}: {answer.raise_for_status().status_code}"


def _try(name: str, look: Callable[[], str], *, cure: str) -> Check:
    try:
        return Check(name, ok=True, found=look())
    except (GroundshiftError, OSError, httpx.HTTPError) as error:
        return Check(name, ok=False, found=str(error), cure=cure)
