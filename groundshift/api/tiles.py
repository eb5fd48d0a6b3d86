"""/api/tiles and /api/chips: what a map shows of scenes and runs, from the COGs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from groundshift import keys
from groundshift.api import pictures
from groundshift.api.access import SIGNABLE, Caller, Given, Reader, Viewer
from groundshift.api.answers import IMMUTABLE, etag_of, json_answer, known
from groundshift.api.boxes import read_bbox
from groundshift.errors import BadRequest
from groundshift.ledger import catalogue

router: Final = APIRouter(prefix="/api", tags=["pictures"])

Look = Annotated[
    Literal["true", "false", "ndvi"],
    Query(description="True colour, false colour (near infrared as red) or vegetation index"),
]
Layer = Literal["change", "observed", "before_class", "after_class"]
Zoom = Annotated[int, Path(ge=0, le=22)]
Cell = Annotated[int, Path(ge=0, lt=1 << 22)]
PNG: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"image/png": {}}}}
_PAINT: Final = 2
"""Raised when the same pixels get other colours: pictures are kept by their ETag."""
_MIN_ZOOM, _MAX_ZOOM = 6, 16
_LARGEST_CHIP_DEGREES: Final = 1.0


class Picture(Response):
    """A PNG, for the OpenAPI document."""

    media_type = "image/png"


@router.get("/tiles/scene/{scene_id}/tilejson.json", summary="TileJSON of a scene")
def scene_tilejson(
    request: Request, given: Given, caller: Viewer, scene_id: str, rendering: Look = "true"
) -> Response:
    """Its address template is signed for the browser where a login is configured."""
    url, _ = _scene(given, caller, scene_id)
    path = f"/api/tiles/scene/{scene_id}/{{z}}/{{x}}/{{y}}.png?rendering={rendering}"
    return _tilejson(request, given, caller, name=scene_id, path=path, url=url)


@router.get(
    "/tiles/scene/{scene_id}/{z}/{x}/{y}.png",
    summary="A WebMercator tile of a scene",
    response_class=Picture,
    responses=PNG,
)
def scene_tile(
    request: Request,
    given: Given,
    caller: Viewer,
    scene_id: str,
    z: Zoom,
    x: Cell,
    y: Cell,
    rendering: Look = "true",
) -> Response:
    """Clear where the scene does not reach or has no data."""
    _check_cell(z, x, y)
    url, digest = _scene(given, caller, scene_id)

    def draw() -> bytes:
        return pictures.tile(url, pictures.SCENE[rendering], z=z, x=x, y=y)

    return _picture(request, f"{digest}/{rendering}/{z}/{x}/{y}", draw)


@router.get("/tiles/run/{run_id}/{layer}/tilejson.json", summary="TileJSON of a run's layer")
def run_tilejson(
    request: Request, given: Given, caller: Viewer, run_id: str, layer: Layer
) -> Response:
    """Its address template is signed for the browser where a login is configured."""
    url = _layer(given, caller, run_id, layer)
    path = f"/api/tiles/run/{run_id}/{layer}/{{z}}/{{x}}/{{y}}.png"
    return _tilejson(request, given, caller, name=f"{run_id} {layer}", path=path, url=url)


@router.get(
    "/tiles/run/{run_id}/{layer}/{z}/{x}/{y}.png",
    summary="A WebMercator tile of a run's layer",
    response_class=Picture,
    responses=PNG,
)
def run_tile(
    request: Request,
    given: Given,
    caller: Viewer,
    run_id: str,
    layer: Layer,
    z: Zoom,
    x: Cell,
    y: Cell,
) -> Response:
    """`observed` is hatched where the run saw nothing and clear elsewhere."""
    _check_cell(z, x, y)
    url = _layer(given, caller, run_id, layer)

    def draw() -> bytes:
        return pictures.tile(url, pictures.LAYERS[layer], z=z, x=x, y=y)

    return _picture(request, f"{run_id}/{layer}/{z}/{x}/{y}", draw)


@router.get(
    "/chips/{scene_id}.png",
    summary="A scene over a box, as one picture",
    response_class=Picture,
    responses=PNG,
)
def chip(
    request: Request,
    given: Given,
    caller: Viewer,
    scene_id: str,
    bbox: Annotated[str, Query(max_length=200, description="west,south,east,north; EPSG:4326")],
    rendering: Look = "true",
    size: Annotated[int, Query(ge=16, le=1024, description="Longer side, pixels")] = 256,
) -> Response:
    """Clear where the scene has no data; 404 where it does not reach the box."""
    west, south, east, north = box = read_bbox(bbox)
    if not (0 < east - west <= _LARGEST_CHIP_DEGREES and north - south > 0):
        raise BadRequest(
            f"bbox {bbox!r:.80}: a chip is wider than nothing and at most "
            f"{_LARGEST_CHIP_DEGREES:g} degree; use /api/tiles for more"
        )
    url, digest = _scene(given, caller, scene_id)

    def draw() -> bytes:
        look = pictures.SCENE[rendering]
        return pictures.png(pictures.chip(url, look, bbox=box, size=size).picture)

    return _picture(request, f"{digest}/{rendering}/{box}/{size}", draw)


@router.get("/sign", summary="An address that a browser may open without a token")
def sign(
    request: Request,
    given: Given,
    caller: Reader,
    path: Annotated[str, Query(max_length=2000, description="Path and query below /api")],
) -> Response:
    """For tiles, chips and packs; it opens what the caller's tenant owns, for a while."""
    if not path.startswith(SIGNABLE) or ".." in path or "//" in path:
        raise BadRequest(f"{path!r:.80} cannot be signed: only {', '.join(SIGNABLE)}... can")
    return json_answer(request, {"href": given.signed(path, caller)}, cache="no-store")


def _scene(given: Given, caller: Caller, scene_id: str) -> tuple[str, str]:
    """(Address, digest) of a scene's COG. Raises NotFound."""
    with given.ledger.read() as connection:
        scene = catalogue.scene_of(connection, caller.tenant, scene_id)
    return given.store.url(keys.scene_cog(scene_id)), scene.digest


def _layer(given: Given, caller: Caller, run_id: str, layer: str) -> str:
    """Address of a raster of a run. Raises NotFound."""
    with given.ledger.read() as connection:
        catalogue.run_of(connection, caller.tenant, run_id)
    return given.store.url(keys.product(run_id, f"{layer}.tif"))


def _check_cell(z: int, x: int, y: int) -> None:
    """Raises BadRequest where there is no such tile in WebMercator."""
    if max(x, y) >= 1 << z:
        raise BadRequest(f"zoom {z} has tiles 0 to {(1 << z) - 1}, not {x}/{y}")


def _picture(request: Request, content: str, draw: Any) -> Response:
    etag = etag_of(f"{_PAINT}/{content}")
    headers = {"ETag": etag, "Cache-Control": IMMUTABLE}
    if known(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(draw(), media_type="image/png", headers=headers)


def _tilejson(
    request: Request, given: Given, caller: Caller, *, name: str, path: str, url: str
) -> Response:
    west, south, east, north = box = pictures.bounds(url)
    base = str(request.base_url).rstrip("/")
    body: Mapping[str, Any] = {
        "tilejson": "3.0.0",
        "name": name,
        "scheme": "xyz",
        "tiles": [base + given.signed(path, caller)],
        "minzoom": _MIN_ZOOM,
        "maxzoom": _MAX_ZOOM,
        "bounds": box,
        "center": [(west + east) / 2, (south + north) / 2, 12],
    }
    return json_answer(request, body)
