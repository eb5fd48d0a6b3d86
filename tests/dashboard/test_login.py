"""People who log in: a real login on loopback, the dashboard and the API over two tenants."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from api_world import opened, write_tenant
from fastapi import FastAPI
from oidc_provider import CLIENT, SECRET, Provider, provider, served
from playwright.sync_api import BrowserContext, Page, expect

from groundshift.api import create_api
from groundshift.api.tokens import TokenVerifier

pytestmark = pytest.mark.browser

PEOPLE: Final = {
    "vic": {"role": "viewer", "tenant": "acme", "email": "vic@acme.test"},
    "ann": {"role": "analyst", "tenant": "acme", "email": "ann@acme.test"},
    "eve": {"role": "admin", "tenant": "globex", "email": "eve@globex.test"},
    "sam": {"tenant": "acme", "email": "sam@acme.test"},
}


@dataclass(frozen=True)
class Site:
    """A dashboard with a login."""

    login: Provider
    app: FastAPI
    """The API's."""
    api: str
    url: str

    def get(self, name: str, path: str, **query: Any) -> httpx.Response:
        """What the API says to somebody."""
        token = self.login.token(sub=name, **PEOPLE[name])
        headers = {"authorization": f"Bearer {token}"}
        return httpx.get(f"{self.api}{path}", params=query, headers=headers, trust_env=False)

    @contextmanager
    def every_token_over(self) -> Iterator[None]:
        """No token that was given out holds any more, as when its time is over."""
        before = self.app.state.services
        strict = TokenVerifier(self.login.url, "whoever logs in after this")
        self.app.state.services = replace(before, tokens=strict)
        try:
            yield
        finally:
            self.app.state.services = before


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("login")
    with provider(PEOPLE) as login:
        issuer = {"oidc_issuer": login.url, "oidc_audience": CLIENT}
        with opened(folder, **issuer) as platform:
            for tenant in ("acme", "globex"):
                write_tenant(platform, tenant)
            app = create_api(
                settings=platform.settings, ledger=platform.ledger, store=platform.store
            )
            with served(app) as api, dashboard(login, api, folder / "dashboard.log") as url:
                yield Site(login, app, api, url)
        assert login.refused == []


class dashboard:
    """`groundshift dashboard` with a login."""

    def __init__(self, login: Provider, api: str, log: Path) -> None:
        self.login, self.log = login, log
        settings = {
            "GROUNDSHIFT_OIDC_ISSUER": login.url,
            "GROUNDSHIFT_OIDC_AUDIENCE": CLIENT,
            "GROUNDSHIFT_OIDC_CLIENT_SECRET": SECRET,
            "GROUNDSHIFT_COOKIE_KEY": "a key of the tests that is long enough",
        }
        command = [sys.executable, "-m", "functions.cli", "dashboard", f"--api={api}", "--port=0"]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, env={**os.environ, **settings}, stdout=out, stderr=out
            )

    def __enter__(self) -> str:
        pattern = r"dashboard is on (http://[\d.:]+) over"
        while (found := re.search(pattern, self.log.read_text())) is None:
            with suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"ended with {self.process.wait(0.1)}: {self.log.read_text()}")
        self.login.redirects.add(f"{found[1]}/oauth2callback")
        return found[1]

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(60)
        said = self.log.read_text()
        assert "Traceback" not in said, said
        assert self.login.redirects == set(re.findall(r"redirect address (\S+)\.\s", said))


@pytest.fixture
def page(browser: BrowserContext, page: Page) -> Page:
    """A browser that nobody logged in with yet."""
    browser.clear_cookies()
    return page


def log_in(page: Page, name: str) -> None:
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name=name, exact=True).click()


def enter(page: Page, url: str, name: str) -> None:
    page.goto(url)
    log_in(page, name)
    page.locator(".gs-place .gs[data-ready]").wait_for()


def shows(page: Page, text: str) -> None:
    expect(page.get_by_test_id("who")).to_contain_text(text)


def press(page: Page, key: str) -> None:
    page.keyboard.press(key)


def chosen(page: Page) -> str:
    found = page.locator(".gs-row[aria-selected=true]").get_attribute("data-alert")
    assert found
    return found


