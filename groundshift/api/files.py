"""/api/files: the files of scenes and runs, as they lie in the object store."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, RedirectResponse

from groundshift import keys
from groundshift.api.access import Given, Viewer
from groundshift.api.answers import IMMUTABLE
from groundshift.errors import NotFound
from groundshift.ledger import catalogue

router: Final = APIRouter(prefix="/api/files", tags=["pictures"])

SCENE_FILES: Final = ("scene.tif", "item.json")
_TYPES: Final = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".json": "application/json",
    ".geojson": "application/geo+json",
    ".png": "image/png",
    ".parquet": "application/vnd.apache.parquet",
}


@router.get("/{kind}/{name}/{file}", summary="A file of a scene or a run")
def read_file(
    given: Given, caller: Viewer, kind: Literal["scenes", "runs"], name: str, file: str
) -> Response:
    """Byte ranges are served; where objects lie on S3, by a redirect to a signed address."""
    known = SCENE_FILES if kind == "scenes" else keys.PRODUCTS
    with given.ledger.read() as connection:
        if kind == "scenes":
            catalogue.scene_of(connection, caller.tenant, name)
        else:
            catalogue.run_of(connection, caller.tenant, name)
    key = f"{kind}/{name}/{file}"
    if file not in known or not given.store.exists(key):
        raise NotFound(f"there is no file {file!r:.60}: there is {', '.join(known)}")
    url = given.store.url(key)
    if url.startswith("/vsicurl?"):
        signed = parse_qs(urlsplit(url).query)["url"][0]
        return RedirectResponse(signed, headers={"Cache-Control": "no-store"})
    media = _TYPES[Path(file).suffix]
    return FileResponse(url, media_type=media, headers={"Cache-Control": IMMUTABLE})
