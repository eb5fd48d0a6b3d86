"""What changed from one version of a verified tile to another, pixel by pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rasterio.features import shapes
from rasterio.io import MemoryFile
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from geodata_etl.bands import Cover
from geodata_etl.grid import TILE_PX, Tile
from geodata_etl.polygons import to_lonlat
from groundshift.labels import IGNORED, MASKS, UInt8, label_key, tile_transform
from groundshift.ports import ObjectStore

KINDS: Final = ("added", "removed", "reclassed", "judged", "ignored")
"""Changed now and not before; changed before and not now; changed to another class; unchanged now
and ignored before; ignored now and not before."""


@dataclass(frozen=True)
class Region:
    """Ground of one kind of difference."""

    kind: str
    """One of `KINDS`."""
    was: str
    """What the older version says: ignored, unchanged or ``from -> to``."""
    now: str
    geometry: BaseGeometry
    """EPSG:4326."""

    def feature(self) -> dict[str, Any]:
        """As GeoJSON."""
        said = {"kind": self.kind, "was": self.was, "now": self.now}
        return {"type": "Feature", "properties": said, "geometry": mapping(self.geometry)}


@dataclass(frozen=True)
class Difference:
    """All of it."""

    pixels: dict[str, int]
    """Of 100 m2 each, by kind."""
    regions: tuple[Region, ...]


def read_masks(store: ObjectStore, version: str) -> UInt8:
    """The masks of a label, [3, 512, 512] as `labels.LabelTile.masks`. Raises NotFound."""
    with MemoryFile(store.get(label_key(version, "mask.tif"))) as memory, memory.open() as raster:
        masks: UInt8 = raster.read()
    return masks


def nothing_said() -> UInt8:
    """The masks of a tile that nobody looked at."""
    return np.full((len(MASKS), TILE_PX, TILE_PX), IGNORED, np.uint8)


def difference(older: UInt8, newer: UInt8, *, tile: Tile, epsg: int) -> Difference:
    """What a newer version says otherwise than an older one of the same tile."""
    was, now = _states(older), _states(newer)
    kinds = _kinds(was, now)
    pixels = {name: int((kinds == i).sum()) for i, name in enumerate(KINDS, 1)}
    return Difference(pixels, tuple(_regions(kinds, was, now, tile=tile, epsg=epsg)))


_UNCHANGED: Final = 254


def _states(masks: UInt8) -> UInt8:
    """One number per pixel: a pair of classes, unchanged or ignored."""
    change, before, after = masks
    pairs = before.astype(np.uint16) * len(Cover) + after
    said = np.where(change == 1, pairs, np.where(change == 0, _UNCHANGED, IGNORED))
    return said.astype(np.uint8)


def _kinds(was: UInt8, now: UInt8) -> UInt8:
    """The number of its kind in `KINDS`, from 1; 0 where both say the same."""
    did, does = was < _UNCHANGED, now < _UNCHANGED
    conditions = [does & ~did, did & (now == _UNCHANGED), did & does, now == _UNCHANGED]
    kinds = np.select(conditions, [1, 2, 3, 4], 5)
    return np.where(was == now, 0, kinds).astype(np.uint8)


def _regions(kinds: UInt8, was: UInt8, now: UInt8, *, tile: Tile, epsg: int) -> Iterator[Region]:
    told = was.astype(np.int32) << 8 | now
    drawn = shapes(told, mask=kinds > 0, transform=tile_transform(tile))
    found = [(shape(outline), int(value)) for outline, value in drawn]
    places = to_lonlat([outline for outline, _ in found], epsg) if found else []
    for place, (_, value) in zip(places, found, strict=True):
        before, after = value >> 8, value & 0xFF
        kind = int(_kinds(_one(before), _one(after)).item())
        yield Region(KINDS[kind - 1], _words(before), _words(after), place)


def _one(state: int) -> NDArray[np.uint8]:
    return np.array(state, np.uint8)


def _words(state: int) -> str:
    if state >= _UNCHANGED:
        return "ignored" if state == IGNORED else "unchanged"
    before, after = divmod(state, len(Cover))
    return f"{Cover(before).label} -> {Cover(after).label}"
