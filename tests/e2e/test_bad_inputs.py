"""Bad input is an answer, not a crash: it is refused with its reason and harms no other scene."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from scipy.ndimage import gaussian_filter
from sqlalchemy import select

from functions import reports
from functions.commands.detect import Options, detect
from functions.commands.submit import scene_arrived
from functions.local import Embedded
from functions.testing import canonical_state
from geodata_etl.bands import BANDS
from geodata_etl.errors import Refusal, SceneRefused
from groundshift.ledger import tables

Open = Callable[..., AbstractContextManager[Embedded]]

_HERE: Final = Affine(10, 0, 450_000, 0, -10, 5_400_000)
_SIZE: Final = 96
_BOMB: Final = 30_000
"""Edge that decodes to 10.8 GB of six bands, over the limit of 8 GiB."""


def ground(seed: int = 0, size: int = _SIZE) -> np.ndarray:
    """Six smooth bands of plausible reflectance x 10000."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=(6, size, size)), (0, 2, 2))
    return np.clip(1000 + 2000 * field, 1, 2500).astype(np.uint16)


@dataclass(frozen=True)
class Tif:
    """A GeoTIFF to write: by default a good scene."""

    pixels: np.ndarray
    crs: str | None = "EPSG:32631"
    transform: Affine = _HERE
    names: tuple[str, ...] = BANDS
    nodata: float | None = 0
    scale: float = 1e-4

    def write(self, path: Path) -> Path:
        """Write it; the path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        count, height, width = self.pixels.shape
        profile: dict[str, Any] = {"crs": self.crs, "transform": self.transform}
        shape = {"count": count, "height": height, "width": width, "dtype": self.pixels.dtype}
        with rasterio.open(path, "w", "GTiff", nodata=self.nodata, **shape, **profile) as file:
            file.write(self.pixels)
            file.scales = [self.scale] * count
            for index, name in enumerate(self.names, 1):
                file.set_band_description(index, name)
        return path


GOOD: Final = Tif(ground())
_FLOAT: Final = replace(GOOD, pixels=ground().astype(np.float32), nodata=None)


def with_value(value: float) -> np.ndarray:
    pixels = _FLOAT.pixels.copy()
    pixels[2, 40, 50] = value
    return pixels


def at(transform: Affine) -> Callable[[Path], Path]:
    return tif(transform=transform)


def tif(**changes: Any) -> Callable[[Path], Path]:
    base = _FLOAT if changes.pop("floats", False) else GOOD
    return lambda folder: replace(base, **changes).write(folder / "scene-20240601.tif")


def pixels_of(size: float) -> Affine:
    return Affine(size, 0, _HERE.c, 0, -size, _HERE.f)


def truncated(folder: Path) -> Path:
    """Half of the pixels, with a header that still promises all of them."""
    whole, path = GOOD.write(folder / "whole.tif"), folder / "scene-20240601.tif"
    rasterio.shutil.copy(whole, path, driver="GTiff")  # the header stands in front
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def headless(folder: Path) -> Path:
    """A header that points behind the end."""
    path = GOOD.write(folder / "scene-20240601.tif")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def page(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        folder.mkdir()
        path = folder / name
        path.write_text("<!doctype html><title>404 Not Found</title>")
        return path

    return write


def two_crs(folder: Path) -> Path:
    for crs, bands in (("EPSG:32631", slice(0, 4)), ("EPSG:32632", slice(4, 6))):
        part = replace(GOOD, pixels=GOOD.pixels[bands], names=BANDS[bands], crs=crs)
        part.write(folder / f"scene-20240601-{crs[-2:]}.tif")
    return folder


def bomb(folder: Path) -> Path:
    folder.mkdir()
    path = folder / "scene-20240601.tif"
    sparse = {"SPARSE_OK": True, "tiled": True, "blockxsize": 512, "blockysize": 512}
    size = {"count": 6, "height": _BOMB, "width": _BOMB, "dtype": "uint16", "nodata": 0}
    with rasterio.open(
        path, "w", "GTiff", crs="EPSG:32631", transform=_HERE, **size, **sparse
    ) as file:
        file.scales = [1e-4] * 6
        for index, name in enumerate(BANDS, 1):
            file.set_band_description(index, name)
    assert path.stat().st_size < 2 << 20
    return path


def item_naming(href: str) -> Callable[[Path], Path]:
    """A STAC Item whose asset lies somewhere else."""

    def write(folder: Path) -> Path:
        folder.mkdir()
        names = [{"name": name, "common_name": name} for name in BANDS]
        asset = {"href": href, "type": "image/tiff; application=geotiff", "eo:bands": names}
        ring = [[2, 48], [3, 48], [3, 49], [2, 49], [2, 48]]
        item = {
            "type": "Feature",
            "stac_version": "1.0.0",
            "stac_extensions": [],
            "id": "elsewhere",
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "bbox": [2, 48, 3, 49],
            "properties": {"datetime": "2024-06-01T10:30:00Z"},
            "links": [],
            "assets": {"data": asset},
        }
        path = folder / "item.json"
        path.write_text(json.dumps(item))
        return path

    return write


def secret_beside(folder: Path) -> Path:
    """A good scene next to the allowed folder, where no scene may be read from."""
    return GOOD.write(folder.parent.parent / "secret" / "scene-20240601.tif")


def link_out(folder: Path) -> Path:
    folder.mkdir()
    path = folder / "scene-20240601.tif"
    path.symlink_to(secret_beside(folder))
    return path


def dots_out(folder: Path) -> str:
    folder.mkdir()
    outside = secret_beside(folder)
    return f"{folder}/../../secret/{outside.name}"


def fixed(href: str) -> Callable[[Path], str]:
    return lambda _: href


Case = tuple[Callable[[Path], Path | str], Refusal]
CASES: Final[Mapping[str, Case]] = {
    "missing file": (lambda folder: folder / "nowhere.tif", Refusal.MISSING_FILE),
    "truncated": (truncated, Refusal.UNREADABLE),
    "truncated, header gone": (headless, Refusal.UNREADABLE),
    "HTML named .tif": (page("scene-20240601.tif"), Refusal.UNREADABLE),
    "HTML named .json": (page("item.json"), Refusal.NOT_AN_ITEM),
    "no CRS": (tif(crs=None), Refusal.NO_CRS),
    "no bands known": (tif(names=()), Refusal.BANDS_UNKNOWN),
    "missing band": (tif(pixels=GOOD.pixels[:5], names=BANDS[:5]), Refusal.MISSING_BAND),
    "wrong dtype": (tif(pixels=GOOD.pixels.astype(np.uint32)), Refusal.DTYPE),
    "complex numbers": (tif(pixels=GOOD.pixels.astype(np.complex64)), Refusal.DTYPE),
    "no scale": (tif(scale=1), Refusal.NO_SCALE),
    "undeclared NaN": (tif(pixels=with_value(math.nan), floats=True), Refusal.UNDECLARED_NAN),
    "inf": (tif(pixels=with_value(math.inf), floats=True), Refusal.INFINITE),
    "-inf": (tif(pixels=with_value(-math.inf), floats=True), Refusal.INFINITE),
    "all nodata": (tif(pixels=np.zeros_like(GOOD.pixels)), Refusal.ALL_NODATA),
    "1x1 px": (tif(pixels=GOOD.pixels[:, :1, :1]), Refusal.TOO_SMALL),
    "64 m pixels": (at(pixels_of(64)), Refusal.TOO_COARSE),
    "1 m pixels": (at(pixels_of(1)), Refusal.TOO_FINE),
    "rotated": (at(_HERE @ Affine.rotation(20)), Refusal.ROTATED),
    "antimeridian, UTM": (
        tif(crs="EPSG:32660", transform=Affine(10, 0, 833_700, 0, -10, 100_000)),
        Refusal.ANTIMERIDIAN,
    ),
    "antimeridian, degrees": (
        tif(crs="EPSG:4326", transform=Affine(1e-4, 0, 179.997, 0, -1e-4, 1)),
        Refusal.ANTIMERIDIAN,
    ),
    "two CRSs": (two_crs, Refusal.MIXED_CRS),
    "off the site": (at(Affine(10, 0, 480_000, 0, -10, 5_400_000)), Refusal.NO_OVERLAP),
    "no date": (lambda folder: GOOD.write(folder / "scene.tif"), Refusal.NO_DATE),
    "bomb": (bomb, Refusal.TOO_LARGE),
    "/etc/passwd": (fixed("file:///etc/passwd"), Refusal.HREF_FORBIDDEN),
    "a virtual file system": (fixed("/vsicurl/http://127.0.0.1:9/x.tif"), Refusal.HREF_FORBIDDEN),
    "another scheme": (fixed("s3://bucket/scene.tif"), Refusal.HREF_FORBIDDEN),
    "http to a host not allowed": (fixed("http://127.0.0.1:9/x.tif"), Refusal.HREF_FORBIDDEN),
    "../..": (dots_out, Refusal.HREF_FORBIDDEN),
    "symlink": (link_out, Refusal.HREF_FORBIDDEN),
    "item naming /etc/passwd": (item_naming("file:///etc/passwd"), Refusal.HREF_FORBIDDEN),
    "item naming ../..": (item_naming("../../secret/x.tif"), Refusal.HREF_FORBIDDEN),
    "item naming a host": (item_naming("http://127.0.0.1:9/x.tif"), Refusal.HREF_FORBIDDEN),
}
BEFORE, AFTER = "before-20240501", "after-20240701"


@dataclass(frozen=True)
class Handled:
    """What became of everything that was announced."""

    gaps: Mapping[str, reports.Gap]
    """By case."""
    arrivals: Mapping[str, str]
    """State by href."""
    hrefs: Mapping[str, str]
    """By case."""
    state: Mapping[str, Any]
    dead: int


def good_pair(folder: Path) -> list[str]:
    after = ground()
    after[:, 30:60, 30:60] = 2900
    first = GOOD.write(folder / f"{BEFORE}.tif")
    second = replace(GOOD, pixels=after).write(folder / f"{AFTER}.tif")
    return [str(first), str(second)]


def announce(platform: Embedded, href: str) -> None:
    platform.announce([scene_arrived(href, {"site": BEFORE} if "off-the" in href else {})])


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad") / "allowed"


@pytest.fixture(scope="module")
def handled(open_platform: Open, roots: Path, tmp_path_factory: pytest.TempPathFactory) -> Handled:
    """One platform that is told of every bad scene, between two good ones."""
    before, after = good_pair(roots)
    hrefs = {
        case: str(make(roots / case.replace(" ", "-").replace("/", "_")))
        for case, (make, _) in CASES.items()
    }
    with open_platform(tmp_path_factory.mktemp("platform"), allowed_roots=(roots,)) as platform:
        for href in (hrefs["all nodata"], before, *hrefs.values(), after):
            announce(platform, href)
        platform.work(timeout_s=200)
        ledger, store = platform.platform.ledger, platform.platform.store
        by_href = {gap.subject: gap for gap in reports.gaps(ledger, "local")}
        with ledger.read() as connection:
            rows = list(connection.execute(select(tables.arrivals)))
        return Handled(
            gaps={case: by_href[href] for case, href in hrefs.items() if href in by_href},
            arrivals={row.href: row.state for row in rows},
            hrefs=hrefs,
            state=canonical_state(ledger, store),
            dead=len(platform_dead(platform)),
        )


def platform_dead(platform: Embedded) -> list[Any]:
    with platform.platform.ledger.read() as connection:
        table = tables.deliveries
        return list(connection.execute(select(table).where(table.c.state == "dead")))


@pytest.mark.parametrize("case", CASES)
def test_a_bad_scene_is_refused_with_its_reason_and_a_cure(handled: Handled, case: str) -> None:
    gap = handled.gaps[case]
    assert (gap.outcome, gap.reason) == ("refused", CASES[case][1])
    assert handled.arrivals[handled.hrefs[case]] == "refused"
    assert ": " in gap.message, "what was wrong, a colon, the cure"
    assert "Traceback" not in gap.message


def test_bad_scenes_leave_no_trace_on_the_good_ones(
    handled: Handled, open_platform: Open, roots: Path, tmp_path: Path
) -> None:
    """As if they had never come: same sites, scenes, runs, changes, alerts and files."""
    with open_platform(tmp_path, allowed_roots=(roots,)) as platform:
        for href in good_pair(roots):
            announce(platform, href)
        platform.work(timeout_s=200)
        alone = canonical_state(platform.platform.ledger, platform.platform.store)
    assert handled.state == alone
    assert alone["changes"], "the pair has a change, so that something could be harmed"
    assert handled.dead == 0, "a refusal is an outcome, not a dead letter"


# ---- detect


def test_detect_refuses_a_date_that_is_not_later(tmp_path: Path) -> None:
    before, after = good_pair(tmp_path)
    with pytest.raises(
        SceneRefused, match=r"2024-05-01.* is not later than .*2024-07-01"
    ) as caught:
        detect([after, before], out=tmp_path / "out", options=Options(), quiet=True)
    assert caught.value.reason is Refusal.BEFORE_BASELINE


def test_detect_refuses_scenes_without_common_ground(tmp_path: Path) -> None:
    before, _ = good_pair(tmp_path)
    away = replace(GOOD, transform=Affine(10, 0, 480_000, 0, -10, 5_400_000))
    after = str(away.write(tmp_path / "away-20240701.tif"))
    with pytest.raises(SceneRefused, match="shares no ground") as caught:
        detect([before, after], out=tmp_path / "out", options=Options(), quiet=True)
    assert caught.value.reason is Refusal.NO_OVERLAP
    assert not list((tmp_path / "out").iterdir())
