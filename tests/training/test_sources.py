"""Every source gives the same record, from small trees in the layouts that users have."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import orjson
import pytest
import rasterio
from affine import Affine
from PIL import Image

from geodata_etl.bands import Cloud
from geodata_etl.grid import HALO_PX, Tile
from groundshift import keys
from groundshift.adapters.files import FileObjectStore
from groundshift.errors import Misconfigured
from groundshift.labels import LabelTile, store_label
from training import realdata, sources
from training.dataset import UNKNOWN
from training.downloads import CloudSen12, Oscd

RNG = np.random.default_rng(7)
GRID = Affine(10, 0, 500_000, 0, -10, 5_000_000)
BANDS_OF = {
    "10m": ("B02", "B03", "B04", "B08"),
    "20m": ("B05", "B06", "B07", "B8A", "B11", "B12"),
}


def write(path, pixels, transform=GRID, crs="EPSG:32631", names=()):
    planes = pixels if pixels.ndim == 3 else pixels[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "dtype": planes.dtype.name,
        "count": len(planes),
        "height": planes.shape[1],
        "width": planes.shape[2],
        "crs": crs,
        "transform": transform,
    }
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(planes)
        for band, name in enumerate(names, 1):
            raster.set_band_description(band, name)


def ground(size=96):
    """Levels [13,size,size] with edges, so that two dates can be aligned."""
    blocks = RNG.integers(400, 3000, (13, size // 8, size // 8))
    return np.kron(blocks, np.ones((1, 8, 8))).astype(np.uint16)


# The simulator


def test_a_seed_of_the_simulator_is_always_the_same_sample():
    source = sources.Simulator(range(3, 5), size=64)
    one, two = source.samples()
    again = next(iter(source.samples()))
    assert one.digest == again.digest != two.digest
    assert one.site != two.site
    assert one.sensor.startswith("simulator/")
    assert one.traits["biome"]
    assert one.dates[0] < one.dates[1]
    assert one.covers is not None
    assert one.clouds is not None
    np.testing.assert_array_equal(one.ignore, ~one.observed)


# Pairs with STAC Items


def stac_place(root, name, *, label=True):
    place = root / name
    for when in ("20160120", "20180328"):
        whole = ground()
        write(place / f"{when}_10m.tif", whole[:4])
        coarse = whole[4:10, ::2, ::2]
        write(place / f"{when}_20m.tif", coarse, GRID @ Affine.scale(2))
        item = {
            "type": "Feature",
            "id": f"{name}_{when}",
            "properties": {
                "datetime": f"{when[:4]}-{when[4:6]}-{when[6:]}T00:00:00Z",
                "constellation": "sentinel-2",
            },
        }
        (place / f"{name}_{when}.json").write_text(json.dumps(item))
    (place / "aoi.geojson").write_text("{}")
    if label:
        marked = np.zeros((96, 96), np.uint8)
        marked[10:20, 30:50] = 1
        write(place / "label_change.tif", marked)


def test_a_pair_with_items_and_a_label(tmp_path):
    stac_place(tmp_path, "lyon")
    (sample,) = sources.StacPairs(tmp_path).samples()
    assert sample.site == "lyon"
    assert sample.dates == (date(2016, 1, 20), date(2018, 3, 28))
    assert "lyon_20160120" in sample.lineage
    assert sample.change is not None
    assert sample.change.sum() == 200
    assert "NC" in sample.licence
    np.testing.assert_array_equal(sample.ignore, ~sample.observed)


def test_a_pair_without_a_label_has_the_licence_of_its_imagery(tmp_path):
    stac_place(tmp_path, "lyon", label=False)
    (sample,) = sources.StacPairs(tmp_path).samples()
    assert sample.change is None
    assert sample.licence == sources.COPERNICUS


def test_a_folder_without_two_items_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(Misconfigured, match="empty"):
        list(sources.StacPairs(tmp_path).samples())


@pytest.mark.data
def test_the_development_data_is_read_by_the_projects_own_reader():
    root = realdata.data_root()
    if root is None:
        pytest.skip("there is no real imagery here")
    places = ("rio", "valencia")
    found = list(sources.StacPairs(root / "oscd_unlabelled", places=places).samples())
    assert [sample.site for sample in found] == list(places)
    pair = realdata.read_pair(root / "oscd_unlabelled" / "rio")
    np.testing.assert_array_equal(found[0].after, pair.after)
    assert found[0].change is None


# OSCD as it is downloaded


def oscd_city(images, labels, city, *, rect=True, tiff=False):
    whole = ground()
    bands = [f"B{n:02d}" for n in range(1, 13)] + ["B8A"]
    for number in (1, 2):
        folder = images / city / (f"imgs_{number}_rect" if rect else f"imgs_{number}")
        for band, plane in zip(bands, whole, strict=True):
            name = f"{band}.tif" if rect else f"S2A_OPER_MSI_L1C_TL_T31_{band}.tif"
            fine = rect or band in ("B02", "B03", "B04", "B08")
            step = 1 if fine else 2
            grid = {} if rect else {"transform": GRID @ Affine.scale(step)}
            crs = None if rect else "EPSG:32631"
            write(folder / name, plane[::step, ::step] + number, crs=crs, **grid)
    (images / city / "dates.txt").write_text("date_1: 20160120\ndate_2: 20180328\n")
    marked = np.zeros((96, 96), np.uint8)
    marked[:4, :5] = 1
    target = labels / city / "cm"
    target.mkdir(parents=True, exist_ok=True)
    if tiff:
        write(target / f"{city}-cm.tif", marked + 1, crs=None)
    else:
        Image.fromarray(marked * 255).save(target / "cm.png")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("rect", [True, False])
@pytest.mark.parametrize("tiff", [True, False])
def test_oscd_as_its_archives_unpack(tmp_path, rect, tiff):
    images = tmp_path / "Onera Satellite Change Detection dataset - Images"
    labels = tmp_path / "Onera Satellite Change Detection dataset - Train Labels"
    for city in ("paris", "mumbai", "berlin"):
        oscd_city(images, labels, city, rect=rect, tiff=tiff)
    (images / "train.txt").write_text("mumbai,paris")
    found = list(Oscd(tmp_path, split="train").samples())
    assert [sample.site for sample in found] == ["mumbai", "paris"]
    assert len(list(Oscd(tmp_path).samples())) == 3
    assert found[0].dates == (date(2016, 1, 20), date(2018, 3, 28))
    assert found[0].change is not None
    assert found[0].change.sum() == 20
    assert found[0].change[0, 0]
    assert "NC" in found[0].licence
    blue = rasterio.open(next((images / "mumbai").glob("imgs_1*/*B02.tif"))).read(1)
    np.testing.assert_array_equal(found[0].before[0], blue)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_oscd_says_what_is_missing(tmp_path):
    with pytest.raises(Misconfigured, match="imgs_1"):
        list(Oscd(tmp_path).samples())
    oscd_city(tmp_path, tmp_path, "paris")
    with pytest.raises(Misconfigured, match=r"test\.txt"):
        list(Oscd(tmp_path, split="test").samples())
    (tmp_path / "test.txt").write_text("paris, rennes")
    with pytest.raises(Misconfigured, match="rennes"):
        list(Oscd(tmp_path, split="test").samples())
    (tmp_path / "paris" / "imgs_2_rect" / "B11.tif").unlink()
    with pytest.raises(Misconfigured, match="B11"):
        list(Oscd(tmp_path).samples())
    (tmp_path / "paris" / "dates.txt").unlink()
    with pytest.raises(Misconfigured):
        list(Oscd(tmp_path).samples())


# CloudSEN12 as its arrays


def cloudsen12(root, count=6, size=32):
    folder = root / "train"
    folder.mkdir(parents=True)
    for band in ("B2", "B3", "B4", "B8", "B11", "B12"):
        levels = RNG.integers(1, 5000, (count, size, size)).astype(np.int16)
        levels[:, -2:] = 0  # the padding
        levels.tofile(folder / f"L1C_{band}.dat")
    label = RNG.integers(0, 4, (count, size, size)).astype(np.int8)
    label.tofile(folder / "LABEL_manual_hq.dat")
    rows = [f"ROI_{n // 2:04d},2020010{n + 1}T101031_20200101T101025_T31" for n in range(count)]
    (folder / "metadata.csv").write_text("\n".join(["roi_id,s2_id_gee", *rows]) + "\n")
    return label


def test_cloudsen12_gives_clouds_by_place_and_no_change(tmp_path):
    label = cloudsen12(tmp_path)
    found = list(CloudSen12(tmp_path, size=32).samples())
    assert [sample.site for sample in found] == [f"ROI_{n // 2:04d}" for n in range(6)]
    assert found[1].change is None
    assert found[1].dates[0] == date(2020, 1, 2)
    assert found[1].clouds is not None
    np.testing.assert_array_equal(found[1].clouds[0], label[1])
    assert set(np.unique(label)) == {int(c) for c in Cloud}
    assert found[1].ignore[-2:].all()
    assert not found[1].ignore[:-2].any()
    assert "NC" in found[1].licence
    few = list(CloudSen12(tmp_path, size=32, limit=3).samples())
    assert [s.name for s in few] == ["train-00000", "train-00002", "train-00004"]


def test_cloudsen12_says_what_does_not_fit(tmp_path):
    with pytest.raises(Misconfigured, match="LABEL_manual_hq"):
        list(CloudSen12(tmp_path).samples())
    cloudsen12(tmp_path)
    with pytest.raises(Misconfigured, match="500 px"):
        list(CloudSen12(tmp_path, size=500).samples())
    (tmp_path / "train" / "metadata.csv").unlink()
    with pytest.raises(Misconfigured, match="same place"):
        list(CloudSen12(tmp_path, size=32).samples())


# Labels of reviewers


def test_a_verified_tile_counts_only_where_reviewers_vouch(tmp_path):
    store = FileObjectStore(tmp_path)
    tile = Tile(3, 4)
    size = tile.extent.shape[0] if hasattr(tile.extent, "shape") else 512
    before = np.full((6, size, size), 1500, np.uint16)
    masks = np.full((3, size, size), 255, np.uint8)
    masks[0, HALO_PX : HALO_PX + 10, HALO_PX : HALO_PX + 10] = 0
    masks[0, HALO_PX : HALO_PX + 2, HALO_PX : HALO_PX + 3] = 1
    masks[1:, HALO_PX : HALO_PX + 2, HALO_PX : HALO_PX + 3] = [[[3]], [[4]]]
    lineage = {
        "run": "run-1",
        "site": "quarry",
        "tenant": "acme",
        "tile": str(tile),
        "after": "scene-b",
        "before": ["scene-a"],
        "licence": "CC-BY-4.0",
    }
    version = store_label(store, LabelTile(tile, 32631, before, before + 9, masks, lineage))
    for scene, when in (("scene-a", "2021-05-01"), ("scene-b", "2022-05-03")):
        item = {"properties": {"datetime": f"{when}T10:00:00Z", "constellation": "sentinel-2"}}
        store.put(keys.scene_item(scene), orjson.dumps(item))
    (sample,) = sources.VerifiedTiles(store, [version]).samples()
    assert sample.site == "acme/quarry"
    assert sample.licence == "CC-BY-4.0"
    assert sample.dates == (date(2021, 5, 1), date(2022, 5, 3))
    assert version in sample.lineage
    assert (~sample.ignore).sum() == 100
    assert sample.change is not None
    assert sample.change.sum() == 6
    assert sample.covers is not None
    assert set(np.unique(sample.covers[1])) == {4, UNKNOWN}
    np.testing.assert_array_equal(sample.after, before + 9)
