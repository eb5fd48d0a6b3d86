import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from geodata_etl import render
from geodata_etl.bands import BANDS, Cover
from geodata_etl.cog import write_cog
from geodata_etl.grid import Extent, Grid
from geodata_etl.palette import COVER_COLOURS, css
from geodata_etl.view import View, grid_of, read_highest, read_scene, read_share

TOP, LEFT = -540_000, 45_000


def grid_at(rows, cols, *, down=0, right=0):
    top, left = TOP + down, LEFT + right
    return Grid(32631, Extent(top, left, top + rows, left + cols))


def write(path, pixels, *, grid=None, nodata=255):
    bands = 1 if pixels.ndim == 2 else len(pixels)
    rows, cols = pixels.shape[-2:]
    write_cog(
        path,
        [(Window(0, 0, cols, rows), pixels)],
        grid=grid or grid_at(rows, cols),
        dtype=str(pixels.dtype),
        count=bands,
        nodata=nodata,
        band_names=BANDS[:bands],
        resampling="average" if bands > 1 else "nearest",
    )
    return path


def stack(*reflectance, shape=(4, 5)):
    """A stack of one colour: reflectance of blue, green, red, nir, swir16, swir22."""
    levels = np.array(reflectance)[:, np.newaxis, np.newaxis] * 10_000
    return np.broadcast_to(levels, (6, *shape)).astype(np.uint16)


def test_a_colour_follows_from_the_pixel_alone():
    dark, bright = stack(*[0.05] * 6), stack(*[0.9] * 6)
    together = render.true_color(np.concatenate([dark, bright], axis=2))
    np.testing.assert_array_equal(together[:, :5], render.true_color(dark))
    assert together[0, 0, 0] < together[0, -1, 0]


def test_brightness_grows_with_reflectance_and_never_wraps():
    ramp = np.broadcast_to(np.linspace(1, 65_535, 500).astype(np.uint16), (6, 1, 500))
    for picture in (render.true_color(ramp), render.false_color(ramp)):
        assert (np.diff(picture[0, :, :3].astype(int), axis=0) >= 0).all()
        assert picture[..., 3].min() == 255


def test_nodata_is_clear_and_bands_stand_in_their_order():
    meadow = stack(0.03, 0.08, 0.04, 0.4, 0.2, 0.1).copy()
    meadow[:, 0, 0] = 0
    true, false = render.true_color(meadow), render.false_color(meadow)
    assert (true[0, 0] == 0).all()
    assert true[1, 1].argsort()[:3].tolist() == [2, 0, 1]  # green most, then red, then blue
    assert false[1, 1, 0] > false[1, 1, 1]  # vegetation is red in false colour
    assert (render.opaque(true)[..., 3] == 255).all()


def test_classes_and_unseen_ground():
    classes = np.array([[*Cover, 255]], np.uint8)
    picture = render.class_colors(classes)
    assert [tuple(map(int, pixel)) for pixel in picture[0, :6]] == list(COVER_COLOURS.values())
    assert picture[0, 6, 3] == 0


def test_class_colours_can_be_told_apart_without_colour_vision():
    """Machado et al. 2009, severity 1: deuteranopia and protanopia, in linear RGB."""
    matrices = {
        "deuteranopia": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        "protanopia": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
    }
    colours = (np.array(list(COVER_COLOURS.values()))[:, :3] / 255) ** 2.2
    for matrix in matrices.values():
        seen = np.clip(colours @ np.array(matrix).T, 0, 1) ** (1 / 2.2)
        apart = np.linalg.norm(seen[:, np.newaxis] - seen, axis=-1)
        assert apart[np.triu_indices(len(seen), 1)].min() > 0.15


def test_the_overlay_shows_likely_changes_only():
    levels = np.array([[0, 60, 127, 254, 255]], np.uint8)
    alpha = render.probability_overlay(levels)[0, :, 3]
    assert alpha[[0, 1, 4]].tolist() == [0, 0, 0]
    assert (alpha[[2, 3]] > 200).all()


