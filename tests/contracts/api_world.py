"""A world for the API: tenants with a site, two scenes, a run and four alerts each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import shapely
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from functions.platform import Platform
from functions.track import track
from geodata_etl.bands import BANDS
from geodata_etl.cog import write_cog
from geodata_etl.grid import Extent, Grid, Tile
from geodata_etl.polygons import to_lonlat
from groundshift import keys
from groundshift.adapters.files import FileObjectStore
from groundshift.api.tokens import TokenVerifier
from groundshift.events import RunDone, new_event
from groundshift.ledger import Ledger, runs, scenes
from groundshift.settings import Settings

EPSG = 32631
TILE = Tile(-1203, 100)
SIDE = 256
EXTENT = Extent(TILE.core.top, TILE.core.left, TILE.core.top + SIDE, TILE.core.left + SIDE)
GRID = Grid(EPSG, EXTENT)
DATES = (datetime(2024, 5, 1, 10, 30, tzinfo=UTC), datetime(2024, 6, 1, 10, 30, tzinfo=UTC))
BOXES = {  # rows and columns of the grid, classes
    "house": (slice(20, 40), slice(30, 60), "low_vegetation", "built"),
    "felling": (slice(100, 160), slice(10, 90), "tree", "bare"),
    "flood": (slice(60, 80), slice(150, 200), "bare", "water"),
    "cloudy": (slice(200, 240), slice(200, 240), "tree", "built"),
}
"""The last one lies half under a cloud."""
UNSEEN = (slice(220, 256), slice(180, 256))
MODELS = [
    {
        "name": name,
        "revision": "r1",
        "digest": f"sha256:{name}",
        "signature": "s",
        "url": "http://m",
    }
    for name in ("cloud-mask", "segmenter", "change-classifier")
]
ISSUER, AUDIENCE = "https://login.test", "groundshift"


class ClearSky:
    """A model client that sees no cloud."""

    def infer(self, revision: Any, inputs: Any) -> dict[str, Any]:
        (image,) = inputs.values()
        count, _, rows, cols = image.shape
        if revision.name == "cloud-mask":
            return {"mask": np.zeros((count, rows, cols), np.uint8)}
        return {"probabilities": np.zeros((count, 6, rows, cols), np.uint8)}


def outline(name: str) -> Any:
    """A box of `BOXES` in UTM."""
    rows, cols, *_ = BOXES[name]
    left, top = (EXTENT.left + cols.start) * 10, -(EXTENT.top + rows.start) * 10
    right, bottom = (EXTENT.left + cols.stop) * 10, -(EXTENT.top + rows.stop) * 10
    return shapely.box(left, bottom, right, top)


def degrees(shape: Any) -> dict[str, Any]:
    """A shape in UTM as GeoJSON."""
    found: dict[str, Any] = orjson.loads(shapely.to_geojson(to_lonlat([shape], EPSG)[0]))
    return found


def write_tenant(platform: Platform, tenant: str) -> None:
    """A tenant's site, scenes, run and alerts, through the ledger and `track`."""
    site_id, scene_ids = f"site-{tenant}", [f"{tenant}-before", f"{tenant}-after"]
    whole = shapely.box(EXTENT.left * 10, -EXTENT.bottom * 10, EXTENT.right * 10, -EXTENT.top * 10)
    site = scenes.Site(site_id, tenant, tenant, orjson.dumps(degrees(whole)).decode(), EPSG, EXTENT)
    run = runs.Run(
        run_id=f"run-{tenant}",
        tenant=tenant,
        site_id=site_id,
        scene_id=scene_ids[1],
        kind="change",
        baseline=(scene_ids[0],),
        model_set=MODELS,
        params={"threshold": 0.5, "min_area_px": 20, "cloud_buffer_px": 0},
    )
    with platform.ledger.transaction() as tx:
        scenes.add_site(tx, site)
        for scene_id, at in zip(scene_ids, DATES, strict=True):
            scenes.add_scene(tx, _scene(scene_id, tenant, site_id, at))
        runs.plan(tx, run, ["0_0_1x1"])
        runs.add_changes(tx, run.run_id, [_change(name) for name in BOXES])
        runs.finish(tx, run, {"changed_km2": 1.0, "unchanged_km2": 5.0, "not_observed_km2": 2.0})
    for seed, scene_id in enumerate(scene_ids):
        _write_scene(platform, scene_id, seed)
    _write_run(platform, run.run_id)
    done = RunDone(run_id=run.run_id, site_id=site_id, scene_id=scene_ids[1])
    track(new_event(done, source="assemble", subject=run.run_id, time=DATES[1]), platform)


def _scene(scene_id: str, tenant: str, site_id: str, at: datetime) -> scenes.Scene:
    return scenes.Scene(
        scene_id=scene_id,
        arrival_id=None,
        stac_id=scene_id,
        tenant=tenant,
        site_id=site_id,
        acquired=at,
        sensor="sentinel-2a",
        digest=f"sha256:{scene_id}",
        extent=EXTENT,
        valid_fraction=1.0,
        shift_yx=(0.0, 0.0),
        shift_spread=0.0,
        shift_state="reference",
        outcome="done" if scene_id.endswith("after") else "skipped",
        reason=None if scene_id.endswith("after") else "no_baseline",
    )


