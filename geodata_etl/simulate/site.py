"""A site and its scenes: the same seed and date give the same bits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from geodata_etl.bands import Cover
from geodata_etl.grid import Extent, Grid
from geodata_etl.simulate import sensor as optics
from geodata_etl.simulate.changes import Change, ChangeCounts, draw_changes
from geodata_etl.simulate.climate import CLIMATES, Climate
from geodata_etl.simulate.ground import Palette, palette
from geodata_etl.simulate.layout import Land, build_land
from geodata_etl.simulate.materials import Material
from geodata_etl.simulate.noise import Float, generator, moment, periodic
from geodata_etl.simulate.render import MARGIN, View, cut, record
from geodata_etl.simulate.sky import draw_sky

MAX_SHIFT: Final = 3.0
"""Largest misregistration, pixels."""
_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True)
class SiteSpec:
    """Everything that a site follows from."""

    seed: int
    size_px: int = 2048
    epsg: int = 32631
    top: int = -539_840
    """First lattice row; the default is a whole tile at 48.7 N."""
    left: int = 44_800
    """First lattice column."""
    climate: str | None = None
    """One of `CLIMATES`; None draws one."""
    sensor: str = "sentinel-2"
    """Default sensor of the site's scenes: sentinel-2 or landsat."""
    toa: bool = True
    """Top of atmosphere (L1C) or surface (L2A) reflectance."""
    changes: ChangeCounts | None = None
    """None draws as many as fit the size."""
    start: date = date(2023, 3, 1)
    days: int = 730
    """Changes fall within so many days of `start`."""


@dataclass(frozen=True, eq=False)
class SimulatedScene:
    """One acquisition with its truth, all on the site's grid."""

    acquired: datetime
    """UTC."""
    reflectance: NDArray[np.uint16]
    """[6, H, W], reflectance x 10000, 0 = nodata."""
    cloud: NDArray[np.uint8]
    """`Cloud` truth [H, W]."""
    cover: NDArray[np.uint8]
    """`Cover` truth [H, W] of the ground, also below clouds."""
    shift_yx_px: tuple[float, float]
    """By how much the image content lies off the truth grid: rows down, columns right."""
    sensor: str
    toa: bool = True


