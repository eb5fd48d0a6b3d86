"""Tables of who may do what: every operation of the OpenAPI document has a row, or a test fails."""

import json
import re

import pytest
import shapely
from api_world import degrees, outline
from sqlalchemy import select

from functions.review import review as review_stage
from groundshift.events import AlertReviewed, Event, event_type
from groundshift.ledger import tables

ANALYST = {
    ("POST", "/api/reviews"),
    ("POST", "/api/queue/next"),
    ("POST", "/api/queue/{alert_id}/lock"),
    ("DELETE", "/api/queue/{alert_id}/lock"),
    ("POST", "/api/labels/annotations"),
    ("POST", "/api/areas"),
    ("PATCH", "/api/areas/{area_id}"),
    ("DELETE", "/api/areas/{area_id}"),
}
ADMIN = {
    ("GET", "/api/webhooks"),
    ("POST", "/api/webhooks"),
    ("POST", "/api/webhooks/{webhook_id}/test"),
    ("DELETE", "/api/webhooks/{webhook_id}"),
}
LOOKS_WITH_POST = {("POST", "/stac/search")}
BY_SIGNATURE = {
    "/api/alerts/{alert_id}/pack.zip",
    "/api/tiles/scene/{scene_id}/tilejson.json",
    "/api/tiles/scene/{scene_id}/{z}/{x}/{y}.png",
    "/api/tiles/run/{run_id}/{layer}/tilejson.json",
    "/api/tiles/run/{run_id}/{layer}/{z}/{x}/{y}.png",
    "/api/chips/{scene_id}.png",
    "/api/files/{kind}/{name}/{file}",
}
"""Pictures and files: what a browser asks for without a header."""
OPEN = {"/api/openapi.json", "/api/docs"}
NOBODYS = {
    "/api/models/{name}/card",
    "/stac/collections/{collection}",
    "/ogc/collections/{collection}",
}
"""The name in the address is not a tenant's: cards of models, the collections themselves."""
COLLECTION = ("queryables", "schema", "items")


def operations(world):
    """Method and path of everything in the document."""
    document = world.client().get("/api/openapi.json").json()
    return [(m.upper(), path) for path, found in document["paths"].items() for m in found]


def least(method, path):
    """The role that an operation takes at least."""
    if (method, path) in ADMIN:
        return "admin"
    if (method, path) in ANALYST:
        return "analyst"
    assert method == "GET" or (method, path) in LOOKS_WITH_POST, f"{method} {path}: who may?"
    return "viewer"


def somewhere(path):
    """An address of the operation, of nothing that there is."""
    return re.sub(r"{[zxy]}", "1", path).replace("{kind}", "scenes").format_map(Nothing())


class Nothing(dict):
    def __missing__(self, key):
        return {"collection": "alerts", "layer": "change"}.get(key, "nothing")


def test_the_table_names_operations_that_there_are(world):
    known = set(operations(world))
    assert known >= ANALYST | ADMIN | LOOKS_WITH_POST
    assert {path for _, path in known} >= BY_SIGNATURE


def test_every_operation_takes_its_role_and_nothing_less(world):
    roles = ["service", "viewer", "analyst", "admin"]
    askers = {role: world.client(role) for role in roles}
    for method, path in operations(world):
        needed = roles.index(least(method, path))
        for rank, role in enumerate(roles):
            status = askers[role].request(method, somewhere(path)).status_code
            assert status != 401, (role, method, path)
            assert (status == 403) == (rank < needed), (role, method, path, status)
        assert world.anonymous().request(method, somewhere(path)).status_code == 401, path


def test_the_document_says_that_every_operation_takes_a_token(world):
    document = world.client().get("/api/openapi.json").json()
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, found in document["paths"].items():
        for method, operation in found.items():
            assert operation["security"] == [{"login": []}], (method, path)


def test_only_the_document_and_its_page_are_open(world):
    for path in OPEN:
        assert world.anonymous().get(path).status_code == 200
    assert world.anonymous().get("/api/nothing").status_code == 404


def test_a_signature_opens_pictures_and_files_and_no_operation_else(world):
    for method, path in operations(world):
        address = somewhere(path)
        query = world.app.state.services.signer.query
        scope = "/".join(address.split("/")[:5])
        for where in (scope, "/".join(scope.split("/")[:4]).removesuffix(".png")):
            answer = world.anonymous().request(method, f"{address}?{query(where, 'acme')}")
            if answer.status_code != 401:
                assert path in BY_SIGNATURE, path
                break
        else:
            assert path not in BY_SIGNATURE, path


# What one tenant has, asked for by another


@pytest.fixture
def acme(world):
    """Names of what acme has, one of each kind."""
    alert = world.alert("house")
    body = {"alert_id": alert["id"], "alert_version": 1, "verdict": "accept"}
    said = world.client().post("/api/reviews", json=body)
    assert said.status_code == 201
    review_stage(last_review(world), world.platform)
    area = {"name": "acme's yard", "geometry": degrees(outline("felling"))}
    hook = {"url": "https://hooks.acme.example/x"}
    west, south, east, north = shapely.geometry.shape(alert["geometry"]).bounds
    return {
        "alert_id": alert["id"],
        "scene_id": "acme-after",
        "run_id": "run-acme",
        "layer": "change",
        "area_id": world.client().post("/api/areas", json=area).json()["id"],
        "webhook_id": world.client("admin").post("/api/webhooks", json=hook).json()["id"],
        "version": world.client().get("/api/labels").json()["labels"][0]["version"],
        "review_id": said.json()["id"],
        "bbox": f"{west},{south},{east},{north}",
        "z": 10,
        "x": 518,
        "y": 352,
    }


