"""The map and the API on the cluster: behind the ingress, with a login, in a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from cluster_login import MAP
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy import select

from groundshift.ledger import tables

pytestmark = pytest.mark.flaky(
    reruns=1
)  # as the browser tests of the dashboard; what failed is shown

CITY: Final = "saclay_e"
ITEMS: Final = (f"{CITY}_20160315", f"{CITY}_20170829")
API_HOST: Final = "api.groundshift.example.com"
MAP_HOST: Final = MAP.removeprefix("http://")
LOGIN_HOST: Final = "login.groundshift.svc.cluster.local"
_CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS: Final = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
_OPEN_S: Final = 120.0
_DRAWN: Final = """
() => {
  const maps = Object.values(document.querySelector(".gs")?.workspace?.map?.maps ?? {});
  const chips = [...document.querySelectorAll(".gs-chips img")];
  const seen = chips.length > 1 && chips.every((chip) => chip.complete && chip.naturalWidth > 0);
  return seen && maps.length > 1 && maps.every((map) => map.loaded());
}
"""
"""Chips and map show pixels of both dates."""
_SHOTS: Final = Path(__file__).parents[2] / ".screenshots"


@pytest.fixture(scope="module")
def alerts(cluster: Any, data: Path) -> int:
    """How many alerts a real pair has raised; both dates are announced again where they were."""
    folder = data / "oscd" / CITY
    if not folder.is_dir():
        pytest.skip(f"real imagery is not at {folder}: set GROUNDSHIFT_DATA")
    cluster.roll_out("v1")
    cluster.upload(folder, prefix=CITY)
    for item, outcome in zip(ITEMS, ("skipped", "done"), strict=True):
        cluster.arrive(f"{CITY}/{item}.json")
        cluster.wait_scenes({item: outcome})
    with cluster.ledger.read() as connection:
        return len(connection.execute(select(tables.alerts.c.id)).all())


@pytest.fixture(scope="module")
def doors(cluster: Any) -> Iterator[dict[str, str]]:
    """host:port behind each public name, as this machine reaches it."""
    with cluster.ingress() as ingress, cluster.service("login", 80) as login:
        yield {MAP_HOST: ingress, API_HOST: ingress, LOGIN_HOST: login}


@pytest.fixture(scope="module")
def browser(doors: dict[str, str]) -> Iterator[Browser]:
    """A browser that finds the public names where this machine does."""
    if _CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    rules = ", ".join(f"MAP {host} {place}" for host, place in doors.items())
    with sync_playwright() as playwright:
        expect.set_options(timeout=_OPEN_S * 1000)
        found = playwright.chromium.launch(
            executable_path=_CHROMIUM, args=[*_FLAGS, f"--host-resolver-rules={rules}"]
        )
        yield found
        found.close()


def logged_in(browser: Browser, person: str) -> Page:
    """A page of somebody's own browser, on the map."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(_OPEN_S * 1000)
    page.goto(MAP)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name=person).click()
    page.locator(".gs-place .gs[data-ready]").wait_for()
    return page


def test_nobody_gets_in_without_a_token(doors: dict[str, str]) -> None:
    for host in (API_HOST, MAP_HOST):
        answer = httpx.get(f"http://{doors[host]}/api/alerts", headers={"host": host}, timeout=60)
        assert answer.status_code == 401, host
        assert answer.headers["content-type"] == "application/problem+json"


def test_an_analyst_reviews_on_the_map_and_the_verdict_becomes_a_label(
    cluster: Any, alerts: int, browser: Browser
) -> None:
    page = logged_in(browser, "ann")
    assert alerts > 0
    page.keyboard.press("ArrowDown")
    row = page.locator(".gs-row[aria-selected=true]")
    expect(row).to_be_visible()
    alert = row.get_attribute("data-alert")
    page.wait_for_function(_DRAWN)
    _SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=_SHOTS / "cluster-map.png")
    page.keyboard.press("a")
    expect(page.locator(".gs:not([data-saving])")).to_be_visible()
    reviews, labels = tables.reviews, tables.labels

    def signed() -> Any:
        query = select(reviews.c.actor, reviews.c.verdict).where(reviews.c.alert_id == alert)
        with cluster.ledger.read() as connection:
            return connection.execute(query).all()

    assert cluster.wait_for("the review", signed)[-1] == ("ann@example.com", "accept")

    def labelled() -> Any:
        with cluster.ledger.read() as connection:
            return connection.execute(select(labels.c.version).limit(1)).all()

    cluster.wait_for("the label that the review stage makes", labelled, timeout_s=300)


def test_a_viewer_looks_and_another_tenant_sees_nothing(alerts: int, browser: Browser) -> None:
    viewer = logged_in(browser, "vic")
    assert alerts > 0
    refused = viewer.evaluate(
        "() => fetch('/api/reviews', {method: 'POST', body: '{}',"
        " headers: {'content-type': 'application/json'}}).then((r) => r.status)"
    )
    assert refused == 403
    other = logged_in(browser, "eve")
    seen = other.evaluate("() => fetch('/api/alerts').then((r) => r.json())")
    assert seen["numberMatched"] == 0