@dataclass(frozen=True, eq=False)
class Site:
    """The land of a site and what happens to it."""

    spec: SiteSpec
    climate: Climate
    land: Land
    changes: tuple[Change, ...]
    per_material: int
    _textures: tuple[Float, Float] = field(repr=False)

    @property
    def grid(self) -> Grid:
        """Where the site lies."""
        s = self.spec
        return Grid(s.epsg, Extent(s.top, s.left, s.top + s.size_px, s.left + s.size_px))

    @cached_property
    def period(self) -> tuple[datetime, datetime]:
        """The time in which the changes fall, UTC."""
        start = moment(self.spec.start)
        return start, start + timedelta(days=self.spec.days)

    def ids_at(self, day: date | datetime) -> NDArray[np.uint16]:
        """Object ids on a day, on the padded grid."""
        ids = self.land.ids.copy()
        for change in self.changes:
            if change.active(moment(day)):
                window = ids[change.rows, change.cols]
                window[change.footprint] = change.patch[change.footprint]
        return ids

    def cover_at(self, day: date | datetime) -> NDArray[np.uint8]:
        """`Cover` truth of a day [H, W]."""
        return np.asarray(self._palette(moment(day)).cover[_inner(self.ids_at(day))], np.uint8)

    def change_mask(self, date_a: date | datetime, date_b: date | datetime) -> NDArray[np.uint8]:
        """[H, W]: 1 where a known change turned the land from one class into another.

        A harvest or a new leaf is no change.
        """
        a, b = moment(date_a), moment(date_b)
        touched = np.zeros(self.land.ids.shape, bool)
        for change in self.changes:
            if change.active(a) != change.active(b):
                touched[change.rows, change.cols] |= change.footprint
        differs = self.cover_at(a) != self.cover_at(b)
        return np.asarray(_inner(touched) & differs, np.uint8)

    def covers_of(self, change: Change) -> tuple[Cover, Cover]:
        """The commonest class of a change's ground just before and just after it."""
        old = self.land.ids[change.rows, change.cols][change.footprint]
        new = change.patch[change.footprint]
        eve, morrow = change.date - timedelta(days=1), change.date + timedelta(hours=1)
        found = [
            Cover(int(np.bincount(self._palette(day).cover[ids]).argmax()))
            for day, ids in ((eve, old), (morrow, new))
        ]
        return found[0], found[1]

    def scene(
        self,
        day: date | datetime,
        *,
        cloud_fraction: float | None = None,
        shift: tuple[float, float] | None = None,
        haze: float | None = None,
        sensor: str | None = None,
        toa: bool | None = None,
        swath: float = 0.0,
    ) -> SimulatedScene:
        """The site as seen on a day.

        What is not given is drawn from seed and day: `cloud_fraction` 0..1; `shift` (dy, dx) px,
        at most 3; `haze`, 1 a clear day .. 4; `sensor`; `toa`. `swath` 0..1 is the share
        of the site that lies off the swath and is nodata. Raises ValueError for values outside.
        """
        acquired = moment(day)
        rng = generator(self.spec.seed, "scene", acquired.isoformat())
        given: dict[str, Any] = {"cloud": cloud_fraction, "shift": shift, "haze": haze, "toa": toa}
        drawn = _draw_conditions(rng, toa=self.spec.toa)
        conditions = replace(drawn, **{k: v for k, v in given.items() if v is not None})
        _check(conditions, swath)
        view = self._view(rng, acquired, conditions, _sensor(sensor or self.spec.sensor))
        # of its own for each shift: equal noise would tie two scenes of a day together
        moved = tuple(map(float, conditions.shift))
        noise = generator(self.spec.seed, "noise", acquired.isoformat(), *moved)
        reflectance, cloud = record(view, noise, self.spec.size_px)
        if swath:
            cut(reflectance, rng, swath)
        return SimulatedScene(
            acquired=acquired,
            reflectance=reflectance,
            cloud=cloud,
            cover=view.tables.cover[_inner(view.ids)],
            shift_yx_px=(moved[0], moved[1]),
            sensor=view.sensor.name,
            toa=conditions.toa,
        )

    def _view(
        self,
        rng: np.random.Generator,
        acquired: datetime,
        conditions: _Conditions,
        sensor: optics.Sensor,
    ) -> View:
        """What a scene is rendered from."""
        zenith, azimuth = _sun(self.climate.latitude, acquired)
        sky = draw_sky(
            rng,
            (self.land.ids.shape[0], self.land.ids.shape[1]),
            cloud_fraction=conditions.cloud,
            haze=conditions.haze,
            sun_zenith=zenith,
            sun_azimuth=azimuth,
        )
        return View(
            ids=self.ids_at(acquired),
            tables=self._palette(acquired),
            sky=sky,
            land=self.land,
            textures=self._textures,
            sensor=sensor,
            gain=conditions.gain,
            toa=conditions.toa,
            shift=conditions.shift,
            zenith=zenith,
            azimuth=azimuth,
            drift=int(rng.integers(1 << 20)),
        )

    def _palette(self, day: datetime) -> Palette:
        since = np.full(len(Material) * self.per_material, 1e4, np.float32)
        for change in self.changes:
            if change.active(day):
                since[np.unique(change.patch[change.footprint])] = (day - change.date).days
        return palette(
            seed=self.spec.seed,
            climate=self.climate,
            per_material=self.per_material,
            day=day,
            since_days=since,
        )


def simulate_site(spec: SiteSpec) -> Site:
    """Lay out the land of a site and place its changes.

    Raises ValueError for a size under 32 px, a place off the UTM zone, or an unknown climate or
    sensor.
    """
    if spec.size_px < 32:
        raise ValueError(f"size_px is {spec.size_px}; a site needs at least 32 px")
    _require_zone(spec)
    _sensor(spec.sensor)
    climate = _climate(spec)
    edge = spec.size_px + 2 * MARGIN
    per_material = 128 if spec.size_px <= 512 else 2048
    land = build_land(
        seed=spec.seed, climate=climate, shape=(edge, edge), per_material=per_material
    )
    start = moment(spec.start)
    changes = draw_changes(
        seed=spec.seed,
        ids=land.ids,
        counts=spec.changes or ChangeCounts.for_size(spec.size_px),
        period=(start, start + timedelta(days=spec.days)),
        margin=MARGIN + 2,
        per_material=per_material,
    )
    rng = generator(spec.seed, "texture")
    size = 256 if spec.size_px <= 512 else 1024
    textures = (
        periodic(rng, size, beta=0.9, wavelength=size),
        periodic(rng, size, beta=2.6, wavelength=40),
    )
    return Site(spec, climate, land, changes, per_material, textures)


