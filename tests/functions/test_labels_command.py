"""`groundshift labels` over a platform's API."""

import json
import shutil

import pytest
from api_world import BOXES, opened
from fastapi.testclient import TestClient
from oidc_provider import served
from typer.testing import CliRunner

from functions.cli import app
from functions.review import review
from groundshift.api import create_api
from groundshift.events import AlertReviewed, new_event


@pytest.fixture
def world(template, tmp_path):
    """(Platform, address of its API) with one accepted alert and its label."""
    shutil.copytree(template, tmp_path / "world")
    with opened(tmp_path / "world") as platform:
        api = create_api(settings=platform.settings, ledger=platform.ledger, store=platform.store)
        with (
            served(api) as url,
            TestClient(api, base_url="http://localhost", client=("127.0.0.1", 1)) as client,
        ):
            said = accept(client, "house")
            data = AlertReviewed(
                **{name: said[name] for name in AlertReviewed.model_fields if name in said},
                review_id=said["id"],
                site_id="site-acme",
            )
            event = new_event(
                data, source="api", subject=said["alert_id"], time=platform.ledger.clock.now()
            )
            review(event, platform)
            yield platform, url


def accept(client, name):
    _, _, before, after = BOXES[name]
    query = {"from_class": before, "to_class": after}
    (alert,) = client.get("/api/alerts", params=query).json()["features"]
    body = {"alert_id": alert["id"], "alert_version": 1, "verdict": "accept"}
    return client.post("/api/reviews", json=body).json()


def run(*words):
    return CliRunner().invoke(app, ["labels", *words])


def test_tiles_are_listed_and_compared(world):
    _, url = world
    listed = run("list", "--url", url, "--json")
    (label,) = json.loads(listed.stdout)
    assert label["counts"]["changed"] == 600
    compared = run("diff", label["version"][:8], "--url", url, "--json")
    assert json.loads(compared.stdout)["pixels"]["added"] == 600
    assert run("diff", "zzz", "--url", url).exit_code != 0
    assert "600" in run("list", "--url", url).stdout
    assert "added" in run("diff", label["version"][:8], "--url", url).stdout


@pytest.mark.parametrize("form", ["geojson", "coco"])
def test_labels_are_written_and_taken(world, tmp_path, form):
    _, url = world
    file = tmp_path / "labels.json"
    assert run("export", str(file), "--format", form, "--url", url).exit_code == 0
    taken = run("import", str(file), "--url", url, "--json")
    (outcome,) = json.loads(taken.stdout)
    assert (outcome["outcome"], outcome["verdict"]) == ("known", "accept")
    assert "accept" in run("import", str(file), "--url", url).stdout


def test_what_goes_wrong_is_said(world, tmp_path):
    _, url = world
    broken = tmp_path / "x.json"
    broken.write_text("{")
    assert "no JSON" in str(run("import", str(broken), "--url", url).exception)
    broken.write_text('{"features": []}')
    assert "refused" in str(run("import", str(broken), "--url", url).exception)
    assert "is `groundshift up` running" in str(
        run("list", "--url", "http://127.0.0.1:9").exception
    )