def last_review(world):
    query = select(tables.outbox).where(tables.outbox.c.type == event_type(AlertReviewed.WORD))
    with world.platform.ledger.read() as connection:
        row = list(connection.execute(query.order_by(tables.outbox.c.seq)))[-1]
    return Event(row.id, row.source, row.type, row.subject, row.time, row.data, row.extensions)


def addresses(path, acme):
    """Where an operation answers of something that acme has."""
    if path == "/api/files/{kind}/{name}/{file}":
        return ["/api/files/scenes/acme-after/scene.tif", "/api/files/runs/run-acme/change.tif"]
    if path.endswith("/items/{item}"):
        known = {
            "/ogc": {"alerts": acme["alert_id"], "changes": "run-acme.house"},
            "/stac": {"scenes": "acme-after", "runs": "run-acme"},
        }[path[: path.index("/collections")]]
        return [path.format(collection=name, item=item) for name, item in known.items()]
    found = path.format_map(acme)
    return [f"{found}?bbox={acme['bbox']}" if "/chips/" in path else found]


BODIES = {("PATCH", "/api/areas/{area_id}"): {"name": "theirs"}}


BY_BOX = {"/api/alerts/outlines"}
BOX = {"bbox": "-180,-85,180,85"}


def is_nobodys(path):
    return any(path == one or path in {f"{one}/{tail}" for tail in COLLECTION} for one in NOBODYS)


def test_no_operation_answers_of_anothers_thing(world, acme):
    theirs, tried = world.client("admin", tenant="globex"), 0
    for method, path in operations(world):
        if "{" not in path or is_nobodys(path):
            continue
        for address in addresses(path, acme):
            body = BODIES.get((method, path))
            answer = theirs.request(method, address, json=body)
            assert answer.status_code == 404, (method, address, answer.text)
            if method == "GET":
                mine = world.client("admin").request(method, address, json=body)
                assert mine.status_code == 200, (method, address, mine.text)
            tried += 1
    assert tried >= 20


def test_what_another_tried_to_change_is_as_it_was(world, acme):
    mine, theirs = world.client("admin"), world.client("admin", tenant="globex")
    kept = ["/api/areas", "/api/webhooks", "/api/reviews", "/api/labels", "/api/queue/held"]
    before = {path: mine.get(path).json() for path in kept}
    for method, path in operations(world):
        if method != "GET" and "{" in path:
            theirs.request(method, path.format_map(acme), json=BODIES.get((method, path)))
    said = {"alert_id": acme["alert_id"], "alert_version": 1, "verdict": "reject"}
    assert theirs.post("/api/reviews", json=said).status_code == 404
    assert {path: mine.get(path).json() for path in kept} == before


def test_no_list_names_anothers_thing(world, acme):
    theirs = world.client("admin", tenant="globex")
    names = {*(str(acme[n]) for n in ("alert_id", "area_id", "webhook_id", "version", "review_id"))}
    lists = {path for method, path in operations(world) if method == "GET" and "{" not in path}
    lists |= {f"/ogc/collections/{name}/items" for name in ("alerts", "changes")}
    lists |= {f"/stac/collections/{name}/items" for name in ("scenes", "runs")}
    lists |= {"/ogc/collections/alerts/items?f=csv", "/ogc/collections/changes/items?limit=100"}
    lists -= {"/api/sign"}  # needs an address; see the next test
    for path in sorted(lists):
        answer = theirs.get(path, params=BOX if path in BY_BOX else None)
        assert answer.status_code == 200, (path, answer.text)
        for name in (*names, "acme"):
            assert name not in answer.text, (path, name)
    for body in ({}, {"ids": ["acme-after"]}, {"collections": ["runs"]}):
        assert "acme" not in json.dumps(theirs.post("/stac/search", json=body).json()["features"])


def test_a_question_for_anothers_thing_finds_nothing(world, acme):
    theirs = world.client("admin", tenant="globex")
    for path in (
        f"/api/alerts?area_id={acme['area_id']}",
        f"/api/reviews?alert_id={acme['alert_id']}",
    ):
        assert theirs.get(path).status_code in (404, 422), path
        assert world.client().get(path).status_code == 200, path
    for path in (
        "/api/alerts?site_id=site-acme",
        "/api/queue?site_id=site-acme",
        "/ogc/collections/alerts/items?site_id=site-acme",
        "/ogc/collections/changes/items?run_id=run-acme",
    ):
        found = theirs.get(path).json()
        assert found.get("features", found.get("queue")) == [], path
    sign = {"path": "/api/tiles/scene/acme-after/10/518/352.png"}
    href = theirs.get("/api/sign", params=sign).json()["href"]
    assert world.anonymous().get(href).status_code == 404
