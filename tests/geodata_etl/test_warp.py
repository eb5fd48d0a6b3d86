import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.shutil import copy as copy_raster
from scipy import ndimage

from geodata_etl.bands import BANDS
from geodata_etl.errors import Refusal, SceneRefused
from geodata_etl.grid import Extent, Grid
from geodata_etl.hrefs import Access
from geodata_etl.scenes import open_scene
from geodata_etl.warp import lazy_stack

EPSG = 32633
TOP, LEFT = -500_000, 50_000
NORTH_UP = Affine(10, 0, LEFT * 10, 0, -10, -TOP * 10)
TAGS = {"ACQUISITION_DATE": "2020-06-01"}


def save(path: Path, array: np.ndarray, names=BANDS, **changes) -> Path:
    profile = {
        "driver": "GTiff",
        "count": array.shape[0],
        "height": array.shape[1],
        "width": array.shape[2],
        "dtype": array.dtype.name,
        "crs": f"EPSG:{EPSG}",
        "transform": NORTH_UP,
        "nodata": 0,
    } | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **profile) as file:
        file.descriptions = names
        file.update_tags(**TAGS)
        file.scales = (1e-4,) * len(array)
        file.write(array)
    return path


def scene_of(path: Path):
    return open_scene(path, access=Access(roots=(path.parent,)))


def smooth(shape, seed=0, sigma=2.0) -> np.ndarray:
    """A picture that a cubic kernel can follow: values around 2000."""
    noise = np.random.default_rng(seed).standard_normal((6, *shape))
    field = ndimage.gaussian_filter(noise, (0, sigma, sigma))
    return (2000 + 300 * field / field.std()).clip(1, 4000).astype(np.uint16)


def grid(top=0, left=0, rows=100, cols=100) -> Grid:
    return Grid(EPSG, Extent(TOP + top, LEFT + left, TOP + top + rows, LEFT + left + cols))


def test_a_scene_on_the_lattice_is_copied_to_the_bit(tmp_path):
    pixels = smooth((80, 90))
    pixels[:, 10:20, 30:40] = 0
    stack = lazy_stack(scene_of(save(tmp_path / "s.tif", pixels)), grid(-5, -7, 100, 110))
    assert stack.dims == ("band", "y", "x")
    assert stack.dtype == np.uint16
    assert list(stack.band.values) == list(BANDS)
    assert stack.attrs["crs"] == f"EPSG:{EPSG}"
    assert float(stack.x[0]) == (LEFT - 7) * 10 + 5
    assert float(stack.y[0]) == -(TOP - 5) * 10 - 5
    read = stack.values
    np.testing.assert_array_equal(read[:, 5:85, 7:97], pixels)
    assert (read[:, :5] == 0).all()
    assert (read[:, 85:] == 0).all()


def test_a_shift_too_small_to_matter_copies_too(tmp_path):
    pixels = smooth((64, 64))
    scene = scene_of(save(tmp_path / "s.tif", pixels))
    stack = lazy_stack(scene, grid(rows=64, cols=64), shift_yx_px=(0.03, -0.03))
    np.testing.assert_array_equal(stack.values, pixels)


def test_one_invalid_band_makes_the_pixel_nodata_in_all(tmp_path):
    pixels = smooth((64, 64))
    pixels[3, 5, 6] = 0
    stack = lazy_stack(scene_of(save(tmp_path / "s.tif", pixels)), grid(rows=64, cols=64)).values
    assert (stack[:, 5, 6] == 0).all()
    assert np.count_nonzero(stack[0] == 0) == 1