def reviews(site: Site, alert: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.get("ann", "/api/reviews", alert_id=alert).json()["reviews"]
    return found


def alerts(site: Site, name: str) -> set[str]:
    return {one["id"] for one in site.get(name, "/api/alerts").json()["features"]}


def test_nobody_sees_anything_without_a_login(
    site: Site, page: Page, picture: Callable[[Page, str], None]
) -> None:
    page.goto(site.url)
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    for path in ("alerts", "scenes", "chips/acme-after.png?bbox=1,2,3,4"):
        answer = page.request.get(f"{site.url}/api/{path}")
        assert (answer.status, answer.json()["status"]) == (401, 401)
    expect(page.locator(".gs")).to_have_count(0)
    picture(page, "login")


def test_a_viewer_looks_and_cannot_review(
    site: Site, page: Page, picture: Callable[[Page, str], None]
) -> None:
    enter(page, site.url, "vic")
    shows(page, "vic@acme.test")
    shows(page, "viewer of acme")
    press(page, "ArrowDown")
    alert = chosen(page)
    for button in page.locator(".gs-verdict").all():
        expect(button).to_be_disabled()
    expect(page.get_by_text("You are a viewer")).to_be_visible()
    press(page, "a")
    expect(page.locator(".gs-toast")).to_contain_text("takes the role analyst")
    assert chosen(page) == alert
    picture(page, "viewer")
    review = {"alert_id": alert, "alert_version": 1, "verdict": "accept"}
    answer = page.request.post(f"{site.url}/api/reviews", data=review)
    assert (answer.status, "analyst" in answer.json()["detail"]) == (403, True)
    assert reviews(site, alert) == []


def test_an_analysts_review_carries_their_name(site: Site, page: Page) -> None:
    enter(page, site.url, "ann")
    shows(page, "analyst of acme")
    press(page, "ArrowDown")
    alert = chosen(page)
    for chip in page.locator(".gs-chips img").all():
        page.wait_for_function("(i) => i.complete && i.naturalWidth > 0", arg=chip.element_handle())
    press(page, "a")
    expect(page.locator(".gs:not([data-saving])")).to_be_visible()
    (review,) = reviews(site, alert)
    assert (review["reviewer"], review["verdict"]) == ("ann@acme.test", "accept")
    page.goto(f"{site.url}/data")
    page.locator(".gs-coverage[data-ready]").wait_for()
    with site.every_token_over():
        page.get_by_role("link", name="Help").click()
        page.get_by_role("link", name="Data").click()
        expect(page.get_by_text("Your login has ended")).to_be_visible()


def test_another_tenant_sees_nothing_of_the_first(site: Site, page: Page) -> None:
    enter(page, site.url, "eve")
    shows(page, "admin of globex")
    rows = page.locator(".gs-row")
    shown = {row.get_attribute("data-alert") for row in rows.all()}
    assert shown == alerts(site, "eve")
    theirs = alerts(site, "ann")
    assert not shown & theirs
    for path in (f"alerts/{min(theirs)}", "tiles/scene/acme-after/10/518/352.png"):
        assert page.request.get(f"{site.url}/api/{path}").status == 404
    page.goto(f"{site.url}/?alert={min(theirs)}")  # a permalink of the other tenant
    expect(page.locator(".gs-toast")).to_contain_text("may belong to another tenant")


def test_a_permalink_leads_through_the_login_to_the_same_view(site: Site, page: Page) -> None:
    alert = min(alerts(site, "ann"))
    enter(page, f"{site.url}/?alert={alert}&rendering=ndvi&swipe=30", "ann")
    assert chosen(page) == alert
    expect(page.locator("[data-rendering=ndvi]")).to_have_attribute("aria-pressed", "true")
    assert parse_qs(urlsplit(page.url).query)["alert"] == [alert]


def test_who_logs_out_is_out(site: Site, page: Page) -> None:
    enter(page, site.url, "ann")
    page.get_by_role("link", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert page.request.get(f"{site.url}/api/alerts").status == 401


def test_who_has_no_role_is_told_so(site: Site, page: Page) -> None:
    page.goto(site.url)
    log_in(page, "sam")
    expect(page.get_by_text("have no role here")).to_be_visible()
    expect(page.locator(".gs")).to_have_count(0)
    page.get_by_role("link", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()


def test_a_login_that_ends_is_asked_for_again_and_the_view_stays(
    site: Site, page: Page, picture: Callable[[Page, str], None]
) -> None:
    enter(page, site.url, "ann")
    press(page, "ArrowDown")
    alert = chosen(page)
    press(page, "3")
    page.wait_for_url(lambda url: "rendering=ndvi" in url)
    with site.every_token_over():
        press(page, "u")
        expect(page.locator(".gs-ended")).to_be_visible()
        expect(page.locator(".gs-toast.gs-bad", has_text="was not kept")).to_be_visible()
        row = page.locator(f".gs-row[data-alert='{alert}']")
        row.click()
        expect(row).to_have_attribute("aria-selected", "true")
        page.wait_for_url(lambda url: f"alert={alert}" in url)
        picture(page, "login-ended")
        page.locator(".gs-ended").get_by_role("button", name="Log in again").click()
        expect(page.get_by_text("Your login has ended")).to_be_visible()
    log_in(page, "ann")
    page.locator(".gs-place .gs[data-ready]").wait_for()
    assert chosen(page) == alert
    expect(page.locator("[data-rendering=ndvi]")).to_have_attribute("aria-pressed", "true")
    assert all(review["verdict"] != "unsure" for review in reviews(site, alert))


def test_pages_of_other_sites_get_nothing(site: Site, page: Page) -> None:
    enter(page, site.url, "ann")
    alert = min(alerts(site, "ann"))
    review = {"alert_id": alert, "alert_version": 1, "verdict": "reject"}
    foreign = {"origin": "http://127.0.0.1:1"}
    answer = page.request.post(f"{site.url}/api/reviews", data=review, headers=foreign)
    assert answer.status == 403
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    held = cookies["_streamlit_user_tokens"]
    assert (held["httpOnly"], held["sameSite"]) == (True, "Lax")
