"""What a scene shows inside polygons: shares of classes, by polygon."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.io import DatasetReader
from rasterio.windows import Window
from shapely import STRtree
from shapely.geometry.base import BaseGeometry

from geodata_etl.bands import NOT_OBSERVED, Cover
from geodata_etl.components import strip_windows
from geodata_etl.grid import PIXEL_M

_STRIP_ROWS: Final = 512
_SLOTS: Final = len(Cover) + 1
"""A count per class, and one for what was not observed."""
_SLOT_OF: Final = np.full(NOT_OBSERVED + 1, len(Cover), np.int64)
_SLOT_OF[: len(Cover)] = np.arange(len(Cover))


@dataclass(frozen=True)
class Shares:
    """The pixels of a class raster whose centre lies in one polygon."""

    observed_fraction: float
    """Share of the polygon's pixels that were observed, 0..1; ground outside the raster is not."""
    classes: dict[str, float]
    """Share of each class among the observed pixels, by `Cover` label; absent ones left out."""


def class_shares(url: str, polygons: Sequence[BaseGeometry]) -> list[Shares]:
    """Look into polygons (UTM of the raster) of a class raster (uint8 `Cover`, 255 unseen).

    The raster is read once, in strips; polygons may overlap. Polygons along pixel edges, as
    changes are, are counted exactly.
    """
    if not polygons:
        return []
    with rasterio.open(url) as dataset:
        counts = _count(dataset, polygons)
    areas = (polygon.area / PIXEL_M**2 for polygon in polygons)
    return [_shares(row, pixels) for row, pixels in zip(counts, areas, strict=True)]


def _count(dataset: DatasetReader, polygons: Sequence[BaseGeometry]) -> NDArray[np.int64]:
    """Pixels by polygon and slot."""
    layers = _layers(polygons)
    bounds = np.array([polygon.bounds for polygon in polygons])
    counts = np.zeros((len(polygons) + 1) * _SLOTS, np.int64)
    for window in strip_windows(dataset, _STRIP_ROWS):
        left, bottom, right, top = dataset.window_bounds(window)
        touches = (bounds[:, 3] > bottom) & (bounds[:, 1] < top)
        touches &= (bounds[:, 2] > left) & (bounds[:, 0] < right)
        if touches.any():
            slots = _SLOT_OF[dataset.read(1, window=window)]
            for ids in _drawn(
                dataset, window, polygons, [layer[touches[layer]] for layer in layers]
            ):
                counts += np.bincount((ids * _SLOTS + slots).ravel(), minlength=counts.size)
    return counts.reshape(-1, _SLOTS)[1:]


def _drawn(
    dataset: DatasetReader,
    window: Window,
    polygons: Sequence[BaseGeometry],
    layers: Sequence[NDArray[np.intp]],
) -> Iterator[NDArray[np.int64]]:
    """Each layer as a raster of polygon numbers from 1, 0 where there is none."""
    for layer in layers:
        if layer.size:
            shape = (int(window.height), int(window.width))
            numbered = ((polygons[i], int(i) + 1) for i in layer)
            ids = rasterize(
                numbered, shape, transform=dataset.window_transform(window), dtype="int32"
            )
            yield ids.astype(np.int64)


def _layers(polygons: Sequence[BaseGeometry]) -> list[NDArray[np.intp]]:
    """The polygons' indices in groups whose bounding boxes do not overlap within a group."""
    tree = STRtree(polygons)
    near: dict[int, list[int]] = {}
    for one, other in tree.query(polygons).T:
        near.setdefault(int(one), []).append(int(other))
    layer_of: dict[int, int] = {}
    for index in range(len(polygons)):
        taken = {layer_of[other] for other in near.get(index, ()) if other in layer_of}
        layer_of[index] = next(n for n in range(len(polygons)) if n not in taken)
    numbers = np.array([layer_of[index] for index in range(len(polygons))])
    return [np.flatnonzero(numbers == n) for n in range(int(numbers.max()) + 1)]


def _shares(row: NDArray[np.int64], pixels: float) -> Shares:
    seen = int(row[: len(Cover)].sum())
    if not seen:
        return Shares(0.0, {})
    shares = {cover.label: int(row[cover]) / seen for cover in Cover if row[cover]}
    return Shares(min(1.0, seen / pixels), shares)