def test_hatching_covers_what_was_not_observed():
    share = np.ones((20, 20), np.float32)
    share[:, 10:] = 0.4
    picture = render.hatch(share)
    assert (picture[:, :10] == 0).all()
    assert (picture[:, 10:, 3] > 0).all()
    assert len(np.unique(picture[:, 10:, 0])) == 2


def test_css_colours():
    assert css((1, 171, 255, 255)) == "#01abff"


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.integers(1, 30),
    cols=st.integers(1, 30),
    factor=st.integers(1, 9),
    down=st.integers(-12, 12),
    right=st.integers(-12, 12),
    seed=st.integers(0, 99),
)
def test_decimated_rasters_lose_no_pixel(tmp_path, rows, cols, factor, down, right, seed):
    """Against whole arrays, where the raster covers another part of the zone than the view."""
    change = np.random.default_rng(seed).integers(0, 256, (rows, cols), dtype=np.uint8)
    observed = (change != 255).astype(np.uint8)
    grid = grid_at(rows, cols, down=down, right=right)
    view = View(grid_at(20, 17), factor)
    highest = read_highest(write(tmp_path / "c.tif", change, grid=grid), view)
    share = read_share(write(tmp_path / "o.tif", observed, grid=grid, nodata=None), view)
    height, width = (n * factor for n in view.shape)
    whole = np.zeros((2, 100, 100), np.uint8)
    whole[:, 20 + down : 20 + down + rows, 20 + right : 20 + right + cols] = change, observed
    seen = whole[:, 20 : 20 + height, 20 : 20 + width]
    cells = seen.reshape(2, height // factor, factor, width // factor, factor)
    np.testing.assert_array_equal(highest, np.where(cells[0] == 255, 0, cells[0]).max(axis=(1, 3)))
    np.testing.assert_allclose(share, cells[1].mean(axis=(1, 3)), rtol=1e-6)


def test_a_scene_is_read_in_place_and_shrunk(tmp_path):
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(1000, 3000, (6, 8, 10)), np.ones((100, 100))).astype(np.uint16)
    path = write(tmp_path / "s.tif", pixels, nodata=0)
    full = View(grid_at(200, 300, down=100, right=150), 1)
    np.testing.assert_array_equal(read_scene(path, full), pixels[:, 100:300, 150:450])
    small = read_scene(path, View(grid_at(800, 1000), 10))
    assert small.shape == (6, 80, 100)
    np.testing.assert_allclose(small[:, 5::10, 5::10], pixels[:, 50::100, 50::100], atol=1)
    beyond = read_scene(path, View(grid_at(200, 200, down=-100), 4))
    assert (beyond[:, :24] == 0).all()  # GDAL may let the edge touch one pixel of the picture
    assert (beyond[:, 25:] > 0).all()


def test_a_view_fits_its_picture():
    assert View.fit(grid_at(10_980, 10_980), longest=1400).shape == (1373, 1373)
    assert View.fit(grid_at(300, 200), longest=1400) == View(grid_at(300, 200), 1)
    view = View(grid_at(100, 100), 4)
    left, _, _, top = view.grid.bounds
    points = view.to_picture(np.array([[left, top], [left + 80.0, top - 40.0]]))
    np.testing.assert_allclose(points, [[0, 0], [2, 1]])


def test_a_raster_tells_its_grid(tmp_path):
    grid = grid_at(12, 14, down=3)
    assert grid_of(write(tmp_path / "a.tif", np.zeros(grid.shape, np.uint8), grid=grid)) == grid


@pytest.mark.parametrize("gap", [3, 20])
def test_stripes_keep_their_distance(gap):
    first = render.hatch(np.zeros((1, 60), np.float32), spacing=gap)[0, :, 0]
    assert (first[:-gap] == first[gap:]).all()
