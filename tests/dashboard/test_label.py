"""Redrawing alerts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import shapely
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

Visit = Callable[[str], Page]


def saved(page: Page) -> None:
    """Waits until every verdict is with the platform."""
    expect(page.locator(".gs:not([data-saving])")).to_be_visible()


_CORNER = """
(at) => document.querySelector(".gs").workspace.map.maps.after
  .queryRenderedFeatures(at, { layers: ["vertices"] }).length > 0
"""
"""A worker draws the corners, a moment later."""


def opened(platform: Any, visit: Visit) -> tuple[Page, str]:
    page = visit(f"{platform.url}/label")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".gs-tools")).to_be_visible()
    alert = page.locator(".gs-row[aria-selected=true]").get_attribute("data-alert")
    return page, alert or ""


def click(page: Page, *shares: tuple[float, float]) -> None:
    box = page.locator(".gs-map").bounding_box()
    assert box
    for x, y in shares:
        page.mouse.click(box["x"] + box["width"] * x, box["y"] + box["height"] * y)


def last_review(platform: Any, alert: str) -> dict[str, Any]:
    found: dict[str, Any] = platform.get("/api/reviews", alert_id=alert)["reviews"][-1]
    return found


def test_a_drawn_part_is_saved(
    platform: Any, visit: Visit, picture: Callable[[Page, str], None]
) -> None:
    page, alert = opened(platform, visit)
    parts = page.locator(".gs-parts li")
    before = parts.count()
    page.keyboard.press("p")
    click(page, (0.7, 0.15), (0.8, 0.15), (0.8, 0.3), (0.7, 0.3))
    page.keyboard.press("Enter")
    expect(parts).to_have_count(before + 1)
    page.locator("select[name=label-to]").select_option("water")
    picture(page, "label")
    page.locator("[data-verdict=accept]").click()
    expect(page.locator(".gs-toast")).to_contain_text("Redrawn")
    saved(page)
    review = last_review(platform, alert)
    assert (review["verdict"], review["to_class"]) == ("redraw", "water")
    assert review["geometry"]["type"] == "MultiPolygon"
    assert len(review["geometry"]["coordinates"]) == before + 1


def test_undo_takes_back_and_redo_brings_again(platform: Any, visit: Visit) -> None:
    page, _ = opened(platform, visit)
    area = page.locator(".gs-said h3").first
    before = area.inner_text()
    page.keyboard.press("p")
    click(page, (0.7, 0.15), (0.8, 0.15), (0.8, 0.3))
    page.keyboard.press("Enter")
    expect(area).not_to_have_text(before)
    drawn = area.inner_text()
    page.keyboard.press("z")
    expect(area).to_have_text(before)
    page.keyboard.press("y")
    expect(area).to_have_text(drawn)
    page.keyboard.press("z")
    expect(page.locator("[data-verdict=accept]")).to_contain_text("Accept")


def test_a_corner_follows_the_mouse(platform: Any, visit: Visit) -> None:
    page, _ = opened(platform, visit)
    page.keyboard.press("p")
    click(page, (0.7, 0.1), (0.9, 0.1), (0.9, 0.3), (0.7, 0.3))
    page.keyboard.press("Enter")
    drawn = page.locator(".gs-parts li").last
    before = drawn.inner_text()
    box = page.locator(".gs-map").bounding_box()
    assert box
    x, y = box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.1
    page.wait_for_function(_CORNER, arg=[box["width"] * 0.9, box["height"] * 0.1])
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 60, y + 30, steps=4)
    page.mouse.up()
    expect(drawn).not_to_have_text(before)


def areas(page: Page) -> list[float]:
    """Hectares of each part."""
    said = page.locator(".gs-parts:not(.gs-ignored) li > span").all_inner_texts()
    return [float(text.split()[0]) for text in said]


def test_a_part_is_split_merged_and_cut(platform: Any, visit: Visit) -> None:
    page, _ = opened(platform, visit)
    before = len(areas(page))
    page.keyboard.press("p")
    click(page, (0.72, 0.12), (0.92, 0.12), (0.92, 0.32), (0.72, 0.32))
    page.keyboard.press("Enter")
    expect(page.locator(".gs-parts li")).to_have_count(before + 1)
    square = areas(page)[-1]
    page.keyboard.press("l")
    click(page, (0.82, 0.06), (0.82, 0.38))
    page.keyboard.press("Enter")
    expect(page.locator(".gs-parts li")).to_have_count(before + 2)
    assert areas(page)[-2:] == pytest.approx([square / 2, square / 2], rel=0.02)
    page.keyboard.press("m")
    expect(page.locator(".gs-parts li")).to_have_count(before + 1)
    assert max(areas(page)) >= square * 0.98
    page.keyboard.press("x")
    click(page, (0.77, 0.17), (0.87, 0.17), (0.87, 0.27), (0.77, 0.27))
    page.keyboard.press("Enter")
    expect(page.locator(".gs-parts li")).to_have_count(before + 1)  # a hole is no part
    for _ in range(4):
        page.keyboard.press("z")
    expect(page.locator(".gs-parts li")).to_have_count(before)
    expect(page.locator("[data-verdict=accept]")).to_contain_text("Accept")


def test_ignored_ground_goes_with_the_verdict(
    platform: Any, visit: Visit, picture: Callable[[Page, str], None]
) -> None:
    page, alert = opened(platform, visit)
    page.keyboard.press("i")
    click(page, (0.55, 0.42), (0.75, 0.42), (0.75, 0.6), (0.55, 0.6))
    page.keyboard.press("Enter")
    expect(page.locator(".gs-ignored li")).to_have_count(1)
    page.keyboard.press("z")
    expect(page.locator(".gs-ignored li")).to_have_count(0)
    page.keyboard.press("y")
    expect(page.locator(".gs-ignored li")).to_have_count(1)
    picture(page, "ignore")
    page.keyboard.press("a")
    saved(page)
    review = last_review(platform, alert)
    assert (review["verdict"], review["geometry"]) == ("accept", None)
    assert shapely.geometry.shape(review["ignore"]).area > 0


def test_a_tile_says_what_each_version_changed(
    platform: Any, visit: Visit, until: Callable[..., Any]
) -> None:
    page, alert = opened(platform, visit)
    page.keyboard.press("r")
    saved(page)

    def labelled() -> Any:
        return platform.get("/api/labels", alert_id=alert)["labels"]

    version = until(labelled, lambda: "no label came")[-1]["version"]
    visit(f"{platform.url}/label?alert={alert}&show=all")
    row = page.locator(f"[data-label='{version}']")
    row.get_by_role("button", name="what changed").click()
    expect(row).to_contain_text("px")
    said = platform.get(f"/api/labels/{version}/diff")
    expect(row).to_contain_text(f"{said['pixels']['judged']} px newly looked at")


def test_a_label_goes_out_and_comes_in(platform: Any, visit: Visit, tmp_path: Any) -> None:
    page, _ = opened(platform, visit)
    page.keyboard.press("p")
    click(page, (0.72, 0.12), (0.92, 0.12), (0.92, 0.32), (0.72, 0.32))
    page.keyboard.press("Enter")
    page.keyboard.press("i")
    click(page, (0.75, 0.15), (0.85, 0.15), (0.85, 0.25))
    page.keyboard.press("Enter")
    drawn, left_out = page.locator(".gs-said h3").first, page.locator(".gs-ignored li")
    expect(left_out).to_have_count(1)
    whole = drawn.inner_text()
    before = _outlines(_exported(page, "GeoJSON", tmp_path))
    for name in ("GeoJSON", "COCO"):
        path = _exported(page, name, tmp_path)
        page.keyboard.press("z")
        page.keyboard.press("z")
        expect(drawn).not_to_have_text(whole)
        page.locator(".gs-more input[type=file]").set_input_files(path)
        expect(left_out).to_have_count(1)
        expect(drawn).to_have_text(re.compile(f"^{whole.split(', ')[0]}, "))
        # the shown area can fall to either side of a rounding; the corners may move by 20 cm
        again = _outlines(_exported(page, "GeoJSON", tmp_path))
        assert [kind for kind, _ in again] == [kind for kind, _ in before]
        for (_, one), (_, two) in zip(before, again, strict=True):
            assert shapely.hausdorff_distance(one.boundary, two.boundary) < 2e-6


def _exported(page: Page, name: str, folder: Any) -> Any:
    with page.expect_download() as started:
        page.locator(".gs-more").get_by_role("button", name=name).click()
    started.value.save_as(folder / name)
    return folder / name


def _outlines(path: Any) -> list[tuple[str, Any]]:
    features = json.loads(path.read_text("utf-8"))["features"]
    return sorted(
        (
            (f["properties"]["kind"], shapely.from_geojson(json.dumps(f["geometry"])))
            for f in features
        ),
        key=lambda one: (one[0], one[1].bounds),
    )


SQUARE = [[[[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]]]


@pytest.fixture
def shapes(platform: Any, visit: Visit) -> Callable[[str], Any]:
    """Evaluates an expression over the module of polygon arithmetic."""
    page = visit(platform.url)
    assets = page.evaluate(
        "performance.getEntriesByType('resource').map(r => r.name)"
        ".find(name => name.includes('shapes.mjs'))"
    )

    def evaluate(expression: str) -> Any:
        return page.evaluate(
            f"async ([url, square]) => {{ const s = await import(url); return {expression}; }}",
            [assets, SQUARE],
        )

    return evaluate


def test_polygon_arithmetic(shapes: Callable[[str], Any]) -> None:
    halves = shapes("s.split(square, [[1, -1], [1, 3]])")
    assert sorted(polygon(part).area for part in halves) == pytest.approx([2, 2])
    together = shapes("s.union(s.split(square, [[1, -1], [1, 3]]))")
    assert polygon(together[0]).equals(polygon(SQUARE[0]))
    holed = shapes("s.subtract(square, [[[.5, .5], [1, .5], [1, 1], [.5, 1], [.5, .5]]])")
    assert polygon(holed[0]).area == pytest.approx(3.75)
    assert shapes("s.iou(square, square)") == pytest.approx(1)
    assert shapes("s.iou(square, s.split(square, [[1, -1], [1, 3]]).slice(0, 1))") == pytest.approx(
        0.5, abs=1e-3
    )


def test_simplifying_keeps_the_corners(shapes: Callable[[str], Any]) -> None:
    stairs = "[[[[0,0],[.5,.00001],[1,0],[2,0],[2,2],[0,2],[0,0]]]]"
    ring = shapes(f"s.simplified({stairs}, 8)")[0][0]
    assert sorted(map(tuple, ring[:-1])) == [(0, 0), (0, 2), (2, 0), (2, 2)]


def polygon(rings: Any) -> shapely.Polygon:
    return shapely.Polygon(rings[0], rings[1:])
