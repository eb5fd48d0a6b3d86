import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from scipy import ndimage

from geodata_etl.align import array_windows, cog_preview, cog_windows, estimate_shift
from geodata_etl.cog import write_cog
from geodata_etl.grid import Extent, Grid, extent_of_bounds, utm_epsg
from geodata_etl.hrefs import Access
from geodata_etl.scenes import open_scene
from geodata_etl.warp import lazy_stack

EXTENT = Extent(-100, 50, -100 + 360, 50 + 400)


def landscape(seed: int, shape=(EXTENT.height, EXTENT.width)) -> np.ndarray:
    """Fields with edges and some fine texture, float [6, rows, columns]."""
    rng = np.random.default_rng(seed)
    coarse = ndimage.gaussian_filter(rng.standard_normal(shape), 8)
    fields = np.digitize(coarse, np.quantile(coarse, np.linspace(0, 1, 9)[1:-1])) * 250.0
    texture = ndimage.gaussian_filter(rng.standard_normal(shape), 1.2) * 150
    base = ndimage.gaussian_filter(fields + texture, 0.8) + 800
    return np.stack([base * factor for factor in (0.8, 0.9, 1.0, 1.6, 1.3, 1.1)])


def moved(picture: np.ndarray, dy: float, dx: float, *, noise=20.0, seed=1) -> np.ndarray:
    out = np.stack([ndimage.shift(band, (dy, dx), order=5, mode="nearest") for band in picture])
    out += np.random.default_rng(seed).normal(0, noise, out.shape)  # not the other date's noise
    return out.clip(1, 65_535).astype(np.uint16)


def measured(scene: np.ndarray, reference: np.ndarray, extent: Extent = EXTENT):
    return estimate_shift(
        array_windows(scene, extent), array_windows(reference, extent), extent=extent
    )


@settings(max_examples=6, deadline=None)
@given(dy=st.floats(-4, 4), dx=st.floats(-4, 4), seed=st.integers(0, 99))
def test_a_known_shift_is_found_with_its_sign(dy, dx, seed):
    reference = landscape(seed)
    shift = measured(moved(reference, -dy, -dx), moved(reference, 0, 0, seed=2))
    assert shift.reliable
    assert abs(shift.dy - dy) < 0.15
    assert abs(shift.dx - dx) < 0.15
    assert shift.length_px == pytest.approx(np.hypot(dy, dx), abs=0.2)


def test_moving_by_the_shift_undoes_it():
    reference = moved(landscape(3), 0, 0, seed=2)
    scene = moved(landscape(3), 1.3, -0.7)
    first = measured(scene, reference)
    back = moved(scene.astype(float), first.dy, first.dx, noise=0)
    assert measured(back, reference).length_px < 0.15


def test_season_change_and_clouds_do_not_move_the_answer():
    reference = moved(landscape(4), 0, 0, seed=2)
    scene = landscape(4)
    scene[3] = 5000 - scene[3]  # another season: the near infrared turns over
    scene *= 0.7
    scene[:, :200, :150] = 7000  # built over
    scene[:, 150:, 250:] = landscape(99)[:, 150:, 250:] + 6000  # cloud with a texture of its own
    shift = measured(moved(scene, 0.6, -1.1), reference)
    assert shift.reliable
    assert abs(shift.dy + 0.6) < 0.2
    assert abs(shift.dx - 1.1) < 0.2


@pytest.mark.parametrize(
    "scene",
    [
        moved(landscape(50), 0, 0),  # other ground
        np.full((6, EXTENT.height, EXTENT.width), 8000, np.uint16),  # nothing to see
        np.zeros((6, EXTENT.height, EXTENT.width), np.uint16),  # nothing at all
        np.random.default_rng(0).integers(1, 9000, (6, EXTENT.height, EXTENT.width), np.uint16),
    ],
)
def test_where_nothing_fits_there_is_no_shift(scene):
    shift = measured(scene, moved(landscape(5), 0, 0))
    assert not shift.reliable
    assert (shift.dy, shift.dx) == (0.0, 0.0)
    assert shift.agreeing < 3


def test_ground_too_small_for_windows_has_no_shift():
    extent = Extent(0, 0, 40, 400)
    picture = moved(landscape(6), 0, 0)[:, :40]
    shift = measured(picture, picture, extent)
    assert (shift.windows, shift.reliable, shift.reliability) == (0, False, 0.0)


