"""One real pair of Sentinel-2 on the map: what was made for simulated scenes shows real ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

DATA = Path(os.environ.get("GROUNDSHIFT_DATA", Path(__file__).parents[3] / "shared" / "data"))

pytestmark = [
    pytest.mark.browser,
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"real imagery is not at {DATA}"),
]

COLOURS = """
(image) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const drawn = canvas.getContext("2d");
  drawn.drawImage(image, 0, 0);
  const { data } = drawn.getImageData(0, 0, canvas.width, canvas.height);
  return new Set(Array.from({ length: data.length / 4 }, (_, i) => data[4 * i])).size;
}
"""


def test_a_real_pair_is_reviewed(
    tmp_path: Path,
    visit: Callable[[str], Page],
    picture: Callable[[Page, str], None],
    work_through: Callable[..., Any],
) -> None:
    city = DATA / "oscd" / "saclay_e"
    pair = [city / "saclay_e_20160315.json", city / "saclay_e_20170829.json"]
    with work_through(tmp_path, pair) as platform:
        found = platform.alerts()
        assert found, "the models find something in Saclay"
        page = visit(f"{platform.url}/?show=all")
        page.keyboard.press("ArrowDown")
        for chip in page.locator(".gs-chips img").all():
            handle = chip.element_handle()
            page.wait_for_function("(i) => i.complete && i.naturalWidth > 0", arg=handle)
            assert page.evaluate(COLOURS, handle) > 20  # shades of red: real pixels, no flat tile
        assert page.locator(".gs-scene").count() == 2
        page.keyboard.press("ArrowLeft")
        expect(page.get_by_role("slider", name="Swipe")).to_have_attribute("aria-valuenow", "46")
        picture(page, "real")
        alert = page.locator(".gs-row[aria-selected=true]").get_attribute("data-alert")
        page.keyboard.press("a")
        expect(page.locator(".gs:not([data-saving])")).to_be_visible()
        (review,) = platform.get("/api/reviews", alert_id=alert)["reviews"]
        assert review["verdict"] == "accept"
