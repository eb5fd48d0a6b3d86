"""/stac: a STAC API over scenes and runs, as pystac-client reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from groundshift import keys
from groundshift.api.access import Caller, Given, Reader, reader
from groundshift.api.alerts import Box, Cursor
from groundshift.api.answers import GEOJSON, cursor_of, json_answer, place_of
from groundshift.api.boxes import read_bbox
from groundshift.api.times import read_interval
from groundshift.errors import NotFound
from groundshift.ledger import stac_views
from groundshift.ledger.stac_views import COLLECTIONS, RUNS, SCENES, ItemFilter, ItemPlace

router: Final = APIRouter(prefix="/stac", tags=["stac"])

STAC_VERSION: Final = "1.1.0"
CONFORMANCE: Final = (
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "https://api.stacspec.org/v1.0.0/item-search",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
)
_ABOUT: Final[Mapping[str, tuple[str, str]]] = {
    SCENES: ("Scenes", "Scenes on their site's grid: reflectance x 10000, six bands"),
    RUNS: ("Runs", "Current comparisons: change, what was observed, land cover, polygons"),
}
Limit = Annotated[int, Query(ge=1, le=1000)]
When = Annotated[str, Query(max_length=80, description="RFC 3339 instant or interval")]
Names = Annotated[str, Query(max_length=10_000, description="With commas between")]


class Search(BaseModel):
    """The body of an item search."""

    model_config = ConfigDict(extra="ignore")

    collections: Annotated[list[str], Field(max_length=100)] = []
    ids: Annotated[list[str], Field(max_length=1000)] = []
    bbox: Annotated[list[float], Field(min_length=4, max_length=4)] | None = None
    datetime: Annotated[str, Field(max_length=80)] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    token: Annotated[str, Field(max_length=400)] | None = None


@router.get("", summary="Landing page of the STAC API")
def landing(request: Request, caller: Reader) -> Response:
    """A Catalog with links to collections and search."""
    base = _base(request)
    search = {"rel": "search", "type": GEOJSON, "href": f"{base}/search"}
    body = {
        "type": "Catalog",
        "id": "groundshift",
        "title": "groundshift",
        "description": f"Scenes and runs of {caller.tenant}",
        "stac_version": STAC_VERSION,
        "conformsTo": CONFORMANCE,
        "links": [
            *_roots(base, f"{base}"),
            {"rel": "data", "type": "application/json", "href": f"{base}/collections"},
            {"rel": "conformance", "type": "application/json", "href": f"{base}/conformance"},
            {**search, "method": "GET"},
            {**search, "method": "POST"},
            {
                "rel": "service-desc",
                "type": "application/vnd.oai.openapi+json;version=3.1",
                "href": str(request.base_url) + "api/openapi.json",
            },
            {"rel": "service-doc", "type": "text/html", "href": f"{request.base_url}api/docs"},
            *(_child(base, name) for name in COLLECTIONS),
        ],
    }
    return json_answer(request, body)


@router.get("/conformance", summary="What of the standards is kept", dependencies=[Depends(reader)])
def conformance(request: Request) -> Response:
    """Conformance classes."""
    return json_answer(request, {"conformsTo": CONFORMANCE})


@router.get("/collections", summary="The collections")
def collections(request: Request, given: Given, caller: Reader) -> Response:
    """Scenes and runs."""
    base = _base(request)
    listed = [
        _collection(base, name, _places(given, caller, ItemFilter((name,)))) for name in COLLECTIONS
    ]
    return json_answer(
        request, {"collections": listed, "links": _roots(base, f"{base}/collections")}
    )


@router.get("/collections/{collection}", summary="One collection")
def collection(request: Request, given: Given, caller: Reader, collection: str) -> Response:
    """Its extent follows from its Items."""
    _check(collection)
    found = _places(given, caller, ItemFilter((collection,)))
    return json_answer(request, _collection(_base(request), collection, found))


@router.get("/collections/{collection}/items", summary="Items of a collection, page by page")
def items(
    request: Request,
    given: Given,
    caller: Reader,
    collection: str,
    bbox: Box | None = None,
    datetime: When | None = None,
    limit: Limit = 100,
    token: Cursor | None = None,
) -> Response:
    """The latest first."""
    _check(collection)
    wanted = _filter((collection,), (), bbox, datetime)
    body = _page(request, given, caller, wanted, limit=limit, token=token)
    return json_answer(request, body, media_type=GEOJSON)


@router.get("/collections/{collection}/items/{item}", summary="One Item")
def one_item(
    request: Request, given: Given, caller: Reader, collection: str, item: str
) -> Response:
    """Its assets' addresses are signed for browsers where a login is configured."""
    _check(collection)
    found = _places(given, caller, ItemFilter((collection,), (item,)))
    if not found:
        raise NotFound(f"there is no item {item!r:.120} in {collection}")
    return json_answer(request, _item(request, given, caller, found[0]), media_type=GEOJSON)


