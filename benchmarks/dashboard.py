"""The dashboard at 10,000 alerts: first paint and a filter change, in a real browser.

    python benchmarks/dashboard.py --data demo/platform --alerts 10000 --leaflet leaflet/dist

Copies a platform's folder (`groundshift demo` leaves one), repeats its alerts over its sites until
there are enough, and opens the Review page in Chromium with software rendering. Prints medians:
`list_s` from asking for the page to the list, `first_paint_s` to the list and the map filled;
`again_s` the same with a warm cache. Of a change of the class filter: `work_ms` until list and maps
are told, `list_ms` until the list's new frame, `map_ms` until both maps are drawn and idle;
`frames_ms` is what two frames take where nothing changes. `server_cpu_ms` is the processor time
that the API and the dashboard spent on one first visit, `columns_ms` the API's on its largest
answer. The issue's limits: 2 s and 500 ms.

Where streamlit-folium can be imported (PYTHONPATH), the same alerts are drawn by
`folium_page.py` beside it, visit by visit in turns, and `ratio_first` and `ratio_filter` say how
many times longer that takes. Leaflet, which folium fetches from elsewhere, comes from `--leaflet`;
what else it would fetch is answered with nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from playwright.sync_api import Browser, Page, Route, sync_playwright
from sqlalchemy import insert, select

from functions.commands.common import address_of, listening
from groundshift.api import create_api
from groundshift.ledger import Ledger, tables
from groundshift.opening import open_ledger, open_store
from groundshift.settings import Settings

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
CHANGE = """
async (to) => {
  const select = document.querySelector("select[name=to]");
  const { maps } = document.querySelector(".gs").workspace.map;
  const frame = () => new Promise(requestAnimationFrame);
  const frames = async () => [await frame(), await frame()];
  const before = performance.now();
  await frames();
  const still = performance.now() - before;
  const begun = performance.now();
  select.value = to;
  select.dispatchEvent(new Event("change"));
  const work = performance.now() - begun;
  const idle = Promise.all(Object.values(maps).map((map) => map.once("idle")));
  await frames();
  const list = performance.now() - begun;
  await idle;
  return { frames: still, work, list, map: performance.now() - begun };
}
"""
FOLIUM_DRAWN = """
(wanted) => {
  const page = [...document.querySelectorAll("iframe")].find((f) => f.title.includes("folium"));
  const drawn = page?.contentDocument?.querySelectorAll("path.leaflet-interactive").length;
  return drawn === wanted;
}
"""
PAGE = Path(__file__).with_name("folium_page.py")
LONGEST_MS = 300_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--alerts", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--leaflet", type=Path, help="dist folder of the npm package leaflet")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="groundshift-bench-") as name:
        folder = Path(name) / "data"
        shutil.copytree(options.data, folder)
        found = measure(folder, options.alerts, options.repeats, options.leaflet)
        print(json.dumps(found, indent=2))


def measure(folder: Path, alerts: int, repeats: int, leaflet: Path | None) -> dict[str, Any]:
    settings = Settings(data_dir=folder)
    ledger = open_ledger(settings)
    multiply(ledger, alerts)
    with listening("127.0.0.1", 0) as listener, ExitStack() as stack:
        app = create_api(settings=settings, ledger=ledger, store=open_store(settings))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
        api = address_of(listener)
        ours, url = stack.enter_context(started(dashboard_command(api), r"is on (http\S+) over"))
        plain = None
        if leaflet and find_spec("streamlit_folium"):
            command = folium_command()
            _, plain = stack.enter_context(started(command, r"URL: (http://\S+)", api=api))
        about = {"alerts": alerts, "load_average": os.getloadavg()[0]}
        about |= {"columns_ms": columns_ms(api)}
        found = about | browse(url, plain, repeats, leaflet, ours)
        server.should_exit = True
        return found


def dashboard_command(api: str) -> list[str]:
    return ["-m", "functions.cli", "dashboard", f"--api={api}", "--port=0"]


def folium_command() -> list[str]:
    options = ["--server.headless=true", "--server.address=127.0.0.1", "--server.port=8599"]
    return ["-m", "streamlit", "run", str(PAGE), *options]


@contextmanager
def started(
    command: list[str], pattern: str, *, api: str = ""
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A child process, and the address that it says it is on."""
    with tempfile.NamedTemporaryFile() as log:  # a pipe that nobody empties would stop it
        child = subprocess.Popen(
            [sys.executable, *command],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "GROUNDSHIFT_API": api},
        )
        try:
            while not (found := re.search(pattern, Path(log.name).read_text())):
                if child.poll() is not None:
                    raise RuntimeError(f"{command} ended: {Path(log.name).read_text()}")
                time.sleep(0.1)
            yield child, found[1]
        finally:
            child.terminate()
            child.wait()


def columns_ms(api: str) -> float:
    """Processor time of this process, which is the API's, for one answer."""

    def ask() -> float:
        begun = time.process_time()
        httpx.get(f"{api}/api/alerts/columns", trust_env=False).raise_for_status()
        return time.process_time() - begun

    return round(statistics.median(ask() for _ in range(5)) * 1000)


