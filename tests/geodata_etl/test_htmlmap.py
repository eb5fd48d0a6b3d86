import base64
import hashlib
import io
import json
import re
from datetime import date
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from pyproj import Transformer
from rasterio.windows import Window
from shapely import affinity
from shapely.geometry import box, mapping

from geodata_etl.bands import BANDS
from geodata_etl.cog import write_cog
from geodata_etl.errors import GroundshiftError
from geodata_etl.grid import Extent, Grid
from geodata_etl.htmlmap import (
    MAX_BYTES,
    MapRun,
    map_view,
    read_layers,
    script_json,
    write_map,
)
from geodata_etl.polygons import to_lonlat

GRID = Grid(32631, Extent(-540_000, 45_000, -539_900, 45_150))
NASTY = '</script><img src=x onerror=alert(1)> & "quoted" {{data}} \u2028'


def write(path, pixels, *, nodata, names, grid=GRID):
    write_cog(
        path,
        [(Window(0, 0, grid.shape[1], grid.shape[0]), pixels)],
        grid=grid,
        dtype=str(pixels.dtype),
        count=len(names),
        nodata=nodata,
        band_names=names,
    )
    return path


def noise(seed, grid=GRID):
    return np.random.default_rng(seed).integers(1, 4000, (6, *grid.shape), dtype=np.uint16)


@pytest.fixture
def runs(tmp_path):
    """Two runs over three scenes; the middle scene is after of one and before of the other."""
    scenes = [write(tmp_path / f"s{n}.tif", noise(n), nodata=0, names=BANDS) for n in range(3)]
    observed = np.ones(GRID.shape, np.uint8)
    observed[:, 100:] = 0
    seen = write(tmp_path / "observed.tif", observed, nodata=None, names=["observed"])
    dates = [date(2019, 7, 1), date(2020, 1, 1), date(2020, 7, 1)]
    return [
        MapRun(
            run_id=f"run{n}",
            before_cog=scenes[n],
            after_cog=scenes[n + 1],
            observed_tif=seen,
            before_date=dates[n],
            after_date=dates[n + 1],
            summary={"changed_km2": 0.1, "unchanged_km2": 0.9, "not_observed_km2": 0.5},
        )
        for n in (1, 0)
    ]


def feature(left, top, right, bottom, **properties):
    """An alert over pixels [left, right) x [top, bottom) of the grid."""
    x, y = GRID.bounds[0], GRID.bounds[3]
    utm = box(x + left * 10, y - bottom * 10, x + right * 10, y - top * 10)
    (lonlat,) = to_lonlat([utm], GRID.epsg)
    return {"type": "Feature", "geometry": mapping(lonlat), "properties": properties}


def made(path, runs, features=(), *, title="Town", summary=()):
    view = map_view(GRID)
    alerts = {"type": "FeatureCollection", "features": list(features)}
    layers = read_layers(view, runs)
    write_map(path, title=title, view=view, layers=layers, alerts=alerts, summary=summary)
    return Page(path.read_text(encoding="utf-8"))


class Page(HTMLParser):
    """What a browser finds in the page: elements with attributes, scripts, the title."""

    def __init__(self, text):
        super().__init__()
        self.text, self.elements, self.scripts, self.title = text, [], [], ""
        self._open = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open == "script":
            self.scripts[-1] += data
        elif self._open == "title":
            self.title += data

    @property
    def data(self):
        return json.loads(self.scripts[0])


def decode(url):
    head, payload = url.split(",", 1)
    image = Image.open(io.BytesIO(base64.b64decode(payload)))
    image.load()
    return head, image


def test_the_page_holds_everything_and_asks_for_nothing(tmp_path, runs):
    page = made(tmp_path / "map.html", runs)
    for tag, attributes in page.elements:
        assert "src" not in attributes, tag
        assert "href" not in attributes, tag
        assert not any(name.startswith("on") for name in attributes), tag
    style = page.text.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    for word in ("fetch(", "XMLHttpRequest", "import(", "eval(", "innerHTML", "document.write"):
        assert word not in page.scripts[1]


def test_only_the_own_script_may_run(tmp_path, runs):
    page = made(tmp_path / "map.html", runs)
    (policy,) = (a["content"] for _, a in page.elements if a.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}'" in policy


def test_nothing_from_outside_becomes_markup(tmp_path, runs):
    plain = made(tmp_path / "plain.html", runs)
    alert = feature(1, 1, 3, 3, id=NASTY, from_class=NASTY, to_class=NASTY, state=NASTY)
    page = made(tmp_path / "m.html", runs, [alert], title=NASTY, summary=[(NASTY, NASTY)])
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert page.title == page.data["title"] == NASTY
    assert page.data["alerts"][0]["to"] == NASTY
    assert page.data["summary"] == [[NASTY, NASTY]]
    assert page.scripts[1] == plain.scripts[1]


def test_json_cannot_leave_its_script_element():
    value = {"</ScRiPt>": ["<!--", "-->", "&amp;", "<script>"]}
    text = script_json(value)
    assert not set(text) & set("<>&")
    assert json.loads(text) == value


