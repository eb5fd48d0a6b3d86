"""The public downloads as their authors lay them out, for users who have them.

Neither is needed, fetched or shipped. Both have licences for non-commercial use: `training`
takes them only where the user says ``--accept-licence``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from geodata_etl.bands import NODATA
from groundshift.errors import Misconfigured
from training.dataset import Sample
from training.realdata import measure_shift

OSCD_LICENCE: Final = "CC-BY-NC-SA (labels of the Onera Satellite Change Detection dataset)"
CLOUDSEN12_LICENCE: Final = "CC-BY-NC-4.0"
_BANDS: Final = ("B02", "B03", "B04", "B08", "B11", "B12")
"""Sentinel-2's names of bands.BANDS."""
_BAND: Final = re.compile(r"(?:^|_)(B\d[0-9A])\.tif$")

UInt16 = NDArray[np.uint16]


@dataclass(frozen=True)
class Oscd:
    """The Onera Satellite Change Detection dataset, unpacked.

    Folders of cities, in `root` or one level below (the images' archive): ``imgs_1_rect`` and
    ``imgs_2_rect`` (all bands on one grid, the second date registered), or else ``imgs_1`` and
    ``imgs_2`` (as cut, georeferenced), with a GeoTIFF per band; ``dates.txt``. Labels lie in the
    same or a sister folder: ``<city>/cm/cm.png`` (255 = changed) or ``<city>-cm.tif`` (2 of 1 and
    2). `split` chooses the cities that ``train.txt`` or ``test.txt`` lists. Raises Misconfigured
    where there is no such city.
    """

    root: Path
    split: str | None = None
    """``train`` or ``test``; None: every city."""
    name: str = "oscd"

    def samples(self) -> Iterator[Sample]:
        """One sample per city, in alphabetical order."""
        found = {folder.name: folder for folder in self._folders()}
        chosen = sorted(found) if self.split is None else sorted(self._listed(self.split))
        if missing := set(chosen) - set(found) or ({"any"} if not chosen else set()):
            raise Misconfigured(
                f"{self.root}: no imgs_1 or imgs_1_rect of {', '.join(sorted(missing))}: name the"
                " folder that holds the cities, or the one that holds the unpacked archives"
            )
        for city in chosen:
            yield self._sample(found[city])

    def _bases(self) -> list[Path]:
        return [self.root, *sorted(p for p in self.root.iterdir() if p.is_dir())]

    def _folders(self) -> Iterator[Path]:
        for base in self._bases():
            for folder in sorted(p for p in base.iterdir() if p.is_dir()):
                if (folder / "imgs_1_rect").is_dir() or (folder / "imgs_1").is_dir():
                    yield folder

    def _listed(self, split: str) -> list[str]:
        for base in self._bases():
            path = base / f"{split}.txt"
            if path.is_file():
                return [c.strip() for c in re.split(r"[,\s]+", path.read_text()) if c.strip()]
        raise Misconfigured(f"{self.root}: there is no {split}.txt: leave the split out")

    def _sample(self, folder: Path) -> Sample:
        city = folder.name
        before, after = _registered(folder)
        label = self._label(city, before.shape[1:])
        dates = _dates(folder / "dates.txt")
        return Sample(
            name=city,
            site=city,
            sensor="sentinel-2",
            dates=dates,
            licence=OSCD_LICENCE,
            lineage=f"OSCD, {city}",
            before=before,
            after=after,
            ignore=(before.min(0) == NODATA) | (after.min(0) == NODATA),
            change=label,
        )

    def _label(self, city: str, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
        for base in self._bases():
            if (picture := base / city / "cm" / "cm.png").is_file():
                with Image.open(picture) as opened:
                    marked: NDArray[np.bool_] = np.asarray(opened.convert("L")) > 127
            elif (raster := base / city / "cm" / f"{city}-cm.tif").is_file():
                with rasterio.open(raster) as source:
                    levels = source.read(1)
                marked = levels == (2 if levels.max() > 1 else 1)  # 1 and 2, in some copies 0 and 1
            else:
                continue
            if marked.shape != shape:
                raise Misconfigured(
                    f"{city}: the label is {marked.shape}, the first date {shape}: unpack again"
                )
            return marked
        return None


def _registered(folder: Path) -> tuple[UInt16, UInt16]:
    """Both dates [6,H,W] on the first one's 10 m grid."""
    if (folder / "imgs_1_rect").is_dir():
        one, two = (_plain(_files(folder / f"imgs_{n}_rect")) for n in (1, 2))
        if one.shape != two.shape:
            raise Misconfigured(f"{folder}: imgs_1_rect is {one.shape}, imgs_2_rect {two.shape}")
        return one, two
    first, second = (_files(folder / f"imgs_{n}") for n in (1, 2))
    one = _warped(first, first["B02"], (0.0, 0.0))
    loose = _warped(second, first["B02"], (0.0, 0.0))
    return one, _warped(second, first["B02"], measure_shift(one, loose))


def _files(folder: Path) -> Mapping[str, Path]:
    found = {m[1]: path for path in sorted(folder.glob("*.tif")) if (m := _BAND.search(path.name))}
    if missing := [band for band in _BANDS if band not in found]:
        raise Misconfigured(f"{folder}: no GeoTIFF of {', '.join(missing)}: unpack it again")
    return found


def _plain(files: Mapping[str, Path]) -> UInt16:
    planes = []
    for band in _BANDS:
        with rasterio.open(files[band]) as source:
            planes.append(source.read(1))
    return _stack(np.stack(planes))


def _warped(files: Mapping[str, Path], like: Path, shift: tuple[float, float]) -> UInt16:
    """On the grid of `like`, the content moved by (rows, columns) of it; 0 outside."""
    with rasterio.open(like) as target:
        grid = {
            "crs": target.crs,
            "transform": target.transform @ Affine.translation(-shift[1], -shift[0]),
            "width": target.width,
            "height": target.height,
        }
    planes = []
    for band in _BANDS:
        with (
            rasterio.open(files[band]) as source,
            WarpedVRT(source, src_nodata=0, nodata=0, resampling=Resampling.cubic, **grid) as vrt,
        ):
            planes.append(vrt.read(1))
    return _stack(np.stack(planes))


def _stack(levels: NDArray[Any]) -> UInt16:
    """Level 1C levels as reflectance x 10000; a pixel that lacks a band is nodata."""
    invalid = levels.min(axis=0) <= 0
    stack: UInt16 = np.clip(levels, 1, 65535).astype(np.uint16)
    stack[:, invalid] = NODATA
    return stack


def _dates(path: Path) -> tuple[date, date]:
    """Of ``date_1: 20160120`` and ``date_2: ...``."""
    found = re.findall(r"(?<!\d)(\d{8})(?!\d)", path.read_text()) if path.is_file() else []
    if len(found) < 2:
        raise Misconfigured(f"{path}: does not name two dates (yyyymmdd): unpack it again")
    one, two = (datetime.strptime(text, "%Y%m%d").date() for text in found[:2])
    return one, two


@dataclass(frozen=True)
class CloudSen12:
    """CloudSEN12 with hand-made labels, as the memory-mapped arrays of its public copy.

    ``<split>/L1C_B2.dat`` and so on (int16 [N,S,S]), ``<split>/LABEL_manual_hq.dat`` (int8: 0
    clear, 1 thick cloud, 2 thin cloud, 3 shadow, the values of bands.Cloud) and ``metadata.csv``
    with ``roi_id`` and ``s2_id_gee`` per image. That copy is read because numpy alone does it; the
    newer CloudSEN12+ (CC0) needs the ``tacoreader`` package. One acquisition stands for both dates
    of a sample, whose change is unknown. Raises Misconfigured where the arrays' sizes do not fit.
    """

    root: Path
    split: str | None = None
    """``train``, ``val`` or ``test``; None: whatever is there."""
    size: int = 512
    """Pixels of an edge of the arrays."""
    limit: int | None = 400
    """Most images of a split, evenly spaced (3 MB each in memory); None: all."""
    licence: str = CLOUDSEN12_LICENCE
    name: str = "cloudsen12"

    def samples(self) -> Iterator[Sample]:
        """One sample per image patch, read when it is asked for."""
        found = sorted(path.parent for path in self.root.glob("*/LABEL_manual_hq.dat"))
        chosen = [f for f in found if self.split in (None, f.name)]
        if not chosen:
            raise Misconfigured(
                f"{self.root}: no {self.split or '<split>'}/LABEL_manual_hq.dat: name the folder"
                " above train, val and test"
            )
        for folder in chosen:
            yield from self._of(folder)

    def _of(self, folder: Path) -> Iterator[Sample]:
        planes = [self._open(folder / f"L1C_{b.replace('B0', 'B')}.dat", np.int16) for b in _BANDS]
        label = self._open(folder / "LABEL_manual_hq.dat", np.int8)
        if len({len(plane) for plane in (*planes, label)}) != 1:
            raise Misconfigured(f"{folder}: the arrays hold different numbers of images")
        rows = _metadata(folder)
        if len(rows) != len(label):
            raise Misconfigured(f"{folder}: metadata.csv has {len(rows)} rows, not {len(label)}")
        count = min(len(label), self.limit or len(label))
        for index in (i * len(label) // count for i in range(count)):
            yield self._sample(f"{folder.name}-{index:05d}", planes, label, index, rows[index])

    def _open(self, path: Path, dtype: type) -> NDArray[Any]:
        length = self.size * self.size * np.dtype(dtype).itemsize
        if not path.is_file() or path.stat().st_size % length:
            raise Misconfigured(f"{path}: not a whole number of {self.size} px images")
        shape = (path.stat().st_size // length, self.size, self.size)
        return np.memmap(path, dtype=dtype, mode="r", shape=shape)

    def _sample(
        self,
        name: str,
        planes: list[NDArray[Any]],
        label: NDArray[Any],
        index: int,
        row: Mapping[str, str],
    ) -> Sample:
        stack = _stack(np.stack([plane[index] for plane in planes]))
        cloud = label[index].astype(np.uint8)
        when = _acquired(row)
        return Sample(
            name=name,
            site=row["roi_id"],
            sensor="sentinel-2",
            dates=(when, when),
            licence=self.licence,
            lineage=f"CloudSEN12, {row['s2_id_gee']}",
            before=stack,
            after=stack,
            ignore=stack.min(0) == NODATA,
            clouds=(cloud, cloud),
            traits={"cloud_fraction": round(float((cloud > 0).mean()), 4)},
        )


def _metadata(folder: Path) -> list[dict[str, str]]:
    """One row per image: without its place a split by site is not possible."""
    for path in (folder / "metadata.csv", folder.parent / "metadata.csv"):
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            if rows and not {"roi_id", "s2_id_gee"} <= set(rows[0]):
                raise Misconfigured(f"{path}: no columns roi_id and s2_id_gee")
            return rows
    raise Misconfigured(f"{folder}: no metadata.csv: it says which images show the same place")


def _acquired(row: Mapping[str, str]) -> date:
    """From ``s2_id_gee``: ``20200101T...``."""
    return datetime.strptime(row["s2_id_gee"][:8], "%Y%m%d").date()
