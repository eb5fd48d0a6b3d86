"""The pages beside the map, and what is said where there is nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


def test_the_data_page_counts_what_the_api_counts(
    platform: Any, page: Page, picture: Callable[[Page, str], None]
) -> None:
    page.goto(f"{platform.url}/data")
    page.locator(".gs-coverage[data-ready]").wait_for()
    shown = {
        tile.locator("[data-testid=stMetricLabel]").inner_text().split("\n")[0]: tile.locator(
            "[data-testid=stMetricValue]"
        ).inner_text()
        for tile in page.get_by_test_id("stMetric").all()
    }
    scenes = platform.get("/api/scenes")["scenes"]
    assert shown["Scenes"] == str(len(scenes))
    assert shown["Compared"] == str(sum(scene["outcome"] == "done" for scene in scenes))
    expect(page.get_by_text("first 8 digits of their digests")).to_be_visible()
    expect(page.get_by_text("Gaps", exact=True)).to_be_visible()
    page.locator("canvas.marks, svg.marks").first.wait_for()
    picture(page, "data")


def test_help_teaches_the_keys(platform: Any, page: Page) -> None:
    page.goto(f"{platform.url}/help")
    expect(page.get_by_text("Review an alert in seconds")).to_be_visible()


def test_the_question_mark_opens_and_escape_closes(
    platform: Any, visit: Callable[[str], Page]
) -> None:
    page = visit(platform.url)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("accept: the change is real")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_an_empty_platform_says_what_to_do(
    empty: Any, visit: Callable[[str], Page], picture: Callable[[Page, str], None]
) -> None:
    page = visit(empty.url)
    expect(page.get_by_role("dialog")).to_contain_text("groundshift submit")
    picture(page, "empty")
    page.goto(f"{empty.url}/data")
    expect(page.get_by_text("No scenes yet")).to_be_visible()
