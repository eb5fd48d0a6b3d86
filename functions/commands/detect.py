"""The one-shot job: compare files through the same stages, and leave the products in a folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import shapely
from sqlalchemy import select

from functions.commands.common import BATCH_BACKOFF, local_path, roots_of
from functions.commands.submit import scene_arrived
from functions.commands.up import sole_owner
from functions.ingest import access_of, make_site
from functions.local import Embedded, embedded
from functions.progress import watching
from geodata_etl.hrefs import Access
from geodata_etl.scenes import Scene, open_scene
from groundshift import keys
from groundshift.baseline import Skip
from groundshift.errors import GroundshiftError, Refusal, SceneRefused
from groundshift.ledger import runs, scenes, tables
from groundshift.ledger.runs import Run
from groundshift.ledger.scenes import Site, add_site
from groundshift.opening import settings_of
from groundshift.ports import IN_PROCESS
from groundshift.settings import Settings

_WORK: Final = ".groundshift-"
_REFUSAL_OF: Final = {
    Skip.LOW_OVERLAP: Refusal.NO_OVERLAP,
    Skip.MISALIGNED: Refusal.NOT_ALIGNED,
    Skip.TOO_LITTLE_DATA: Refusal.ALL_NODATA,
    Skip.NO_BASELINE: Refusal.BEFORE_BASELINE,
}


@dataclass(frozen=True)
class Options:
    """What a person may say that the files do not, and the knobs of the comparison."""

    bands: tuple[str, ...] | None = None
    scale: float | None = None
    offset: float | None = None
    threshold: float | None = None
    min_area_px: int | None = None

    @property
    def of_scene(self) -> dict[str, Any]:
        """What goes with each scene."""
        return {"bands": self.bands, "scale": self.scale, "offset": self.offset}


@dataclass(frozen=True)
class Detection:
    """What was found."""

    run_id: str
    summary: Mapping[str, Any]
    """km2 changed, unchanged and not observed, and the changes by class."""
    files: Mapping[str, Path]
    """Products by name."""
    timings: Mapping[str, float]

    @property
    def by_class(self) -> list[tuple[str, int, float]]:
        """(from -> to, polygons, hectares), the largest area first."""
        return [
            (f"{row['from_class']} -> {row['to_class']}", row["polygons"], row["area_m2"] / 1e4)
            for row in self.summary["by_class"]
        ]

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {**asdict(self), "files": {name: str(path) for name, path in self.files.items()}}


def detect(
    names: Sequence[str],
    *,
    out: Path,
    options: Options,
    data_dir: Path | None = None,
    edge: bool = False,
    quiet: bool = False,
) -> Detection:
    """Compare the last scene with those before it; `edge` runs the small models in this process.

    Raises SceneRefused, GroundshiftError.
    """
    out.mkdir(parents=True, exist_ok=True)
    hrefs = [local_path(name) for name in names]
    with _folder(data_dir, out) as folder:
        settings = _settings(hrefs, folder, options)
        if edge:
            settings = _on_device(settings)
        sources = [_open(href, options, access_of(settings)) for href in hrefs]
        _require_order(sources)
        site = _site(sources, settings)
        with sole_owner(settings.data_dir), embedded(settings) as platform:
            with platform.platform.ledger.transaction() as tx:
                add_site(tx, site)
            said = {**options.of_scene, "site": site.site_id}
            arrivals = platform.announce([scene_arrived(href, said) for href in hrefs])
            with watching(platform.platform, quiet=quiet) as watch:
                platform.work(watch=watch)
            return _collect(arrivals, out, platform)


@contextmanager
def _folder(data_dir: Path | None, out: Path) -> Iterator[Path]:
    """Where the ledger and the caches lie: kept where a person names it, else gone at the end."""
    if data_dir is not None:
        yield data_dir
        return
    with tempfile.TemporaryDirectory(prefix=_WORK, dir=out) as folder:
        yield Path(folder)


def _settings(hrefs: Sequence[str], folder: Path, options: Options) -> Settings:
    named = {urlsplit(href).netloc for href in hrefs if "://" in href}
    hosts = named | set(settings_of(folder).allowed_hosts)
    return settings_of(
        folder,
        allowed_roots=roots_of(hrefs),
        allowed_hosts=tuple(sorted(hosts)) or None,
        baseline_size=max(1, len(hrefs) - 1),
        threshold=options.threshold,
        min_area_px=options.min_area_px,
        backoff_scale=BATCH_BACKOFF,
    )


def _on_device(settings: Settings) -> Settings:
    """No model server: the small variants, in this process."""
    return settings.model_copy(update={"models_url": IN_PROCESS, "model_dir": settings.edge_models})


def _open(href: str, options: Options, access: Access) -> Scene:
    try:
        return open_scene(href, access=access, **options.of_scene)
    except SceneRefused as refused:
        raise SceneRefused(refused.reason, _about(href, str(refused))) from refused


def _about(href: str, message: str) -> str:
    """A message that says which of several scenes it is about."""
    return message if href in message else f"{href}: {message}"


def _require_order(sources: Sequence[Scene]) -> None:
    """Refuse what no run could compare, before anything is computed."""
    *before, after = sources
    for scene in before:
        if scene.acquired >= after.acquired:
            raise SceneRefused(
                Refusal.BEFORE_BASELINE,
                f"{after.source} ({after.acquired:%Y-%m-%d %H:%M}) is not later than "
                f"{scene.source} ({scene.acquired:%Y-%m-%d %H:%M}): name the later scene last",
            )
    ground = shapely.union_all([scene.footprint for scene in before])
    if not ground.intersects(after.footprint):
        raise SceneRefused(
            Refusal.NO_OVERLAP,
            f"{after.source} shares no ground with the scenes before it: "
            f"{_box(after.footprint)} against {_box(ground)} (west, south, east, north)",
        )


def _box(geometry: Any) -> str:
    return ", ".join(f"{degree:.4f}" for degree in geometry.bounds)


def _site(sources: Sequence[Scene], settings: Settings) -> Site:
    """The ground of the scenes before: what can be compared."""
    ground = shapely.union_all([scene.footprint for scene in sources[:-1]])
    return make_site(ground.convex_hull, tenant=settings.tenant, name="detect")


def _collect(arrivals: Sequence[str], out: Path, platform: Embedded) -> Detection:
    """Copy the products of the last scene's run; raise what kept it from ending well."""
    run = _run_of(arrivals, platform)
    store = platform.platform.store
    files = {name: out / name for name in keys.PRODUCTS}
    for name, path in files.items():
        path.write_bytes(store.get(keys.product(run.run_id, name)))
    _name_sources(files["item.json"], platform, run)
    record = orjson.loads(files["run.json"].read_bytes())
    return Detection(run.run_id, run.summary, files, record["timings"])


