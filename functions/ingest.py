"""ingest: scene.arrived -> scene.ready per site, or scene.refused.

A scene is opened, checked, aligned to each site it touches and stored as a COG with a STAC Item.
What can never work is an answer, not a crash: the arrival is refused with the reason and the cure.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
import shapely
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry
from sqlalchemy import Connection, func, select

from functions.buckets import bucket_reads, scene_address
from functions.platform import Platform
from geodata_etl.errors import Refusal, SceneRefused
from geodata_etl.grid import extent_of_bounds, utm_epsg
from geodata_etl.hrefs import Access
from geodata_etl.ingest import Ingested, ingest_scene
from geodata_etl.scenes import Scene as SourceScene
from geodata_etl.scenes import open_scene
from geodata_etl.stac import scene_item, validate_item
from groundshift import keys
from groundshift.errors import NotYet
from groundshift.events import Event, SceneArrived, SceneReady
from groundshift.events import SceneRefused as SceneRefusedEvent
from groundshift.ledger import Tx, arrivals, scenes, tables
from groundshift.ledger.scenes import Scene, Site
from groundshift.settings import Settings

STAGE: Final = "ingest"
_PATIENCE_S: Final = 30.0
"""How long a scene waits for earlier ones before it gives its place up and is tried again."""
_LOOK_S: Final = 0.2


@dataclass(frozen=True)
class _Stored:
    """A scene whose pixels and Item are in the store."""

    site: Site
    scene: Scene


def ingest(event: Event, platform: Platform) -> None:
    """Read a scene onto the grid of every site it touches."""
    arrived = _of_tenant(event)
    with platform.ledger.transaction() as tx:
        arrival = arrivals.record_arrival(tx, event)
    try:
        stored = _read(arrived, arrival, platform)
    except SceneRefused as refused:
        _refuse(event, arrival, refused, platform)
        return
    with platform.ledger.transaction() as tx:
        if tx.first_time(STAGE, event):
            arrivals.resolve(tx, arrival, state="ready")
            for one in stored:
                _commit(tx, one)


def _of_tenant(event: Event) -> SceneArrived:
    """What was announced, with the tenant that the event itself may name."""
    arrived = SceneArrived.of(event)
    return arrived.model_copy(update={"tenant": arrived.tenant or event.tenant})


def access_of(settings: Settings) -> Access:
    """The allow-list and limits of the settings."""
    buckets = bucket_reads(settings)
    return Access(
        roots=(settings.data_dir, *settings.allowed_roots),
        closed=(settings.data_dir / "downloads", *_object_folder(settings)),
        hosts=(*settings.allowed_hosts, *((buckets.host,) if buckets else ())),
        sign=buckets.sign if buckets else None,
        cache=settings.data_dir / "downloads",
        max_file_bytes=settings.max_file_bytes,
        max_decoded_bytes=settings.max_scene_bytes,
    )


def _object_folder(settings: Settings) -> tuple[Path, ...]:
    """Where the objects of all tenants lie, if in a folder: no scene to announce is in there."""
    return () if "://" in settings.objects else (Path(settings.objects),)


def _read(arrived: SceneArrived, arrival: str, platform: Platform) -> list[_Stored]:
    source = open_scene(
        scene_address(arrived.href, platform.settings),
        access=access_of(platform.settings),
        bands=arrived.bands,
        scale=arrived.scale,
        offset=arrived.offset,
        date=arrived.acquired,
    )
    tenant = arrived.tenant or platform.settings.tenant
    sites = _sites(source, arrived, arrival, tenant, platform)
    stored: list[_Stored] = []
    refused: list[SceneRefused] = []
    for site in sites:
        try:
            with platform.flights(STAGE):  # two at once take twice the memory, and no less time
                stored.append(_store(source, site, arrival, platform))
        except SceneRefused as refusal:  # another site may still have use for the scene
            refused.append(refusal)
    if not stored:
        raise refused[0]
    return stored


def _sites(
    source: SourceScene, arrived: SceneArrived, arrival: str, tenant: str, platform: Platform
) -> list[Site]:
    """The sites to read the scene for; each one has its alignment reference or gets it now."""
    known, touched = _touched(source, arrived, arrival, tenant, platform)
    if not touched and arrived.site is None and platform.settings.auto_site:
        touched = [site_of(source, tenant)]
    if not touched:
        wanted = f"site {arrived.site!r}" if arrived.site else f"{len(known)} sites"
        raise SceneRefused(
            Refusal.NO_OVERLAP,
            f"{arrived.href} touches none of the {wanted} of tenant {tenant!r}: "
            "add a site there, or let GROUNDSHIFT_AUTO_SITE make one",
        )
    return touched


def _touched(
    source: SourceScene, arrived: SceneArrived, arrival: str, tenant: str, platform: Platform
) -> tuple[list[Site], list[Site]]:
    """(all sites, those the scene touches), once it is this scene's turn. Raises NotYet.

    The first scene decides a new site's extent and its alignment reference; that is an order, not
    a race, so later ones wait for it.
    """
    patience = time.monotonic() + _PATIENCE_S
    while True:
        with platform.ledger.read() as connection:
            known = scenes.sites_of(connection, tenant)
            waiting = _earlier_unresolved(connection, arrival, tenant)
        if arrived.site is not None:
            touched = [site for site in known if arrived.site in (site.site_id, site.name)]
        else:
            touched = [s for s in known if shape_of(s).intersects(source.footprint)]
        if not waiting or (touched and all(s.reference_scene_id for s in touched)):
            return known, touched
        if time.monotonic() > patience:
            raise NotYet(f"{arrived.href}: {waiting} earlier scenes are still being read")
        time.sleep(_LOOK_S)


def _earlier_unresolved(connection: Connection, arrival: str, tenant: str) -> int:
    table = tables.arrivals
    own = select(table.c.seq).where(table.c.id == arrival).scalar_subquery()
    query = select(func.count()).where(
        table.c.tenant == tenant, table.c.state == "arrived", table.c.seq < own
    )
    return int(connection.execute(query).scalar_one())


def shape_of(site: Site) -> BaseGeometry:
    """A site's polygon, EPSG:4326."""
    return shapely.from_geojson(site.geometry)


