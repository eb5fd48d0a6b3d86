from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box

from geodata_etl.bands import NOT_OBSERVED, Cover
from geodata_etl.evidence import class_shares
from geodata_etl.grid import Extent, Grid

GRID = Grid(32631, Extent(-1000, 100, -990, 110))


def raster(path: Path, classes: np.ndarray) -> str:
    profile = {"driver": "GTiff", "height": 10, "width": 10, "count": 1, "dtype": "uint8"}
    with rasterio.open(
        path, "w", **profile, crs=GRID.crs, transform=GRID.transform, nodata=NOT_OBSERVED
    ) as dataset:
        dataset.write(classes, 1)
    return str(path)


def square(row: int, col: int, size: int = 2):  # type: ignore[no-untyped-def]
    left, _, _, top = GRID.bounds
    x, y = left + 10 * col, top - 10 * row
    return box(x, y - 10 * size, x + 10 * size, y)


def test_shares_count_the_pixels_of_each_polygon(tmp_path: Path) -> None:
    classes = np.full((10, 10), Cover.TREE, np.uint8)
    classes[0, :2] = Cover.BUILT
    classes[4:6, 4:6] = NOT_OBSERVED
    url = raster(tmp_path / "a.tif", classes)
    corner, unseen, half = class_shares(url, [square(0, 0), square(4, 4), square(5, 4)])
    assert corner.classes == {"built": 0.5, "tree": 0.5}
    assert (unseen.observed_fraction, unseen.classes) == (0.0, {})
    assert (half.observed_fraction, half.classes) == (0.5, {"tree": 1.0})


def test_ground_beyond_the_raster_is_not_observed(tmp_path: Path) -> None:
    url = raster(tmp_path / "a.tif", np.full((10, 10), Cover.WATER, np.uint8))
    edge, outside = class_shares(url, [square(9, 9), square(40, 40)])
    assert edge.observed_fraction == 0.25
    assert outside.observed_fraction == 0.0


@given(st.lists(st.tuples(st.integers(-2, 9), st.integers(-2, 9), st.integers(1, 6)), max_size=8))
def test_overlapping_polygons_are_counted_each_for_itself(
    tmp_path_factory: pytest.TempPathFactory, squares: list[tuple[int, int, int]]
) -> None:
    classes = np.random.default_rng(0).integers(0, 7, (10, 10)).astype(np.uint8)
    classes[classes == 6] = NOT_OBSERVED
    url = raster(tmp_path_factory.mktemp("r") / "a.tif", classes)
    found = class_shares(url, [square(*one) for one in squares])
    for (row, col, size), shares in zip(squares, found, strict=True):
        inside = classes[max(row, 0) : max(row + size, 0), max(col, 0) : max(col + size, 0)]
        seen = inside[inside != NOT_OBSERVED]
        assert shares.observed_fraction == seen.size / size**2
        for cover in Cover:
            share = float((seen == cover).mean()) if seen.size else 0.0
            assert shares.classes.get(cover.label, 0.0) == share
