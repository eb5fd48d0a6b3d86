"""Every page of /ogc against the standard's requirements as JSON Schema (see schemas/README.md)."""

import copy
import json
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft4Validator, Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource

SCHEMAS = json.loads((Path(__file__).parent / "schemas" / "ogc-features.json").read_text())
NAMES = ("landing", "conformance", "collections", "collection", "items", "item", "queryables")


def validator(name):
    registry = Registry().with_resource(SCHEMAS["$id"], Resource.from_contents(SCHEMAS))
    wanted = {"$ref": f"{SCHEMAS['$id']}#/$defs/{name}"}
    return Draft202012Validator(wanted, registry=registry)


def check(name, document):
    """Raises ValidationError for what the standard does not allow."""
    validator(name).validate(document)
    return document


@pytest.fixture
def pages(world):
    """One page of each kind."""
    client = world.client()
    alerts = "/ogc/collections/alerts"
    found = {
        "landing": "/ogc",
        "conformance": "/ogc/conformance",
        "collections": "/ogc/collections",
        "collection": alerts,
        "items": f"{alerts}/items",
        "item": f"{alerts}/items/{world.alert('house')['id']}",
        "queryables": f"{alerts}/queryables",
    }
    return {name: client.get(path).json() for name, path in found.items()}


def test_the_schemas_are_schemas():
    Draft202012Validator.check_schema(SCHEMAS)
    assert set(NAMES) <= set(SCHEMAS["$defs"])


@pytest.mark.parametrize("name", ["landing", "conformance", "collections"])
def test_where_a_client_begins(pages, name):
    check(name, pages[name])


@pytest.mark.parametrize("collection", ["alerts", "changes"])
def test_a_collection_and_everything_in_it(world, collection):
    client, address = world.client(), f"/ogc/collections/{collection}"
    check("collection", client.get(address).json())
    for tail in ("queryables", "schema"):
        answer = client.get(f"{address}/{tail}")
        assert answer.headers["content-type"] == "application/schema+json"
        Draft202012Validator.check_schema(check("queryables", answer.json()))
    link, seen = f"{address}/items?limit=3", []
    while link:
        page = check("items", client.get(link).json())
        assert page["numberReturned"] == len(page["features"]) <= 3
        assert page["numberMatched"] == 4
        seen += [feature["id"] for feature in page["features"]]
        link = {one["rel"]: one["href"] for one in page["links"]}.get("next")
    for name in seen:
        check("item", client.get(f"{address}/items/{name}").json())
    assert len(seen) == 4
    for query in ("bbox=12,48,13,49", "datetime=../2024-05-31T00:00:00Z", "to_class=built"):
        check("items", client.get(f"{address}/items?{query}").json())


def test_a_queryable_can_be_queried(world, pages):
    names = set(pages["queryables"]["properties"]) - {"geometry"}
    (feature, *_) = pages["items"]["features"]
    client, tried = world.client(), 0
    for name in sorted(names & set(feature["properties"])):
        value = feature["properties"][name]
        if isinstance(value, str):
            found = client.get("/ogc/collections/alerts/items", params={name: value})
            if found.status_code == 200:
                assert feature["id"] in {
                    one["id"] for one in check("items", found.json())["features"]
                }
                tried += 1
    assert tried >= 3


def test_the_openapi_document_is_one(world):
    """OpenAPI 3.0's own JSON schema, which pygeoapi ships."""
    schema = json.loads(
        files("pygeoapi").joinpath("schemas/openapi/openapi-3.0.x.json").read_text()
    )
    document = world.client().get("/ogc/openapi").json()
    Draft4Validator(schema).validate(document)
    served = {path for path in document["paths"] if "{" not in path}
    assert {"/", "/conformance", "/collections", "/collections/alerts/items"} <= served


# The schemas refuse what the standard does not allow


def without(*path):
    def change(page):
        place = page
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change


def rel_to(rel, other):
    def change(page):
        for link in page["links"]:
            link["rel"] = other if link["rel"].endswith(rel) else link["rel"]

    return change


def put(value, *path):
    def change(page):
        place = page
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


BROKEN = [
    ("landing", rel_to("conformance", "x")),
    ("landing", rel_to("data", "x")),
    ("landing", rel_to("service-desc", "x")),
    ("landing", without("links", 0, "href")),
    ("conformance", without("conformsTo")),
    ("conformance", put([], "conformsTo")),
    ("collections", rel_to("self", "x")),
    ("collections", without("collections", 0, "id")),
    ("collection", rel_to("items", "x")),
    ("collection", put([[1, 2, 3]], "extent", "spatial", "bbox")),
    ("collection", put([["2024", None]], "extent", "temporal", "interval")),
    ("items", without("timeStamp")),
    ("items", put("yesterday", "timeStamp")),
    ("items", put(-1, "numberMatched")),
    ("items", put("Features", "type")),
    ("items", without("features", 0, "id")),
    ("items", put([[0, 0]], "features", 0, "geometry", "coordinates")),
    ("item", rel_to("collection", "x")),
    ("item", without("properties")),
    ("queryables", without("$id")),
    ("queryables", put("array", "type")),
]


@pytest.mark.parametrize(("name", "change"), BROKEN)
def test_a_broken_page_is_seen(pages, name, change):
    page = copy.deepcopy(pages[name])
    check(name, page)
    change(page)
    with pytest.raises(ValidationError):
        check(name, page)
