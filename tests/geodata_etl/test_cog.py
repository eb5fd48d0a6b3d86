from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from rio_cogeo import cog_validate

from geodata_etl.bands import BANDS
from geodata_etl.cog import file_digest, write_cog
from geodata_etl.grid import Extent, Grid

GRID = Grid(32631, Extent(-540_000, 45_000, -540_000 + 700, 45_000 + 1100))


def pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 5000, (6, *GRID.shape), dtype=np.uint16)


def blocks(array: np.ndarray, step: int, *, flip: bool = False):
    rows, cols = array.shape[-2:]
    windows = [
        Window(c, r, min(step, cols - c), min(step, rows - r))
        for r in range(0, rows, step)
        for c in range(0, cols, step)
    ]
    for window in reversed(windows) if flip else windows:
        yield window, array[(..., *window.toslices())]


def write(path: Path, source, **changes) -> str:
    arguments = {
        "grid": GRID,
        "dtype": "uint16",
        "count": 6,
        "nodata": 0,
        "band_names": BANDS,
        "resampling": "average",
        "scale": 1e-4,
    }
    return write_cog(path, source, **arguments | changes)


def test_the_file_is_a_valid_cog_that_says_what_it_holds(tmp_path):
    path = tmp_path / "deep" / "scene.tif"
    array = pixels()
    digest = write(path, blocks(array, 512), tags={"ACQUIRED": "2020-01-01"})
    valid, errors, warnings = cog_validate(path, strict=True)
    assert (valid, errors, warnings) == (True, [], [])
    assert digest == file_digest(path)
    with rasterio.open(path) as file:
        assert file.descriptions == BANDS
        assert file.nodata == 0
        assert file.scales == (1e-4,) * 6
        assert file.transform == GRID.transform
        assert file.crs.to_epsg() == 32631
        assert file.compression.value == "ZSTD"
        assert file.block_shapes[0] == (512, 512)
        assert file.overviews(1)
        assert file.tags()["ACQUIRED"] == "2020-01-01"
        np.testing.assert_array_equal(file.read(), array)


def test_bytes_do_not_depend_on_how_the_blocks_came(tmp_path):
    array = pixels()
    digests = {
        write(tmp_path / f"{i}.tif", blocks(array, step, flip=flip))
        for i, (step, flip) in enumerate([(512, False), (512, True), (200, False), (2000, False)])
    }
    assert len(digests) == 1


def test_ground_that_no_block_covers_is_nodata(tmp_path):
    array = np.zeros(GRID.shape, np.uint8)
    path = tmp_path / "class.tif"
    first = Window(0, 0, 100, 100)
    write(
        path,
        [(first, array[:100, :100])],
        dtype="uint8",
        count=1,
        nodata=255,
        band_names=["class"],
        resampling="mode",
        scale=None,
    )
    with rasterio.open(path) as file:
        read = file.read(1)
    assert (read[:100, :100] == 0).all()
    assert (read[100:] == 255).all()


def test_a_source_that_fails_leaves_nothing_behind(tmp_path):
    def failing():
        yield Window(0, 0, 512, 512), pixels()[:, :512, :512]
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        write(tmp_path / "scene.tif", failing())
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_replaced_is_never_half_there(tmp_path):
    path = tmp_path / "scene.tif"
    before = write(path, blocks(pixels(), 512))
    with pytest.raises(TypeError, match="float32"):
        write(path, [(Window(0, 0, 10, 10), np.zeros((6, 10, 10), np.float32))])
    assert file_digest(path) == before


def test_names_must_fit_the_bands(tmp_path):
    with pytest.raises(ValueError, match="one name per band"):
        write(tmp_path / "scene.tif", [], band_names=["blue"])
