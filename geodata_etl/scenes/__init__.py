"""Scenes of any accepted kind, opened to one checked record; no pixel is decoded here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from urllib.parse import urlsplit

from geodata_etl.hrefs import Access
from geodata_etl.radiometry import Declared
from geodata_etl.scenes import _dates
from geodata_etl.scenes._build import build
from geodata_etl.scenes._checks import MIN_EDGE_PX
from geodata_etl.scenes._item import read_item
from geodata_etl.scenes._model import Scene, SceneBand, SceneFile
from geodata_etl.scenes._raster import open_raster, unreadable
from geodata_etl.scenes._tiff import read_files

__all__ = [
    "MIN_EDGE_PX",
    "Scene",
    "SceneBand",
    "SceneFile",
    "open_raster",
    "open_scene",
    "unreadable",
]


def open_scene(
    source: str | Path,
    *,
    access: Access,
    bands: Sequence[str] | None = None,
    scale: float | None = None,
    offset: float | None = None,
    date: datetime | date | str | None = None,
) -> Scene:
    """Open a scene: a STAC Item JSON (path, file:// or http), a GeoTIFF, or a folder of them.

    `bands` names every band in file order ("-" for one that is not used) where the source does
    not; `scale` and `offset` (reflectance = stored value x scale + offset) override the metadata,
    an offset that is not given with a scale is 0; `date` overrides the acquisition time.

    Only headers are read. Raises SceneRefused with the reason and the cure, SourceUnavailable where
    a host may answer later, ValueError for a `date` that is none.
    """
    href = str(source)
    read = read_item if urlsplit(href).path.lower().endswith((".json", ".geojson")) else read_files
    found = read(href, access=access, bands=bands)
    caller = Declared(scale, offset)
    return build(found, access=access, caller=caller, date=_dates.of_caller(date))
