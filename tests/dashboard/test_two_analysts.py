"""Two analysts at once, each with a browser: nobody gets what the other has in hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from api_world import opened, write_tenant
from dashboard_process import dashboard
from oidc_provider import served
from playwright.sync_api import BrowserContext, Page, expect

from groundshift.api import create_api

pytestmark = pytest.mark.browser

ROW = ".gs-row[aria-selected=true]"


@dataclass
class Desk:
    """One analyst's browser, and what the platform tells them."""

    page: Page
    api: httpx.Client

    def get(self, path: str, **query: Any) -> Any:
        return self.api.get(path, params=query).raise_for_status().json()

    @property
    def alert(self) -> str:
        """The one on the screen."""
        return str(self.page.locator(ROW).get_attribute("data-alert"))

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def shows_another_than(self, *alerts: str) -> str:
        """Waits for it, and says which."""
        for alert in alerts:
            expect(self.page.locator(f"{ROW}:not([data-alert='{alert}'])")).to_be_visible()
        expect(self.page.locator(ROW)).to_be_visible()
        return self.alert


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[str, str]]]:
    """(API, dashboard) of ann and of bob, over one ledger of four alerts of one tile."""
    folder = tmp_path_factory.mktemp("desks")
    with ExitStack() as stack:
        platform = stack.enter_context(opened(folder))
        write_tenant(platform, "acme")
        found = {}
        for user in ("ann", "bob"):
            settings = platform.settings.model_copy(update={"local_user": user})
            app = create_api(settings=settings, ledger=platform.ledger, store=platform.store)
            api = stack.enter_context(served(app))
            found[user] = (api, stack.enter_context(dashboard(api, folder / f"{user}.log")))
        yield found


@pytest.fixture
def desks(
    addresses: dict[str, tuple[str, str]], browser: BrowserContext
) -> Iterator[Callable[[str], Desk]]:
    """Opens the screen of somebody, in a browser context of their own."""
    with ExitStack() as stack:

        def sit(user: str) -> Desk:
            api, url = addresses[user]
            assert browser.browser
            context = browser.browser.new_context(viewport={"width": 1280, "height": 800})
            stack.callback(context.close)
            limits = httpx.Limits(keepalive_expiry=2)  # the server closes what is idle after 5 s
            client = stack.enter_context(httpx.Client(base_url=api, trust_env=False, limits=limits))
            desk = Desk(context.new_page(), client)
            for alert in desk.get("/api/alerts")["features"]:  # whatever a test before it held
                client.delete(f"/api/queue/{alert['id']}/lock").raise_for_status()
            desk.page.goto(url)
            desk.page.locator(".gs-place .gs[data-ready]").wait_for()
            return desk

        yield sit


def holds(desk: Desk, alert: str) -> None:
    """Waits until the platform tells somebody else that it is taken."""
    for _ in range(600):
        if alert in {one["alert_id"] for one in desk.get("/api/queue/held")["held"]}:
            return
        desk.page.wait_for_timeout(50)
    raise AssertionError(f"nobody has {alert} in hand")


def test_two_review_at_once_and_both_verdicts_stand(
    desks: Callable[[str], Desk], picture: Callable[[Page, str], None]
) -> None:
    ann, bob = desks("ann"), desks("bob")
    ann.press("ArrowDown")
    first = ann.alert
    holds(bob, first)
    bob.press("ArrowDown")  # the same first row; the platform says that ann has it
    second = bob.shows_another_than(first)
    holds(ann, second)
    ann.press("a")
    third = ann.shows_another_than(first, second)
    holds(bob, third)
    bob.press("r")
    fourth = bob.shows_another_than(first, second, third)
    assert len({first, second, third, fourth}) == 4
    for desk in (ann, bob):
        expect(desk.page.locator(".gs-count b")).to_have_text("2 to review")
    said = {one["alert_id"]: one for one in ann.get("/api/reviews")["reviews"]}
    assert (said[first]["reviewer"], said[first]["verdict"]) == ("ann", "accept")
    assert (said[second]["reviewer"], said[second]["verdict"]) == ("bob", "reject")

    bob.page.locator("[data-show=reviewed]").click()
    bob.page.locator(f".gs-row[data-alert='{first}']").click()
    holds(ann, first)
    bob.press("r")
    ann.page.locator("[data-show=reviewed]").click()
    expect(ann.page.locator(f".gs-row[data-alert='{first}']")).to_contain_text("disagreed")
    ann.page.locator(f".gs-row[data-alert='{first}']").click()
    expect(ann.page.locator(".gs-said:not(.gs-agreement)")).to_contain_text("Reviewers disagree")
    torn = ann.page.locator(".gs-agreement")
    expect(torn).to_contain_text("ann sees a change, bob sees none")
    picture(ann.page, "agreement")
    verdicts = ann.get("/api/reviews", alert_id=first)["reviews"]
    assert [(one["reviewer"], one["verdict"]) for one in verdicts] == [
        ("ann", "accept"),
        ("bob", "reject"),
    ]


def test_who_waits_at_an_alert_gets_it_when_the_other_leaves(
    desks: Callable[[str], Desk],
) -> None:
    ann, bob = desks("ann"), desks("bob")
    for desk in (ann, bob):
        desk.page.locator("[data-show=all]").click()
    ann.press("ArrowDown")
    wanted = ann.alert
    holds(bob, wanted)
    bob.page.locator(f".gs-row[data-alert='{wanted}']").click()  # that one is meant: no other comes
    expect(bob.page.locator(".gs-warn")).to_contain_text("ann has")
    ann.press("ArrowDown")
    holds(ann, wanted)
    assert bob.alert == wanted


def test_who_labels_has_the_tile_alone(desks: Callable[[str], Desk]) -> None:
    ann, bob = desks("ann"), desks("bob")
    for desk in (ann, bob):
        desk.page.locator("[data-show=all]").click()
    ann.press("ArrowDown")
    ann.press("d")
    expect(ann.page.locator(".gs-tools")).to_be_visible()
    holds(bob, ann.alert)
    bob.press("ArrowDown")
    expect(bob.page.locator(".gs-warn")).to_contain_text("ann has")
    bob.press("d")
    expect(bob.page.locator(".gs-tools")).to_have_count(0)
    ann.press("Escape")  # no longer labels: looks at one alert only
    expect(bob.page.locator(".gs-row-flag", has_text="ann")).to_have_count(1)
    other = f".gs-row:not([aria-selected=true], [data-alert='{ann.alert}'])"
    wanted = str(bob.page.locator(other).first.get_attribute("data-alert"))
    bob.page.locator(f".gs-row[data-alert='{wanted}']").click()  # of the tile that was ann's alone
    holds(ann, wanted)