def test_runs_stand_from_old_to_new_and_share_their_pictures(tmp_path, runs):
    data = made(tmp_path / "map.html", runs).data
    first, second = data["layers"]
    assert (first["beforeDate"], first["afterDate"]) == ("2019-07-01", "2020-01-01")
    assert (second["runId"], second["afterDate"]) == ("run1", "2020-07-01")
    assert first["after"] == second["before"]
    assert first["km2"] == {"changed": 0.1, "unchanged": 0.9, "not_observed": 0.5}
    assert len(data["pictures"]) == 4  # three scenes and one hatching
    for key in (first["before"], first["after"], first["unseen"]):
        _, image = decode(data["pictures"][key])
        assert image.size == (data["width"], data["height"]) == (150, 100)


def test_the_hatching_lies_where_nothing_was_seen(tmp_path, runs):
    data = made(tmp_path / "map.html", runs).data
    head, image = decode(data["pictures"][data["layers"][0]["unseen"]])
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    assert head == "data:image/png;base64"
    assert (alpha[:, :100] == 0).all()
    assert (alpha[:, 100:] > 0).all()


def test_alerts_come_as_picture_pixels(tmp_path, runs):
    alert = feature(
        20, 30, 50, 40, id="a1", from_class="bare", to_class="built", area_m2=30_000.0,
        probability=0.8, state="confirmed", first_seen="2020-01-01T10:00:00Z",
        last_seen="2020-07-01", observed_fraction=0.9,
    )  # fmt: skip
    data = made(tmp_path / "map.html", runs, [alert]).data
    (found,) = data["alerts"]
    assert found["box"] == [20.0, 30.0, 50.0, 40.0]
    numbers = np.array(re.findall(r"[\d.]+", found["path"]), float).reshape(-1, 2)
    assert set(map(tuple, numbers)) >= {(20, 30), (50, 30), (50, 40), (20, 40)}
    expected = {
        "id": "a1", "from": "bare", "to": "built", "areaM2": 30_000.0, "probability": 0.8,
        "state": "confirmed", "first": "2020-01-01", "last": "2020-07-01", "observed": 0.9,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    east, north = Transformer.from_crs(4326, 32631, always_xy=True).transform(*found["lonlat"])
    assert (east - GRID.bounds[0], GRID.bounds[3] - north) == pytest.approx((350, 350), abs=2)
    assert data["metresPerPixel"] == 10


def test_changes_of_a_run_do_for_alerts(tmp_path, runs):
    """changes.geojson has other property names, and ids beside the properties."""
    change = feature(0, 0, 5, 5, mean_probability=0.7, after_date="2020-07-01", area_m2=2500.0)
    (found,) = made(tmp_path / "map.html", runs, [change | {"id": "c1"}]).data["alerts"]
    assert (found["id"], found["probability"], found["first"]) == ("c1", 0.7, "2020-07-01")


def test_holes_and_parts_are_all_drawn(tmp_path, runs):
    outer = feature(10, 10, 30, 30)["geometry"]
    shell = box(0, 0, 1, 1)
    ring = shell - affinity.scale(shell, 0.3, 0.3)
    lon, lat = outer["coordinates"][0][0]
    parts = affinity.affine_transform(ring, [1e-3, 0, 0, 1e-3, lon, lat])
    both = parts.union(affinity.translate(parts, 2e-3))
    alert = {"type": "Feature", "geometry": mapping(both), "properties": None, "id": 7}
    (found,) = made(tmp_path / "map.html", runs, [alert]).data["alerts"]
    assert found["path"].count("M") == found["path"].count("Z") == 4
    assert found["id"] == "7"
    assert found["areaM2"] is found["probability"] is None


def test_many_large_runs_stay_below_the_limit(tmp_path):
    """Noise is the worst that can be compressed."""
    grid = Grid(32631, Extent(-540_000, 45_000, -538_600, 46_400))
    view = map_view(grid)
    seen = write(
        tmp_path / "o.tif", np.ones(grid.shape, np.uint8), nodata=None, names=["o"], grid=grid
    )
    scenes = [
        write(tmp_path / f"{n}.tif", noise(n, grid), nodata=0, names=BANDS, grid=grid)
        for n in range(2)
    ]
    run = MapRun("r", *scenes, seen, date(2020, 1, 1), date(2020, 2, 1), {})
    layers = read_layers(view, [run])
    empty = {"type": "FeatureCollection", "features": []}
    write_map(tmp_path / "m.html", title="t", view=view, layers=layers, alerts=empty)
    assert (tmp_path / "m.html").stat().st_size < MAX_BYTES
    assert view.shape == (1400, 1400)


def test_a_map_needs_a_run(tmp_path):
    with pytest.raises(GroundshiftError, match="at least one run"):
        made(tmp_path / "map.html", [])


def test_every_key_of_the_help_is_handled_and_controls_have_names(tmp_path, runs):
    page = made(tmp_path / "map.html", runs)
    ids = {a["id"] for _, a in page.elements if "id" in a}
    used = set(re.findall(r'byId\("([\w-]+)"\)', page.scripts[1]))
    assert used <= ids
    keys = page.scripts[1].split("const keys = {")[1].split("};")[0]
    for key in ('" "', "s:", "n:", "p:", '"+"', '"-"', "0:", '"["', '"]"', "u:", "a:", "ArrowLeft"):
        assert key in keys
    for tag, attributes in page.elements:
        if attributes.get("role") in ("slider", "toolbar", "radiogroup", "application"):
            assert attributes.get("aria-label"), (tag, attributes)
