"""The analysis grid: UTM, 10 m pixels, one global lattice of tiles per zone (lattice v1).

Pixel indices are global within a UTM zone: column ``x / 10``, row ``-y / 10`` (rows grow
southwards), so the same ground always has the same indices, whatever the scene. A tile is a core of
448 x 448 px of that lattice, read with a halo of 32 px on each side: 512 x 512 px of model input.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

PIXEL_M: Final = 10
"""Edge of a pixel of the analysis grid, metres."""
CORE_PX: Final = 448
"""Edge of a tile's core, pixels."""
HALO_PX: Final = 32
"""Context read on every side of a core, pixels."""
TILE_PX: Final = CORE_PX + 2 * HALO_PX
"""Edge of the model input, pixels."""
LATTICE: Final = "v1"


@dataclass(frozen=True, order=True)
class Extent:
    """A rectangle of lattice pixels: ``[top, bottom) x [left, right)``."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def empty(self) -> bool:
        """Whether the rectangle holds no pixel."""
        return self.height <= 0 or self.width <= 0

    def __and__(self, other: Extent) -> Extent:
        return Extent(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    def __or__(self, other: Extent) -> Extent:
        return Extent(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )

    def buffered(self, px: int) -> Extent:
        """The extent grown by `px` on every side."""
        return Extent(self.top - px, self.left - px, self.bottom + px, self.right + px)

    def window_in(self, outer: Extent) -> Window:
        """This extent as a rasterio window of a raster that covers `outer`."""
        return Window(self.left - outer.left, self.top - outer.top, self.width, self.height)

    def slices_in(self, outer: Extent) -> tuple[slice, slice]:
        """This extent as (row, column) slices of an array that covers `outer`."""
        top, left = self.top - outer.top, self.left - outer.left
        return slice(top, top + self.height), slice(left, left + self.width)


@dataclass(frozen=True, order=True)
class Tile:
    """A cell of the lattice."""

    row: int
    """Row of the lattice, growing southwards."""
    col: int

    @property
    def core(self) -> Extent:
        """The pixels the tile answers for, 448 x 448."""
        top, left = self.row * CORE_PX, self.col * CORE_PX
        return Extent(top, left, top + CORE_PX, left + CORE_PX)

    @property
    def extent(self) -> Extent:
        """The pixels the models see, 512 x 512: the core and its halo."""
        return self.core.buffered(HALO_PX)

    def __str__(self) -> str:
        return f"{self.row}_{self.col}"


@dataclass(frozen=True, order=True)
class Block:
    """A rectangle of whole tiles, the unit of work and retry."""

    row: int
    """First tile row."""
    col: int
    """First tile column."""
    rows: int
    cols: int

    @classmethod
    def parse(cls, text: str) -> Block:
        """The block that `str` wrote, e.g. ``-12_3_4x4``. Raises ValueError."""
        match = re.fullmatch(r"(-?\d+)_(-?\d+)_(\d+)x(\d+)", text)
        if match is None:
            raise ValueError(f"{text!r} is no block: write row_col_rowsxcols, e.g. -12_3_4x4")
        row, col, rows, cols = map(int, match.groups())
        return cls(row, col, rows, cols)

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The block's tiles, row by row."""
        return tuple(
            Tile(row, col)
            for row in range(self.row, self.row + self.rows)
            for col in range(self.col, self.col + self.cols)
        )

    @property
    def core(self) -> Extent:
        """The pixels the block answers for."""
        top, left = self.row * CORE_PX, self.col * CORE_PX
        return Extent(top, left, top + self.rows * CORE_PX, left + self.cols * CORE_PX)

    def __str__(self) -> str:
        return f"{self.row}_{self.col}_{self.rows}x{self.cols}"


@dataclass(frozen=True)
class Grid:
    """A rectangle of one UTM zone's lattice: where a raster of the platform lies."""

    epsg: int
    """EPSG code of the UTM zone, 326xx or 327xx."""
    extent: Extent

    @property
    def transform(self) -> Affine:
        """Pixel (column, row) to UTM metres (x, y); the upper left corner of the first pixel."""
        left, top = self.extent.left * PIXEL_M, -self.extent.top * PIXEL_M
        return Affine(PIXEL_M, 0, left, 0, -PIXEL_M, top)

    @property
    def crs(self) -> str:
        """The CRS as ``EPSG:code``."""
        return f"EPSG:{self.epsg}"

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.extent.height, self.extent.width

    @property
    def geobox(self) -> GeoBox:
        """The same as an odc-geo GeoBox."""
        return GeoBox(self.shape, self.transform, self.crs)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in UTM metres."""
        e = self.extent
        return e.left * PIXEL_M, -e.bottom * PIXEL_M, e.right * PIXEL_M, -e.top * PIXEL_M

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """Every tile whose core touches the grid, row by row."""
        rows = range(self.extent.top // CORE_PX, -(-self.extent.bottom // CORE_PX))
        cols = range(self.extent.left // CORE_PX, -(-self.extent.right // CORE_PX))
        return tuple(Tile(row, col) for row in rows for col in cols)

    def blocks(self, *, rows: int, cols: int) -> Iterator[Block]:
        """The grid's tiles as blocks of at most `rows` x `cols` tiles."""
        tiles = self.tiles
        if not tiles:
            return
        first, last = tiles[0], tiles[-1]
        for row in range(first.row, last.row + 1, rows):
            for col in range(first.col, last.col + 1, cols):
                yield Block(row, col, min(rows, last.row + 1 - row), min(cols, last.col + 1 - col))


def utm_epsg(lon: float, lat: float) -> int:
    """The EPSG code of the UTM zone of a place (without the Norwegian exceptions).

    Source: the UTM definition, zones of 6 degrees counted from 180 degrees west.
    """
    zone = min(60, int((lon + 180) // 6) + 1)
    return (32600 if lat >= 0 else 32700) + zone


def extent_of_bounds(left: float, bottom: float, right: float, top: float) -> Extent:
    """The smallest lattice extent that covers UTM bounds in metres."""
    eps = 1e-6  # metres: bounds that lie on the lattice must not gain a pixel from rounding
    return Extent(
        math.floor((-top + eps) / PIXEL_M),
        math.floor((left + eps) / PIXEL_M),
        math.ceil((-bottom - eps) / PIXEL_M),
        math.ceil((right - eps) / PIXEL_M),
    )


def grid_of_transform(epsg: int, transform: Affine, height: int, width: int) -> Grid:
    """The grid of a raster that lies on the lattice (as ingest writes it)."""
    top, left = round(-transform.f / PIXEL_M), round(transform.c / PIXEL_M)
    return Grid(epsg, Extent(top, left, top + height, left + width))
