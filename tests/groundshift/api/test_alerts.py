"""/api/alerts: what a feature says, filters, pages, ETags, errors."""

import pytest
import shapely
from api_world import BOXES, DATES, degrees, outline

from geodata_etl.polygons import to_lonlat


def ids(answer):
    return [feature["id"] for feature in answer.json()["features"]]


def test_a_feature_says_what_the_map_needs(world):
    house = world.alert("house")
    said = house["properties"]
    assert said["state"] == "first"
    assert (said["from_class"], said["to_class"]) == ("low_vegetation", "built")
    assert said["probability"] == 0.75
    assert said["area_m2"] == 60_000
    assert said["first_seen"] == said["last_seen"] == "2024-06-01T10:30:00Z"
    assert said["run_id"] == "run-acme"
    assert (said["before_scene_id"], said["after_scene_id"]) == ("acme-before", "acme-after")
    assert said["verdict"] == []
    assert said["locked_by"] is None
    assert 0 < said["score"] <= 1
    expected = to_lonlat([outline("house")], 32631)[0]
    assert shapely.geometry.shape(house["geometry"]).hausdorff_distance(expected) < 1e-6


def test_the_observed_fraction_is_the_changes_own(world):
    assert world.alert("cloudy")["properties"]["observed_fraction"] == 0.5
    assert world.alert("house")["properties"]["observed_fraction"] == 1.0


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["house", "felling", "flood", "cloudy"]),
        ({"to_class": "built"}, ["house", "cloudy"]),
        ({"from_class": "tree"}, ["felling", "cloudy"]),
        ({"state": ["first", "confirmed"]}, ["house", "felling", "flood", "cloudy"]),
        ({"state": "withdrawn"}, []),
        ({"min_probability": 0.8}, ["felling", "cloudy"]),
        ({"min_area_m2": 150_000}, ["felling", "cloudy"]),
        ({"since": "2024-06-01T10:30:00Z"}, ["house", "felling", "flood", "cloudy"]),
        ({"until": "2024-05-31T00:00:00+02:00"}, []),
        ({"reviewed": "true"}, []),
        ({"site_id": "site-acme"}, ["house", "felling", "flood", "cloudy"]),
        ({"site_id": "site-globex"}, []),
    ],
)
def test_filters(world, query, names):
    found = world.client().get("/api/alerts", params=query).json()
    pairs = {BOXES[name][2:] for name in names}
    said = {(f["properties"]["from_class"], f["properties"]["to_class"]) for f in found["features"]}
    assert said == pairs
    assert found["numberMatched"] == found["numberReturned"] == len(names)


def test_a_box_finds_what_it_touches(world):
    west, south, east, north = shapely.geometry.shape(degrees(outline("flood"))).bounds
    client = world.client()
    inside = client.get("/api/alerts", params={"bbox": f"{west},{south},{east},{north}"})
    assert ids(inside) == [world.alert("flood")["id"]]
    beside = client.get("/api/alerts", params={"bbox": f"{west + 1},{south},{east + 1},{north}"})
    assert ids(beside) == []
    over_180 = client.get("/api/alerts", params={"bbox": f"179,{south},{east},{north}"})
    assert world.alert("flood")["id"] in ids(over_180)


def test_a_wide_view_gets_boxes_for_polygons(world):
    client = world.client()
    full, boxes = (
        client.get("/api/alerts", params={"shape": shape}).json()["features"]
        for shape in ("full", "box")
    )
    for one, other in zip(full, boxes, strict=True):
        assert one["properties"] == other["properties"]
        shape = shapely.geometry.shape(one["geometry"])
        assert shapely.geometry.shape(other["geometry"]).bounds == shape.bounds


def test_pages_follow_each_other_and_cover_everything_once(world):
    client, seen = world.client(), []
    address = "/api/alerts?limit=3"
    while address:
        answer = client.get(address)
        seen += ids(answer)
        assert answer.json()["numberMatched"] == len(BOXES)
        links = {link["rel"]: link["href"] for link in answer.json()["links"]}
        address = links.get("next")
    assert sorted(seen) == sorted(ids(client.get("/api/alerts")))
    assert len(set(seen)) == len(BOXES)


