"""An analyst at work: the real platform, a real browser, the keyboard."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

Visit = Callable[[str], Page]

_OUTLINED = """
() => document.querySelector(".gs").workspace.map.maps.after
  .querySourceFeatures("selected").length > 0
"""
"""The chosen alert is drawn in white."""


def saved(page: Page) -> None:
    """Waits until every verdict is with the platform."""
    expect(page.locator(".gs:not([data-saving])")).to_be_visible()


def rows(page: Page) -> Any:
    return page.locator(".gs-row")


def chosen(page: Page) -> str | None:
    return page.locator(".gs-row[aria-selected=true]").get_attribute("data-alert")


def query(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def press(page: Page, key: str) -> None:
    page.keyboard.press(key)


def count(page: Page) -> int:
    return int(page.locator(".gs-count b").inner_text().split()[0])


def until_address(page: Page, name: str, value: str) -> None:
    page.wait_for_url(lambda url: parse_qs(urlsplit(url).query).get(name) == [value])


def test_it_opens_on_everything_that_waits(platform: Any, visit: Visit) -> None:
    page = visit(platform.url)
    waiting = platform.get("/api/queue")["numberMatched"]
    assert waiting > 10
    assert count(page) == waiting
    expect(page.get_by_test_id("who")).to_contain_text("this machine only")
    assert page.locator("iframe").count() == 0


def test_the_first_key_opens_the_first_of_the_queue(
    platform: Any, visit: Visit, picture: Callable[[Page, str], None]
) -> None:
    page = visit(platform.url)
    press(page, "ArrowDown")
    first = platform.get("/api/queue")["queue"][0]
    expect(page.locator(".gs-row[aria-selected=true]")).to_have_attribute(
        "data-alert", first["alert_id"]
    )
    expect(page.locator(".gs-facts")).to_contain_text(f"{first['bbox'] and 'Probability'}")
    for chip in page.locator(".gs-chips img").all():
        page.wait_for_function("(i) => i.complete && i.naturalWidth > 0", arg=chip.element_handle())
    assert page.locator(".gs-scene").count() == 3
    page.wait_for_function(_OUTLINED)
    picture(page, "review")


def test_a_filter_leaves_what_the_api_counts(platform: Any, visit: Visit) -> None:
    page = visit(platform.url)
    page.locator("[data-show=all]").click()
    to = platform.get("/api/queue")["queue"][0]["to_class"]
    page.locator("select[name=to]").select_option(to)
    states = ["first", "provisional", "confirmed", "finished"]
    wanted = platform.alerts(to_class=to, state=states)
    expect(page.locator(".gs-count b")).to_have_text(f"{len(wanted)} alerts")
    with page.expect_download() as started:
        page.get_by_role("button", name="GeoJSON").click()
    written = json.loads(started.value.path().read_text())
    assert {f["id"] for f in written["features"]} == {f["id"] for f in wanted}
    with page.expect_download() as started:
        page.get_by_role("button", name="CSV").click()
    assert len(started.value.path().read_text().splitlines()) == len(wanted) + 1


def test_the_divider_moves_by_keyboard_and_by_hand(platform: Any, visit: Visit) -> None:
    page = visit(platform.url)
    divider = page.get_by_role("slider", name="Swipe")
    expect(divider).to_have_attribute("aria-valuenow", "50")
    press(page, "ArrowRight")
    expect(divider).to_have_attribute("aria-valuenow", "54")
    press(page, " ")
    expect(divider).to_have_attribute("aria-valuenow", "0")
    press(page, "s")
    box, grip = page.locator(".gs-map").bounding_box(), divider.bounding_box()
    assert box
    assert grip
    page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, grip["y"] + 80)
    page.mouse.up()
    expect(divider).to_have_attribute("aria-valuenow", "25")


def test_a_reload_finds_the_same_view(platform: Any, visit: Visit) -> None:
    page = visit(platform.url)
    page.locator("[data-state=withdrawn]").click()
    press(page, "ArrowDown")
    press(page, "2")
    press(page, "ArrowLeft")
    until_address(page, "swipe", "46")
    until_address(page, "rendering", "false")
    before, alert = query(page), chosen(page)
    assert before["alert"] == alert
    visit(page.url)
    expect(page.locator(".gs-row[aria-selected=true]")).to_have_attribute("data-alert", alert or "")
    expect(page.locator("[data-rendering=false]")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("slider", name="Swipe")).to_have_attribute("aria-valuenow", "46")
    press(page, "h")  # any change writes the address anew
    until_address(page, "outlines", "0")
    assert {**query(page), "outlines": ""} == {**before, "outlines": ""}


def test_ten_alerts_by_keyboard(platform: Any, visit: Visit) -> None:
    page = visit(platform.url)
    waiting, judged = count(page), len(platform.get("/api/reviews")["reviews"])
    press(page, "ArrowDown")
    seen = []
    for key in "aararaaraa":
        seen.append(chosen(page))
        press(page, key)
        expect(page.locator(".gs-row[aria-selected=true]")).not_to_have_attribute(
            "data-alert", seen[-1] or ""
        )
    assert len(set(seen)) == 10
    assert count(page) == waiting - 10
    saved(page)
    reviews = platform.get("/api/reviews")["reviews"]
    assert len(reviews) == judged + 10
    said = {review["alert_id"]: review["verdict"] for review in reviews}
    assert [said[alert] for alert in seen] == [
        {"a": "accept", "r": "reject"}[key] for key in "aararaaraa"
    ]
    waits = {row["alert_id"] for row in platform.get("/api/queue", limit=1000)["queue"]}
    assert not waits & set(seen)


def test_back_to_the_last_one_and_another_verdict(platform: Any, visit: Visit) -> None:
    page = visit(platform.url)
    press(page, "ArrowDown")
    alert = chosen(page)
    press(page, "a")
    press(page, "z")
    expect(page.locator(".gs-row[aria-selected=true]")).to_have_attribute("data-alert", alert or "")
    press(page, "r")
    saved(page)
    found = platform.get("/api/reviews", alert_id=alert)["reviews"]
    assert [review["verdict"] for review in found] == ["accept", "reject"]


def test_a_verdict_that_is_not_kept_comes_back(platform: Any, page: Page, visit: Visit) -> None:
    # before the page opens: one that is open may still ask past a route that was just set
    page.route("**/api/reviews", lambda route: route.fulfill(status=503, json={"detail": "gone"}))
    visit(platform.url)
    press(page, "ArrowDown")
    alert, waiting = chosen(page), count(page)
    press(page, "a")
    expect(page.locator(".gs-toast")).to_contain_text("was not kept: gone")
    expect(page.locator(f".gs-row[data-alert='{alert}']")).to_be_visible()
    assert count(page) == waiting
    press(page, "ArrowDown")
    other = chosen(page)
    press(page, "a")
    lost = page.locator(".gs-toast.gs-bad")
    expect(lost).to_have_count(2)  # the second does not push the first away
    assert [str(said).split()[3] for said in lost.all_inner_texts()] == [alert, other]


def test_keys_that_are_typed_are_no_verdicts(platform: Any, visit: Visit) -> None:
    page = visit(platform.url)
    press(page, "ArrowDown")
    alert = chosen(page)
    page.get_by_role("textbox", name="Comment").fill("")
    page.get_by_role("textbox", name="Comment").press_sequentially("a real road")
    assert chosen(page) == alert
    press(page, "Escape")
    press(page, "u")
    saved(page)
    assert platform.get("/api/reviews", alert_id=alert)["reviews"][-1]["comment"] == "a real road"
