"""Known changes: what happens to the land of a site, where and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects

from geodata_etl.bands import Cover
from geodata_etl.simulate import towns
from geodata_etl.simulate.materials import BUILT, TREES, WATERS, Material
from geodata_etl.simulate.noise import fractal, generator, uniform

Ids = NDArray[np.uint16]
Mask = NDArray[np.bool_]
MIN_PX: Final = 20
"""Smallest change."""
_TRIES: Final = 60


class ChangeKind(StrEnum):
    """What happened."""

    BUILDING = "building"
    FELLING = "felling"
    FLOOD = "flood"
    FIRE = "fire"
    MINE = "mine"


TO_COVER: Final = {
    ChangeKind.BUILDING: Cover.BUILT,
    ChangeKind.FELLING: Cover.BARE,
    ChangeKind.FLOOD: Cover.WATER,
    ChangeKind.FIRE: Cover.BURNT,
    ChangeKind.MINE: Cover.BARE,
}


@dataclass(frozen=True)
class ChangeCounts:
    """How many changes of each kind a site gets (fewer where there is no room for them)."""

    building: int = 0
    felling: int = 0
    flood: int = 0
    fire: int = 0
    mine: int = 0

    @classmethod
    def for_size(cls, size_px: int) -> ChangeCounts:
        """About as many as make 1 to 3 % of the land change."""
        unit = (size_px / 1024) ** 2
        return cls(
            building=max(2, round(10 * unit)),
            felling=max(1, round(5 * unit)),
            flood=max(1, round(1.5 * unit)),
            fire=max(1, round(1.5 * unit)),
            mine=max(1, round(2 * unit)),
        )


@dataclass(frozen=True, eq=False)
class Change:
    """One known change; windows and masks are on the site's padded grid."""

    kind: ChangeKind
    date: datetime
    """From this moment on the land is changed, UTC."""
    until: datetime | None
    """A flood falls; the others stay."""
    rows: slice
    cols: slice
    footprint: Mask
    """[rows, cols] of the window: what changed."""
    patch: Ids
    """Object ids of the window after the change."""

    def active(self, moment: datetime) -> bool:
        """Whether the land is in the changed state."""
        return self.date <= moment and (self.until is None or moment < self.until)


def draw_changes(
    *,
    seed: int,
    ids: Ids,
    counts: ChangeCounts,
    period: tuple[datetime, datetime],
    margin: int,
    per_material: int,
) -> tuple[Change, ...]:
    """Place the changes of a site, none over another, all `margin` px (3 or more) inside."""
    rng = generator(seed, "changes")
    taken = np.ones(ids.shape, bool)
    taken[margin:-margin, margin:-margin] = False
    found: list[Change] = []
    for field in fields(counts):
        kind = ChangeKind(field.name)
        for _ in range(getattr(counts, field.name)):
            change = _place(rng, kind, ids, taken, period, per_material)
            if change is not None:
                found.append(change)
                _reserve(taken, change)
    return tuple(found)


def _reserve(taken: Mask, change: Change, gap: int = 3) -> None:
    """Keep other changes `gap` px away."""
    window = taken[
        change.rows.start - gap : change.rows.stop + gap,
        change.cols.start - gap : change.cols.stop + gap,
    ]
    window |= binary_dilation(np.pad(change.footprint, gap), iterations=gap)


