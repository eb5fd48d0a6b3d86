"""What a source offers before any choice is made: bands, with what is said about them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from affine import Affine

from geodata_etl.hrefs import Access
from geodata_etl.radiometry import Declared, Product
from geodata_etl.scenes._names import OLI, SENTINEL2, TM
from geodata_etl.scenes._raster import Facts, inspect


@dataclass(frozen=True)
class Placed:
    """The georeference an item gives for an asset; None where it says nothing."""

    crs: str | None = None
    shape: tuple[int, int] | None = None
    transform: Affine | None = None


_SILENT: Final = Declared()
_NOWHERE: Final = Placed()


@dataclass(frozen=True)
class Offer:
    """One band of one file, as the source describes it."""

    href: str
    index: int
    """One-based band number."""
    source: str
    """The source's name of the band."""
    common: str | None
    """Its common name, None where the name says nothing."""
    rank: tuple[float, ...] = ()
    """Of several offers of a band the lowest rank is taken."""
    declared: Declared = _SILENT
    nodata: float | None = None
    """What the item says; None where it says nothing."""
    dtype: str | None = None
    placed: Placed = _NOWHERE


@dataclass(frozen=True)
class Found:
    """A source, read: what `build` turns into a scene."""

    id: str
    source: str
    base: str | Path
    """What relative hrefs are taken from."""
    acquired: datetime | None
    platform: str | None
    level: str | None
    product: Product
    offers: tuple[Offer, ...]


@dataclass
class Files:
    """The files of one source, each inspected at most once."""

    access: Access
    base: str | Path
    _known: dict[str, Facts] = field(default_factory=dict)

    def facts(self, href: str) -> Facts:
        """The facts of a file. Raises SceneRefused."""
        if href not in self._known:
            self._known[href] = inspect(href, access=self.access, base=self.base)
        return self._known[href]


def level_of(*texts: str | None) -> str | None:
    """The processing level that metadata or a product name speaks of, e.g. ``L2A``."""
    for text in texts:
        match = re.search(r"L1C|L2A|L2SP|L2SR|L1TP", (text or "").upper().replace("-", ""))
        if match:
            return match[0]
        match = re.search(r"S2MSI(1C|2A)", text or "")  # s2:product_type
        if match:
            return f"L{match[1]}"
    return None


def baseline_of(declared: str | float | None, texts: Iterable[str]) -> float | None:
    """The Sentinel-2 processing baseline: declared (``"04.00"``) or in a product name (N0400)."""
    if declared is not None and re.fullmatch(r"\d+(\.\d+)?", str(declared)):
        return float(declared)
    for text in texts:
        match = re.search(r"_N(\d{2})(\d{2})(?:_|$)", text)
        if match:
            return float(f"{match[1]}.{match[2]}")
    return None


def product_of(
    sensor: str | None,
    level: str | None,
    *,
    baseline: float | None,
    offset_applied: bool | None = None,
    collection: str | None = None,
    texts: Iterable[str] = (),
) -> Product:
    """Which product definition holds for the radiometry."""
    second = str(collection).lstrip("0") == "2" or any(
        re.search(r"L[COTEM]\d{2}_L2\w{2}_.*_02_", text) for text in texts
    )
    return Product(
        sentinel2=sensor == SENTINEL2 and level in ("L1C", "L2A"),
        baseline=baseline,
        offset_applied=offset_applied,
        landsat_c2_l2=sensor in (OLI, TM) and second and level in ("L2SP", "L2SR"),
    )