def test_an_etag_saves_the_body_until_something_changes(world):
    client, alert = world.client(), world.alert("house")
    first = client.get("/api/alerts")
    again = client.get("/api/alerts", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    review = {"alert_id": alert["id"], "alert_version": 1, "verdict": "accept"}
    assert client.post("/api/reviews", json=review).status_code == 201
    changed = client.get("/api/alerts", headers={"if-none-match": first.headers["etag"]})
    assert changed.status_code == 200


def test_one_alert_shows_its_evidence(world):
    alert = world.alert("house")
    found = world.client().get(f"/api/alerts/{alert['id']}").json()
    evidence = found["properties"].pop("evidence")
    assert evidence["runs"] == ["run-acme"]
    assert {model["digest"] for model in evidence["models"]} == {
        "sha256:cloud-mask",
        "sha256:segmenter",
        "sha256:change-classifier",
    }
    assert found["geometry"] == alert["geometry"]
    assert found["properties"] == alert["properties"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("bbox=1,2,3", 400),
        ("bbox=1,50,3,40", 400),
        ("bbox=1,2,nan,4", 400),
        ("cursor=abc", 400),
        ("cursor=WzEsMl0", 400),
        ("state=sleeping", 422),
        ("limit=0", 422),
        ("since=yesterday", 422),
        ("since=2024-05-01T00:00:00", 422),
        ("min_probability=2", 422),
        ("min_area_m2=inf", 422),
    ],
)
def test_what_means_nothing_is_a_problem_with_the_cure(world, query, status):
    answer = world.client().get(f"/api/alerts?{query}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert len(problem["detail"]) > 20


@pytest.mark.parametrize("path", ["/api/nothing", "/api/alerts/nobody", "/elsewhere"])
def test_what_is_not_there_is_a_problem_too(world, path):
    answer = world.client().get(path)
    assert (answer.status_code, answer.json()["status"]) == (404, 404)
    assert answer.headers["content-type"] == "application/problem+json"


def test_scenes_runs_sites_and_gaps(world):
    client = world.client()
    listed = client.get("/api/scenes").json()
    assert [scene["id"] for scene in listed["scenes"]] == ["acme-after", "acme-before"]
    after, before = listed["scenes"]
    assert (after["outcome"], before["reason"]) == ("done", "no_baseline")
    assert after["not_observed_fraction"] == 0.25
    assert before["not_observed_fraction"] is None
    footprint = shapely.geometry.shape(after["footprint"])
    assert footprint.buffer(1e-6).contains(shapely.geometry.shape(world.alert("house")["geometry"]))
    (run,) = client.get("/api/runs", params={"current": "true"}).json()["runs"]
    assert (run["id"], run["baseline"], run["state"]) == ("run-acme", ["acme-before"], "done")
    assert run["acquired"] == DATES[1].isoformat().replace("+00:00", "Z")
    assert client.get("/api/runs", params={"current": "false"}).json()["runs"] == []
    (gap,) = client.get("/api/gaps").json()["gaps"]
    assert (gap["subject"], gap["reason"]) == ("acme-before", "no_baseline")
    (site,) = client.get("/api/sites").json()["sites"]
    assert site["id"] == "site-acme"
    assert client.get("/api/scenes/acme-after").json() == after


def test_pages_of_scenes(world):
    client = world.client()
    first = client.get("/api/scenes?limit=1").json()
    (link,) = [link["href"] for link in first["links"] if link["rel"] == "next"]
    assert [scene["id"] for scene in client.get(link).json()["scenes"]] == ["acme-before"]


def test_stats_say_what_they_count(world):
    stats = world.client().get("/api/stats").json()
    months = {(row["month"], row["outcome"]): row["scenes"] for row in stats["scenes_by_month"]}
    assert months == {("2024-05", "skipped"): 1, ("2024-06", "done"): 1}
    assert stats["tiles"] == [
        {"epsg": 32631, "tile": "-1203_100", "scenes": 2, "mean_valid_fraction": 1.0}
    ]
    assert sum(row["alerts"] for row in stats["alerts"]) == len(BOXES)
    (models,) = stats["model_sets"]
    assert (models["runs"], models["reviews"]) == (1, {})
    assert stats["labels"]["tiles"] == 0
    assert set(stats["counts"]) == set(stats) - {"counts"}


def test_model_cards_are_at_hand(world):
    client = world.client()
    for model in client.get("/api/models").json()["models"]:
        card = client.get(model["card"])
        assert card.status_code == 200
        assert card.headers["content-type"].startswith("text/markdown")
    assert client.get("/api/models/segmenter/card?digest=sha256:other").status_code == 404


def test_the_documentation_page_needs_no_other_host(world):
    page = world.client().get("/api/docs").text
    assert "/api/alerts" in page
    assert "http" not in page.replace("http-equiv", "")


# All at once, for the map


def test_columns_say_what_the_list_says(world):
    client = world.client(user="ann")
    house = world.alert("house")
    body = {"alert_id": house["id"], "alert_version": 1, "verdict": "accept"}
    client.post("/api/reviews", json=body)
    found = client.get("/api/alerts/columns").json()
    columns, words = found["columns"], found["words"]
    assert found["numberMatched"] == len(columns["id"]) == len(BOXES)
    for feature in client.get("/api/alerts").json()["features"]:
        at, properties = columns["id"].index(feature["id"]), feature["properties"]
        for name in ("version", "probability", "supports", "score"):
            assert columns[name][at] == properties[name], name
        for name in ("state", "from_class", "to_class", "site_id"):
            assert words[name][columns[name][at]] == properties[name], name
        assert words["day"][columns["day"][at]] == properties["last_seen"][:10]
        box = [columns[side][at] for side in ("west", "south", "east", "north")]
        assert box == pytest.approx(feature["bbox"], abs=1e-6)
        assert found["verdicts"].get(feature["id"], []) == properties["verdict"]


def test_columns_are_sent_again_only_when_something_changed(world):
    client = world.client()
    first = client.get("/api/alerts/columns")
    again = {"if-none-match": first.headers["etag"]}
    assert client.get("/api/alerts/columns", headers=again).status_code == 304
    other = world.client(tenant="globex").get("/api/alerts/columns", headers=again)
    assert other.status_code == 200  # another tenant's are others
    house = world.alert("house")
    client.post(
        "/api/reviews", json={"alert_id": house["id"], "alert_version": 1, "verdict": "unsure"}
    )
    assert client.get("/api/alerts/columns", headers=again).status_code == 200


def test_columns_of_nothing_are_empty(world):
    found = world.client(tenant="nobody").get("/api/alerts/columns").json()
    assert found["columns"]["id"] == []
    assert found["columns"]["west"] == []
