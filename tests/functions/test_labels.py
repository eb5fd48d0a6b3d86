"""Verified tiles: their versions and what changed; labels as files, out and in again."""

import orjson
import pytest
import shapely
from api_world import BOXES, TILE, degrees, outline
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from functions.review import review
from geodata_etl.grid import HALO_PX
from groundshift.annotations import Annotation, Frame, read, to_coco, to_geojson
from groundshift.api import create_api
from groundshift.errors import BadRequest
from groundshift.events import Event, event_type
from groundshift.labels import to_utm
from groundshift.ledger import tables

PATH = "/api/labels/annotations"
BOW = [[[2.3, 48.65], [2.31, 48.66], [2.31, 48.65], [2.3, 48.66], [2.3, 48.65]]]
FAR = [[[200, 0], [210, 0], [210, 10], [200, 0]]]


def client(platform, user="ann"):
    settings = platform.settings.model_copy(update={"local_user": user})
    app = create_api(settings=settings, ledger=platform.ledger, store=platform.store)
    return TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1))


def alert_of(asked, name):
    _, _, before, after = BOXES[name]
    query = {"from_class": before, "to_class": after}
    (alert,) = asked.get("/api/alerts", params=query).json()["features"]
    return alert


def say(platform, name, verdict, *, user="ann", **more):
    asked = client(platform, user)
    alert = alert_of(asked, name)
    body = {"alert_id": alert["id"], "alert_version": 1, "verdict": verdict, **more}
    assert asked.post("/api/reviews", json=body).status_code == 201
    handle(platform)
    return alert["id"]


def handle(platform):
    """Hand the review stage everything that was said."""
    table = tables.outbox
    query = select(table).where(table.c.type == event_type("alert.reviewed")).order_by(table.c.seq)
    with platform.ledger.read() as connection:
        rows = list(connection.execute(query))
    for r in rows:
        event = Event(r.id, r.source, r.type, r.subject, r.time, r.data, r.extensions)
        review(event, platform)


def versions(platform, **query):
    return client(platform).get("/api/labels", params=query).json()["labels"]


# Versions


def test_the_versions_of_an_alerts_tile_are_listed(platform):
    alert = say(platform, "house", "accept")
    say(platform, "house", "reject")
    found = versions(platform, alert_id=alert)
    assert [one["current"] for one in found] == [False, True]
    assert [one["counts"]["changed"] for one in found] == [600, 0]
    assert versions(platform, alert_id=alert, current=True) == found[1:]
    assert (
        versions(platform, alert_id=alert_of(client(platform), "flood")["id"]) == found
    )  # of one tile


def test_the_first_version_differs_from_nothing(platform):
    say(platform, "house", "accept")
    (label,) = versions(platform)
    said = client(platform).get(f"/api/labels/{label['version']}/diff").json()
    assert said["against"] is None
    assert said["pixels"] == {
        "added": 600,
        "removed": 0,
        "reclassed": 0,
        "judged": 0,
        "ignored": 0,
    }
    (feature,) = said["features"]["features"]
    assert feature["properties"] == {
        "kind": "added",
        "was": "ignored",
        "now": "low_vegetation -> built",
    }
    there = to_utm(shapely.to_geojson(shapely.geometry.shape(feature["geometry"])), epsg=32631)
    assert there.symmetric_difference(outline("house")).area < 50
    assert said["reviews"] == {"added": label["reviews"], "removed": []}


def test_a_diff_says_what_was_added_removed_reclassed_judged_and_ignored(platform):
    say(platform, "house", "accept")
    say(platform, "flood", "accept")
    say(platform, "felling", "reject")
    first = versions(platform, current=True)[0]["version"]
    half = outline("house").intersection(shapely.affinity.translate(outline("house"), xoff=-150))
    say(platform, "house", "redraw", geometry=degrees(half))
    say(platform, "flood", "accept", to_class="tree")
    say(platform, "felling", "reject", ignore=degrees(outline("felling")))
    say(platform, "cloudy", "reject")
    last = versions(platform, current=True)[0]["version"]
    path = f"/api/labels/{last}/diff"
    said = client(platform).get(path, params={"against": first}).json()
    assert said["against"] == first
    assert said["pixels"] == {
        "added": 0,
        "removed": 300,
        "reclassed": 1000,
        "judged": 800,
        "ignored": 60 * 80,
    }
    back = client(platform).get(f"/api/labels/{first}/diff", params={"against": last}).json()
    assert back["pixels"]["added"] == 300
    assert back["pixels"]["judged"] == 60 * 80
    kinds = {f["properties"]["kind"] for f in said["features"]["features"]}
    assert kinds == {"removed", "reclassed", "judged", "ignored"}