def _require_zone(spec: SiteSpec) -> None:
    """UTM eastings lie within 100 to 900 km, northings within 0 to 10,000 km."""
    size = spec.size_px
    rows, columns = (spec.top, spec.top + size), (spec.left, spec.left + size)
    if not (min(columns) >= 10_000 and max(columns) <= 90_000):
        raise ValueError(f"left is {spec.left}; lattice columns of a UTM zone: 10000 to 90000")
    if not (min(rows) >= -1_000_000 and max(rows) <= 0):
        raise ValueError(f"top is {spec.top}; lattice rows of a UTM zone: -1000000 to 0")


def default_dates(
    n: int, *, start: date = date(2023, 3, 1), days: int = 730, seed: int = 0
) -> tuple[datetime, ...]:
    """`n` acquisition times spread over `days`, on a five-day revisit, earliest first."""
    if not 1 <= n <= days // 5:
        raise ValueError(f"n is {n}; between 1 and {days // 5} dates fit into {days} days")
    rng = generator(seed, "dates", n)
    step = days / n
    offsets = [(i + 0.5 + 0.3 * float(rng.uniform(-1, 1))) * step for i in range(n)]
    return tuple(moment(start + timedelta(days=5 * round(offset / 5))) for offset in offsets)


@dataclass(frozen=True, eq=False)
class _Conditions:
    """What differs from date to date beside the land."""

    cloud: float
    haze: float
    shift: tuple[float, float]
    gain: Float
    toa: bool


def _draw_conditions(rng: np.random.Generator, *, toa: bool) -> _Conditions:
    """A third of the days are clear; misregistration is some tenths of a pixel, seldom over one."""
    cloud = 0.0 if rng.random() < 0.35 else float(rng.beta(0.7, 2.2))
    haze = min(1 + float(rng.gamma(1.2, 0.22)), 4.0)
    shift = rng.normal(0, 0.35, 2).clip(-MAX_SHIFT, MAX_SHIFT)
    gain = np.exp(rng.normal(0, 0.025) + rng.normal(0, 0.012, 6)).astype(np.float32)
    return _Conditions(cloud, haze, (float(shift[0]), float(shift[1])), gain, toa)


def _check(conditions: _Conditions, swath: float) -> None:
    if not 0 <= conditions.cloud <= 1:
        raise ValueError(f"cloud_fraction is {conditions.cloud}; give a share between 0 and 1")
    if not max(map(abs, conditions.shift)) <= MAX_SHIFT:
        raise ValueError(f"shift is {conditions.shift} px; at most {MAX_SHIFT} px can be drawn")
    if not 0 <= conditions.haze <= 10:
        raise ValueError(f"haze is {conditions.haze}; give 1 for a clear day, up to 10")
    if not 0 <= swath < 1:
        raise ValueError(f"swath is {swath}; give the share off the swath, 0 to below 1")


def _sensor(name: str) -> optics.Sensor:
    if name not in optics.SENSORS:
        raise ValueError(f"sensor {name!r} is unknown; choose from {', '.join(optics.SENSORS)}")
    return optics.SENSORS[name]


def _climate(spec: SiteSpec) -> Climate:
    if spec.climate is None:
        rng = generator(spec.seed, "climate")
        return list(CLIMATES.values())[int(rng.choice(5, p=[0.36, 0.18, 0.2, 0.14, 0.12]))]
    if spec.climate not in CLIMATES:
        raise ValueError(f"climate {spec.climate!r} is unknown; choose from {', '.join(CLIMATES)}")
    return CLIMATES[spec.climate]


def _sun(latitude: float, day: datetime) -> tuple[float, float]:
    """Zenith and azimuth of the sun at the overpass, degrees (half an hour to two before noon)."""
    doy = day.timetuple().tm_yday
    declination = np.radians(-23.44 * np.cos(2 * np.pi * (doy + 10) / 365))
    hour, place = np.radians(-22.0), np.radians(latitude)
    height = np.sin(place) * np.sin(declination)
    height += np.cos(place) * np.cos(declination) * np.cos(hour)
    zenith = np.arccos(height)
    north = np.sin(declination) * np.cos(place) - np.cos(declination) * np.sin(place) * np.cos(hour)
    east = -np.cos(declination) * np.sin(hour)
    return float(np.degrees(zenith)), float(np.degrees(np.arctan2(east, north)) % 360)


def _inner(padded: NDArray[_Scalar]) -> NDArray[_Scalar]:
    return padded[MARGIN:-MARGIN, MARGIN:-MARGIN]
