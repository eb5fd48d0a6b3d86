"""Labels: what reviewers vouch for, as pixels of one tile on both dates.

A tile's label is a pure fold over the latest review of each reviewer of each alert that the run
raised there: so it does not matter which review came first, or how often. Ground that nobody
judged, that a reviewer marked as ignored, that reviewers disagree about or that either date did not
show is ignored, and never 'unchanged'.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import orjson
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.features import rasterize
from rasterio.io import MemoryFile
from shapely.geometry.base import BaseGeometry

from geodata_etl.bands import BANDS, NODATA, NOT_OBSERVED, Cover
from geodata_etl.grid import CORE_PX, HALO_PX, PIXEL_M, TILE_PX, Tile
from groundshift.ports import ObjectStore

IGNORED: Final = NOT_OBSERVED
"""Where nobody vouches for anything."""
MASKS: Final = ("change", "before_class", "after_class")
"""Bands of ``mask.tif``."""
FORMAT: Final = 1
"""Raised when the files of a label mean something else."""

UInt8 = NDArray[np.uint8]
UInt16 = NDArray[np.uint16]
_COVER: Final = {cover.label: int(cover) for cover in Cover}


@dataclass(frozen=True)
class Judged:
    """The latest verdict of one reviewer on one alert."""

    review_id: str
    verdict: str
    """accept, reject, redraw or unsure."""
    outline: BaseGeometry
    """The alert's polygon, UTM of the site."""
    redrawn: BaseGeometry | None
    """The reviewer's polygon, UTM of the site, of a redraw."""
    from_class: str
    to_class: str
    ignored: BaseGeometry | None = None
    """Ground that the reviewer does not vouch for, UTM of the site."""

    @property
    def changed(self) -> BaseGeometry | None:
        """Where the reviewer saw the change."""
        return {"accept": self.outline, "redraw": self.redrawn}.get(self.verdict)

    @property
    def judged(self) -> Sequence[BaseGeometry]:
        """What the reviewer vouches for, changed or not."""
        if self.verdict == "unsure":
            return ()
        return (self.outline,) if self.redrawn is None else (self.outline, self.redrawn)

    @property
    def drawn(self) -> Sequence[BaseGeometry]:
        """Every polygon that the review is about."""
        every = (self.outline, self.redrawn, self.ignored)
        return tuple(shape for shape in every if shape is not None)

    @property
    def pair(self) -> int:
        """The two classes as one number."""
        return _COVER[self.from_class] * len(Cover) + _COVER[self.to_class]


@dataclass(frozen=True)
class LabelTile:
    """A verified tile with its pixels."""

    tile: Tile
    epsg: int
    before: UInt16
    """[6, 512, 512] reflectance x 10000, 0 = nodata: what the run compared with."""
    after: UInt16
    """[6, 512, 512] of the run's scene."""
    masks: UInt8
    """[3, 512, 512]: change 0 or 1, classes before and after; 255 = ignored."""
    lineage: Mapping[str, Any]
    """Where it comes from: run, scenes, models, reviews and licence."""

    @cached_property
    def version(self) -> str:
        """SHA-256 over pixels, masks and lineage."""
        digest = hashlib.sha256(_canonical({**self.lineage, "format": FORMAT}))
        for pixels in (self.before, self.after, self.masks):
            digest.update(np.ascontiguousarray(pixels).tobytes())
        return digest.hexdigest()

    @cached_property
    def counts(self) -> dict[str, Any]:
        """Pixels by what is said of them, in the tile's core."""
        change, before, after = self.masks[:, HALO_PX:-HALO_PX, HALO_PX:-HALO_PX]
        moved = change == 1
        pairs = Counter(zip(before[moved].tolist(), after[moved].tolist(), strict=True))
        return {
            "changed": int(moved.sum()),
            "unchanged": int((change == 0).sum()),
            "ignored": int((change == IGNORED).sum()),
            "pairs": {
                f"{Cover(a).label} -> {Cover(b).label}": n for (a, b), n in sorted(pairs.items())
            },
        }

    @property
    def empty(self) -> bool:
        """Whether nobody vouches for any of it."""
        return bool((self.masks[0] == IGNORED).all())


