"""The simulator: same seed same bits, truth that is exact, scenes that keep the contracts."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion
from shapely.geometry import shape as geometry
from skimage.registration import phase_cross_correlation

from geodata_etl.bands import BANDS, NODATA, Cloud, Cover
from geodata_etl.simulate import (
    CLIMATES,
    SENSORS,
    ChangeCounts,
    ChangeKind,
    Site,
    SiteSpec,
    change_grid,
    default_dates,
    sample_pair,
    scene_id,
    simulate_site,
    write_scene,
    write_truth,
)

MANY = ChangeCounts(building=3, felling=2, flood=2, fire=2, mine=2)
SUMMER = date(2024, 7, 1)


@pytest.fixture(scope="module")
def site() -> Site:
    return simulate_site(SiteSpec(seed=7, size_px=384, climate="temperate", changes=MANY))


def test_same_seed_and_date_give_the_same_bits(site: Site) -> None:
    again = simulate_site(site.spec)
    again.scene(date(2023, 5, 5))  # what was drawn before must not matter
    for day in (SUMMER, date(2023, 12, 1)):
        one, two = site.scene(day), again.scene(day)
        assert one.reflectance.tobytes() == two.reflectance.tobytes()
        assert one.cloud.tobytes() == two.cloud.tobytes()
        assert one.cover.tobytes() == two.cover.tobytes()
        assert one.shift_yx_px == two.shift_yx_px


def test_another_seed_is_another_land_and_another_day_another_picture(site: Site) -> None:
    other = simulate_site(SiteSpec(seed=8, size_px=384, climate="temperate"))
    assert (other.cover_at(SUMMER) != site.cover_at(SUMMER)).mean() > 0.1
    a, b = site.scene(SUMMER), site.scene(SUMMER + timedelta(days=5))
    assert (a.reflectance != b.reflectance).mean() > 0.5


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**62),
    size=st.integers(16, 60).map(lambda half: 2 * half),
    climate=st.sampled_from([None, *CLIMATES]),
    day=st.dates(date(2023, 3, 1), date(2025, 2, 1)),
    cloud=st.sampled_from([None, 0.0, 0.3, 1.0]),
    toa=st.booleans(),
    sensor=st.sampled_from(sorted(SENSORS)),
)
def test_every_scene_keeps_the_contract(
    seed: int,
    size: int,
    climate: str | None,
    day: date,
    cloud: float | None,
    toa: bool,
    sensor: str,
) -> None:
    spec = SiteSpec(seed=seed, size_px=size, climate=climate, toa=toa, sensor=sensor)
    scene = simulate_site(spec).scene(day, cloud_fraction=cloud)
    assert scene.reflectance.shape == (6, size, size)
    assert scene.reflectance.dtype == np.uint16
    assert scene.reflectance.min() > NODATA
    assert scene.acquired.tzinfo is UTC
    assert scene.cloud.dtype == scene.cover.dtype == np.uint8
    assert scene.cloud.shape == scene.cover.shape == (size, size)
    assert set(np.unique(scene.cloud)) <= set(Cloud)
    assert set(np.unique(scene.cover)) <= set(Cover)


def test_off_the_swath_all_bands_are_nodata(site: Site) -> None:
    scene = site.scene(SUMMER, swath=0.3)
    off = (scene.reflectance == NODATA).any(axis=0)
    assert off.mean() == pytest.approx(0.3, abs=0.03)
    assert (scene.reflectance[:, off] == NODATA).all()


def test_change_mask_is_where_a_known_change_turned_the_class(site: Site) -> None:
    before, after = site.period
    mask = site.change_mask(before, after)
    assert mask.dtype == np.uint8
    assert mask.sum() >= 20
    changed = mask == 1
    assert (site.cover_at(before)[changed] != site.cover_at(after)[changed]).all()
    touched = np.zeros_like(changed)
    for change in site.changes:
        if change.active(before) != change.active(after):
            rows, cols = change_grid(site, change).extent.slices_in(site.grid.extent)
            touched[rows, cols] |= change.footprint
    assert not (changed & ~touched).any()


def test_seasons_and_crops_are_no_change() -> None:
    quiet = simulate_site(
        SiteSpec(seed=3, size_px=200, climate="temperate", changes=ChangeCounts())
    )
    spring, autumn = date(2023, 5, 1), date(2023, 9, 20)
    assert (quiet.cover_at(spring) != quiet.cover_at(autumn)).mean() > 0.05
    assert not quiet.change_mask(spring, autumn).any()


def test_no_change_between_dates_that_no_change_separates(site: Site) -> None:
    moments = sorted(change.date for change in site.changes)
    later = moments[0] + timedelta(minutes=1)
    assert not site.change_mask(site.period[0], moments[0] - timedelta(minutes=1)).any()
    assert not site.change_mask(later, later).any()


@pytest.mark.parametrize("kind", list(ChangeKind))
def test_each_kind_ends_in_its_class(kind: ChangeKind) -> None:
    expected = {
        ChangeKind.BUILDING: Cover.BUILT,
        ChangeKind.FELLING: Cover.BARE,
        ChangeKind.FLOOD: Cover.WATER,
        ChangeKind.FIRE: Cover.BURNT,
        ChangeKind.MINE: Cover.BARE,
    }
    counts = ChangeCounts(**{kind.value: 3})
    place = simulate_site(SiteSpec(seed=11, size_px=300, climate="upland", changes=counts))
    assert [change.kind for change in place.changes] == [kind] * 3
    for change in place.changes:
        assert 20 <= change.footprint.sum() < 10_000
        before, after = place.covers_of(change)
        assert after == expected[kind]
        assert kind is not ChangeKind.FELLING or before == Cover.TREE


def test_a_flood_falls_again() -> None:
    spec = SiteSpec(seed=5, size_px=300, climate="temperate", changes=ChangeCounts(flood=1))
    flooded = simulate_site(spec)
    (flood,) = flooded.changes
    assert flood.until is not None
    eve, peak = flood.date - timedelta(days=1), flood.date + timedelta(days=1)
    assert flooded.change_mask(eve, peak).sum() == flood.footprint.sum()
    assert not flooded.change_mask(eve, flood.until + timedelta(days=1)).any()


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.7, -0.4), (-1.3, 2.2)])
def test_the_content_lies_off_the_grid_by_the_shift(site: Site, shift: tuple[float, float]) -> None:
    still = site.scene(SUMMER, cloud_fraction=0.0, shift=(0.0, 0.0))
    moved = site.scene(SUMMER, cloud_fraction=0.0, shift=shift)
    for band in (2, 3):
        pair = (moved.reflectance[band].astype(float), still.reflectance[band].astype(float))
        found, _, _ = phase_cross_correlation(*pair, upsample_factor=50)
        # phase correlation says how to move the second image onto the first
        assert found == pytest.approx(shift, abs=0.12)
    assert (moved.cover == still.cover).all()


def test_clouds_cover_what_was_asked_and_hide_the_ground(site: Site) -> None:
    clear = site.scene(SUMMER, cloud_fraction=0.0)
    cloudy = site.scene(SUMMER, cloud_fraction=0.5)
    closed = site.scene(SUMMER, cloud_fraction=1.0)
    assert (clear.cloud == Cloud.CLEAR).all()
    covered = np.isin(cloudy.cloud, (Cloud.CLOUD, Cloud.THIN))
    assert 0.3 < covered.mean() < 0.65
    assert np.isin(closed.cloud, (Cloud.CLOUD, Cloud.THIN)).mean() > 0.98
    assert (cloudy.cover == clear.cover).all()
    blue = cloudy.reflectance[0].astype(float) - clear.reflectance[0]
    assert blue[covered].mean() > 400
    nir = cloudy.reflectance[3] / clear.reflectance[3].astype(float)
    shadow = cloudy.cloud == Cloud.SHADOW
    assert np.median(nir[shadow]) < 0.85
    assert np.median(nir[cloudy.cloud == Cloud.CLEAR]) == pytest.approx(1, abs=0.05)


def test_spectra_tell_the_classes_apart(site: Site) -> None:
    scene = site.scene(date(2024, 6, 15), cloud_fraction=0.0, haze=1.0, toa=False)
    _, _, red, nir, swir, _ = scene.reflectance.astype(float)
    greenness = (nir - red) / (nir + red)
    median = {c: np.median(greenness[scene.cover == c]) for c in Cover if (scene.cover == c).any()}
    assert median[Cover.TREE] > 0.6
    assert median[Cover.LOW_VEGETATION] > median[Cover.BARE] + 0.1
    assert median[Cover.BUILT] < 0.35
    open_water = binary_erosion(scene.cover == Cover.WATER, iterations=2)
    assert np.median(swir[open_water]) < 300


def test_haze_and_sensor_leave_their_mark(site: Site) -> None:
    clear, hazy = (
        site.scene(SUMMER, cloud_fraction=0.0, shift=(0, 0), haze=h).reflectance.astype(float)
        for h in (1.0, 3.0)
    )
    rise = (hazy - clear).mean(axis=(1, 2))
    assert rise[0] > rise[2] > rise[5]
    coarse = site.scene(SUMMER, cloud_fraction=0.0, sensor="landsat", haze=1.0)
    assert coarse.sensor == "landsat"
    sharpness = [
        np.abs(np.diff(stack[2].astype(float))).mean() for stack in (clear, coarse.reflectance)
    ]
    assert sharpness[1] < 0.8 * sharpness[0]


def test_default_dates_spread_over_two_years() -> None:
    dates = default_dates(6)
    assert list(dates) == sorted(set(dates))
    assert dates == default_dates(6)
    assert all(moment.tzinfo is UTC for moment in dates)
    gaps = [(b - a).days for a, b in pairwise(dates)]
    assert min(gaps) >= 30
    assert 400 < (dates[-1] - dates[0]).days < 730


def test_pairs_follow_from_the_generator_alone() -> None:
    one, two = (sample_pair(np.random.default_rng(4), 96, cloud_fraction=0.0) for _ in range(2))
    assert one.after.reflectance.tobytes() == two.after.reflectance.tobytes()
    assert one.before.acquired < one.after.acquired
    assert one.change.shape == (96, 96)
    rng = np.random.default_rng(0)
    shares = [sample_pair(rng, 96, change_chance=1.0).change.mean() for _ in range(12)]
    assert 0 < np.mean(shares) < 0.4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"cloud_fraction": 1.5}, "between 0 and 1"),
        ({"shift": (4.0, 0.0)}, "at most 3"),
        ({"haze": -1.0}, "haze is -1"),
        ({"swath": 1.0}, "swath is 1"),
        ({"sensor": "spot"}, "sentinel-2"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    site: Site, arguments: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        site.scene(SUMMER, **arguments)  # type: ignore[arg-type]


def test_bad_specs_are_refused() -> None:
    with pytest.raises(ValueError, match="32 px"):
        simulate_site(SiteSpec(seed=1, size_px=8))
    with pytest.raises(ValueError, match="left is 350000"):
        simulate_site(SiteSpec(seed=1, size_px=64, left=350_000))
    with pytest.raises(ValueError, match="top is -2000000"):
        simulate_site(SiteSpec(seed=1, size_px=64, top=-2_000_000))
    with pytest.raises(ValueError, match="temperate"):
        simulate_site(SiteSpec(seed=1, size_px=64, climate="moon"))
    with pytest.raises(ValueError, match="730 days"):
        default_dates(0)


def test_item_says_what_the_files_hold(site: Site, tmp_path: Path) -> None:
    scene = site.scene(SUMMER)
    path = write_scene(scene, site, tmp_path)
    item = pystac.Item.from_file(str(path))
    assert item.datetime == datetime(2024, 7, 1, 10, 30, tzinfo=UTC)
    assert item.id == scene_id(scene, site)
    assert sorted(item.assets) == ["10m", "20m"]
    names: list[str] = []
    for asset in item.assets.values():
        with rasterio.open(tmp_path / asset.href) as raster:
            bands = [band["common_name"] for band in asset.extra_fields["eo:bands"]]
            assert list(raster.descriptions) == bands
            assert raster.nodata == 0
            assert raster.crs.to_epsg() == site.spec.epsg
            assert raster.res == (asset.extra_fields["gsd"],) * 2
            assert raster.bounds == pytest.approx(site.grid.bounds)
            assert list(raster.transform)[:6] == asset.extra_fields["proj:transform"]
            if raster.res[0] == 10:
                assert (raster.read() == scene.reflectance[:4]).all()
        names += bands
        for band in asset.extra_fields["raster:bands"]:
            assert (band["scale"], band["offset"], band["nodata"]) == (1e-4, 0, 0)
    assert names == list(BANDS)


def test_offset_is_stored_and_declared(site: Site, tmp_path: Path) -> None:
    scene = site.scene(SUMMER, swath=0.2)
    path = write_scene(scene, site, tmp_path, layout="stack", dn_offset=1000)
    asset = pystac.Item.from_file(str(path)).assets["stack"]
    assert asset.extra_fields["raster:bands"][0]["offset"] == pytest.approx(-0.1)
    with rasterio.open(tmp_path / asset.href) as raster:
        stored = raster.read()
    assert ((stored == 0) == (scene.reflectance == 0)).all()
    seen = scene.reflectance > 0
    assert (stored[seen] == scene.reflectance[seen] + 1000).all()


def test_odd_sites_have_no_20_m_file(tmp_path: Path) -> None:
    odd = simulate_site(SiteSpec(seed=1, size_px=65))
    with pytest.raises(ValueError, match="layout='stack'"):
        write_scene(odd.scene(SUMMER), odd, tmp_path)


def test_truth_files_agree_with_the_site(site: Site, tmp_path: Path) -> None:
    scenes = [site.scene(day) for day in default_dates(3)]
    summary = json.loads(write_truth(site, scenes, tmp_path).read_text())
    assert [entry["id"] for entry in summary["scenes"]] == [scene_id(s, site) for s in scenes]
    for scene in scenes:
        with rasterio.open(tmp_path / f"{scene_id(scene, site)}_cover.tif") as raster:
            assert (raster.read(1) == scene.cover).all()
    first, last = scene_id(scenes[0], site), scene_id(scenes[-1], site)
    with rasterio.open(tmp_path / f"change_{first}_{last}.tif") as raster:
        mask = site.change_mask(scenes[0].acquired, scenes[-1].acquired)
        assert (raster.read(1) == mask).all()
    features = json.loads((tmp_path / "truth.geojson").read_text())["features"]
    assert len(features) == len(site.changes)
    for feature, change in zip(features, site.changes, strict=True):
        assert feature["properties"]["kind"] == change.kind
        assert feature["properties"]["area_m2"] == change.footprint.sum() * 100
        lon, lat = geometry(feature["geometry"]).centroid.coords[0]
        assert lon == pytest.approx(2.3, abs=0.3)
        assert lat == pytest.approx(48.7, abs=0.3)
