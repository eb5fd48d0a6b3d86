"""/api/areas: drawn, saved, renamed, forgotten; and what lies inside."""

import pytest
import shapely
from api_world import BOXES, degrees, outline

from groundshift.ledger import alert_views

AROUND = degrees(outline("house").buffer(50))


def save(client, name="north", geometry=AROUND):
    return client.post("/api/areas", json={"name": name, "geometry": geometry})


def test_a_saved_area_is_listed_renamed_redrawn_and_forgotten(world):
    client = world.client(user="ann")
    made = save(client, name="  the north  ")
    assert made.status_code == 201
    area = made.json()
    assert (area["name"], area["created_by"]) == ("the north", "ann")
    (listed,) = client.get("/api/areas").json()["areas"]
    assert listed == area == client.get(f"/api/areas/{area['id']}").json()
    path, drawn = f"/api/areas/{area['id']}", degrees(outline("flood"))
    renamed = client.patch(path, json={"name": "south"}).json()
    assert (renamed["name"], renamed["geometry"]) == ("south", area["geometry"])
    redrawn = client.patch(path, json={"geometry": drawn}).json()
    assert redrawn["name"] == "south"
    there = shapely.geometry.shape(redrawn["geometry"])
    assert there.symmetric_difference(shapely.geometry.shape(drawn)).area < 1e-9
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.get("/api/areas").json()["areas"] == []


def test_alerts_are_filtered_by_area(world):
    client = world.client()
    edge = degrees(shapely.affinity.translate(outline("house"), xoff=-200))
    for name, geometry in (("house", AROUND), ("edge", edge)):
        area = save(client, name, geometry).json()
        found = client.get("/api/alerts", params={"area_id": area["id"]}).json()
        assert (found["numberMatched"], found["numberReturned"]) == (1, 1)
        assert found["features"][0]["id"] == world.alert("house")["id"]
        inside = client.get(f"/api/areas/{area['id']}/alerts").json()
        assert inside["alert_ids"] == [world.alert("house")["id"]]


def test_bounds_that_meet_are_not_enough(world):
    house = outline("house")
    west, south, east, north = house.bounds
    beside = [(west - 90, south), (west - 90, north + 90), (east, north + 90), (west - 1, north)]
    area = save(world.client(), "beside", degrees(shapely.Polygon(beside))).json()
    inside = world.client().get(f"/api/areas/{area['id']}/alerts").json()
    assert inside["alert_ids"] == []


def test_a_filter_by_area_is_paged_like_any_other(world):
    client = world.client()
    whole = shapely.union_all([outline(name) for name in BOXES]).envelope.buffer(100)
    area = save(client, "all", degrees(whole)).json()
    seen, link = [], f"/api/alerts?area_id={area['id']}&limit=1&state=first"
    while link:
        page = client.get(link).json()
        assert page["numberMatched"] == len(BOXES)
        seen += [feature["id"] for feature in page["features"]]
        link = {one["rel"]: one["href"] for one in page["links"]}.get("next")
    assert len(seen) == len(set(seen)) == len(BOXES)


def test_an_area_belongs_to_its_tenant(world):
    area = save(world.client()).json()
    other = world.client(tenant="globex")
    path = f"/api/areas/{area['id']}"
    assert other.get("/api/areas").json()["areas"] == []
    assert other.get(path).status_code == 404
    assert other.get(f"{path}/alerts").status_code == 404
    assert other.get("/api/alerts", params={"area_id": area["id"]}).status_code == 404
    assert other.patch(path, json={"name": "mine"}).status_code == 404
    assert other.delete(path).status_code == 404
    assert save(other).status_code == 201  # a name is one of its tenant


def test_a_viewer_looks_at_areas_and_changes_none(world):
    area, viewer = save(world.client()).json(), world.client("viewer")
    path = f"/api/areas/{area['id']}"
    assert viewer.get(path).status_code == 200
    assert save(viewer, "mine").status_code == 403
    assert viewer.patch(path, json={"name": "mine"}).status_code == 403
    assert viewer.delete(path).status_code == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "north", "geometry": AROUND}, 409),
        ({"name": "   ", "geometry": AROUND}, 422),
        ({"name": "bow", "geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}}, 400),
        ({"name": "far", "geometry": {"type": "Polygon", "coordinates": [[[181, 0]] * 4]}}, 400),
        ({"name": "no shape"}, 422),
    ],
)
def test_what_is_no_area_is_refused(world, body, status):
    client = world.client()
    save(client)
    assert client.post("/api/areas", json=body).status_code == status
    assert len(client.get("/api/areas").json()["areas"]) == 1


def test_a_taken_name_cannot_be_had_by_renaming(world):
    client = world.client()
    save(client)
    other = save(client, "south").json()
    assert client.patch(f"/api/areas/{other['id']}", json={"name": "north"}).status_code == 409
    assert client.patch(f"/api/areas/{other['id']}", json={"name": "south"}).status_code == 200


def test_inside_reads_few_outlines(world, monkeypatch):
    read = []
    whole = alert_views.outlines
    monkeypatch.setattr(alert_views, "outlines", lambda c, ids: read.extend(ids) or whole(c, read))
    around = shapely.geometry.shape(AROUND)
    with world.platform.ledger.read() as connection:
        assert len(alert_views.inside(connection, "acme", around)) == 1
    assert read == []
