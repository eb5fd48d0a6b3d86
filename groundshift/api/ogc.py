"""/ogc: OGC API - Features over alerts and changes, answered by pygeoapi.

pygeoapi is imported by the first request: it takes a second that other callers need not wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import orjson
from fastapi import APIRouter, Request, Response

from groundshift.api.access import Caller, Given, Reader
from groundshift.api.answers import GEOJSON, JSON, PRIVATE, etag_of, known, problem
from groundshift.ledger import Ledger

router: Final = APIRouter(prefix="/ogc", tags=["ogc"])

_PROVIDERS: Final = "groundshift.api.ogc_provider"
_COLLECTIONS: Final[Mapping[str, tuple[str, str, str]]] = {
    "alerts": (
        f"{_PROVIDERS}.AlertProvider",
        "Alerts",
        "Changes followed over time, with an identity across scenes",
    ),
    "changes": (
        f"{_PROVIDERS}.ChangeProvider",
        "Changes",
        "What the current runs found, one polygon each",
    ),
}
_FORMATS: Final = frozenset({"json", "jsonld", "csv"})
_CRS84: Final = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
_BEGIN: Final = datetime(2015, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Source:
    """A tenant's part of the ledger; pygeoapi copies its configuration, not this."""

    ledger: Ledger
    tenant: str

    def __deepcopy__(self, memo: dict[int, Any]) -> Source:
        return self


@router.get("", summary="Landing page of OGC API - Features")
def landing(request: Request, given: Given, caller: Reader) -> Response:
    """Where a client begins."""
    return _answer(request, given, caller, "landing_page")


@router.get("/openapi", summary="The OpenAPI document of /ogc")
def openapi(request: Request, given: Given, caller: Reader) -> Response:
    """Made by pygeoapi."""
    return _answer(request, given, caller, "openapi_")


@router.get("/conformance", summary="What of the standards is kept")
def conformance(request: Request, given: Given, caller: Reader) -> Response:
    """Conformance classes; HTML is none of them."""
    return _answer(request, given, caller, "conformance")


@router.get("/collections", summary="The collections")
def collections(request: Request, given: Given, caller: Reader) -> Response:
    """Alerts and changes."""
    return _answer(request, given, caller, "describe_collections")


@router.get("/collections/{collection}", summary="One collection")
def collection(request: Request, given: Given, caller: Reader, collection: str) -> Response:
    """Its extent, reference systems and links."""
    return _answer(request, given, caller, "describe_collections", collection)


@router.get("/collections/{collection}/queryables", summary="What a query may name")
def queryables(request: Request, given: Given, caller: Reader, collection: str) -> Response:
    """The properties, as a JSON schema."""
    return _answer(request, given, caller, "get_collection_queryables", collection)


@router.get("/collections/{collection}/schema", summary="The properties of a feature")
def schema(request: Request, given: Given, caller: Reader, collection: str) -> Response:
    """As a JSON schema."""
    return _answer(request, given, caller, "get_collection_schema", collection)


@router.get("/collections/{collection}/items", summary="Features, page by page")
def items(request: Request, given: Given, caller: Reader, collection: str) -> Response:
    """Parameters: bbox, datetime, limit, offset, properties, f (json, jsonld, csv), and values."""
    return _answer(request, given, caller, "get_collection_items", collection)


@router.get("/collections/{collection}/items/{item}", summary="One feature")
def item(request: Request, given: Given, caller: Reader, collection: str, item: str) -> Response:
    """GeoJSON, EPSG:4326."""
    return _answer(request, given, caller, "get_collection_item", collection, item)


def configuration(base: str, ledger: Ledger, tenant: str) -> dict[str, Any]:
    """What pygeoapi is told: two collections of one tenant."""
    source = Source(ledger, tenant)
    return {
        "server": {
            "url": f"{base}/ogc",
            "mimetype": "application/json; charset=UTF-8",
            "encoding": "utf-8",
            "languages": ["en-US"],
            "limits": {"default_items": 100, "max_items": 10_000, "on_exceed": "throttle"},
            "map": {"url": "", "attribution": ""},
        },
        "logging": {"level": "WARNING"},
        "metadata": {
            "identification": {
                "title": "groundshift",
                "description": "Alerts of change in satellite imagery",
                "keywords": ["change detection", "satellite imagery"],
                "keywords_type": "theme",
                "terms_of_service": "",
                "url": base,
            },
            "license": {"name": "as the operator says", "url": base},
            "provider": {"name": source.tenant, "url": base},
            "contact": {"name": source.tenant, "email": "", "url": base},
        },
        "resources": {name: _resource(name, source) for name in _COLLECTIONS},
    }