def _place(
    rng: np.random.Generator,
    kind: ChangeKind,
    ids: Ids,
    taken: Mask,
    period: tuple[datetime, datetime],
    k: int,
) -> Change | None:
    """Try places until the shape finds enough land that this kind can happen to."""
    eligible = _ELIGIBLE[kind]
    area = float(np.exp(rng.uniform(np.log(1.6 * MIN_PX), np.log(_LARGEST[kind]))))
    for attempt in range(_TRIES):
        if attempt % 10 == 9:
            area = max(1.6 * MIN_PX, area * 0.6)
        edge = min(int(2.6 * np.sqrt(area)) + 8, min(ids.shape) // 2)
        top, left = (int(rng.integers(0, size - edge)) for size in ids.shape)
        rows, cols = slice(top, top + edge), slice(left, left + edge)
        material = ids[rows, cols] // k
        if not eligible[material[edge // 2, edge // 2]]:
            continue
        if kind is ChangeKind.FLOOD and attempt < _TRIES // 2 and not _WET[material].any():
            continue
        shape = _SHAPE[kind](rng, edge, area)
        footprint = shape & eligible[material] & ~taken[rows, cols]
        patch = _patch(rng, kind, edge, k)
        footprint &= patch != _KEEP
        if footprint.sum() >= max(MIN_PX, 0.45 * shape.sum()):
            return _change(kind, _when(rng, kind, period), (top, left), footprint, patch)
    return None


def _change(
    kind: ChangeKind,
    when: tuple[datetime, datetime | None],
    corner: tuple[int, int],
    footprint: Mask,
    patch: Ids,
) -> Change:
    """A change whose window is no larger than its footprint."""
    (box,) = find_objects(footprint.astype(np.uint8))
    rows, cols = (
        slice(start + part.start, start + part.stop)
        for start, part in zip(corner, box, strict=True)
    )
    return Change(kind, *when, rows, cols, footprint[box].copy(), patch[box].copy())


def _when(
    rng: np.random.Generator, kind: ChangeKind, period: tuple[datetime, datetime]
) -> tuple[datetime, datetime | None]:
    length = (period[1] - period[0]).total_seconds()
    start = period[0] + timedelta(seconds=round(length * rng.uniform(0.02, 0.98)))
    if kind is ChangeKind.FLOOD:
        return start, start + timedelta(days=int(rng.integers(60, 200)))
    return start, None


_KEEP: Final = 65535
"""In a patch: the land stays as it is."""


def _patch(rng: np.random.Generator, kind: ChangeKind, edge: int, k: int) -> Ids:
    """What the window looks like after the change, object ids [edge, edge]."""
    if kind is ChangeKind.BUILDING:
        return _new_building(rng, edge, k)
    material = {
        ChangeKind.FELLING: Material.CLEARED,
        ChangeKind.FLOOD: Material.FLOOD,
        ChangeKind.FIRE: Material.BURNT,
        ChangeKind.MINE: Material.MINE,
    }[kind]
    pieces = np.floor(1.5 * fractal(rng, (edge, edge), wavelength=12, beta=2.5, step=1))
    first = int(rng.integers(k))
    number = (first + pieces.astype(np.int64)) % k
    return np.asarray(number + int(material) * k, np.uint16)


def _new_building(rng: np.random.Generator, edge: int, k: int) -> Ids:
    """An estate of houses or a works; some lots are still earthworks, gardens keep the old land."""
    steps = np.arange(edge, dtype=np.float32)
    draw = towns.houses if rng.random() < 0.5 else towns.halls
    seed = int(rng.integers(1 << 31))
    drawn = draw(seed, steps[:, None], steps[None, :], towns.new_streets(rng), k)
    dug = rng.uniform(0, 0.7) if rng.random() < 0.5 else 0.0
    soft = ~_BUILT[drawn // k]
    works = soft & (uniform((drawn % k).astype(np.int64), seed) < dug)
    drawn[works] = int(Material.SOIL) * k + drawn[works] % k
    drawn[soft & ~works] = _KEEP
    return drawn.astype(np.uint16)


def _table(*materials: Material) -> Mask:
    table = np.zeros(len(Material), bool)
    table[list(materials)] = True
    return table


def _blob(rng: np.random.Generator, edge: int, area: float) -> Mask:
    """A ragged patch of about `area` px around the middle."""
    steps = np.arange(edge, dtype=np.float32) - edge / 2
    stretch = rng.uniform(0.7, 1.4)
    distance = np.hypot(steps[:, None] * stretch, steps[None, :] / stretch)
    noise = fractal(rng, (edge, edge), wavelength=max(8.0, edge / 3), beta=3.0, step=1)
    return np.asarray(distance / np.sqrt(area / np.pi) + 0.25 * noise < 1)


def _rectangle(rng: np.random.Generator, edge: int, area: float) -> Mask:
    """A turned rectangle of about `area` px around the middle."""
    steps = np.arange(edge, dtype=np.float32) - edge / 2
    angle, ratio = rng.uniform(0, np.pi), rng.uniform(1.0, 2.5)
    u = steps[:, None] * np.cos(angle) - steps[None, :] * np.sin(angle)
    v = steps[:, None] * np.sin(angle) + steps[None, :] * np.cos(angle)
    long, short = np.sqrt(area * ratio) / 2, np.sqrt(area / ratio) / 2
    return np.asarray((np.abs(u) < long) & (np.abs(v) < short))


def _either(rng: np.random.Generator, edge: int, area: float) -> Mask:
    return (_rectangle if rng.random() < 0.5 else _blob)(rng, edge, area)


def _strip(rng: np.random.Generator, edge: int, area: float) -> Mask:
    """A road: a straight strip 1.5 to 4 px wide, as long as the window lets it be."""
    steps = np.arange(edge, dtype=np.float32) - edge / 2
    angle, width = rng.uniform(0, np.pi), min(rng.uniform(1.5, 4.0), 0.3 * np.sqrt(area))
    u = steps[:, None] * np.cos(angle) - steps[None, :] * np.sin(angle)
    v = steps[:, None] * np.sin(angle) + steps[None, :] * np.cos(angle)
    return np.asarray((np.abs(u) < width / 2) & (np.abs(v) < area / width / 2))


def _plot(rng: np.random.Generator, edge: int, area: float) -> Mask:
    """The ground of a building project: mostly a rectangle, at times ragged or a road."""
    draw = rng.random()
    if draw < 0.12:
        return _strip(rng, edge, area)
    return (_rectangle if draw < 0.75 else _blob)(rng, edge, area)


_BUILT: Final = _table(*BUILT)
_WET: Final = _table(*WATERS)
_OPEN: Final = (Material.CROPLAND, Material.MEADOW, Material.SHRUB)
_DESERT: Final = (Material.SOIL, Material.SAND, Material.ROCK)
_ELIGIBLE: Final[dict[ChangeKind, Mask]] = {
    ChangeKind.BUILDING: _table(*_OPEN, *_DESERT, *TREES, Material.GARDEN),
    ChangeKind.FELLING: _table(*TREES),
    ChangeKind.FLOOD: _table(*_OPEN, *_DESERT, *TREES),
    ChangeKind.FIRE: _table(*_OPEN, *TREES),
    ChangeKind.MINE: _table(*_OPEN, *TREES),
}
_LARGEST: Final = {
    ChangeKind.BUILDING: 3000.0,
    ChangeKind.FELLING: 2500.0,
    ChangeKind.FLOOD: 7000.0,
    ChangeKind.FIRE: 7000.0,
    ChangeKind.MINE: 3500.0,
}
_SHAPE: Final[dict[ChangeKind, Callable[[np.random.Generator, int, float], Mask]]] = {
    ChangeKind.BUILDING: _plot,
    ChangeKind.FELLING: _either,
    ChangeKind.FLOOD: _blob,
    ChangeKind.FIRE: _blob,
    ChangeKind.MINE: _either,
}
