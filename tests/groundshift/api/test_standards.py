"""Other people's clients and schemas: OpenAPI, OGC API - Features, STAC.

Features are held against the GeoJSON schemas that pystac ships; test_ogc_schemas holds every page
against what the standard asks for.
"""

import json
from importlib.resources import files
from urllib.parse import urlsplit

import pytest
import schemathesis
from api_world import BOXES
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft7Validator
from oidc_provider import served
from pystac.validation import validate_dict
from pystac_client import Client
from referencing import Registry, Resource

OGC = "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf"
NO_SERVER_ERROR = [schemathesis.checks.not_a_server_error]
DRIVEN = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def geojson_schema(name):
    """A schema of pystac's copy of the GeoJSON schemas."""
    folder = files("pystac.validation.jsonschemas.geojson")
    found = [json.loads(path.read_text()) for path in folder.iterdir() if path.suffix == ".json"]
    registry = Registry().with_resources(
        [(schema["$id"], Resource.from_contents(schema)) for schema in found]
    )
    (wanted,) = (schema for schema in found if schema["$id"].endswith(f"/{name}.json"))
    return Draft7Validator(wanted, registry=registry)


# OpenAPI


def test_no_request_that_the_document_allows_is_a_server_error(world):
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", world.app)
    login = {"authorization": f"Bearer {world.token('admin')}"}
    tried = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @DRIVEN
        @given(case=operation.as_strategy())
        def drive(case):
            case.call_and_validate(headers=login, checks=NO_SERVER_ERROR)

        drive()
        tried += 1
    assert tried >= 40


def test_the_document_names_every_problem_and_no_foreign_host(world):
    document = world.client().get("/api/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert "default" in operation["responses"], (method, path)
            assert operation["summary"], (method, path)


# OGC API - Features


def test_ogc_lands_conforms_and_lists(world):
    client = world.client()
    landing = client.get("/ogc").json()
    links = {link["rel"]: link["href"] for link in landing["links"]}
    assert {"self", "service-desc", "conformance", "data"} <= set(links)
    for rel in ("service-desc", "conformance", "data"):
        assert client.get(links[rel]).status_code == 200, rel
    assert client.get(links["service-desc"]).json()["openapi"].startswith("3.0")
    conforms = client.get("/ogc/conformance").json()["conformsTo"]
    assert {f"{OGC}/core", f"{OGC}/geojson", f"{OGC}/oas30"} <= set(conforms)
    assert not any(name.endswith("/html") for name in conforms)
    listed = client.get("/ogc/collections").json()
    assert [one["id"] for one in listed["collections"]] == ["alerts", "changes"]
    for one in listed["collections"]:
        assert one["extent"]["spatial"]["bbox"]
        assert "items" in {link["rel"] for link in one["links"]}
        assert client.get(f"/ogc/collections/{one['id']}").json() == one


@pytest.mark.parametrize("collection", ["alerts", "changes"])
def test_ogc_features_are_geojson(world, collection):
    client = world.client()
    answer = client.get(f"/ogc/collections/{collection}/items")
    assert answer.headers["content-type"] == "application/geo+json"
    page = answer.json()
    assert page["type"] == "FeatureCollection"
    assert page["numberMatched"] == page["numberReturned"] == len(BOXES)
    assert page["timeStamp"]
    validator = geojson_schema("Feature")
    for feature in page["features"]:
        validator.validate(feature)
        one = client.get(f"/ogc/collections/{collection}/items/{feature['id']}").json()
        assert one["geometry"] == feature["geometry"]
        assert one["properties"] == feature["properties"]
        assert {"self", "collection"} <= {link["rel"] for link in one["links"]}


@pytest.mark.parametrize("collection", ["alerts", "changes"])
def test_ogc_pages_and_filters(world, collection):
    client, address = world.client(), f"/ogc/collections/{collection}/items"
    seen, link = [], f"{address}?limit=3"
    while link:
        page = client.get(link).json()
        seen += [feature["id"] for feature in page["features"]]
        link = {one["rel"]: one["href"] for one in page["links"]}.get("next")
    assert len(seen) == len(set(seen)) == len(BOXES)

    def count(**query):
        answer = client.get(address, params=query)
        assert answer.status_code == 200
        return answer.json()["numberMatched"]

    assert count(to_class="built") == 2
    assert count(datetime="2024-06-01") == len(BOXES)
    assert count(datetime="2024-06-01T10:30:00Z") == len(BOXES)
    assert count(datetime="../2024-05-31T00:00:00Z") == 0
    assert count(bbox="2,48,3,49") == len(BOXES)
    assert count(bbox="12,48,13,49") == 0
    assert client.get(address, params={"f": "csv"}).text.count("\n") >= len(BOXES)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 400),
        ("limit=x", 400),
        ("offset=-1", 400),
        ("bbox=1,2,3", 400),
        ("datetime=soon", 400),
        ("f=html", 400),
        ("sortby=area_m2", 400),
        ("area_m2=3", 400),
    ],
)
def test_ogc_answers_what_it_does_not_serve_with_a_problem(world, query, status):
    answer = world.client().get(f"/ogc/collections/alerts/items?{query}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_ogc_answers_have_an_etag(world):
    client, address = world.client(), "/ogc/collections/alerts/items/" + world.alert("house")["id"]
    first = client.get(address)
    again = client.get(address, headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304


# STAC


def test_pystac_client_reads_it(world):
    login = {"Authorization": f"Bearer {world.token('viewer')}"}
    with served(world.app) as base:
        client = Client.open(f"{base}/stac", headers=login)
        assert {one.id for one in client.get_collections()} == {"scenes", "runs"}
        every = client.search(limit=1)
        assert every.matched() == 3
        assert {item.id for item in every.items()} == {"acme-before", "acme-after", "run-acme"}

        def ids(**query):
            return [item.id for item in client.search(limit=1, **query).items()]

        assert ids(collections=["scenes"]) == ["acme-after", "acme-before"]
        assert ids(collections=["scenes"], method="GET") == ["acme-after", "acme-before"]
        assert ids(datetime="2024-05-01/2024-05-31") == ["acme-before"]
        assert ids(bbox=[2, 48, 3, 49], collections=["runs"]) == ["run-acme"]
        assert ids(bbox=[12, 48, 13, 49]) == []
        assert ids(ids=["acme-before"]) == ["acme-before"]
        (item,) = client.get_collection("runs").get_items()
        assert item.collection_id == "runs"
    asset = urlsplit(item.assets["data"].href)
    signed = world.anonymous().get(f"{asset.path}?{asset.query}")
    assert signed.status_code == 200
    assert signed.content[:4] == b"II*\0"


def test_stac_documents_are_valid(world):
    client = world.client()
    validate_dict(client.get("/stac").json())
    for name in ("scenes", "runs"):
        validate_dict(client.get(f"/stac/collections/{name}").json())
        (first, *_) = client.get(f"/stac/collections/{name}/items").json()["features"]
        validate_dict(first)
        assert client.get(f"/stac/collections/{name}/items/{first['id']}").status_code == 200
    assert client.get("/stac/collections/nothing").status_code == 404
    assert client.get("/stac/search?datetime=2024-05-02/2024-05-01").status_code == 400
