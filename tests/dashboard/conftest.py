"""The whole platform with its dashboard over a small simulated site, and a browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from api_world import opened
from dashboard_process import dashboard
from oidc_provider import served
from PIL import Image
from playwright.sync_api import BrowserContext, Page, Request, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from geodata_etl.simulate import SiteSpec, simulate_site, write_scene
from groundshift.api import create_api

LONGEST_S: Final = 240.0
"""Longest wait for anything; a machine that is slow is not wrong."""
_OPEN_S: Final = 60.0
_CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS: Final = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
_IN_README: Final = ("review", "label")
_START: Final = datetime(2024, 5, 1, 10, 30, tzinfo=UTC)
_DRAWN: Final = """
() => {
  const view = document.querySelector(".gs")?.workspace;
  const maps = view ? Object.values(view.map.maps) : [];
  const images = [...document.querySelectorAll(".gs img")];
  return maps.every((map) => map.loaded()) && images.every((image) => image.complete);
}
"""
_ROOT: Final = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser test that fails is run once more: two browsers on two cores lose a key press now
    and then. The end of the run shows what failed the first time."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@dataclass(frozen=True)
class Running:
    """A platform with its dashboard."""

    api: httpx.Client
    url: str
    """Of the dashboard."""

    def get(self, path: str, **query: Any) -> Any:
        return self.api.get(path, params=query).raise_for_status().json()

    def alerts(self, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/api/alerts", limit=10_000, **query)["features"]
        return found


def wait_until(look: Callable[[], Any], why: Callable[[], str]) -> Any:
    """What `look` gives once it gives something."""
    deadline = time.monotonic() + LONGEST_S
    while not (found := look()):
        assert time.monotonic() < deadline, why()
        time.sleep(0.1)
    return found


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """`wait_until`, for tests."""
    return wait_until


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three dates of a site of 640 px, the second one after known changes."""
    site = simulate_site(SiteSpec(seed=5, size_px=640))
    folder = tmp_path_factory.mktemp("scenes")
    days = [(0, 0.02), (150, 0.1), (365, 0.05)]
    return [
        write_scene(site.scene(_START + timedelta(days=d), cloud_fraction=c), site, folder)
        for d, c in days
    ]


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A platform that nothing was submitted to yet: what it serves people, without the stages."""
    folder = tmp_path_factory.mktemp("empty")
    with opened(folder) as platform:
        app = create_api(settings=platform.settings, ledger=platform.ledger, store=platform.store)
        with (
            served(app) as api,
            dashboard(api, folder / "dashboard.log") as url,
            httpx.Client(base_url=api, timeout=60, trust_env=False) as client,
        ):
            yield Running(api=client, url=url)


@pytest.fixture(scope="session")
def platform(scenes: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A platform that worked through the scenes."""
    with worked(tmp_path_factory.mktemp("platform"), scenes) as found:
        yield found


@pytest.fixture(scope="session")
def work_through() -> Callable[..., AbstractContextManager[Running]]:
    """`worked`, for tests."""
    return worked


@contextmanager
def worked(folder: Path, scenes: Sequence[Path]) -> Iterator[Running]:
    """A platform in a folder that worked through some scenes."""
    with running(folder, f"--allow={scenes[0].parent}") as found:
        command = [sys.executable, "-m", "functions.cli", "submit", f"--url={found.api.base_url}"]
        subprocess.run([*command, *map(str, scenes)], check=True, capture_output=True)
        wait_until(lambda: _worked(found, len(scenes)), lambda: str(found.get("/status")))
        yield found


def _worked(found: Running, scenes: int) -> bool:
    known = found.get("/api/scenes")["scenes"]
    ended = [scene for scene in known if scene["outcome"] in ("done", "skipped")]
    return len(ended) == scenes and not found.get("/status")["deliveries"].get("waiting")


class running:
    """`groundshift up --dashboard`, from its first words to its end."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.log = folder / "up.log"
        command = [sys.executable, "-m", "functions.cli", "up", "--port=0", "--dashboard"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, f"--data={folder / 'data'}", *options], stdout=log, stderr=log
            )

    def __enter__(self) -> Running:
        try:
            api = self._address(r"groundshift is up on (http://[\d.:]+)\.\s")
            url = self._address(r"dashboard is on (http://[\d.:]+) over")
        except BaseException:
            self._end()
            raise
        self.api = httpx.Client(base_url=api, timeout=60, trust_env=False)
        return Running(api=self.api, url=url)

    def __exit__(self, *_: object) -> None:
        self.api.close()
        self._end()
        said = self.log.read_text()
        assert self.process.returncode == 0, said
        assert "Traceback" not in said, said[said.index("Traceback") - 300 :]

    def _address(self, pattern: str) -> str:
        found: re.Match[str] = wait_until(
            lambda: re.search(pattern, self.log.read_text()), self.log.read_text
        )
        return found[1]

    def _end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(LONGEST_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserContext]:
    """One per module, so that its cache is warm after the first test; its loop ends with it."""
    if _CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=_CHROMIUM, args=list(_FLAGS))
        expect.set_options(timeout=_OPEN_S * 1000)
        yield found.new_context(viewport={"width": 1280, "height": 800})
        found.close()


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    """A page of 1280 x 800 that may neither throw nor ask anybody outside this machine."""
    opened = browser.new_page()
    opened.set_default_timeout(_OPEN_S * 1000)
    thrown: list[str] = []
    outside: list[str] = []
    opened.on("pageerror", lambda error: thrown.append(str(error)))
    opened.on("request", lambda request: outside.extend(_beyond_loopback(request)))
    yield opened
    opened.close()
    assert thrown == []
    assert outside == []


def _beyond_loopback(request: Request) -> list[str]:
    local = re.match(r"(https?|wss?)://(127\.0\.0\.1|localhost)[:/]|data:|blob:", request.url)
    return [] if local else [request.url]


@pytest.fixture
def visit(page: Page) -> Callable[[str], Page]:
    """Opens an address and waits for the map in its place (until Streamlit is there, it stands in
    another, and a click amid the move is lost); once more where the network blinked."""

    def open_(url: str) -> Page:
        for attempt in (1, 2, 3):
            page.goto(url)
            try:
                page.locator(".gs-place .gs[data-ready]").wait_for(timeout=_OPEN_S * 1000 / attempt)
            except PlaywrightTimeout:
                if attempt == 3:
                    raise
            else:
                expect(page.locator(".gs")).to_have_count(1)  # one that goes may still be there
                return page
        raise AssertionError

    return open_


@pytest.fixture(scope="session")
def picture() -> Callable[[Page, str], None]:
    """Keeps a screenshot in .screenshots; README's ones in the folder of DASHBOARD_IMAGES too."""
    kept = _ROOT / ".screenshots"
    kept.mkdir(exist_ok=True)
    shown = os.environ.get("DASHBOARD_IMAGES")

    def take(page: Page, name: str) -> None:
        page.wait_for_function(_DRAWN)
        path = kept / f"dashboard-{name}.png"
        page.screenshot(path=path)
        if shown and name in _IN_README:
            with Image.open(path) as image:
                few = image.convert("RGB").quantize(
                    256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
                )
                few.save(Path(shown) / path.name, optimize=True)

    return take
