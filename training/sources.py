"""Sources of samples: the simulator, pairs of STAC Items, and labels that reviewers vouch for.

The public downloads (OSCD, CloudSEN12) are in `training.downloads`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from geodata_etl.bands import NOT_OBSERVED, Cloud
from geodata_etl.simulate import sample_pair
from groundshift import keys
from groundshift.errors import Misconfigured
from groundshift.labels import IGNORED, MASKS, label_key
from groundshift.ledger import labels
from groundshift.opening import open_ledger
from groundshift.ports import ObjectStore
from groundshift.settings import Settings
from training import realdata
from training.dataset import Planes, Sample, season_days
from training.downloads import OSCD_LICENCE

COPERNICUS: Final = "Copernicus Sentinel data: free, full and open"
"""Licence of the imagery; whoever publishes what was made from it names the source."""
OWN: Final = "Apache-2.0"
"""What this project makes is under the project's licence, simulated pixels too."""


@dataclass(frozen=True)
class Simulator:
    """Pairs of the scene simulator, one per seed; each seed is a site of its own."""

    seeds: range
    size: int = 256
    """Pixels of an edge."""
    cloud_fraction: float | None = None
    """Of both dates; None: drawn per pair, often none."""
    name: str = "simulator"

    def samples(self) -> Iterator[Sample]:
        """One sample per seed: the same seed always gives the same bits."""
        for seed in self.seeds:
            yield self._sample(seed)

    def _sample(self, seed: int) -> Sample:
        rng = np.random.default_rng(seed)
        drawn = sample_pair(rng, self.size, cloud_fraction=self.cloud_fraction)
        one, two = drawn.before, drawn.after
        dates = one.acquired.date(), two.acquired.date()
        sky = (one.cloud != Cloud.CLEAR) | (two.cloud != Cloud.CLEAR)
        unseen = (one.reflectance.min(0) == 0) | (two.reflectance.min(0) == 0)
        return Sample(
            name=f"seed-{seed}",
            site=f"simulator/{seed}",
            sensor=f"simulator/{one.sensor}",
            dates=dates,
            licence=OWN,
            lineage=f"geodata_etl.simulate.sample_pair, seed {seed}, {self.size} px",
            before=one.reflectance,
            after=two.reflectance,
            ignore=unseen,
            change=drawn.change > 0,
            covers=(one.cover, two.cover),
            clouds=(one.cloud, two.cloud),
            traits={
                "biome": drawn.site.climate.name,
                "season_days": season_days(*dates),
                "cloud_fraction": round(float(sky.mean()), 4),
                "level": "L1C" if one.toa else "L2A",
            },
        )


@dataclass(frozen=True)
class StacPairs:
    """Real pairs: a folder per place with a STAC Item per date, perhaps a label raster.

    The layout is that of the development data: ``<place>/<yyyymmdd>_{10m,20m}.tif`` beside the
    Items, ``label_change.tif`` (1 = changed) on the first date's 10 m grid. Raises Misconfigured
    for a folder without a pair.
    """

    root: Path
    label_licence: str = OSCD_LICENCE
    """Of the label rasters, where there are any."""
    places: Sequence[str] = ()
    """Which folders; empty: all."""
    name: str = "stac-pairs"

    def samples(self) -> Iterator[Sample]:
        """One sample per place; the second date is moved onto the first."""
        chosen = self.places or sorted(p.name for p in self.root.iterdir() if p.is_dir())
        for place in chosen:
            yield self._sample(self.root / place)

    def _sample(self, folder: Path) -> Sample:
        items = sorted(_items(folder), key=lambda item: str(item["properties"]["datetime"]))
        if len(items) != 2:
            raise Misconfigured(
                f"{folder}: {len(items)} STAC Items, not the two of a pair: keep one folder per"
                " place with <yyyymmdd>_10m.tif, <yyyymmdd>_20m.tif and an Item per date"
            )
        pair = realdata.read_pair(folder)
        dates = _date(items[0]), _date(items[1])
        labelled = pair.label is not None
        return Sample(
            name=folder.name,
            site=folder.name,
            sensor=str(items[0]["properties"].get("constellation", "sentinel-2")),
            dates=dates,
            licence=self.label_licence if labelled else COPERNICUS,
            lineage=f"STAC {items[0]['id']} and {items[1]['id']}",
            before=pair.before,
            after=pair.after,
            ignore=~pair.valid,
            change=pair.label,
            traits={"season_days": season_days(*dates)},
        )


def _items(folder: Path) -> Iterator[Mapping[str, Any]]:
    for path in folder.glob("*.json"):
        found = orjson.loads(path.read_bytes())
        if found.get("type") == "Feature" and "datetime" in found.get("properties", {}):
            yield found


def _date(item: Mapping[str, Any]) -> date:
    return datetime.fromisoformat(str(item["properties"]["datetime"])).date()


@dataclass(frozen=True)
class VerifiedTiles:
    """Labels of reviewers, from the object store; `versions` says which ones are current."""

    store: ObjectStore
    versions: Sequence[str]
    name: str = "verified-tiles"

    def samples(self) -> Iterator[Sample]:
        """One sample per label. Raises NotFound for a version that is not in the store."""
        for version in self.versions:
            yield self._sample(version)

    def _sample(self, version: str) -> Sample:
        said = orjson.loads(self.store.get(label_key(version, "label.json")))
        before, after, masks = (
            _raster(self.store.get(label_key(version, f"{name}.tif")))
            for name in ("before", "after", "mask")
        )
        change, *covers = (masks[MASKS.index(n)] for n in ("change", "before_class", "after_class"))
        newest, scene = self._item(said["before"][0]), self._item(said["after"])
        dates = _date(newest), _date(scene)
        return Sample(
            name=version[:16],
            site=f"{said['tenant']}/{said['site']}",
            sensor=str(scene["properties"].get("constellation", "unknown")),
            dates=dates,
            licence=str(said["licence"]),
            lineage=f"run {said['run']}, tile {said['tile']}, label {version}",
            before=before.astype(np.uint16),
            after=after.astype(np.uint16),
            ignore=(change == IGNORED) | (before.min(0) == 0) | (after.min(0) == 0),
            change=change == 1,
            covers=_planes(covers),
            traits={"season_days": season_days(*dates)},
        )

    def _item(self, scene_id: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = orjson.loads(self.store.get(keys.scene_item(scene_id)))
        return found


def current_labels(settings: Settings) -> list[str]:
    """Versions of the current labels of every tenant, from the ledger of the settings."""
    with open_ledger(settings) as ledger, ledger.read() as connection:
        return list(labels.standing(connection))


def _planes(covers: Sequence[NDArray[np.generic]]) -> Planes:
    one, two = (plane.astype(np.uint8) for plane in covers)
    assert IGNORED == NOT_OBSERVED  # a class that nobody vouches for is unknown in a sample too
    return one, two


def _raster(content: bytes) -> NDArray[Any]:
    with MemoryFile(content) as memory, memory.open() as raster:
        pixels: NDArray[Any] = raster.read()
    return pixels
