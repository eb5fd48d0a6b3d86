"""Areas of interest: drawn on the map, saved, and what the list is filtered by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

pytestmark = pytest.mark.browser

Visit = Callable[[str], Page]


def click(page: Page, *shares: tuple[float, float]) -> None:
    box = page.locator(".gs-map").bounding_box()
    assert box
    for x, y in shares:
        page.mouse.click(box["x"] + box["width"] * x, box["y"] + box["height"] * y)


def test_an_area_is_drawn_saved_and_filters_the_list(
    platform: Any, visit: Visit, picture: Callable[[Page, str], None]
) -> None:
    page = visit(platform.url)
    page.locator("[data-show=all]").click()
    whole = page.locator(".gs-count b").inner_text()
    page.get_by_role("button", name="Draw an area").click()
    click(page, (0.2, 0.2), (0.55, 0.2), (0.55, 0.8), (0.2, 0.8))
    page.keyboard.press("Enter")
    name = page.get_by_role("textbox", name="Name of the area")
    name.fill("the west")
    name.press("Enter")
    expect(page.locator(".gs-toast")).to_contain_text("the west is saved")
    (area,) = [one for one in platform.get("/api/areas")["areas"] if one["name"] == "the west"]
    states = ["first", "provisional", "confirmed", "finished"]
    inside = platform.alerts(area_id=area["id"], state=states)
    assert 0 < len(inside) < int(whole.split()[0])
    expect(page.locator(".gs-count b")).to_have_text(f"{len(inside)} alerts")
    page.wait_for_url(lambda url: f"area={area['id']}" in url)
    picture(page, "area")
    page.reload()
    expect(page.locator(".gs-count b")).to_have_text(f"{len(inside)} alerts")
    expect(page.locator("select[name=area]")).to_have_value(area["id"])

    page.get_by_role("button", name="Rename or redraw").click()
    field = page.get_by_role("textbox", name="Name of the area")
    expect(field).to_have_value("the west")
    field.fill("all that is in view")
    page.get_by_role("button", name="Take this view").click()
    page.locator("[data-area=save]").click()
    expect(page.locator("select[name=area] option:checked")).to_have_text("all that is in view")
    changed = platform.get(f"/api/areas/{area['id']}")
    assert changed["geometry"] != area["geometry"]

    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("select[name=area]")).to_have_value("")
    expect(page.locator(".gs-count b")).to_have_text(whole)
    assert area["id"] not in {one["id"] for one in platform.get("/api/areas")["areas"]}


def test_escape_leaves_drawing_and_keys_judge_nothing_meanwhile(
    platform: Any, visit: Visit
) -> None:
    page = visit(platform.url)
    judged = len(platform.get("/api/reviews", limit=1000)["reviews"])
    page.keyboard.press("ArrowDown")
    page.get_by_role("button", name="Draw an area").click()
    click(page, (0.2, 0.2), (0.55, 0.2), (0.55, 0.8))
    page.locator(".gs-tags").focus()
    for key in ("a", "r", "u"):
        page.keyboard.press(key)
    page.keyboard.press("Escape")  # the sketch
    page.keyboard.press("Escape")  # the drawing
    expect(page.get_by_role("button", name="Draw an area")).to_be_visible()
    assert len(platform.get("/api/reviews", limit=1000)["reviews"]) == judged


def test_a_link_to_an_area_that_is_gone_shows_everything(platform: Any, visit: Visit) -> None:
    page = visit(f"{platform.url}/?area=0123456789abcdef&show=all")
    expect(page.locator(".gs-toast")).to_contain_text("there is no area")
    expect(page.locator(".gs-row").first).to_be_visible()


def test_what_is_at_hand_stays_so_when_streamlit_comes_late(platform: Any, page: Page) -> None:
    held: list[Callable[[], None]] = []
    late = True

    def hold(socket: WebSocketRoute) -> None:
        def said(message: str | bytes) -> None:
            held.append(lambda: socket.send(message))
            if not late:
                held.pop()()

        socket.connect_to_server().on_message(said)

    page.route_web_socket("**/_stcore/stream", hold)
    page.goto(platform.url)
    page.locator(".gs[data-ready]").wait_for()
    expect(page.locator(".gs-place .gs")).to_have_count(0)
    button = page.get_by_role("button", name="Draw an area")
    button.focus()
    late = False
    for send in held:
        send()
    expect(page.locator(".gs-place .gs")).to_have_count(1)
    expect(button).to_be_focused()


def test_an_area_is_saved_without_a_mouse(platform: Any, visit: Visit) -> None:
    page = visit(platform.url)
    expect(page.locator(".gs-row").first).to_be_visible()  # what arrives late repaints the panel
    page.get_by_role("button", name="Draw an area").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Take this view").focus()
    page.keyboard.press("Enter")
    name = page.get_by_role("textbox", name="Name of the area")
    name.focus()
    expect(name).to_be_focused()
    page.keyboard.type("typed area")  # its letters are no verdicts
    expect(name).to_have_value("typed area")
    page.keyboard.press("Enter")
    expect(page.locator(".gs-toast")).to_contain_text("typed area is saved")
    (area,) = [one for one in platform.get("/api/areas")["areas"] if one["name"] == "typed area"]
    assert platform.alerts(area_id=area["id"])
    platform.api.delete(f"/api/areas/{area['id']}").raise_for_status()