def tiles_touched(shapes: Iterable[BaseGeometry]) -> list[Tile]:
    """The tiles whose cores some shapes (UTM of one zone) touch, in order."""
    found: set[Tile] = set()
    step = CORE_PX * PIXEL_M
    for shape in shapes:
        west, south, east, north = shape.bounds
        rows = range(int(-north // step), int(-south // step) + 1)
        cols = range(int(west // step), int(east // step) + 1)
        cells = ((Tile(row, col), _core_box(row, col, step)) for row in rows for col in cols)
        found |= {tile for tile, cell in cells if shape.intersects(cell)}
    return sorted(found)


def _core_box(row: int, col: int, step: int) -> BaseGeometry:
    return shapely.box(col * step, -(row + 1) * step, (col + 1) * step, -row * step)


def to_utm(geometry: str, *, epsg: int) -> BaseGeometry:
    """GeoJSON text (EPSG:4326) in a UTM zone."""
    project = Transformer.from_crs(4326, epsg, always_xy=True)

    def moved(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(project.transform(*points.T))

    return shapely.transform(shapely.from_geojson(geometry), moved)


def tile_transform(tile: Tile) -> Affine:
    """Pixel (column, row) of a tile with its halo to UTM metres."""
    extent = tile.extent
    return Affine(PIXEL_M, 0, extent.left * PIXEL_M, 0, -PIXEL_M, -extent.top * PIXEL_M)


def fold_masks(judged: Iterable[Judged], tile: Tile, observed: NDArray[np.bool_]) -> UInt8:
    """The masks of a tile, [3, 512, 512]; `observed` is where both dates were seen.

    Pixels of the halo are ignored: each belongs to the core of another tile.
    """
    votes = _Votes(tile)
    for one in judged:
        votes.add(one)
    masks = votes.masks()
    core = np.zeros((TILE_PX, TILE_PX), np.bool_)
    core[HALO_PX:-HALO_PX, HALO_PX:-HALO_PX] = True
    masks[:, ~(observed & core)] = IGNORED
    return masks


class _Votes:
    """What reviewers say of each pixel."""

    _UNCHANGED = -1
    _NOBODY = -2
    _TORN = -3

    def __init__(self, tile: Tile) -> None:
        self._transform = tile_transform(tile)
        self._said = np.full((TILE_PX, TILE_PX), self._NOBODY, np.int16)
        self._left_out = np.zeros((TILE_PX, TILE_PX), np.bool_)

    def add(self, one: Judged) -> None:
        """Count one review: who contradicts another one leaves the ground undecided.

        What one reviewer leaves out nobody else's verdict brings back.
        """
        self._left_out |= self._drawn([one.ignored] if one.ignored is not None else [])
        judged = self._drawn(one.judged)
        changed = self._drawn([one.changed] if one.changed is not None else [])
        vote = np.where(changed, one.pair, self._UNCHANGED)
        first = judged & (self._said == self._NOBODY)
        torn = judged & ~first & (self._said != vote)
        self._said = np.where(first, vote, np.where(torn, self._TORN, self._said)).astype(np.int16)

    def masks(self) -> UInt8:
        """Change and classes."""
        changed = (self._said >= 0) & ~self._left_out
        unchanged = (self._said == self._UNCHANGED) & ~self._left_out
        change = np.where(changed, 1, np.where(unchanged, 0, IGNORED))
        before = np.where(changed, self._said // len(Cover), IGNORED)
        after = np.where(changed, self._said % len(Cover), IGNORED)
        return np.stack([change, before, after]).astype(np.uint8)

    def _drawn(self, shapes: Sequence[BaseGeometry]) -> NDArray[np.bool_]:
        shape = (TILE_PX, TILE_PX)
        if not shapes:
            return np.zeros(shape, np.bool_)
        drawn = rasterize(shapes, out_shape=shape, transform=self._transform, dtype="uint8")
        inside: NDArray[np.bool_] = drawn == 1
        return inside


def store_label(store: ObjectStore, label: LabelTile) -> str:
    """Write a label's files under its version, ``label.json`` last; the version.

    The same content twice is written once.
    """
    version = label.version
    record = {**label.lineage, "format": FORMAT, "version": version, "counts": label.counts}
    files = {
        "before.tif": _tiff(label, label.before, BANDS, NODATA),
        "after.tif": _tiff(label, label.after, BANDS, NODATA),
        "mask.tif": _tiff(label, label.masks, MASKS, IGNORED),
        "label.json": orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS),
    }
    for name, content in files.items():
        store.put_if_absent(label_key(version, name), content)
    return version


def label_key(version: str, name: str) -> str:
    """Where a label's file lies in the object store."""
    return f"labels/{version}/{name}"


def _canonical(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(dict(value), option=orjson.OPT_SORT_KEYS)


def _tiff(label: LabelTile, pixels: NDArray[Any], names: Sequence[str], nodata: int) -> bytes:
    profile = {
        "driver": "GTiff",
        "dtype": pixels.dtype.name,
        "count": len(names),
        "height": TILE_PX,
        "width": TILE_PX,
        "crs": f"EPSG:{label.epsg}",
        "transform": tile_transform(label.tile),
        "nodata": nodata,
        "compress": "zstd",
        "zstd_level": 3,
        "predictor": 2,
        "tiled": True,
        "blockxsize": TILE_PX,
        "blockysize": TILE_PX,
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as raster:
            raster.write(pixels)
            for band, name in enumerate(names, 1):
                raster.set_band_description(band, name)
        return bytes(memory.read())
