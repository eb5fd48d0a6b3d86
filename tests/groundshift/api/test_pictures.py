"""Tiles, chips, files and evidence packs: real pixels of the world's rasters."""

import io
import math
import zipfile

import numpy as np
import orjson
import pytest
import shapely
from api_world import BOXES, EXTENT, UNSEEN, degrees, outline
from PIL import Image
from rasterio.io import MemoryFile

ZOOM = 13


def picture(answer):
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))


def cell_of(lon, lat, z=ZOOM):
    n = 2**z
    y = (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2
    return (lon + 180) / 360 * n, y * n


def pixel(client, address, lon, lat, **query):
    """The colour of a layer at a place."""
    x, y = cell_of(lon, lat)
    tile = client.get(f"{address}/{ZOOM}/{int(x)}/{int(y)}.png", params=query)
    return picture(tile)[int(y % 1 * 256), int(x % 1 * 256)]


def centre(name):
    return shapely.geometry.shape(degrees(outline(name))).centroid.coords[0]


def place(row, col):
    """Degrees of a pixel of the grid."""
    left, top = (EXTENT.left + col) * 10, -(EXTENT.top + row) * 10
    return shapely.geometry.shape(
        degrees(shapely.box(left, top - 10, left + 10, top))
    ).centroid.coords[0]


@pytest.mark.parametrize("rendering", ["true", "false", "ndvi"])
def test_a_scene_is_opaque_where_it_has_data_and_clear_elsewhere(world, rendering):
    client, address = world.client(), "/api/tiles/scene/acme-before"
    assert pixel(client, address, *place(128, 128), rendering=rendering)[3] == 255
    assert pixel(client, address, *place(6, 6), rendering=rendering)[3] == 0  # no data
    assert pixel(client, address, *place(-40, 128), rendering=rendering)[3] == 0  # beside it
    far = picture(client.get(f"{address}/{ZOOM}/0/0.png"))
    assert far.shape == (256, 256, 4)
    assert not far.any()


def test_renderings_differ(world):
    client = world.client()
    colours = {
        tuple(pixel(client, "/api/tiles/scene/acme-before", *place(99, 99), rendering=name))
        for name in ("true", "false", "ndvi")
    }
    assert len(colours) == 3


def test_observed_is_hatched_where_nothing_was_seen(world):
    client = world.client()
    rows, cols = UNSEEN
    x, y = cell_of(*place((rows.start + rows.stop) // 2, (cols.start + cols.stop) // 2))
    tile = picture(client.get(f"/api/tiles/run/run-acme/observed/{ZOOM}/{int(x)}/{int(y)}.png"))
    at = int(y % 1 * 256), int(x % 1 * 256)
    around = tile[at[0] - 4 : at[0] + 5, at[1] - 4 : at[1] + 5]
    assert (around[..., 3] > 0).all()
    assert len(np.unique(around[..., 3])) == 2  # two kinds of stripes
    assert pixel(client, "/api/tiles/run/run-acme/observed", *place(100, 100))[3] == 0
    assert pixel(client, "/api/tiles/run/run-acme/observed", *place(-40, 100))[3] == 0


def test_change_shows_where_it_is_likely(world):
    client, address = world.client(), "/api/tiles/run/run-acme/change"
    assert pixel(client, address, *centre("felling"))[3] > 100
    assert pixel(client, address, *place(90, 120))[3] == 0
    assert pixel(client, "/api/tiles/run/run-acme/after_class", *place(90, 120))[3] == 255


def test_a_picture_is_kept_by_its_etag(world):
    client = world.client()
    x, y = map(int, cell_of(*place(100, 100)))
    path = f"/api/tiles/scene/acme-before/{ZOOM}/{x}/{y}.png"
    first = client.get(path)
    assert "immutable" in first.headers["cache-control"]
    assert "private" in first.headers["cache-control"]
    again = client.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get(path, params={"rendering": "ndvi"})
    assert other.headers["etag"] != first.headers["etag"]


def test_tilejson_leads_to_tiles(world):
    client = world.client()
    for path in ("scene/acme-after", "run/run-acme/change"):
        said = client.get(f"/api/tiles/{path}/tilejson.json").json()
        west, south, east, north = said["bounds"]
        x, y = map(int, cell_of((west + east) / 2, (south + north) / 2, 12))
        (template,) = said["tiles"]
        address = template.replace("{z}", "12").replace("{x}", str(x)).replace("{y}", str(y))
        assert picture(world.anonymous().get(address))[..., 3].any()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("scene/nobody/3/0/0.png", 404),
        ("run/nobody/change/3/0/0.png", 404),
        ("run/run-acme/clouds/3/0/0.png", 422),
        ("scene/acme-after/3/8/0.png", 400),
        ("scene/acme-after/99/0/0.png", 422),
        ("scene/acme-after/3/0/0.png?rendering=x", 422),
    ],
)
def test_tiles_that_cannot_be(world, path, status):
    assert world.client().get(f"/api/tiles/{path}").status_code == status


def test_a_chip_shows_the_ground_of_a_box(world):
    west, south, east, north = shapely.geometry.shape(degrees(outline("house"))).bounds
    box = {"bbox": f"{west},{south},{east},{north}", "size": 120}
    shown = picture(world.client().get("/api/chips/acme-after.png", params=box))
    assert max(shown.shape[:2]) == 120
    assert shown.shape[0] == pytest.approx(120 * 20 / 30, abs=3)  # square pixels
    assert (shown[..., 3] == 255).mean() > 0.9
    half = {"bbox": f"{west - 0.03},{south},{east - 0.03},{north}"}
    assert world.client().get("/api/chips/acme-after.png", params=half).status_code == 404
    for bad in ("1,2,3", f"{east},{south},{west},{north}", "0,0,50,50"):
        answer = world.client().get("/api/chips/acme-after.png", params={"bbox": bad})
        assert answer.status_code == 400


def test_files_of_scenes_and_runs(world):
    client = world.client()
    part = client.get("/api/files/scenes/acme-after/scene.tif", headers={"range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"II*\0")
    assert client.get("/api/files/runs/run-acme/item.json").json()["id"] == "run-acme"
    for path in ("runs/run-acme/run.json", "runs/run-acme/ledger.db", "scenes/nobody/scene.tif"):
        assert client.get(f"/api/files/{path}").status_code == 404


def test_the_evidence_pack_holds_what_one_needs_to_check_an_alert(world):
    client, alert = world.client(user="ann"), world.alert("cloudy")
    review = {"alert_id": alert["id"], "alert_version": 1, "verdict": "accept"}
    client.post("/api/reviews", json=review)
    answer = client.get(f"/api/alerts/{alert['id']}/pack.zip")
    assert answer.headers["content-type"] == "application/zip"
    pack = zipfile.ZipFile(io.BytesIO(answer.content))
    assert pack.testzip() is None
    about = orjson.loads(pack.read("evidence.json"))
    assert about["observed_fraction"] == 0.5
    assert about["permalink"] == f"http://platform.test/api/alerts/{alert['id']}"
    assert {model["digest"] for model in about["models"]} >= {"sha256:segmenter"}
    assert all("/card?digest=" in model["card"] for model in about["models"])
    assert [one["reviewer"] for one in about["reviews"]] == ["ann"]
    assert orjson.loads(pack.read("alert.geojson"))["id"] == alert["id"]
    items = {orjson.loads(pack.read(f"items/{n}.json"))["id"] for n in ("before", "after", "run")}
    assert items == {"acme-before", "acme-after", "run-acme"}
    plain, drawn = (
        np.asarray(Image.open(io.BytesIO(pack.read(name))))
        for name in ("after-plain.png", "after.png")
    )
    assert (plain != drawn).any()
    again = client.get(f"/api/alerts/{alert['id']}/pack.zip")
    assert again.content == answer.content


def test_the_packs_mask_lies_on_the_grid(world):
    alert = world.alert("cloudy")
    answer = world.client().get(f"/api/alerts/{alert['id']}/pack.zip")
    mask = zipfile.ZipFile(io.BytesIO(answer.content)).read("mask.tif")
    with MemoryFile(mask) as memory, memory.open() as raster:
        assert raster.descriptions == ("polygon", "change", "observed")
        inside, change, observed = raster.read()
        left, top = raster.transform.c / 10, -raster.transform.f / 10
    rows, cols, *_ = BOXES["cloudy"]
    assert inside.sum() == (rows.stop - rows.start) * (cols.stop - cols.start)
    assert EXTENT.left <= left <= EXTENT.left + cols.start
    assert EXTENT.top <= top <= EXTENT.top + rows.start
    seen = inside == 1
    assert observed[seen].mean() == 0.5
    assert set(np.unique(change[seen])) == {230, 255}
