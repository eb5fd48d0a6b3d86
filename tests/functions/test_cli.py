"""The command line as a person and a script meet it: texts, exit codes, JSON."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac
import pytest
import rasterio

from functions import cli
from functions.commands.up import listening, sole_owner
from groundshift import keys
from groundshift.events import SceneArrived, new_event
from groundshift.ledger import trainings
from groundshift.ledger.arrivals import announce
from groundshift.opening import open_ledger
from groundshift.registry import FolderRegistry
from groundshift.serving.testing import write_test_models
from groundshift.settings import Settings


@dataclass(frozen=True)
class Said:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def flat(self) -> str:
        """Everything it said, without the breaks and frames of tables and boxes."""
        return " ".join((self.out + self.err).translate(str.maketrans("│╭╮╰╯─┃", " " * 7)).split())


Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command with its data folder under `tmp_path`, on a terminal 120 columns wide."""
    monkeypatch.setenv("GROUNDSHIFT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(cli, "_load_plugins", lambda: None)  # would add the command at each call

    def run_(*arguments: object) -> Said:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return run_


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_test_models(tmp_path_factory.mktemp("models"))


# ---- help


@pytest.mark.parametrize(
    ("command", "promise"),
    [
        ("detect", "Compare scenes and leave rasters, polygons and a report in a folder."),
        ("demo", "push every scene through the platform, end on a map and the score."),
        ("up", "Run the platform until it is stopped"),
        ("work", "Handle what was announced, then stop"),
        ("submit", "Announce scenes, in this order"),
        ("status", "Count scenes by outcome"),
        ("gaps", "List every scene that was not compared, and why."),
        ("alerts", "what changed, from what to what, how sure, since when."),
        ("simulate", "Make scenes with STAC Items and exact truth"),
        ("doctor", "say what is missing and the cure."),
        ("models", "List the models"),
        ("serve-models", "Serve ONNX models over KServe v2."),
    ],
)
def test_every_command_says_what_it_does(run: Run, command: str, promise: str) -> None:
    said = run(command, "--help")
    assert said.code == 0
    assert promise in said.flat


def test_the_command_alone_shows_the_two_ways_in(run: Run) -> None:
    said = run()
    assert "groundshift detect BEFORE AFTER --out DIR" in said.flat
    assert "groundshift up, then groundshift submit SCENE" in said.flat


# ---- bad usage


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("nonsense",), "No such command 'nonsense'"),
        (("detect",), "Missing argument"),
        (("detect", "only.tif", "--out", "x"), "name at least two scenes: BEFORE... AFTER"),
        (("detect", "a.tif", "b.tif", "--out", "x", "--threshold", "7"), "less than or equal to 1"),
        (("simulate", "--out", "x", "--site", "255"), "255 is odd"),
        (("simulate", "--out", "x", "--site", "64"), "greater than or equal to 128"),
        (("simulate", "--out", "x", "--dates", "500"), "less than or equal to 146"),
        (("simulate", "--out", "x", "--sensor", "spot"), "sentinel-2"),
        (("alerts", "--state", "maybe"), "provisional"),
        (("alerts", "--to-class", "lava"), "there are water, tree"),
        (("models", "--card", "oracle"), "there are change-classifier, cloud-mask, segmenter"),
        (("up", "--port", "70000"), "65535"),
        (("submit", "a.tif", "--date", "June"), "does not match the formats '%Y-%m-%d'"),
        (("submit", "a.tif", "b.tif", "--date", "2024-06-01"), "one scene at a time"),
    ],
)
def test_bad_usage_ends_with_2_and_names_what_is_taken(
    run: Run, arguments: tuple[str, ...], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = run(*arguments)
    assert said.code == 2
    assert why in said.flat
    assert "Traceback" not in said.err
    assert not list(tmp_path.iterdir()), "nothing is written before the usage is checked"


# ---- refused, and platform errors


def test_a_refused_scene_ends_with_3_its_reason_and_the_cure(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.tif"
    page.write_text("<html>404</html>")
    said = run("detect", page, page, "--out", tmp_path / "out")
    assert said.code == 3
    assert said.err.startswith("groundshift: refused (unreadable):")
    assert str(page) in said.err
    assert "fetch it again" in said.err
    assert not list((tmp_path / "out").iterdir()), "the work folder is gone"


@pytest.mark.parametrize("command", ["status", "gaps", "alerts"])
def test_a_folder_where_nothing_ran_teaches_the_next_step(
    run: Run, command: str, tmp_path: Path
) -> None:
    said = run(command, "--data", tmp_path / "fresh")
    assert said.code == 4
    assert "announce a scene with `groundshift submit`" in said.err
    assert not (tmp_path / "fresh").exists()


def test_a_setting_that_cannot_be_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDSHIFT_THRESHOLD", "7")
    said = run("status")
    assert said.code == 4
    assert "GROUNDSHIFT_THRESHOLD" in said.err


def test_a_ledger_that_is_none_is_said_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ledger.db").write_text("this is no database, whatever it is called")
    said = run("status")
    assert said.code == 4
    assert "ledger.db" in said.err
    assert "not a database" in said.err
    assert "Traceback" not in said.err


def test_a_folder_that_cannot_be_made_is_said_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = run("simulate", "--site", 128, "--dates", 1, "--out", tmp_path / "file" / "below")
    assert said.code == 4
    assert "name another folder" in said.err
    assert "Traceback" not in said.err


def test_a_second_platform_on_a_folder_is_told_so(run: Run, tmp_path: Path) -> None:
    with sole_owner(tmp_path / "data"):
        for command in (("up", "--port", 0), ("work",)):
            said = run(*command)
            assert said.code == 4
            assert "a platform runs on" in said.err
            assert "groundshift submit" in said.err


def test_a_taken_port_is_told_before_anything_is_loaded(run: Run, tmp_path: Path) -> None:
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        said = run("up", "--port", port)
    assert said.code == 4
    assert f"cannot listen on 127.0.0.1 port {port} (Address already in use)" in said.err
    assert not (tmp_path / "data" / "models.log").exists()


def test_a_platform_that_does_not_answer_is_named(run: Run) -> None:
    with listening("127.0.0.1", 0) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    said = run("submit", "scene.json", "--url", url)
    assert said.code == 4
    assert url in said.err
    assert "is `groundshift up` running?" in said.err


# ---- submit, status, gaps, alerts


def test_what_was_announced_is_pending_until_it_is_handled(run: Run, tmp_path: Path) -> None:
    href = str(tmp_path / "scene.json")
    said = run("submit", href, "--date", "2024-06-01", "--scale", "1e-4", "--json")
    assert said.code == 0
    (announced,) = said.json
    assert announced["href"] == href
    assert run("status", "--json").json["scenes"] == {"pending": 1}
    (gap,) = run("gaps", "--json").json
    assert gap["subject"] == href
    assert (gap["outcome"], gap["reason"]) == ("pending", "in_work")
    assert run("alerts", "--json").json == []
    assert "pending" in run("status").flat
    assert "ingest has not finished" in run("gaps").flat
    assert run("alerts").flat == "No alerts."


def test_a_ledger_without_scenes_teaches_the_next_step(run: Run, tmp_path: Path) -> None:
    run("submit", tmp_path / "scene.json")
    with sqlite3.connect(tmp_path / "data" / "ledger.db") as ledger:
        ledger.execute("DELETE FROM arrivals")
    ledger.close()
    assert "groundshift submit SCENE..." in run("status").flat
    assert "No gaps" in run("gaps").flat


# ---- simulate


def test_simulate_writes_what_it_says(run: Run, tmp_path: Path) -> None:
    said = run("simulate", "--site", 256, "--dates", 2, "--out", tmp_path, "--json")
    assert said.code == 0
    made = said.json
    assert made["changes"] > 0
    assert len(made["scenes"]) == 2
    for scene in made["scenes"]:
        item = pystac.Item.from_file(scene["item"])
        assert f"{item.datetime:%Y-%m-%d}" == scene["acquired"]
        for asset in item.get_assets().values():
            with rasterio.open(Path(scene["item"]).parent / asset.href) as file:
                assert file.crs.to_epsg() == 32631
    truth = json.loads((Path(made["truth"]) / "truth.geojson").read_text())
    assert len(truth["features"]) == made["changes"]


def test_the_same_seed_gives_the_same_scenes(run: Run, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        assert "known changes" in run("simulate", "--site=128", "--dates=1", "--out", folder).flat
    one, two = ({p.name: p.read_bytes() for p in f.rglob("*.tif")} for f in folders)
    assert one == two
    assert one


def test_detect_answers_in_json_and_leaves_every_product(
    run: Run, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDSHIFT_MODEL_DIR", str(model_dir))
    made = run("simulate", "--site=256", "--dates=2", "--out", tmp_path / "site", "--json").json
    pair = [scene["item"] for scene in made["scenes"]]
    said = run("detect", *pair, "--out", tmp_path / "out", "--threshold", "0.4", "--json")
    assert said.code == 0
    found = said.json
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["run_id"] == found["run_id"]
    assert record["threshold"] == 0.4
    assert {str(tmp_path / "out" / name) for name in keys.PRODUCTS} == set(found["files"].values())
    assert {p.name for p in (tmp_path / "out").iterdir()} == set(keys.PRODUCTS)
    km2 = [found["summary"][f"{kind}_km2"] for kind in ("changed", "unchanged", "not_observed")]
    assert sum(km2) == pytest.approx(2.56**2, rel=0.01)


# ---- models, doctor


def test_models_lists_names_digests_and_cards(run: Run, model_dir: Path) -> None:
    rows = run("models", "--model-dir", model_dir, "--json").json
    assert {row["name"] for row in rows} == {"cloud-mask", "segmenter", "change-classifier"}
    assert all(row["digest"].startswith("sha256:") for row in rows)
    table = run("models", "--model-dir", model_dir)
    assert all(row["digest"][:19] in table.flat for row in rows)
    card = run("models", "--model-dir", model_dir, "--card", "segmenter")
    assert card.code == 0
    assert "Rules for tests" in card.flat


@pytest.fixture
def registry(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of one set, its champion, in place of MLflow's."""
    for command in ("models", "publish_models"):
        monkeypatch.setattr(
            f"functions.commands.{command}.open_registry", lambda _: FolderRegistry(model_dir)
        )


@pytest.mark.usefixtures("registry")
def test_models_lists_the_sets_of_the_registry(run: Run, model_dir: Path) -> None:
    (known,) = run("models", "--from", "registry", "--json").json
    assert known["aliases"] == ["champion"]
    assert set(known["models"]) == {"cloud-mask", "segmenter", "change-classifier"}
    assert known["digest"][:19] in run("models", "--from", "registry").flat
    assert "Rules for tests" in run("models", "--from=registry", "--card=champion").flat
    assert "No set nobody is registered" in run("models", "--from=registry", "--card=nobody").flat


@pytest.mark.usefixtures("registry")
def test_a_set_of_the_registry_is_published_by_its_alias(run: Run, tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    rows = run("publish-models", "--to", bucket, "--registered", "champion", "--json").json
    assert [row["new"] for row in rows] == [True] * 3
    assert all(Path(row["storage_uri"], "model.onnx").is_file() for row in rows)
    again = run("publish-models", "--to", bucket, "--registered", "champion", "--json").json
    assert [(row["storage_uri"], row["new"]) for row in again] == [
        (row["storage_uri"], False) for row in rows
    ]
    gone = run("publish-models", "--to", bucket, "--registered", "challenger")
    assert (gone.code, "challenger" in gone.err) == (4, True)
    both = run("publish-models", "--to", bucket, "--registered=champion", f"--model-dir={bucket}")
    assert (both.code, "either --registered or --model-dir" in both.flat) == (2, True)


def test_a_training_that_waits_or_failed_is_seen_with_the_cure(run: Run, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    cure = "install it: pip install 'groundshift[training]'"
    with open_ledger(settings) as ledger:
        data, now = SceneArrived(href="/a"), datetime.now(UTC)
        with ledger.transaction() as tx:
            announce(tx, new_event(data, source="t", subject="a", time=now))
            for name, state in (("one", "registered"), ("two", "parked")):
                trainings.ask(tx, trainings.Labels(name * 20, 7, 7), cause="labels")
                outcome = trainings.Outcome(state, "why", cure, "sha256:5e7", "1", "report")
                trainings.conclude(tx, name * 20, outcome, owner="")
    rows = run("status", "--json").json["trainings"]
    assert {(row["state"], row["labels"]) for row in rows} == {("registered", 7), ("parked", 7)}
    assert cure in run("status").flat
    gaps = [gap for gap in run("gaps", "--json").json if gap["subject"].startswith("training")]
    assert [(gap["outcome"], gap["message"]) for gap in gaps] == [("pending", cure)]


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room on the disk, whatever this machine's has left: 10 GiB."""
    _free(monkeypatch, gib=10)


def _free(monkeypatch: pytest.MonkeyPatch, *, gib: int) -> None:
    usage = type(shutil.disk_usage("."))(total=100 << 30, used=0, free=gib << 30)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


@pytest.mark.usefixtures("roomy")
def test_the_doctor_is_content_with_this_installation(
    run: Run, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDSHIFT_MODEL_DIR", str(model_dir))
    said = run("doctor", "--json")
    found = {check["name"]: check for check in said.json}
    assert said.code == 0
    assert found["rasterio"]["ok"]
    assert "segmenter" in found["models"]["found"]
    assert "none yet" in found["ledger"]["found"]


def test_the_doctor_finds_a_setting_that_is_misspelt(
    run: Run, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDSHIFT_MODEL_DIR", str(model_dir))
    monkeypatch.setenv("GROUNDSHIFT_MODELS_DIR", "elsewhere")
    monkeypatch.setenv("GROUNDSHIFT_TRAIN_STEPS", "7")
    found = {check["name"]: check for check in run("doctor", "--json").json}
    assert not found["GROUNDSHIFT_MODELS_DIR"]["ok"]
    assert "GROUNDSHIFT_MODEL_DIR" in found["GROUNDSHIFT_MODELS_DIR"]["cure"]
    assert "GROUNDSHIFT_MODEL_DIR" not in found
    assert "GROUNDSHIFT_TRAIN_STEPS" not in found


def test_the_doctor_asks_for_room_on_the_disk(
    run: Run, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDSHIFT_MODEL_DIR", str(model_dir))
    _free(monkeypatch, gib=1)
    said = run("doctor", "--json")
    bad = {check["name"]: check for check in said.json if not check["ok"] and check["needed"]}
    assert said.code == 4
    assert "1 GiB free" in bad["data folder"]["found"]
    assert "GROUNDSHIFT_DATA_DIR" in bad["data folder"]["cure"]


@pytest.mark.usefixtures("roomy")
def test_the_doctor_says_the_cure(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GROUNDSHIFT_MODEL_DIR", str(tmp_path / "nothing"))
    said = run("doctor")
    assert said.code == 4
    assert "missing" in said.flat
    assert "GROUNDSHIFT_MODEL_DIR" in said.flat
    bad = [check for check in run("doctor", "--json").json if not check["ok"] and check["needed"]]
    assert [check["name"] for check in bad] == ["models"]
    assert bad[0]["cure"] == "set GROUNDSHIFT_MODEL_DIR to a model store"


@pytest.mark.usefixtures("roomy")
def test_the_doctor_looks_at_the_services_that_settings_name(
    run: Run, monkeypatch: pytest.MonkeyPatch, model_dir: Path
) -> None:
    with listening("127.0.0.1", 0) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("GROUNDSHIFT_MODELS_URL", url)
    monkeypatch.setenv("GROUNDSHIFT_MODEL_DIR", str(model_dir))
    monkeypatch.setenv("GROUNDSHIFT_DATABASE_URL", "mysql://somewhere/ledger")
    said = run("doctor", "--json")
    bad = {c["name"]: c["cure"] for c in said.json if not c["ok"] and c["needed"]}
    assert said.code == 4
    assert "groundshift serve-models" in bad["model server"]
    assert "GROUNDSHIFT_DATABASE_URL" in bad["ledger"]
