import subprocess
import sys

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rio_cogeo import cog_validate

from geodata_etl.bands import Cover
from geodata_etl.cog import file_digest
from geodata_etl.grid import Extent, Grid
from geodata_etl.mosaic import RASTERS, BadBlock, BlocksMissing, mosaic_blocks
from geodata_etl.palette import COVER_COLOURS

GRID = Grid(32631, Extent(-540_000, 45_000, -540_000 + 1000, 45_000 + 700))


def truth(grid=GRID, seed=0):
    rng = np.random.default_rng(seed)
    observed = (rng.random(grid.shape) > 0.2).astype(np.uint8)
    unseen = observed == 0
    arrays = {
        "change": rng.integers(0, 255, grid.shape, np.uint8),
        "before_class": rng.integers(0, 6, grid.shape, np.uint8),
        "after_class": rng.integers(0, 6, grid.shape, np.uint8),
    }
    return {"observed": observed} | {
        name: np.where(unseen, 255, array).astype(np.uint8) for name, array in arrays.items()
    }


def cut(arrays, grid, rows, cols):
    for block in grid.blocks(rows=rows, cols=cols):
        where = (block.core & grid.extent).slices_in(grid.extent)
        yield block, {name: array[where] for name, array in arrays.items()}


def test_each_raster_is_a_valid_cog_with_the_pixels_of_its_blocks(tmp_path):
    arrays = truth()
    paths = mosaic_blocks(cut(arrays, GRID, 1, 2), GRID, tmp_path, tags={"RUN": "abc"})
    assert set(paths) == set(RASTERS)
    for name, path in paths.items():
        assert path == tmp_path / f"{name}.tif"
        assert cog_validate(path, strict=True) == (True, [], [])
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read(1), arrays[name])
            assert file.dtypes == ("uint8",)
            assert file.nodata == (None if name == "observed" else 255)
            assert file.transform == GRID.transform
            assert file.crs.to_epsg() == GRID.epsg
            assert file.overviews(1)
            assert file.tags()["RUN"] == "abc"


def test_class_rasters_carry_their_colours(tmp_path):
    paths = mosaic_blocks(cut(truth(), GRID, 4, 4), GRID, tmp_path)
    for name in ("before_class", "after_class"):
        with rasterio.open(paths[name]) as file:
            table = file.colormap(1)
        assert {cover: table[cover] for cover in Cover} == COVER_COLOURS


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.integers(1, 4), cols=st.integers(1, 4), order=st.randoms(use_true_random=False))
def test_bytes_do_not_depend_on_the_split(tmp_path, rows, cols, order):
    arrays = truth()
    blocks = list(cut(arrays, GRID, rows, cols))
    order.shuffle(blocks)
    split = mosaic_blocks(blocks, GRID, tmp_path / "split")
    whole = mosaic_blocks(cut(arrays, GRID, 9, 9), GRID, tmp_path / "whole")
    for name in RASTERS:
        assert file_digest(split[name]) == file_digest(whole[name])


def test_blocks_are_read_one_at_a_time(tmp_path):
    alive = []

    class Artifact(dict):
        def __del__(self):
            alive.remove(id(self))

    def blocks():
        for block, arrays in cut(truth(), GRID, 1, 1):
            assert len(alive) <= 1
            artifact = Artifact(arrays)
            alive.append(id(artifact))
            yield block, artifact
            del artifact

    mosaic_blocks(blocks(), GRID, tmp_path)


def test_a_missing_block_is_an_error_and_leaves_no_file(tmp_path):
    blocks = list(cut(truth(), GRID, 1, 1))
    with pytest.raises(BlocksMissing, match=f"2 of {len(blocks)} tiles"):
        mosaic_blocks(blocks[:-2], GRID, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_ground_that_two_blocks_answer_for_is_an_error(tmp_path):
    blocks = [*cut(truth(), GRID, 2, 2), next(cut(truth(), GRID, 1, 1))]
    with pytest.raises(BadBlock, match="again"):
        mosaic_blocks(blocks, GRID, tmp_path)


def spoil(name, change):
    arrays = truth()
    arrays[name] = change(arrays)
    return arrays


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (spoil("change", lambda a: a["change"].astype(np.int16)), "int16"),
        (spoil("change", lambda a: a["change"][:-1]), "its core"),
        (spoil("observed", lambda a: a["observed"] * 255), "0 and 1"),
        (spoil("change", lambda a: np.where(a["observed"] == 0, 0, a["change"])), "255 exactly"),
        (spoil("observed", lambda a: np.ones_like(a["observed"])), "255 exactly"),
        (spoil("after_class", lambda a: np.full_like(a["change"], 255)), "after_class holds 255"),
        (spoil("before_class", lambda a: np.full_like(a["change"], 6)), "before_class holds 6"),
    ],
)
def test_a_block_that_breaks_the_contract_is_refused(tmp_path, arrays, message):
    blocks = [(block, arrays) for block, _ in cut(truth(), GRID, 9, 9)]
    with pytest.raises(BadBlock, match=message):
        mosaic_blocks(blocks, GRID, tmp_path)


def test_a_block_without_an_array_is_refused(tmp_path):
    arrays = truth()
    del arrays["observed"]
    with pytest.raises(BadBlock, match="no observed"):
        mosaic_blocks(cut(arrays, GRID, 9, 9), GRID, tmp_path)


@pytest.mark.slow
def test_memory_is_flat_in_the_size_of_the_scene(tmp_path):
    small, large = (peak_mib(px, tmp_path / str(px)) for px in (4096, 10980))
    assert large < 320, (small, large)
    assert large < small * 1.2, (small, large)


def peak_mib(px, folder):
    """Peak memory of a process of its own that mosaics and polygonises px x px."""
    run = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(px), str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(run.stdout)


_MEASURE = """
import sys
from pathlib import Path
import numpy as np
from geodata_etl.grid import Extent, Grid
from geodata_etl.mosaic import RASTERS, mosaic_blocks
from geodata_etl.polygons import find_changes
px, folder = int(sys.argv[1]), Path(sys.argv[2])
grid = Grid(32631, Extent(-540_000, 45_000, -540_000 + px, 45_000 + px))
def blocks():
    for block in grid.blocks(rows=4, cols=4):
        core = block.core & grid.extent
        one = np.ones((core.height, core.width), np.uint8)
        change = one * 0
        change[100:140, 100:160] = 200
        yield block, dict(change=change, observed=one, before_class=one, after_class=one * 4)
paths = mosaic_blocks(blocks(), grid, folder)
found = find_changes(*(paths[name] for name in RASTERS), threshold=127, min_area_px=4)
assert len(found) == sum(1 for _ in grid.blocks(rows=4, cols=4))
status = Path("/proc/self/status").read_text()  # ru_maxrss would hold what the parent had at fork
print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
"""