def test_versions_of_nobody_are_not_compared(platform):
    say(platform, "house", "accept")
    (label,) = versions(platform)
    asked = client(platform)
    assert asked.get("/api/labels/none/diff").status_code == 404
    path = f"/api/labels/{label['version']}/diff"
    assert asked.get(path, params={"against": "none"}).status_code == 404


# Files


def judged(platform):
    hole = outline("felling").buffer(-200)
    say(platform, "house", "accept", comment="a hall")
    say(platform, "flood", "reject", user="bob")
    redrawn = outline("felling").difference(hole)
    say(platform, "felling", "redraw", geometry=degrees(redrawn), ignore=degrees(hole))
    return redrawn, hole


def kinds(platform, form="geojson"):
    document = client(platform).get(PATH, params={"format": form}).json()
    return {(one.about["alert_id"], one.kind): one.geometry for one in together(read(document))}


def together(annotations):
    found = {}
    for one in annotations:
        key = (one.about["alert_id"], one.kind)
        before = found[key].geometry if key in found else shapely.Polygon()
        found[key] = Annotation(one.kind, shapely.union(before, one.geometry), one.about)
    return found.values()


def test_geojson_and_coco_say_the_same(platform):
    judged(platform)
    plain, pixels = kinds(platform), kinds(platform, "coco")
    assert plain.keys() == pixels.keys()
    assert sorted(kind for _, kind in plain) == ["change", "change", "ignore", "unchanged"]
    for key, geometry in plain.items():
        other = geometry.symmetric_difference(pixels[key]).area
        assert other < 0.001 * geometry.area, key


def test_coco_is_coco(platform):
    redrawn, _ = judged(platform)
    document = client(platform).get(PATH, params={"format": "coco"}).json()
    (image,) = document["images"]
    assert (image["width"], image["height"]) == (512, 512)
    assert platform.store.exists(image["file_name"])
    assert platform.store.exists(image["before_file_name"])
    names = {one["id"]: one["name"] for one in document["categories"]}
    for one in document["annotations"]:
        assert one["image_id"] == image["id"]
        left, top, width, height = one["bbox"]
        xs = [x for flat in one["segmentation"] for x in flat[::2]]
        ys = [y for flat in one["segmentation"] for y in flat[1::2]]
        assert (min(xs), min(ys)) == pytest.approx((left, top), abs=0.01)
        assert (max(xs), max(ys)) == pytest.approx((left + width, top + height), abs=0.01)
        assert min(*xs, *ys) >= HALO_PX - 0.01
        areas = [
            shapely.Polygon(list(zip(f[::2], f[1::2], strict=True))) for f in one["segmentation"]
        ]
        assert sum(part.area for part in areas) == pytest.approx(one["area"], abs=0.1)
        assert shapely.union_all(areas).area == pytest.approx(one["area"], abs=0.1)
    felling = [one for one in document["annotations"] if names[one["category_id"]] == "bare"]
    assert sum(one["area"] for one in felling) * 100 == pytest.approx(redrawn.area, rel=1e-3)


@pytest.mark.parametrize("form", ["geojson", "coco"])
def test_what_went_out_comes_in_as_the_same(platform, form):
    judged(platform)
    document = client(platform).get(PATH, params={"format": form}).json()
    said = client(platform, "eve").post(PATH, json=document).json()["outcomes"]
    assert {one["outcome"] for one in said} == {"new"}
    assert sorted(one["verdict"] for one in said) == ["accept", "redraw", "reject"]
    again = client(platform, "eve").post(PATH, json=document).json()["outcomes"]
    assert {one["outcome"] for one in again} == {"known"}
    handle(platform)
    (label,) = versions(platform, current=True)
    assert label["counts"]["changed"] == pytest.approx(600 + 60 * 80 - 20 * 40, abs=4)