def _resource(name: str, source: Source) -> dict[str, Any]:
    provider, title, description = _COLLECTIONS[name]
    return {
        "type": "collection",
        "title": title,
        "description": description,
        "keywords": ["change"],
        "links": [],
        "extents": {
            "spatial": {"bbox": [-180, -90, 180, 90], "crs": _CRS84},
            "temporal": {"begin": _BEGIN, "end": None},
        },
        "providers": [
            {
                "type": "feature",
                "name": provider,
                "data": source,
                "id_field": "id",
                "storage_crs": _CRS84,
                "crs": [_CRS84],
            }
        ],
    }


def _answer(request: Request, given: Given, caller: Caller, endpoint: str, *names: str) -> Response:
    """What pygeoapi answers, as JSON whatever a browser would rather have."""
    query = dict(parse_qsl(request.url.query, keep_blank_values=True))
    if query.get("f", "json") not in _FORMATS:
        return problem(
            HTTPStatus.BAD_REQUEST, f"f={query['f']!r:.40}: there is {', '.join(sorted(_FORMATS))}"
        )
    config = configuration(str(request.base_url).rstrip("/"), given.ledger, caller.tenant)
    headers, status, content = _call(endpoint, config, _asked(request, query), names)
    return _response(request, headers, status, content)


def _call(
    endpoint: str, config: dict[str, Any], asked: Request, names: Sequence[str]
) -> tuple[dict[str, str], int, Any]:
    from pygeoapi import api as core
    from pygeoapi.api import API, APIRequest, itemtypes
    from pygeoapi.openapi import get_oas

    document = {}
    if endpoint == "openapi_":
        document = get_oas(config, fail_on_invalid_collection=False)
    served = API(config, document)
    call = getattr(core, endpoint, None) or getattr(itemtypes, endpoint)
    answer: tuple[dict[str, str], int, Any] = call(
        served, APIRequest(asked, served.locales), *names
    )
    return answer


def _asked(request: Request, query: dict[str, str]) -> Request:
    """The request as pygeoapi reads it: what a browser accepts plays no part, `f` does."""
    return Request(
        {
            **request.scope,
            "headers": [pair for pair in request.scope["headers"] if pair[0] != b"accept"],
            "query_string": urlencode({"offset": "0", **query}).encode(),
        }
    )


def _response(request: Request, headers: Mapping[str, str], status: int, content: Any) -> Response:
    media = headers.get("Content-Type", JSON)
    if status >= HTTPStatus.BAD_REQUEST:
        said = content if isinstance(content, dict) else orjson.loads(content)
        return problem(status, str(said.get("description", "")), code=said.get("code"))
    if "json" in media:
        tree = content if isinstance(content, dict) else orjson.loads(content)
        content = orjson.dumps(_without_html(tree))
        if media == JSON and str(tree.get("type")).startswith("Feature"):
            headers = {**headers, "Content-Type": GEOJSON}
    raw = content if isinstance(content, bytes) else str(content).encode()
    kept = {name: value for name, value in headers.items() if name.startswith("Content-")}
    named = {**kept, "ETag": etag_of(raw), "Cache-Control": PRIVATE, "Vary": "Authorization"}
    if known(request, named["ETag"]):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=named)
    return Response(raw, status_code=status, headers=named)


def _without_html(tree: Any) -> Any:
    """The document without links to pages that are not served."""
    if isinstance(tree, list):
        return [_without_html(one) for one in tree if not _html(one)]
    if isinstance(tree, dict):
        return {key: _without_html(value) for key, value in tree.items()}
    return tree


def _html(one: Any) -> bool:
    if isinstance(one, str):
        return one.startswith("http://www.opengis.net/spec/") and one.endswith("/html")
    return isinstance(one, dict) and one.get("type") == "text/html" and "href" in one