def multiply(ledger: Ledger, wanted: int) -> None:
    """Repeat the alerts, each moved by up to 3 km, under new ids."""
    draw = random.Random(0)
    with ledger.transaction() as tx:
        known = [dict(row._mapping) for row in tx.execute(select(tables.alerts))]
        rows = [moved(draw.choice(known), draw, i) for i in range(wanted - len(known))]
        for start in range(0, len(rows), 500):
            tx.execute(insert(tables.alerts).values(rows[start : start + 500]))


def moved(row: dict[str, Any], draw: random.Random, number: int) -> dict[str, Any]:
    east, north = draw.uniform(-0.04, 0.04), draw.uniform(-0.03, 0.03)
    shape = json.loads(row["geometry"])
    shape["coordinates"] = shifted(shape["coordinates"], east, north)
    box = {"west": east, "east": east, "south": north, "north": north}
    return {
        **row,
        **{side: row[side] + by for side, by in box.items()},
        "id": f"{number:016x}",
        "geometry": json.dumps(shape),
        "probability": draw.uniform(0.5, 1.0),
        "to_class": draw.choice(["water", "tree", "bare", "built", "burnt"]),
    }


def shifted(part: Any, east: float, north: float) -> Any:
    if isinstance(part[0], (int, float)):
        return [part[0] + east, part[1] + north]
    return [shifted(inner, east, north) for inner in part]


def browse(
    url: str, plain: str | None, repeats: int, leaflet: Path | None, ours: subprocess.Popen[bytes]
) -> dict[str, float]:
    times: dict[str, list[float]] = defaultdict(list)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for turn in range(repeats):
            context = chromium.new_context(viewport={"width": 1280, "height": 800})
            page, spent = context.new_page(), cpu_s(ours)
            visit(page, url, times, "first_paint_s", "list_s")
            times["server_cpu_ms"].append((cpu_s(ours) - spent) * 1000)
            visit(page, url, times, "again_s")
            classes = ["built", "water", "burnt", "bare", ""]
            for change in (page.evaluate(CHANGE, to) for to in classes):
                for name, ms in change.items():
                    times[f"{name}_ms"].append(ms)
            context.close()
            if plain:
                folium(chromium, plain, leaflet, times, first=turn == 0)
        chromium.close()
    found = {
        name: round(statistics.median(values), 2 if name.endswith("_s") else None)
        for name, values in times.items()
    }
    if plain:
        found["ratio_first"] = round(found["folium_first_s"] / found["first_paint_s"], 1)
        found["ratio_filter"] = round(found["folium_filter_ms"] / max(found["map_ms"], 1), 1)
    return found


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    """Processor time of the dashboard and of this process, which is the API."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK") + time.process_time()


def visit(
    page: Page, url: str, times: dict[str, list[float]], ready: str, listed: str = ""
) -> None:
    begun = time.perf_counter()
    page.goto(url, wait_until="commit")
    if listed:
        page.locator(".gs[data-listed]").wait_for(timeout=LONGEST_MS)
        times[listed].append(time.perf_counter() - begun)
    page.locator(".gs[data-ready]").wait_for(timeout=LONGEST_MS)
    times[ready].append(time.perf_counter() - begun)


def folium(
    chromium: Browser, url: str, leaflet: Path | None, times: dict[str, list[float]], *, first: bool
) -> None:
    """The same visit and the same changes; the first one fills the page's own cache."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.route(lambda address: "127.0.0.1" not in address, lambda route: foreign(route, leaflet))
    begun = time.perf_counter()
    page.goto(url, wait_until="commit")
    total = shown(page)
    page.wait_for_function(FOLIUM_DRAWN, arg=total, timeout=LONGEST_MS)
    if not first:
        times["folium_first_s"].append(time.perf_counter() - begun)
    for word in ("built", "water"):
        begun = time.perf_counter()
        page.get_by_role("combobox").click()
        page.get_by_role("option", name=word).click()
        page.wait_for_function(
            "(n) => !document.body.innerText.includes(`${n} shown`)", arg=total, timeout=LONGEST_MS
        )
        page.wait_for_function(FOLIUM_DRAWN, arg=shown(page), timeout=LONGEST_MS)
        times["folium_filter_ms"].append((time.perf_counter() - begun) * 1000)
        total = shown(page)
    context.close()


def shown(page: Page) -> int:
    line = page.get_by_text(re.compile(r"^\d+ shown$"))
    line.wait_for(timeout=LONGEST_MS)
    return int(line.inner_text().split()[0])


def foreign(route: Route, leaflet: Path | None) -> None:
    name = route.request.url.rpartition("/")[2]
    known = leaflet / name if leaflet else None
    if known and known.is_file():
        route.fulfill(path=known)
    else:
        route.fulfill(body="")


if __name__ == "__main__":
    main()
