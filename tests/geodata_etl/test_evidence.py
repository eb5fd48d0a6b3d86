from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from shapely.geometry import box

from geodata_etl.bands import NOT_OBSERVED, Cover
from geodata_etl.evidence import ClassRaster
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
    with ClassRaster(url) as looked:
        corner, unseen, half = map(looked.look, (square(0, 0), square(4, 4), square(5, 4)))
    assert corner.classes == {"built": 0.5, "tree": 0.5}
    assert (unseen.observed_fraction, unseen.classes) == (0.0, {})
    assert (half.observed_fraction, half.classes) == (0.5, {"tree": 1.0})


def test_ground_beyond_the_raster_is_not_observed(tmp_path: Path) -> None:
    url = raster(tmp_path / "a.tif", np.full((10, 10), Cover.WATER, np.uint8))
    with ClassRaster(url) as looked:
        edge, outside = looked.look(square(9, 9)), looked.look(square(40, 40))
    assert edge.observed_fraction == 0.25
    assert outside.observed_fraction == 0.0
