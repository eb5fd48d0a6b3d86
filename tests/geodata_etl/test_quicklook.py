import subprocess
import sys
from datetime import date

import numpy as np
import pytest
import shapely
from PIL import Image
from rasterio.windows import Window

from geodata_etl.bands import BANDS, Cover
from geodata_etl.cog import write_cog
from geodata_etl.grid import Extent, Grid
from geodata_etl.palette import CHANGE_HIGH
from geodata_etl.polygons import Change
from geodata_etl.quicklook import write_quicklook

GRID = Grid(32631, Extent(-540_000, 45_000, -539_800, 45_160))


def write(path, pixels, grid, *, nodata, names):
    window = Window(0, 0, grid.shape[1], grid.shape[0])
    write_cog(
        path,
        [(window, pixels)],
        grid=grid,
        dtype=str(pixels.dtype),
        count=len(names),
        nodata=nodata,
        band_names=names,
    )
    return path


def scene(path, level, *, grid=GRID):
    pixels = np.full((6, *grid.shape), level, np.uint16)
    return write(path, pixels, grid, nodata=0, names=BANDS)


def a_change(left, top, width, height, *, grid=GRID):
    x, y = grid.bounds[0] + left * 10, grid.bounds[3] - top * 10
    return Change(
        id="0" * 16,
        geometry=shapely.box(x, y - height * 10, x + width * 10, y),
        epsg=grid.epsg,
        from_class=Cover.BARE,
        to_class=Cover.BUILT,
        area_m2=width * height * 100.0,
        pixels=width * height,
        mean_probability=0.9,
        max_probability=1.0,
        observed_fraction=1.0,
    )


@pytest.fixture
def inputs(tmp_path):
    """A dark and a bright date, a change in the middle, the right quarter not observed."""
    change, observed = np.zeros(GRID.shape, np.uint8), np.ones(GRID.shape, np.uint8)
    change[90:110, 40:80] = 254
    change[:, 120:], observed[:, 120:] = 255, 0
    return {
        "before_cog": scene(tmp_path / "before.tif", 500),
        "after_cog": scene(tmp_path / "after.tif", 3000),
        "change_tif": write(tmp_path / "c.tif", change, GRID, nodata=255, names=["change"]),
        "observed_tif": write(tmp_path / "o.tif", observed, GRID, nodata=None, names=["observed"]),
        "changes": [a_change(40, 90, 40, 20), a_change(10, 20, 1, 1)],
        "title": "Town — Łódź",
        "before_date": date(2019, 7, 1),
        "after_date": date(2020, 7, 1),
    }


def panels(picture):
    """The three panels' pixels, found by the darkness of the first one on light paper."""
    height, width, _ = picture.shape
    line = picture[height // 2].astype(int)
    edges = np.flatnonzero(np.abs(np.diff(line.sum(axis=1))) > 60)
    left = edges[0] + 2
    scale = 2
    step = (width - 2 * 28 + 16) // 3
    return [
        picture[94 : 94 + 200 * scale, left + n * step : left + n * step + 160 * scale]
        for n in range(3)
    ]


def test_three_panels_side_by_side_with_one_stretch(tmp_path, inputs):
    write_quicklook(tmp_path / "q.png", **inputs)
    with Image.open(tmp_path / "q.png") as image:
        assert image.format == "PNG"
        assert image.mode == "RGB"
        before, after, change = panels(np.asarray(image))
    middle = np.s_[150:250, 100:200]
    assert before[middle].max() < after[middle].min()
    changed = change[200 - 10 : 200 + 10, 120 - 10 : 120 + 10].reshape(-1, 3)
    assert np.abs(changed.mean(axis=0) - CHANGE_HIGH[:3]).max() < 30
    stripes = change[100:300, 250:310, 0]
    assert stripes.max() - stripes.min() > 60
    assert np.ptp(change[300:380, 20:200].astype(int), axis=(0, 1)).max() <= 2


def test_a_change_of_one_pixel_is_ringed(tmp_path, inputs):
    write_quicklook(tmp_path / "with.png", **inputs)
    write_quicklook(tmp_path / "without.png", **inputs | {"changes": inputs["changes"][:1]})
    with Image.open(tmp_path / "with.png") as one, Image.open(tmp_path / "without.png") as other:
        ringed, plain = (panels(np.asarray(image))[2] for image in (one, other))
    different = (ringed != plain).any(axis=-1)
    rows, cols = np.nonzero(different)
    assert 12 <= np.ptp(rows) <= 24
    assert (rows.mean(), cols.mean()) == pytest.approx((41, 21), abs=2)


def test_scenes_may_cover_other_ground_than_the_run(tmp_path, inputs):
    elsewhere = Grid(32631, Extent(-540_100, 44_900, -539_900, 45_080))
    inputs["before_cog"] = scene(tmp_path / "other.tif", 500, grid=elsewhere)
    write_quicklook(tmp_path / "q.png", **inputs)
    with Image.open(tmp_path / "q.png") as image:
        before = panels(np.asarray(image))[0]
    assert before[100, 80].max() < 120  # covered
    assert before[300, 80].min() > 200  # not covered: paper


@pytest.mark.parametrize("shape", [(3, 3), (8, 600), (600, 8), (1200, 1100)])
def test_any_shape_of_scene_gives_a_picture(tmp_path, inputs, shape):
    grid = Grid(32631, Extent(-540_000, 45_000, -540_000 + shape[0], 45_000 + shape[1]))
    change, observed = np.zeros(shape, np.uint8), np.ones(shape, np.uint8)
    inputs["change_tif"] = write(tmp_path / "c2.tif", change, grid, nodata=255, names=["change"])
    inputs["observed_tif"] = write(tmp_path / "o2.tif", observed, grid, nodata=None, names=["o"])
    write_quicklook(tmp_path / "q.png", **inputs | {"changes": [], "title": "x" * 500})
    with Image.open(tmp_path / "q.png") as image:
        assert 300 < image.width < 3000
        assert 150 < image.height < 2000


@pytest.mark.slow
def test_memory_does_not_follow_the_scene(tmp_path):
    """A process of its own draws 10980 x 10980 x 6 uint16, which are 1380 MiB."""
    large(tmp_path / "scene.tif", "uint16", 6, nodata=0, value=1500)
    large(tmp_path / "change.tif", "uint8", 1, nodata=255, value=0)
    large(tmp_path / "observed.tif", "uint8", 1, nodata=None, value=1)
    run = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert int(run.stdout) < 400


def large(path, dtype, count, *, nodata, value, px=10980, step=512):
    def rows():
        for top in range(0, px, step):
            height = min(step, px - top)
            yield Window(0, top, px, height), np.full((count, height, px), value, dtype)

    write_cog(
        path,
        rows(),
        grid=Grid(32631, Extent(-540_000, 45_000, -540_000 + px, 45_000 + px)),
        dtype=dtype,
        count=count,
        nodata=nodata,
        band_names=BANDS[:count],
    )


_MEASURE = """
import sys
from datetime import date
from pathlib import Path
from geodata_etl.quicklook import write_quicklook
folder = Path(sys.argv[1])
write_quicklook(
    folder / "q.png", before_cog=folder / "scene.tif", after_cog=folder / "scene.tif",
    change_tif=folder / "change.tif", observed_tif=folder / "observed.tif", changes=[],
    title="large", before_date=date(2020, 1, 1), after_date=date(2020, 2, 1),
)
status = Path("/proc/self/status").read_text()  # ru_maxrss would hold what the parent had at fork
print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
"""
