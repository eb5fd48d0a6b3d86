"""A small simulated site and the real model server with the test models, for the e2e tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import onnx
import pytest

from functions.commands.submit import SOURCE
from functions.local import Embedded, embedded
from functions.testing import canonical_state
from geodata_etl.simulate import SiteSpec, simulate_site, write_scene
from groundshift.events import SceneArrived, new_event
from groundshift.models import artifact_digest
from groundshift.modelserver_process import ModelServerProcess
from groundshift.serving.testing import write_test_models
from groundshift.settings import Settings

START = datetime(2024, 5, 1, 10, 30, tzinfo=UTC)


@pytest.fixture(scope="session")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_test_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def models_url(model_store: Path) -> Iterator[str]:
    with ModelServerProcess(model_store, threads=2) as server:
        yield server.url


@pytest.fixture(scope="session")
def other_models_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of another model set: the same tensors, other digests."""
    store = write_test_models(tmp_path_factory.mktemp("other"))
    for folder in store.iterdir():
        artifact, record = folder / "model.onnx", folder / "model.json"
        model = onnx.load(artifact)
        model.doc_string = "another release"
        artifact.write_bytes(model.SerializeToString())
        said = json.loads(record.read_text())
        said["digest"] = artifact_digest(artifact.read_bytes())
        record.write_text(json.dumps(said))
    with ModelServerProcess(store, threads=1) as server:
        yield server.url


@pytest.fixture(scope="session")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four scenes of one site, 700 px: 2 x 2 tiles, some cloud, small shifts."""
    site = simulate_site(SiteSpec(seed=11, size_px=700, top=-539_840 + 100, left=44_800 + 100))
    folder = tmp_path_factory.mktemp("scenes")
    return [
        write_scene(
            site.scene(
                START + timedelta(days=60 * index),
                cloud_fraction=0.15 * index,
                shift=(0.3 * index, -0.2 * index),
            ),
            site,
            folder,
        )
        for index in range(4)
    ]


@pytest.fixture(scope="session")
def open_platform(
    models_url: str, items: list[Path]
) -> Callable[..., AbstractContextManager[Embedded]]:
    """What opens a platform on a folder, over the shared model server."""

    def open_(folder: Path, **options: Any) -> AbstractContextManager[Embedded]:
        given = {
            "data_dir": folder,
            "models_url": models_url,
            "allowed_roots": (items[0].parent,),
            "backoff_scale": 0.02,
            "dispatch_poll_s": 0.2,
            "min_area_px": 400,  # the test classifier marks every season
        }
        return embedded(Settings(**{**given, **options}))

    return open_


def announce(platform: Embedded, items: Sequence[Path], *, copies: int = 1) -> None:
    """Announce scenes; the same event `copies` times, as an at-least-once sender does."""
    for item in items:
        event = new_event(
            SceneArrived(href=str(item)), source=SOURCE, subject=str(item), time=START
        )
        for _ in range(copies):
            platform.announce([event])


@pytest.fixture(scope="session")
def announce_scenes() -> Callable[..., None]:
    return announce


@pytest.fixture(scope="session")
def undisturbed(
    open_platform: Callable[..., AbstractContextManager[Embedded]],
    items: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """The canonical state after all scenes came once and in order."""
    with open_platform(tmp_path_factory.mktemp("undisturbed")) as platform:
        announce(platform, items)
        platform.work(timeout_s=200)
        state = canonical_state(platform.platform.ledger, platform.platform.store)
    assert {row["outcome"] for row in state["scenes"]} == {"done", "skipped"}
    assert state["changes"]
    assert state["alerts"]
    return state