def site_of(source: SourceScene, tenant: str) -> Site:
    """The site that a scene's own footprint makes."""
    return make_site(source.footprint, tenant=tenant, name=source.id)


def make_site(polygon: BaseGeometry, *, tenant: str, name: str) -> Site:
    """A site of a polygon in EPSG:4326; its centroid fixes the UTM zone."""
    epsg = utm_epsg(polygon.centroid.x, polygon.centroid.y)
    to_utm = Transformer.from_crs(4326, epsg, always_xy=True)
    extent = extent_of_bounds(*to_utm.transform_bounds(*polygon.bounds))
    geometry = shapely.to_geojson(shapely.set_precision(polygon, 1e-7))
    digest = hashlib.sha256(f"{tenant}\n{name}\n{geometry}".encode()).hexdigest()
    return Site(digest[:16], tenant, name, geometry, epsg, extent)


def _store(source: SourceScene, site: Site, arrival: str, platform: Platform) -> _Stored:
    with tempfile.TemporaryDirectory(dir=platform.scratch) as folder:
        cog = Path(folder, "scene.tif")
        ingested = ingest_scene(
            source,
            epsg=site.epsg,
            site_extent=site.extent,
            out=cog,
            reference=_reference(site, platform),
            max_shift_px=platform.settings.max_shift_px,
        )
        item = scene_item(source, ingested, href="./scene.tif")
        validate_item(item)
        document = orjson.dumps(item.to_dict(), option=orjson.OPT_INDENT_2)
        platform.store.put_if_absent(keys.scene_cog(ingested.scene_id), cog)
        platform.store.put_if_absent(keys.scene_item(ingested.scene_id), document)
    return _Stored(site, _scene(source, site, ingested, arrival))


def _reference(site: Site, platform: Platform) -> Path | None:
    if site.reference_scene_id is None:
        return None
    return Path(platform.store.url(keys.scene_cog(site.reference_scene_id)))


def _scene(source: SourceScene, site: Site, ingested: Ingested, arrival: str) -> Scene:
    shift = ingested.shift
    return Scene(
        scene_id=ingested.scene_id,
        arrival_id=arrival,
        stac_id=source.id,
        tenant=site.tenant,
        site_id=site.site_id,
        acquired=source.acquired,
        sensor=source.platform or "unknown",
        digest=ingested.digest,
        extent=ingested.grid.extent,
        valid_fraction=ingested.valid_fraction,
        shift_yx=ingested.shift_yx_px,
        shift_spread=shift.spread_px if shift and shift.reliable else 0.0,
        shift_state=ingested.alignment,
    )


def _commit(tx: Tx, stored: _Stored) -> None:
    scene = stored.scene
    scenes.add_site(tx, stored.site)
    reference = scenes.site(tx.connection, scene.site_id).reference_scene_id
    if reference not in (stored.site.reference_scene_id, scene.scene_id):
        raise NotYet(f"{scene.stac_id}: the site got its reference meanwhile; align to it")
    scenes.add_scene(tx, scene)
    scenes.set_reference(tx, scene.site_id, scene.scene_id)
    tx.say(
        SceneReady(scene_id=scene.scene_id, site_id=scene.site_id),
        source=STAGE,
        subject=scene.scene_id,
        tenant=scene.tenant,
    )


def _refuse(event: Event, arrival: str, refused: SceneRefused, platform: Platform) -> None:
    reason, message = str(refused.reason), str(refused)
    with platform.ledger.transaction() as tx:
        if not tx.first_time(STAGE, event):
            return
        arrivals.resolve(tx, arrival, state="refused", reason=reason, message=message)
        tx.say(
            SceneRefusedEvent(
                href=str(event.data["href"]), arrival=arrival, reason=reason, message=message
            ),
            source=STAGE,
            subject=arrival,
        )