def test_a_polygon_without_an_alert_is_taken_for_the_one_it_covers(platform):
    drawn = Annotation("change", shapely.geometry.shape(degrees(outline("house").buffer(20))), {})
    beside = Annotation("change", shapely.box(2.0, 48.0, 2.01, 48.01), {})
    (one, lost) = import_(platform, drawn, beside)
    house = alert_of(client(platform), "house")["id"]
    assert (one["alert_id"], one["outcome"], one["verdict"]) == (house, "new", "redraw")
    assert (lost["alert_id"], lost["outcome"]) == (None, "unmatched")
    assert "annotation 1" in lost["why"]


def import_(platform, *annotations):
    document = orjson.loads(orjson.dumps(to_geojson(annotations)))
    return client(platform).post(PATH, json=document).json()["outcomes"]


def of_house(platform, kind="change", **about):
    house = alert_of(client(platform), "house")["id"]
    shape = shapely.geometry.shape(degrees(outline("house")))
    return Annotation(kind, shape, {"alert_id": house, **about})


def test_the_models_own_outline_with_other_classes_is_a_redraw(platform):
    (one,) = import_(platform, of_house(platform, to_class="bare"))
    assert one["verdict"] == "redraw"
    (same,) = import_(platform, of_house(platform))
    assert same["verdict"] == "accept"


@pytest.mark.parametrize(
    ("about", "status"),
    [
        ([{"alert_version": 7}], 409),
        ([{"alert_id": "nobody"}], 404),
        ([{"to_class": "castle"}], 400),
        ([{"to_class": "bare"}, {"to_class": "water"}], 400),
        ([{"alert_version": 1}, {"alert_version": 2}], 400),
        ([{"kind": "ignore"}], 400),
    ],
)
def test_what_cannot_be_kept_is_said_and_the_rest_stays(platform, about, status):
    flood = Annotation("unchanged", shapely.geometry.shape(degrees(outline("flood"))), {})
    bad = [of_house(platform, **one) for one in about]
    said = import_(platform, *bad, flood)
    by = {one["outcome"]: one for one in said}
    assert by["refused"]["status"] == status
    assert by["refused"]["why"]
    assert by["new"]["verdict"] == "reject"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"features": []},
        {"type": "Point", "coordinates": [1, 2]},
        {"features": [{"geometry": None}]},
        {"features": [{"geometry": degrees(outline("house")), "properties": {"kind": "x"}}]},
        {"features": [{"geometry": degrees(outline("house")), "properties": {"alert_id": []}}]},
        {"features": [{"geometry": {"type": "Polygon", "coordinates": BOW}}]},
        {"features": [{"geometry": {"type": "Polygon", "coordinates": FAR}}]},
        {"annotations": [{"image_id": 1}], "images": [], "categories": []},
        {
            "annotations": [
                {"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 1, 0, 1, 1]]}
            ],
            "images": [{"id": 1, "epsg": 99, "tile": "0_0"}],
            "categories": [{"id": 1, "name": "tree"}],
        },
        {
            "annotations": [{"image_id": 1, "category_id": 1, "segmentation": [[1, 2, 3]]}],
            "images": [{"id": 1, "epsg": 32631, "tile": "0_0"}],
            "categories": [{"id": 1, "name": "tree"}],
        },
    ],
)
def test_what_is_no_file_of_labels_is_refused(platform, document):
    answer = client(platform).post(PATH, json=document)
    assert answer.status_code == 400
    assert "GeoJSON" in answer.json()["detail"] or "annotations" in answer.json()["detail"]
    with pytest.raises(BadRequest):
        read(document)


# Any polygon


SIDES = st.floats(min_value=100, max_value=600)  # a long line is bent in degrees
PLACES = st.floats(min_value=0, max_value=2000)


@settings(max_examples=40, deadline=None)
@given(x=PLACES, y=PLACES, width=SIDES, height=SIDES, hole=st.floats(0.1, 0.5))
def test_any_ground_inside_a_tile_comes_back_from_pixels(x, y, width, height, hole):
    west, north = TILE.core.left * 10, -TILE.core.top * 10
    whole = shapely.box(west + x, north - y - height, west + x + width, north - y)
    drawn = whole.difference(shapely.affinity.scale(whole, hole, hole))
    there = shapely.geometry.shape(degrees(drawn))
    frame = Frame("v", TILE, 32631, "CC0-1.0")
    said = Annotation("change", there, {"to_class": "built"})
    document = orjson.loads(orjson.dumps(to_coco([said], [frame])))
    (back,) = read(document)
    assert back.about["to_class"] == "built"
    assert back.geometry.symmetric_difference(there).area < 0.002 * there.area
