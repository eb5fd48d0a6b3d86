"""What every source of training and evaluation data gives: one record, on one grid.

Nothing here imports torch, a file format or a store: sources (`training.sources`), splits
(`training.split`), manifests (`training.manifest`) and evaluation meet in this record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from geodata_etl.bands import BANDS, NODATA, NOT_OBSERVED
from groundshift.errors import Misconfigured

UNKNOWN: Final = NOT_OBSERVED
"""Class of a pixel that nobody knows, in `covers` and `clouds`."""

UInt8 = NDArray[np.uint8]
UInt16 = NDArray[np.uint16]
Bool = NDArray[np.bool_]
Planes = tuple[UInt8, UInt8]
"""One class plane [H,W] per date."""


@dataclass(frozen=True)
class Sample:
    """One pair of dates over one place, on one grid.

    Raises Misconfigured where the planes are not of one shape or dtype.
    """

    name: str
    """Unique within its source."""
    site: str
    """Splits go by this, never by tile."""
    sensor: str
    """``sentinel-2``, ``landsat-8``, ``simulator/<sensor>``."""
    dates: tuple[date, date]
    licence: str
    """An SPDX identifier, or a sentence."""
    lineage: str
    """Where it came from: STAC ids, a simulator's seed, an alert with its label's digest."""
    before: UInt16
    """[6,H,W] reflectance x 10000 in the order of bands.BANDS, 0 = nodata."""
    after: UInt16
    ignore: Bool
    """[H,W] pixels that must not count: nobody looked, nodata, doubtful."""
    change: Bool | None = None
    """[H,W] what changed; None where nobody labelled it."""
    covers: Planes | None = None
    """bands.Cover per date, `UNKNOWN` where nobody knows."""
    clouds: Planes | None = None
    """bands.Cloud per date, `UNKNOWN` where nobody knows."""
    traits: Mapping[str, str | float] = field(default_factory=lambda: MappingProxyType({}))
    """What slices go by: biome, season_days, cloud_fraction, ..."""

    def __post_init__(self) -> None:
        shape = self.before.shape[1:]
        for name, plane in (("before", self.before), ("after", self.after)):
            self._fits(name, plane, np.uint16, (len(BANDS), *shape))
        self._fits("ignore", self.ignore, np.bool_, shape)
        if self.change is not None:
            self._fits("change", self.change, np.bool_, shape)
        for name, planes in (("covers", self.covers), ("clouds", self.clouds)):
            for one in planes or ():
                self._fits(name, one, np.uint8, shape)

    def _fits(
        self, name: str, plane: NDArray[np.generic], dtype: type, shape: tuple[int, ...]
    ) -> None:
        if plane.dtype != dtype or plane.shape != shape:
            raise Misconfigured(
                f"sample {self.name}: {name} is {plane.dtype} {plane.shape}, not"
                f" {np.dtype(dtype)} {shape}: bring every plane onto the grid of `before`"
            )

    @property
    def observed(self) -> Bool:
        """[H,W] no band of either date is nodata."""
        seen: Bool = (self.before.min(0) != NODATA) & (self.after.min(0) != NODATA)
        return seen

    @property
    def season_days(self) -> int:
        """Days between the two dates' days of the year, 0 to 182."""
        return season_days(*self.dates)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over pixels, masks and what is said of them (hex)."""
        said = (self.name, self.site, self.sensor, *map(date.isoformat, self.dates))
        digest = hashlib.sha256("\n".join((*said, self.licence, self.lineage)).encode())
        for key, value in sorted(self.traits.items()):
            digest.update(f"\n{key}={value!r}".encode())
        planes = (self.before, self.after, self.ignore, self.change)
        for plane in (*planes, *(self.covers or (None,)), *(self.clouds or (None,))):
            digest.update(b"\0none" if plane is None else f"\0{plane.shape}".encode())
            if plane is not None:
                digest.update(np.ascontiguousarray(plane).tobytes())
        return digest.hexdigest()


def season_days(first: date, second: date) -> int:
    """Days between two days of the year, whatever the year: 0 to 182."""
    apart = abs(first.timetuple().tm_yday - second.timetuple().tm_yday)
    return min(apart, 365 - min(apart, 365))


class Source(Protocol):
    """Where samples come from."""

    @property
    def name(self) -> str:
        """Unique among the sources of one dataset."""

    def samples(self) -> Iterator[Sample]:
        """Every sample, always in the same order."""