def _name_sources(path: Path, platform: Embedded, run: Run) -> None:
    """The Item stands alone here: its links lead to what a person gave, not into the store."""
    query = (
        select(tables.scenes.c.id, tables.arrivals.c.href)
        .join(tables.arrivals, tables.arrivals.c.id == tables.scenes.c.arrival_id)
        .where(tables.scenes.c.id.in_((*run.baseline, run.scene_id)))
    )
    with platform.platform.ledger.read() as connection:
        hrefs = {row.id: row.href for row in connection.execute(query)}
    item = orjson.loads(path.read_bytes())
    for link in item["links"]:
        if link["rel"] == "derived_from":
            link["href"] = hrefs[link["href"].split("/")[-2]]
    path.write_bytes(orjson.dumps(item, option=orjson.OPT_INDENT_2))


def _run_of(arrivals: Sequence[str], platform: Embedded) -> Run:
    with platform.platform.ledger.read() as connection:
        for arrival in arrivals:
            row = connection.execute(
                select(tables.arrivals).where(tables.arrivals.c.id == arrival)
            ).one()
            if row.state == "refused":
                raise SceneRefused(Refusal(row.reason), _about(row.href, row.message))
            if row.state != "ready":
                raise GroundshiftError(f"{row.href} was not read: {row.message}")
        table = tables.scenes
        query = select(table.c.id).where(table.c.arrival_id == arrivals[-1])
        scene = scenes.get(connection, connection.execute(query).scalar_one())
        every = runs.of_scene(connection, scene.scene_id)
    for run in every:
        if run.current and run.kind == "change":
            return run
    if scene.outcome == "skipped":
        reason = _REFUSAL_OF.get(Skip(scene.reason or ""), Refusal.NO_OVERLAP)
        raise SceneRefused(reason, f"{scene.stac_id} was not compared: {scene.message}")
    failed = next((run.message for run in every if run.state == "failed"), None)
    raise GroundshiftError(f"{scene.stac_id} was not compared: {failed or scene.outcome}")