@router.get("/search", summary="Search Items")
def search(
    request: Request,
    given: Given,
    caller: Reader,
    collections: Names | None = None,
    ids: Names | None = None,
    bbox: Box | None = None,
    datetime: When | None = None,
    limit: Limit = 100,
    token: Cursor | None = None,
) -> Response:
    """The latest first."""
    wanted = _filter(_split(collections), _split(ids), bbox, datetime)
    body = _page(request, given, caller, wanted, limit=limit, token=token)
    return json_answer(request, body, media_type=GEOJSON)


@router.post("/search", summary="Search Items")
def search_by_body(request: Request, given: Given, caller: Reader, asked: Search) -> Response:
    """As GET; the link `next` is a POST with the same body and a token."""
    bbox = None if asked.bbox is None else ",".join(map(repr, asked.bbox))
    wanted = _filter(tuple(asked.collections), tuple(asked.ids), bbox, asked.datetime)
    body = _page(
        request,
        given,
        caller,
        wanted,
        limit=asked.limit,
        token=asked.token,
        posted=asked.model_dump(exclude_none=True, exclude_defaults=True),
    )
    return json_answer(request, body, media_type=GEOJSON)


def _places(given: Given, caller: Caller, wanted: ItemFilter) -> list[ItemPlace]:
    with given.ledger.read() as connection:
        return stac_views.places(connection, caller.tenant, wanted)


def _page(
    request: Request,
    given: Given,
    caller: Caller,
    wanted: ItemFilter,
    *,
    limit: int,
    token: str | None,
    posted: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    found = _places(given, caller, wanted)
    begin = place_of(token)
    rest = [
        place
        for place in found
        if begin is None or _order(place.at, place.item_id) > _order(*begin)
    ]
    shown = rest[:limit]
    links = _roots(_base(request), str(request.url))
    if len(rest) > limit:
        last = cursor_of(shown[-1].at, shown[-1].item_id)
        links.append(_next(request, last, posted))
    return {
        "type": "FeatureCollection",
        "features": [_item(request, given, caller, place) for place in shown],
        "links": links,
        "numberMatched": len(found),
        "numberReturned": len(shown),
    }


def _order(at: datetime, key: str) -> tuple[float, str]:
    return -at.timestamp(), key


def _next(request: Request, token: str, posted: Mapping[str, Any] | None) -> dict[str, Any]:
    if posted is None:
        url = str(request.url.include_query_params(token=token))
        return {"rel": "next", "type": GEOJSON, "method": "GET", "href": url}
    body = {**posted, "token": token}
    here = {"rel": "next", "type": GEOJSON, "method": "POST", "href": str(request.url)}
    return {**here, "body": body, "merge": False}


def _item(request: Request, given: Given, caller: Caller, place: ItemPlace) -> dict[str, Any]:
    """The stored Item, with links into this API."""
    stored = keys.scene_item(place.item_id)
    if place.collection == RUNS:
        stored = keys.product(place.item_id, "item.json")
    item: dict[str, Any] = orjson.loads(given.store.get(stored))
    base, server = _base(request), str(request.base_url).rstrip("/")
    here = f"{base}/collections/{place.collection}"
    item["collection"] = place.collection
    item["links"] = [
        *_roots(base, f"{here}/items/{place.item_id}"),
        {"rel": "parent", "type": "application/json", "href": here},
        {"rel": "collection", "type": "application/json", "href": here},
    ]
    for asset in item["assets"].values():
        name = asset["href"].removeprefix("./")
        path = f"/api/files/{place.collection}/{place.item_id}/{name}"
        asset["href"] = server + given.signed(path, caller)
    return item


def _collection(base: str, name: str, found: Sequence[ItemPlace]) -> dict[str, Any]:
    title, description = _ABOUT[name]
    times = [place.at for place in found]
    boxes = [place.bounds for place in found]
    whole = [-180.0, -90.0, 180.0, 90.0]
    if boxes:
        west, south, east, north = zip(*boxes, strict=True)
        whole = [min(west), min(south), max(east), max(north)]
    interval = [min(times, default=None), max(times, default=None)]
    here = f"{base}/collections/{name}"
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": name,
        "title": title,
        "description": description,
        "license": "other",
        "extent": {"spatial": {"bbox": [whole]}, "temporal": {"interval": [interval]}},
        "links": [
            *_roots(base, here),
            {"rel": "parent", "type": "application/json", "href": base},
            {"rel": "items", "type": GEOJSON, "href": f"{here}/items"},
        ],
    }


def _check(collection: str) -> None:
    """Raises NotFound."""
    if collection not in COLLECTIONS:
        raise NotFound(f"there is no collection {collection!r:.80}: {', '.join(COLLECTIONS)}")


def _filter(
    names: tuple[str, ...], ids: tuple[str, ...], bbox: str | None, when: str | None
) -> ItemFilter:
    since, until = read_interval(when)
    box = None if bbox is None else read_bbox(bbox)
    return ItemFilter(names, ids, since, until, box)


def _split(text: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (text or "").split(",")))


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/") + "/stac"


def _roots(base: str, here: str) -> list[dict[str, Any]]:
    return [
        {"rel": "self", "type": "application/json", "href": here},
        {"rel": "root", "type": "application/json", "href": base},
    ]


def _child(base: str, name: str) -> dict[str, str]:
    href = f"{base}/collections/{name}"
    return {"rel": "child", "type": "application/json", "href": href, "title": _ABOUT[name][0]}
