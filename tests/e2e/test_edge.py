"""`detect --device edge`: the 8-bit models in this process, beside the same run with the others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio

from functions import cli, local
from functions.commands import detect as command
from functions.commands.detect import Detection, Options, detect
from geodata_etl.bands import NOT_OBSERVED
from geodata_etl.simulate import ChangeCounts, SiteSpec, simulate_site, write_scene
from groundshift.errors import NotFound
from groundshift.registry import read_set
from groundshift.settings import Settings

LEVEL = 100
"""A change probability of 0.39: below the threshold that ships, so that more is compared."""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """One tile of a clear site, a year apart, with buildings and a felling between."""
    spec = SiteSpec(
        seed=5,
        size_px=448,
        top=-539_840,
        left=44_800,
        changes=ChangeCounts(building=4, felling=2, mine=1),
    )
    site, folder = simulate_site(spec), tmp_path_factory.mktemp("pair")
    dates = (datetime(2023, 6, 5, 10, 30, tzinfo=UTC), datetime(2024, 6, 8, 10, 30, tzinfo=UTC))
    return [
        str(write_scene(site.scene(day, cloud_fraction=0.0, shift=(0.0, 0.0)), site, folder))
        for day in dates
    ]


@pytest.fixture(scope="module")
def no_server() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("a model server was asked for")

        patch.setattr(local, "ModelServerProcess", refuse)
        patch.setattr(local, "KServeClient", refuse)
        yield


@pytest.fixture(scope="module")
def edge(scenes: list[str], no_server: None, tmp_path_factory: pytest.TempPathFactory) -> Detection:
    return detect(
        scenes, out=tmp_path_factory.mktemp("edge"), options=Options(), edge=True, quiet=True
    )


def _planes(found: Detection) -> dict[str, np.ndarray]:
    planes = {}
    for name, path in found.files.items():
        if path.suffix == ".tif":
            with rasterio.open(path) as source:
                planes[name] = source.read(1)
    return planes


def test_two_runs_on_a_device_give_the_same_bits_without_a_server(scenes, edge, tmp_path):
    again = detect(scenes, out=tmp_path, options=Options(), edge=True, quiet=True)
    assert again.run_id == edge.run_id
    first = _planes(edge)
    assert {"change.tif", "observed.tif"} <= first.keys()
    for name, plane in _planes(again).items():
        np.testing.assert_array_equal(plane, first[name])


def test_a_device_finds_what_the_full_models_find(scenes, edge, tmp_path, monkeypatch, no_server):
    monkeypatch.setenv("GROUNDSHIFT_MODEL_DIR", str(Settings().models))
    full = detect(scenes, out=tmp_path, options=Options(), edge=True, quiet=True)
    assert full.run_id != edge.run_id, "provider, version and variant are part of a run's id"
    ours, theirs = _planes(edge), _planes(full)
    same = (ours["observed.tif"] > 0) == (theirs["observed.tif"] > 0)
    assert same.mean() > 0.98
    called, wanted = (p["change.tif"] for p in (ours, theirs))
    one, two = ((p >= LEVEL) & (p != NOT_OBSERVED) for p in (called, wanted))
    assert two.sum() > 200
    assert 2 * (one & two).sum() / (one.sum() + two.sum()) > 0.9


def test_the_edge_set_is_the_one_of_the_package_unless_another_is_named(tmp_path):
    assert {r.variant for r in read_set(Settings().edge_models)} == {"int8-static"}
    assert Settings(model_dir=tmp_path).edge_models == tmp_path


def test_a_store_without_models_is_refused(scenes, tmp_path, monkeypatch):
    monkeypatch.setenv("GROUNDSHIFT_MODEL_DIR", str(tmp_path))
    with pytest.raises(NotFound, match="holds no model"):
        detect(scenes, out=tmp_path / "out", options=Options(), edge=True, quiet=True)


@pytest.mark.parametrize(("said", "edge"), [((), False), (("--device", "edge"), True)])
def test_the_command_line_says_where_the_models_run(said, edge, monkeypatch):
    asked = {}
    monkeypatch.setattr(cli, "_load_plugins", lambda: None)
    monkeypatch.setattr(command, "detect", lambda *_, **options: asked.update(options))
    monkeypatch.setattr(cli.show, "detection", lambda *_, **__: None)
    with pytest.raises(SystemExit) as ended:
        cli.main(["detect", "a.tif", "b.tif", "--out", "x", *said])
    assert ended.value.code == 0
    assert asked["edge"] is edge
