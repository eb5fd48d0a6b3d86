"""/api/alerts/{id}/pack.zip: everything one needs to check an alert, in one file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import orjson
from fastapi import APIRouter, Request, Response

from groundshift import keys
from groundshift.api import pictures
from groundshift.api.access import Given, Viewer
from groundshift.api.alerts import find
from groundshift.api.answers import PRIVATE, etag_of, known
from groundshift.api.features import alert_feature, evidence, review_record
from groundshift.api.masks import alert_mask
from groundshift.api.models import card_of
from groundshift.errors import NotFound
from groundshift.ledger import reviews
from groundshift.ledger.alert_views import AlertView, Bbox

router: Final = APIRouter(prefix="/api/alerts", tags=["alerts"])

_SIZE: Final = 768
_MARGIN: Final = 1.0
"""Ground around the alert, in its own extent."""
_LEAST_DEGREES: Final = 0.002
"""About 200 m: a small alert is shown with its surroundings."""
_ZIP: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"application/zip": {}}}}
_README: Final = """Evidence of an alert of change (groundshift)

alert.geojson        the alert, EPSG:4326
before.png after.png true colour, 10 m pixels, the alert's outline in yellow
before-plain.png ... the same without the outline
mask.tif             band 1: the alert's polygon (1 inside); band 2: probability of change x 254;
                     band 3: observed on both dates (1); 255 = not observed or outside the run
evidence.json        observed fraction, runs, scenes, models by digest, reviews, permalink
items/               STAC Items of both scenes and of the run
models/              the model cards of the models that found it, where they are at hand
"""


class Archive(Response):
    """A ZIP file, for the OpenAPI document."""

    media_type = "application/zip"


@router.get(
    "/{alert_id}/pack.zip",
    summary="The evidence pack of an alert",
    response_class=Archive,
    responses=_ZIP,
)
def evidence_pack(request: Request, given: Given, caller: Viewer, alert_id: str) -> Response:
    """Chips, mask, observed fraction, models, STAC Items, reviews and permalink in one file."""
    view = find(given, caller.tenant, alert_id)
    with given.ledger.read() as connection:
        said = [review_record(review) for review in reviews.of_alerts(connection, [alert_id])]
    about = _about(request, given, view, said)
    etag = etag_of(about)
    headers = {
        "ETag": etag,
        "Cache-Control": PRIVATE,
        "Content-Disposition": f'attachment; filename="alert-{view.row.id}.zip"',
    }
    if known(request, etag):
        return Response(status_code=304, headers=headers)
    files = {"README.txt": _README.encode(), "evidence.json": about, **dict(_files(given, view))}
    return Archive(_zipped(view, files), headers=headers)


def box_around(view: AlertView) -> Bbox:
    """The ground that the chips show."""
    row = view.row
    across = max(row.east - row.west, _LEAST_DEGREES) * _MARGIN
    up = max(row.north - row.south, _LEAST_DEGREES) * _MARGIN
    return row.west - across, row.south - up, row.east + across, row.north + up


def permalink(request: Request, given: Given, alert_id: str) -> str:
    """Where a person finds the alert again."""
    if base := given.settings.public_url.rstrip("/"):
        return f"{base}/?alert={quote(alert_id)}"
    return f"{str(request.base_url).rstrip('/')}/api/alerts/{quote(alert_id)}"


def _about(request: Request, given: Given, view: AlertView, said: list[Any]) -> bytes:
    base = str(request.base_url).rstrip("/")
    found = evidence(view)
    for model in found["models"]:
        model["card"] = f"{base}/api/models/{model['name']}/card?digest={quote(model['digest'])}"
    body = {
        "alert_id": view.row.id,
        "version": view.row.version,
        "observed_fraction": view.observed_fraction,
        "before_scene_id": view.before_scene_id,
        "after_scene_id": view.after_scene_id,
        "permalink": permalink(request, given, view.row.id),
        "feature": alert_feature(view),
        **found,
        "reviews": said,
    }
    return orjson.dumps(body, option=orjson.OPT_UTC_Z | orjson.OPT_INDENT_2)


def _files(given: Given, view: AlertView) -> Iterator[tuple[str, bytes]]:
    yield "alert.geojson", orjson.dumps(alert_feature(view), option=orjson.OPT_UTC_Z)
    for name, scene_id in (("before", view.before_scene_id), ("after", view.after_scene_id)):
        if scene_id is not None:
            yield from _scene_files(given, view, name, scene_id)
    if view.first_run_id is not None:
        yield "mask.tif", alert_mask(given.store, view.first_run_id, view.row.geometry)
        yield from _stored(given, "items/run.json", keys.product(view.first_run_id, "item.json"))
    for model in view.model_set:
        card = card_of(given.settings, model["name"], model["digest"])
        if card:
            yield f"models/{model['name']}.md", card.encode()


def _scene_files(
    given: Given, view: AlertView, name: str, scene_id: str
) -> Iterator[tuple[str, bytes]]:
    url = given.store.url(keys.scene_cog(scene_id))
    try:
        chip = pictures.chip(url, pictures.SCENE["true"], bbox=box_around(view), size=_SIZE)
    except NotFound:
        return  # the scene's raster was removed: the Item still says what it was
    yield f"{name}.png", pictures.png(chip.outlined(view.row.geometry))
    yield f"{name}-plain.png", pictures.png(chip.picture)
    yield from _stored(given, f"items/{name}.json", keys.scene_item(scene_id))


def _stored(given: Given, name: str, key: str) -> Iterator[tuple[str, bytes]]:
    try:
        yield name, given.store.get(key)
    except NotFound:
        return


def _zipped(view: AlertView, files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    stamp = view.row.updated.timetuple()[:6]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, stamp), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()
