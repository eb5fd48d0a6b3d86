"""`groundshift labels`: verified tiles, what changed between versions, and files out and in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import httpx
import orjson
import typer

from functions import show
from groundshift.errors import BadRequest, Forbidden, NotFound, Unavailable
from groundshift.opening import settings_of

app: Final = typer.Typer(
    name="labels",
    no_args_is_help=True,
    help="Labels: verified tiles and their versions, and polygons as GeoJSON or COCO.",
)

Url = Annotated[str, typer.Option(help="Address of the platform; GROUNDSHIFT_TOKEN logs in.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
_URL: Final = "http://127.0.0.1:8080"
_TIMEOUT_S: Final = 120.0
_FILES: Final = "/api/labels/annotations"
_SHORT: Final = 12
"""Digits of a version that a table shows; `diff` takes them too."""


@app.command("list")
def list_tiles(
    url: Url = _URL,
    all_versions: Annotated[bool, typer.Option("--all", help="Replaced versions too.")] = False,
    json: Json = False,
) -> None:
    """List the verified tiles: pixels changed, unchanged and ignored, and how many reviews."""
    found = _labels(url, all_versions=all_versions)
    if json:
        show.document(found)
        return
    if not found:
        show.err.print("No verified tile yet: review alerts on the map (`groundshift dashboard`).")
        return
    columns = ("version", "site", "tile", "current", "changed", "unchanged", "ignored", "reviews")
    show.table("Verified tiles", columns, (_row(label) for label in found))


@app.command()
def diff(
    version: Annotated[str, typer.Argument(help="A version, or its first digits.")],
    against: Annotated[
        str | None, typer.Argument(help="The older one; the version before by default.")
    ] = None,
    url: Url = _URL,
    json: Json = False,
) -> None:
    """Say what changed from one version of a verified tile to another, in pixels of 100 m2."""
    every = _labels(url, all_versions=True)
    query = {} if against is None else {"against": _whole(against, every)}
    found = _ask(url, "GET", f"/api/labels/{_whole(version, every)}/diff", params=query)
    if json:
        show.document(found)
        return
    older = (found["against"] or "nothing")[:_SHORT]
    title = f"Tile {found['tile']}: {found['version'][:_SHORT]} against {older}"
    show.table(title, ("kind", "pixels"), found["pixels"].items())


@app.command("export")
def export_file(
    file: Annotated[Path, typer.Argument(help="File to write.", dir_okay=False)],
    file_format: Annotated[
        Literal["geojson", "coco"],
        typer.Option("--format", help="GeoJSON in EPSG:4326, or COCO in pixels of the tiles."),
    ] = "geojson",
    site: Annotated[str | None, typer.Option(help="Only this site.")] = None,
    url: Url = _URL,
) -> None:
    """Write what reviewers say of the ground: changed, unchanged and ignored polygons."""
    query = {"format": file_format, **({} if site is None else {"site_id": site})}
    found = _ask(url, "GET", _FILES, params=query)
    file.write_bytes(orjson.dumps(found))
    count = len(found["features" if file_format == "geojson" else "annotations"])
    show.err.print(f"{count} annotations in {file}.", highlight=False, soft_wrap=True)


@app.command("import")
def import_file(
    file: Annotated[
        Path, typer.Argument(help="GeoJSON, or COCO as export writes it.", dir_okay=False)
    ],
    url: Url = _URL,
    json: Json = False,
) -> None:
    """Take labels from a file, each alert's as one review by you; what is refused is said."""
    try:
        document = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise BadRequest(f"{file} is no JSON that can be read: {error}") from error
    found = _ask(url, "POST", _FILES, json=document)["outcomes"]
    if json:
        show.document(found)
        return
    columns = ("alert", "outcome", "verdict", "why")
    names = ("alert_id", "outcome", "verdict", "why")
    show.table("Labels taken", columns, ([one.get(name) or "" for name in names] for one in found))


def _labels(url: str, *, all_versions: bool) -> list[dict[str, Any]]:
    query = {} if all_versions else {"current": True}
    found: list[dict[str, Any]] = _ask(url, "GET", "/api/labels", params=query)["labels"]
    return found


def _whole(version: str, every: list[dict[str, Any]]) -> str:
    """The one version that begins so. Raises NotFound."""
    found = [one["version"] for one in every if one["version"].startswith(version)]
    if len(found) != 1:
        raise NotFound(
            f"{len(found)} labels begin with {version!r}: `groundshift labels list --all`"
        )
    return str(found[0])


def _row(label: Mapping[str, Any]) -> tuple[Any, ...]:
    counts = (label["counts"][kind] for kind in ("changed", "unchanged", "ignored"))
    place = (label["version"][:_SHORT], label["site_id"], label["tile"])
    return (*place, "yes" if label["current"] else "", *counts, len(label["reviews"]))


def _ask(url: str, method: str, path: str, **options: Any) -> Any:
    """What the platform answers. Raises Unavailable, Forbidden, NotFound, BadRequest."""
    token = settings_of().token.get_secret_value()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.request(
            method, f"{url.rstrip('/')}{path}", headers=headers, timeout=_TIMEOUT_S, **options
        )
    except httpx.TransportError as error:
        raise Unavailable(f"no answer from {url}: {error}; is `groundshift up` running?") from error
    if answer.is_success:
        return answer.json()
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise Forbidden(f"{url} lets nobody in like that: {_why(answer)}; set GROUNDSHIFT_TOKEN")
    raise BadRequest(f"{url} refused it: {_why(answer)}")


def _why(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"it answered {answer.status_code}"