def _change(name: str) -> dict[str, Any]:
    shape = outline(name)
    _, _, before, after = BOXES[name]
    return {
        "id": name,
        "geometry": shapely.to_wkb(shape, hex=True),
        "from_class": before,
        "to_class": after,
        "area_m2": shape.area,
        "pixels": int(shape.area / 100),
        "mean_probability": 0.5 + len(name) / 20,
        "max_probability": 0.99,
        "observed_fraction": 0.5 if name == "cloudy" else 1.0,
        "before": DATES[0],
        "after": DATES[1],
    }


def _write_scene(platform: Platform, scene_id: str, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(500, 3000, (6, SIDE, SIDE)).astype(np.uint16)
    pixels[:, :16, :16] = 0  # a corner without data
    _cog(platform, keys.scene_cog(scene_id), pixels, nodata=0, names=BANDS)
    _item(platform, keys.scene_item(scene_id), scene_id, "scene.tif", DATES[seed])


def _write_run(platform: Platform, run_id: str) -> None:
    observed = np.ones((SIDE, SIDE), np.uint8)
    observed[UNSEEN] = 0
    change = np.where(observed == 1, 10, 255).astype(np.uint8)
    for rows, cols, *_ in BOXES.values():
        change[rows, cols] = np.where(observed[rows, cols] == 1, 230, 255)
    layers = {"change": change, "observed": observed}
    layers |= {n: np.where(observed == 1, 1, 255).astype(np.uint8) for n in _CLASSES}
    for name, pixels in layers.items():
        nodata = None if name == "observed" else 255
        _cog(platform, keys.product(run_id, f"{name}.tif"), pixels, nodata=nodata, names=[name])
    _item(platform, keys.product(run_id, "item.json"), run_id, "change.tif", DATES[1])


_CLASSES = ("before_class", "after_class")


def _cog(platform: Platform, key: str, pixels: Any, *, nodata: Any, names: Any) -> None:
    path = platform.scratch / "x.tif"
    stack = pixels if pixels.ndim == 3 else pixels[np.newaxis]
    window = EXTENT.window_in(EXTENT)
    write_cog(
        path,
        [(window, stack)],
        grid=GRID,
        dtype=stack.dtype.name,
        count=len(stack),
        nodata=nodata,
        band_names=list(names),
    )
    platform.store.put(key, path)


def _item(platform: Platform, key: str, item_id: str, asset: str, at: datetime) -> None:
    west, south, east, north = to_lonlat(
        [shapely.box(EXTENT.left * 10, -EXTENT.bottom * 10, EXTENT.right * 10, -EXTENT.top * 10)],
        EPSG,
    )[0].bounds
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": item_id,
        "geometry": shapely.geometry.mapping(shapely.box(west, south, east, north)),
        "bbox": [west, south, east, north],
        "properties": {"datetime": at.isoformat().replace("+00:00", "Z")},
        "links": [],
        "assets": {"data": {"href": f"./{asset}", "type": "image/tiff; application=geotiff"}},
    }
    platform.store.put(key, orjson.dumps(item))


@contextmanager
def opened(folder: Path, **options: Any) -> Iterator[Platform]:
    settings = Settings(data_dir=folder, tenant="acme", **options)
    with Ledger.open(settings.ledger_url, tenant="acme") as ledger:
        models: Any = ClearSky()
        yield Platform(settings, ledger, FileObjectStore(folder / "objects"), models)


@dataclass
class World:
    """A platform and what makes clients of its API."""

    platform: Platform
    app: Any
    key: RSAKey

    def client(
        self, role: str = "analyst", *, tenant: str = "acme", user: str = "ann"
    ) -> TestClient:
        """Somebody with a token."""
        made = self.anonymous()
        made.headers["authorization"] = f"Bearer {self.token(role, tenant=tenant, user=user)}"
        return made

    def anonymous(self) -> TestClient:
        """Somebody without one, from another machine."""
        return TestClient(self.app, base_url="http://platform.test", client=("192.0.2.7", 40000))

    def token(
        self, role: Any, *, key: RSAKey | None = None, alg: str = "RS256", **claims: Any
    ) -> str:
        """A token of the login; a claim that is None is left out."""
        now = int(time.time())
        said = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "exp": now + 300,
            "iat": now,
            "role": role,
            "tenant": claims.pop("tenant", "acme"),
            "sub": claims.pop("user", "ann"),
            **claims,
        }
        kept = {name: value for name, value in said.items() if value is not None}
        signing = key or self.key
        header = {"alg": alg, "kid": signing.kid}
        return jwt.encode(header, kept, signing, algorithms=[alg])

    def alert(self, name: str, *, tenant: str = "acme") -> dict[str, Any]:
        """The feature of one of the alerts."""
        _, _, before, after = BOXES[name]
        with self.client(tenant=tenant) as client:
            found = client.get("/api/alerts", params={"from_class": before, "to_class": after})
        (feature,) = found.json()["features"]
        return dict(feature)


def verifier(key: RSAKey) -> TokenVerifier:
    """Reads the login's documents from here instead of over the network."""
    documents = {
        f"{ISSUER}/.well-known/openid-configuration": {"jwks_uri": f"{ISSUER}/keys"},
        f"{ISSUER}/keys": KeySet([key]).as_dict(private=False),
    }
    return TokenVerifier(ISSUER, AUDIENCE, fetch=documents.__getitem__)
