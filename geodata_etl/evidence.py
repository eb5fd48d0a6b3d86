"""What a scene shows inside polygons: shares of classes, by polygon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from rasterio.io import DatasetReader
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from geodata_etl.bands import NOT_OBSERVED, Cover


@dataclass(frozen=True)
class Shares:
    """The pixels of a class raster whose centre lies in one polygon."""

    observed_fraction: float
    """Share of the polygon's pixels that were observed, 0..1; ground outside the raster is not."""
    classes: dict[str, float]
    """Share of each class among the observed pixels, by `Cover` label; absent ones left out."""


class ClassRaster:
    """A class raster (uint8 `Cover`, 255 unseen), opened when it is first asked. A context."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._dataset: DatasetReader | None = None

    def look(self, polygon: BaseGeometry) -> Shares:
        """What the raster shows inside a polygon in its own UTM zone."""
        if self._dataset is None:
            self._dataset = rasterio.open(self._url)
        return _look(self._dataset, polygon)

    def close(self) -> None:
        """Close the file."""
        if self._dataset is not None:
            self._dataset.close()
            self._dataset = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _look(dataset: DatasetReader, polygon: BaseGeometry) -> Shares:
    window = _window(dataset, polygon)
    inside = geometry_mask(
        [polygon],
        (int(window.height), int(window.width)),
        dataset.window_transform(window),
        invert=True,
    )
    classes = dataset.read(1, window=window, boundless=True, fill_value=NOT_OBSERVED)
    return _shares(classes[inside])


def _window(dataset: DatasetReader, polygon: BaseGeometry) -> Window:
    """Whole pixels around a polygon, also beyond the raster."""
    left, bottom, right, top = polygon.bounds
    to_px = dataset.transform
    col, row = math.floor((left - to_px.c) / to_px.a), math.floor((top - to_px.f) / to_px.e)
    cols, rows = math.ceil((right - to_px.c) / to_px.a), math.ceil((bottom - to_px.f) / to_px.e)
    return Window(col, row, cols - col, rows - row)


def _shares(values: NDArray[np.uint8]) -> Shares:
    counts = np.bincount(values, minlength=NOT_OBSERVED + 1)
    seen = int(values.size - counts[NOT_OBSERVED])
    if not seen:
        return Shares(0.0, {})
    shares = {cover.label: int(counts[cover]) / seen for cover in Cover if counts[cover]}
    return Shares(seen / values.size, shares)