@pytest.mark.parametrize("shift", [(2.0, -3.0), (0.5, 0.25)])
def test_content_moves_by_the_shift(tmp_path, shift):
    pixels = smooth((120, 120), sigma=4)
    scene = scene_of(save(tmp_path / "s.tif", pixels))
    moved = lazy_stack(scene, grid(rows=120, cols=120), shift_yx_px=shift).values
    wanted = ndimage.shift(pixels.astype(float), (0, *shift), order=5, mode="nearest")
    inner = (slice(None), slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(moved[inner], wanted[inner], atol=4)


def test_coarse_bands_land_where_they_belong(tmp_path):
    fine = smooth((120, 120), sigma=6)
    coarse = fine.reshape(6, 60, 2, 60, 2).mean(axis=(2, 4)).astype(np.uint16)
    save(tmp_path / "f" / "ten.tif", fine[:4], BANDS[:4])
    save(
        tmp_path / "f" / "twenty.tif",
        coarse[4:],
        BANDS[4:],
        transform=NORTH_UP @ Affine.scale(2),
    )
    stack = lazy_stack(scene_of(tmp_path / "f"), grid(rows=120, cols=120)).values
    np.testing.assert_array_equal(stack[:4], fine[:4])
    inner = (slice(4, 6), slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(stack[inner], fine[inner].astype(int), atol=12)
    assert (stack[4:] > 0).all()


def test_a_lon_lat_crop_lands_where_it_belongs(tmp_path):
    # a picture that is a function of the place: what is stored says where it should be
    lon0, lat0, step, size = 15.0, 45.15, 1e-4, 160
    lon = lon0 + (np.arange(size) + 0.5) * step
    lat = lat0 - (np.arange(size) + 0.5) * step
    x, y = Transformer.from_crs(4326, EPSG, always_xy=True).transform(*np.meshgrid(lon, lat))
    place = 2000 + 500 * np.sin(x / 300) + 500 * np.cos(y / 250)
    path = save(
        tmp_path / "s.tif",
        np.repeat(place[None], 6, axis=0).round().astype(np.uint16),
        crs="EPSG:4326",
        transform=Affine(step, 0, lon0, 0, -step, lat0),
    )
    middle = int(-y.mean() // 10), int(x.mean() // 10)
    target = Grid(EPSG, Extent(middle[0] - 40, middle[1] - 40, middle[0] + 40, middle[1] + 40))
    stack = lazy_stack(scene_of(path), target)
    gx, gy = np.meshgrid(stack.x, stack.y)
    wanted = 2000 + 500 * np.sin(gx / 300) + 500 * np.cos(gy / 250)
    np.testing.assert_allclose(stack.values[0], wanted, atol=3)


def test_nodata_does_not_bleed_into_what_is_valid(tmp_path):
    pixels = np.full((6, 100, 100), 3000, np.uint16)
    pixels[:, :, :50] = 0
    scene = scene_of(save(tmp_path / "s.tif", pixels))
    stack = lazy_stack(scene, grid(rows=100, cols=100), shift_yx_px=(0.0, 0.3)).values
    assert set(np.unique(stack)) == {0, 3000}
    assert (stack[:, 5:95, 50:95] == 3000).all()
    assert (stack[:, :, :50] == 0).all()


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A scene of several cells in lon/lat, where the rounding of coordinates could show."""
    folder = tmp_path_factory.mktemp("wide")
    pixels = smooth((700, 1100), sigma=1)
    pixels[:, 100:130, 200:260] = 0
    transform = Affine(1e-4, 0, 15.0, 0, -1e-4, 45.1)
    scene = scene_of(save(folder / "s.tif", pixels, crs="EPSG:4326", transform=transform))
    area = Grid(EPSG, Extent(TOP + 500, LEFT - 30, TOP + 1150, LEFT + 1200))
    whole = lazy_stack(scene, area, shift_yx_px=(0.37, -0.21), chunk_px=4096)
    return scene, area, whole.compute(scheduler="synchronous").values


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.integers(1, 1500), cols=st.integers(1, 1500))
def test_the_result_does_not_depend_on_the_chunks(wide, rows, cols):
    scene, area, whole = wide
    stack = lazy_stack(scene, area, shift_yx_px=(0.37, -0.21), chunk_px=(rows, cols))
    np.testing.assert_array_equal(stack.compute(scheduler="threads").values, whole)
    assert (whole > 0).any()


def test_a_stack_can_be_sent_to_another_process(tmp_path):
    stack = lazy_stack(scene_of(save(tmp_path / "s.tif", smooth((64, 64)))), grid(rows=64, cols=64))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stack)).values, stack.values)


def test_nothing_is_read_before_it_is_computed(tmp_path):
    path = save(tmp_path / "s.tif", smooth((64, 64)))
    scene = scene_of(path)
    stack = lazy_stack(scene, grid(rows=64, cols=64))
    path.unlink()
    assert stack.shape == (6, 64, 64)


def test_jpeg_2000_as_esa_ships_it(tmp_path):
    pixels = smooth((64, 64))
    tif = save(tmp_path / "plain.tif", pixels)
    folder = tmp_path / "S2A_MSIL1C_20200601T100031_N0209_R122_T33TWM_20200601T120000"
    folder.mkdir()
    for code, band in zip(("B02", "B03", "B04", "B08", "B11", "B12"), pixels, strict=True):
        save(tif, band[np.newaxis], ("",))
        copy_raster(
            tif,
            folder / f"T33TWM_20200601T100031_{code}.jp2",
            driver="JP2OpenJPEG",
            quality=100,
            reversible=True,
        )
    scene = scene_of(folder)
    assert scene.acquired.isoformat() == "2020-06-01T10:00:31+00:00"
    stack = lazy_stack(scene, grid(rows=64, cols=64)).values
    np.testing.assert_array_equal(stack, pixels)


# --- what only pixels can show


def refusal(path: Path, **given) -> Refusal:
    stack = lazy_stack(scene_of(path), grid(rows=64, cols=64), **given)
    with pytest.raises(SceneRefused) as caught:
        stack.compute()
    assert len(str(caught.value)) > 40
    return caught.value.reason


def floats(value: float, nodata: float | None) -> dict:
    pixels = smooth((64, 64)).astype(np.float32)
    pixels[2, 30, 31] = value
    return {"array": pixels, "nodata": nodata}


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.4, 0.4)])
def test_nan_is_nodata_only_where_it_is_declared(tmp_path, shift):
    for nodata in (None, -9999.0):
        path = save(tmp_path / "undeclared.tif", **floats(np.nan, nodata))
        assert refusal(path, shift_yx_px=shift) is Refusal.UNDECLARED_NAN
    path = save(tmp_path / "declared.tif", **floats(np.nan, np.nan))
    stack = lazy_stack(scene_of(path), grid(rows=64, cols=64), shift_yx_px=shift).values
    assert 1 <= np.count_nonzero(stack[0] == 0) <= 130  # the pixel, and the edge that moved out


@pytest.mark.parametrize("nodata", [None, -9999.0, np.nan])
def test_infinity_is_refused(tmp_path, nodata):
    for value in (np.inf, -np.inf):
        path = save(tmp_path / "s.tif", **floats(value, nodata))
        assert refusal(path) is Refusal.INFINITE


def test_a_tiff_cut_within_its_pixels_opens_and_is_refused_when_read(tmp_path):
    noise = np.random.default_rng(0).integers(1, 9000, (6, 64, 64)).astype(np.uint16)
    path = save(tmp_path / "s.tif", noise, compress="deflate", interleave="band")
    os.truncate(path, path.stat().st_size * 2 // 3)
    assert refusal(path) is Refusal.UNREADABLE


def test_a_file_that_vanished_is_refused_when_read(tmp_path):
    path = save(tmp_path / "s.tif", smooth((64, 64)))
    scene = scene_of(path)
    stack = lazy_stack(scene, grid(rows=64, cols=64))
    path.unlink()
    with pytest.raises(SceneRefused) as caught:
        stack.compute()
    assert caught.value.reason is Refusal.UNREADABLE