def test_many_windows_are_thinned_to_the_textured_ones(tmp_path):
    extent = Extent(0, 0, 1400, 1400)
    flat = np.full((6, 1400, 1400), 900.0)
    for row in range(0, 1400, 280):
        for col in range(0, 1400, 280):
            patch = landscape(row + col, (140, 140))
            flat[:, row + 60 : row + 200, col + 60 : col + 200] = patch
    reference = flat.astype(np.uint16)
    path = tmp_path / "reference.tif"
    write_cog(
        path,
        [(rasterio.windows.Window(0, 0, 1400, 1400), reference)],
        grid=Grid(32633, extent),
        dtype="uint16",
        count=6,
        nodata=0,
        band_names=["b"] * 6,
        resampling="average",
    )
    asked: list[Extent] = []
    read = array_windows(np.roll(reference, (2, -3), axis=(1, 2)), extent)

    def scene(window: Extent) -> np.ndarray:
        asked.append(window)
        return read(window)

    preview = cog_preview(path, extent)
    assert preview.shape == (175, 175)
    shift = estimate_shift(scene, cog_windows(path), extent=extent, preview=preview)
    assert len(asked) <= 25
    assert abs(shift.dy + 2) < 0.1
    assert abs(shift.dx - 3) < 0.1


def test_windows_of_a_cog_are_nodata_outside_it(tmp_path):
    pixels = moved(landscape(7), 0, 0)
    path = tmp_path / "r.tif"
    write_cog(
        path,
        [(rasterio.windows.Window(0, 0, EXTENT.width, EXTENT.height), pixels)],
        grid=Grid(32633, EXTENT),
        dtype="uint16",
        count=6,
        nodata=0,
        band_names=["b"] * 6,
    )
    read = cog_windows(path)(Extent(EXTENT.top - 10, EXTENT.left, EXTENT.top + 10, EXTENT.left + 5))
    assert (read[:, :10] == 0).all()
    np.testing.assert_array_equal(read[:, 10:], pixels[:, :10, :5])


# --- real data


@pytest.fixture(scope="module")
def data():
    folder = Path(os.environ.get("GROUNDSHIFT_DATA", Path(__file__).parents[3] / "shared/data"))
    if not (folder / "manifest.json").exists():
        pytest.skip(f"no real imagery at {folder}")
    return folder


def stacks(data: Path, *paths: Path) -> tuple[Extent, list[np.ndarray]]:
    scenes = [open_scene(path, access=Access(roots=(data,))) for path in paths]
    middle = scenes[0].footprint.centroid
    epsg = utm_epsg(middle.x, middle.y)
    lon, lat = shapely.get_coordinates(scenes[0].footprint).T
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
    grid = Grid(epsg, extent_of_bounds(x.min(), y.min(), x.max(), y.max()))
    return grid.extent, [lazy_stack(scene, grid).values for scene in scenes]


@pytest.mark.data
def test_the_shift_of_the_eight_cities_is_what_the_manifest_says(data):
    items = {item["id"]: item for item in json.loads((data / "manifest.json").read_text())["items"]}
    print(f"\n{'city':12} {'dy':>6} {'dx':>6} {'manifest':>14} windows spread")
    for folder in sorted((data / "oscd").iterdir()):
        if not folder.is_dir():
            continue
        extent, (before, after) = stacks(data, *sorted(folder.glob(f"{folder.name}_2*.json")))
        shift = measured(after, before, extent)
        known = items[f"oscd_{folder.name}"]["measured_misregistration_px"]
        print(
            f"{folder.name:12} {shift.dy:+6.2f} {shift.dx:+6.2f} {known['dy']:+6.2f} "
            f"{known['dx']:+6.2f}  {shift.agreeing}/{shift.windows} {shift.spread_px:.2f}"
        )
        assert shift.reliable
        assert abs(shift.dy - known["dy"]) < 0.3
        assert abs(shift.dx - known["dx"]) < 0.3


@pytest.mark.data
def test_a_fully_cloudy_date_has_no_reliable_shift(data):
    names = [f"s2_slovenia/s2_slovenia_{day}.json" for day in ("20150711", "20150731", "20150830")]
    extent, (clear, cloudy, later) = stacks(data, *(data / name for name in names))
    assert not measured(cloudy, clear, extent).reliable
    assert measured(later, clear, extent).reliable
