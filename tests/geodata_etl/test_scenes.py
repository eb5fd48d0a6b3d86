import json
import os
import threading
import warnings
from datetime import UTC, date, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

from geodata_etl.bands import BANDS
from geodata_etl.errors import Refusal, SceneRefused
from geodata_etl.hrefs import Access
from geodata_etl.radiometry import Calibration
from geodata_etl.scenes import open_scene

S2 = ("B02", "B03", "B04", "B08", "B11", "B12")
NORTH_UP = Affine(10, 0, 500_000, 0, -10, 5_000_000)


def tiff(path: Path, **changes) -> Path:
    """A small six-band Sentinel-2 GeoTIFF with everything said; `changes` take things away."""
    given = {
        "descriptions": S2,
        "shape": (64, 64),
        "dtype": "uint16",
        "crs": "EPSG:32633",
        "transform": NORTH_UP,
        "nodata": 0,
        "tags": {"ACQUISITION_DATE": "2020-06-01"},
        "scale": 1e-4,
        "options": {},
    } | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "count": given.get("count", len(given["descriptions"])),
        "height": given["shape"][0],
        "width": given["shape"][1],
        **{key: given[key] for key in ("dtype", "crs", "nodata") if given[key] is not None},
        **({"transform": given["transform"]} if given["transform"] is not None else {}),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # some are made without
        file = rasterio.open(path, "w", **profile, **given["options"])
    with file:
        if given["descriptions"]:
            file.descriptions = given["descriptions"]
        file.update_tags(**given["tags"])
        if given["scale"] is not None:
            file.scales = (given["scale"],) * profile["count"]
    return path


@pytest.fixture
def access(tmp_path):
    return Access(roots=(tmp_path,))


def reason(source, access, **given) -> Refusal:
    with pytest.raises(SceneRefused) as caught:
        open_scene(source, access=access, **given)
    assert len(str(caught.value)) > 40  # the value and the cure
    return caught.value.reason


def item(folder: Path, assets: dict, *, name="item.json", **properties) -> Path:
    document = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": properties.pop("id", "a-scene"),
        "geometry": {"type": "Point", "coordinates": [15, 45]},
        "bbox": properties.pop("bbox", [15, 45, 15.01, 45.01]),
        "properties": {"datetime": "2022-06-01T10:00:00Z", "platform": "sentinel-2a", **properties},
        "links": [],
        "assets": assets,
    }
    path = folder / name
    path.write_text(json.dumps(document))
    return path


def eo(names=S2):
    return [{"name": name} for name in names]


# --- what is accepted


def test_a_described_geotiff(tmp_path, access):
    scene = open_scene(tiff(tmp_path / "scene.tif"), access=access)
    assert [band.name for band in scene.bands] == list(BANDS)
    assert [band.source for band in scene.bands] == list(S2)
    assert [band.index for band in scene.bands] == [1, 2, 3, 4, 5, 6]
    assert scene.bands[0].calibration == Calibration(1e-4, 0.0)
    assert scene.bands[0].nodata == 0
    assert scene.id == "scene"
    assert scene.acquired == datetime(2020, 6, 1, tzinfo=UTC)
    assert scene.crs == "EPSG:32633"
    assert scene.gsd_m == pytest.approx(10, rel=0.01)
    assert scene.footprint.contains(shapely.Point(15.004, 45.15))
    assert scene.footprint.area < 1e-4
    with pytest.raises(AttributeError):
        scene.id = "other"


@pytest.mark.parametrize(
    ("names", "platform"),
    [
        (("blue", "green", "red", "nir", "swir16", "swir22"), None),
        (("B2", "B3", "B4", "B8", "B11", "B12"), None),
        (("B02", "B03", "B04", "B8A", "B11", "B12"), None),
        (("Blue", "GREEN", "B4_red", "nir08", "swir1", "swir2"), None),
        (("SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"), None),
        (("B2", "B3", "B4", "B5", "B6", "B7"), "LANDSAT_8"),
        (("B1", "B2", "B3", "B4", "B5", "B7"), "Landsat 7"),
        (("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7"), None),
    ],
)
def test_band_names_of_many_kinds(tmp_path, access, names, platform):
    tags = {"ACQUISITION": "2020-06-01", **({"PLATFORM": platform} if platform else {})}
    scene = open_scene(tiff(tmp_path / "s.tif", descriptions=names, tags=tags), access=access)
    assert [band.index for band in scene.bands] == [1, 2, 3, 4, 5, 6]


def test_bands_in_another_order_and_with_others_between(tmp_path, access):
    names = ("B12", "B01", "B08", "B04", "B03", "B8A", "B02", "B11")
    scene = open_scene(tiff(tmp_path / "s.tif", descriptions=names), access=access)
    assert [band.source for band in scene.bands] == list(S2)


def test_a_folder_of_one_date_in_two_resolutions(tmp_path, access):
    folder = tmp_path / "20200601"
    tiff(folder / "ten.tif", descriptions=S2[:4], tags={})
    tiff(
        folder / "twenty.tif",
        descriptions=("B02", "B11", "B12"),
        tags={},
        shape=(32, 32),
        transform=NORTH_UP @ Affine.scale(2),
    )
    tiff(folder / "clouds.tif", descriptions=("mask",), tags={})
    scene = open_scene(folder, access=access)
    assert [band.file.path.name for band in scene.bands] == ["ten.tif"] * 4 + ["twenty.tif"] * 2
    assert scene.acquired.date() == date(2020, 6, 1)
    assert len(scene.files) == 2


def test_a_folder_of_single_band_products(tmp_path, access):
    folder = tmp_path / "LC08_L2SP_190028_20200601_20201015_02_T1"
    for number in range(1, 8):
        tiff(
            folder / f"{folder.name}_SR_B{number}.TIF",
            descriptions=(),
            count=1,
            tags={},
            scale=None,
            transform=NORTH_UP @ Affine.scale(3),
        )
    scene = open_scene(folder, access=access)
    assert scene.bands[0].file.path.stem.endswith("B2")
    assert scene.bands[3].file.path.stem.endswith("B5")
    assert scene.bands[0].calibration == Calibration(2.75e-5, -0.2)
    assert scene.acquired.date() == date(2020, 6, 1)
    assert scene.level == "L2SP"


def test_sentinel_2_products_are_known_by_their_names(tmp_path, access):
    name = "S2A_MSIL2A_20220601T100031_N0400_R122_T33TWM_20220601T120000.tif"
    path = tiff(tmp_path / name, tags={}, scale=None, nodata=None)
    scene = open_scene(path, access=access)
    assert scene.bands[0].calibration == Calibration(1e-4, -0.1)
    assert scene.bands[0].nodata == 0  # by the product's specification
    assert scene.acquired == datetime(2022, 6, 1, 10, 0, 31, tzinfo=UTC)


def test_the_caller_names_bands_date_and_scale(tmp_path, access):
    path = tiff(tmp_path / "s.tif", descriptions=(), count=7, tags={}, scale=None, dtype="uint8")
    names = ["-", "blue", "green", "red", "nir", "swir16", "swir22"]
    scene = open_scene(path, access=access, bands=names, scale=0.004, date="2001-02-03")
    assert [band.index for band in scene.bands] == [2, 3, 4, 5, 6, 7]
    assert scene.bands[0].calibration == Calibration(0.004, 0.0)
    assert scene.acquired == datetime(2001, 2, 3, tzinfo=UTC)
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        open_scene(path, access=access, date="soon")


@pytest.mark.parametrize(
    ("name", "tags", "day"),
    [
        ("scene_20200601.tif", {}, date(2020, 6, 1)),
        ("scene_2020-06-01_v2.tif", {}, date(2020, 6, 1)),
        ("T33TWM_20200601T100031_x.tif", {}, date(2020, 6, 1)),
        ("s.tif", {"TIFFTAG_DATETIME": "2020:06:01 10:00:00"}, date(2020, 6, 1)),
        ("s_20200601.tif", {"TIFFTAG_DATETIME": "2024:01:01 10:00:00"}, date(2020, 6, 1)),
        ("s_20200601.tif", {"ACQUISITION_DATE": "2020-05-31"}, date(2020, 5, 31)),
    ],
)
def test_where_the_date_comes_from(tmp_path, access, name, tags, day):
    scene = open_scene(tiff(tmp_path / name, tags=tags), access=access)
    assert scene.acquired.date() == day


def test_the_scale_may_stand_in_a_tag(tmp_path, access):
    for text, scale in (("reflectance = DN/10000", 1e-4), ("0.004", 0.004)):
        tags = {"ACQUISITION": "2020-06-01", "SCALE": text}
        scene = open_scene(tiff(tmp_path / "s.tif", scale=None, tags=tags), access=access)
        assert scene.bands[0].calibration.scale == pytest.approx(scale)
    tags = {"ACQUISITION": "2020-06-01", "SCALE": "1"}
    path = tiff(tmp_path / "f.tif", scale=None, tags=tags, dtype="float32", nodata=np.nan)
    assert open_scene(path, access=access).bands[0].calibration == Calibration(1.0, 0.0)


def test_an_item_of_stac_1_1(tmp_path, access):
    tiff(tmp_path / "s.tif", descriptions=(), count=6, scale=None, nodata=None)
    bands = [
        {"name": f"x{i}", "eo:common_name": name, "nodata": 0, "data_type": "uint16"}
        for i, name in enumerate(BANDS)
    ]
    asset = {
        "href": "./s.tif",
        "bands": bands,
        "raster:scale": 1e-4,
        "raster:offset": -0.1,
        "proj:code": "EPSG:32633",
        "proj:shape": [64, 64],
        "proj:transform": list(NORTH_UP)[:6],
    }
    scene = open_scene(item(tmp_path, {"data": asset}, platform="x"), access=access)
    assert scene.bands[5].calibration == Calibration(1e-4, -0.1)
    assert scene.bands[5].source == "x5"
    assert scene.bands[5].nodata == 0
    assert scene.acquired == datetime(2022, 6, 1, 10, tzinfo=UTC)


def earth_search(tmp_path, *, offset=None, **properties) -> Path:
    """One asset per band as earth-search writes it, with a picture and a JPEG 2000 twin."""
    assets = {"visual": {"href": "v.tif", "roles": ["visual"], "eo:bands": eo(("red", "green"))}}
    for name, code in zip(BANDS, S2, strict=True):
        tiff(tmp_path / f"{code}.tif", descriptions=(), count=1, scale=None)
        raster = {"nodata": 0, "scale": 1e-4} | ({} if offset is None else {"offset": offset})
        band = {"eo:bands": [{"name": code, "common_name": name}], "raster:bands": [raster]}
        assets[f"{name}-jp2"] = {"href": f"{code}.jp2", **band}
        assets[name] = {"href": f"{code}.tif", "type": "image/tiff; application=geotiff", **band}
    return item(tmp_path, assets, id="S2A_33TWM_20220601_0_L2A", **properties)


def test_an_item_of_stac_1_0_with_one_file_per_band(tmp_path, access):
    path = earth_search(tmp_path, **{"s2:processing_baseline": "04.00"})
    scene = open_scene(path, access=access)
    assert [band.file.path.name for band in scene.bands] == [f"{code}.tif" for code in S2]
    assert scene.level == "L2A"
    assert scene.bands[0].calibration == Calibration(1e-4, -0.1)


@pytest.mark.parametrize(
    ("properties", "offset", "wanted"),
    [
        ({"s2:processing_baseline": "03.01"}, None, 0.0),
        ({"s2:processing_baseline": "05.09"}, -0.1, -0.1),
        ({"s2:processing_baseline": "04.00", "earthsearch:boa_offset_applied": True}, None, 0.0),
        ({"s2:processing_baseline": "04.00", "earthsearch:boa_offset_applied": False}, None, -0.1),
    ],
)
def test_the_offset_of_processing_baseline_4(tmp_path, access, properties, offset, wanted):
    path = earth_search(tmp_path, offset=offset, **properties)
    assert open_scene(path, access=access).bands[0].calibration.offset == wanted


def test_an_offset_flag_that_contradicts_the_offset_is_refused_unless_the_caller_decides(
    tmp_path, access
):
    properties = {"s2:processing_baseline": "04.00", "earthsearch:boa_offset_applied": True}
    path = earth_search(tmp_path, offset=-0.1, **properties)
    assert reason(path, access) is Refusal.CONTRADICTION
    scene = open_scene(path, access=access, scale=1e-4, offset=0.0)
    assert scene.bands[0].calibration == Calibration(1e-4, 0.0)


def test_an_item_may_give_the_georeference_that_its_file_lacks(tmp_path, access):
    tiff(tmp_path / "s.tif", crs=None, transform=None)
    asset = {
        "href": "s.tif",
        "eo:bands": eo(),
        "proj:code": "EPSG:32633",
        "proj:transform": list(NORTH_UP)[:6],
    }
    scene = open_scene(item(tmp_path, {"data": asset}), access=access)
    assert scene.crs == "EPSG:32633"
    assert scene.files[0].transform == NORTH_UP


def test_an_item_without_band_names_falls_back_to_the_file(tmp_path, access):
    tiff(tmp_path / "s.tif")
    scene = open_scene(item(tmp_path, {"data": {"href": "s.tif"}}), access=access)
    assert [band.source for band in scene.bands] == list(S2)


def test_an_item_and_its_files_over_http(tmp_path):
    served = tmp_path / "served"
    served.mkdir()
    tiff(served / "s.tif")
    item(served, {"data": {"href": "./s.tif", "eo:bands": eo()}})
    handler = partial(QuietHandler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        host = f"127.0.0.1:{server.server_port}"
        access = Access(hosts=(host,), cache=tmp_path / "cache")
        scene = open_scene(f"http://{host}/item.json", access=access)
        assert reason("http://other.example/item.json", access) is Refusal.HREF_FORBIDDEN
        assert reason(f"http://{host}/none.json", access) is Refusal.MISSING_FILE
        server.shutdown()
        thread.join()
    assert scene.id == "a-scene"
    assert scene.files[0].path.is_relative_to(tmp_path / "cache")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


# --- what is refused, each with its reason


def test_missing_files(tmp_path, access):
    assert reason(tmp_path / "none.tif", access) is Refusal.MISSING_FILE
    assert reason(tmp_path / "none.json", access) is Refusal.MISSING_FILE
    (tmp_path / "empty").mkdir()
    assert reason(tmp_path / "empty", access) is Refusal.MISSING_FILE
    path = item(tmp_path, {"data": {"href": "none.tif", "eo:bands": eo()}})
    assert reason(path, access) is Refusal.MISSING_FILE


def test_html_that_calls_itself_a_tiff(tmp_path, access):
    path = tmp_path / "page.tif"
    path.write_text("<!doctype html><title>404</title>")
    assert reason(path, access) is Refusal.UNREADABLE


def test_a_virtual_raster_is_never_followed(tmp_path, access):
    path = tmp_path / "x.tif"
    path.write_text('<VRTDataset rasterXSize="1" rasterYSize="1"></VRTDataset>')
    assert reason(path, access) is Refusal.UNREADABLE


@pytest.mark.parametrize("keep", [0, 3, 8, 200])
def test_a_tiff_cut_within_its_header(tmp_path, access, keep):
    path = tiff(tmp_path / "s.tif")
    os.truncate(path, keep)
    assert reason(path, access) is Refusal.UNREADABLE


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"type": "Feature"}', "\x00", '{"type": "Collection"}']
)
def test_json_that_is_no_item(tmp_path, access, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    assert reason(path, access) is Refusal.NOT_AN_ITEM


def test_an_item_with_numbers_that_are_none(tmp_path, access):
    tiff(tmp_path / "s.tif")
    asset = {"href": "s.tif", "eo:bands": eo(), "raster:bands": [{"scale": "small"}] * 6}
    assert reason(item(tmp_path, {"d": asset}), access) is Refusal.NOT_AN_ITEM


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"crs": None}, Refusal.NO_CRS),
        ({"transform": None}, Refusal.NO_CRS),
        ({"descriptions": (), "count": 6}, Refusal.BANDS_UNKNOWN),
        ({"descriptions": ("B1", "B2", "B3", "B4", "B5", "B7")}, Refusal.BANDS_UNKNOWN),
        ({"descriptions": S2[:4]}, Refusal.MISSING_BAND),
        ({"dtype": "complex64", "nodata": None}, Refusal.DTYPE),
        ({"dtype": "int8", "nodata": None}, Refusal.DTYPE),
        ({"dtype": "complex_int16", "nodata": None}, Refusal.DTYPE),
        ({"dtype": "uint32"}, Refusal.DTYPE),
        ({"scale": None}, Refusal.NO_SCALE),
        ({"scale": None, "dtype": "float32"}, Refusal.NO_SCALE),
        ({"shape": (1, 1)}, Refusal.TOO_SMALL),
        ({"shape": (64, 16)}, Refusal.TOO_SMALL),
        ({"transform": NORTH_UP @ Affine.scale(6.4)}, Refusal.TOO_COARSE),
        ({"transform": NORTH_UP @ Affine.scale(0.3), "shape": (200, 200)}, Refusal.TOO_FINE),
        ({"transform": NORTH_UP @ Affine.rotation(10)}, Refusal.ROTATED),
        ({"tags": {}}, Refusal.NO_DATE),
        (
            {"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 179.999, 0, -1e-4, 10)},
            Refusal.ANTIMERIDIAN,
        ),
        (
            {"crs": "EPSG:32660", "transform": Affine(10, 0, 829575, 0, -10, 1_000_000)},
            Refusal.ANTIMERIDIAN,
        ),
        (
            {"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 10, 0, -1e-4, 95)},
            Refusal.CONTRADICTION,
        ),
    ],
)
def test_files_that_cannot_be_processed(tmp_path, access, changes, wanted):
    assert reason(tiff(tmp_path / "s.tif", **changes), access) is wanted


def test_two_crs_in_one_scene(tmp_path, access):
    folder = tmp_path / "20200601"
    tiff(folder / "a.tif", descriptions=S2[:4])
    tiff(folder / "b.tif", descriptions=S2[4:], crs="EPSG:32634")
    assert reason(folder, access) is Refusal.MIXED_CRS


def test_two_places_in_one_scene(tmp_path, access):
    folder = tmp_path / "20200601"
    tiff(folder / "a.tif", descriptions=S2[:4])
    tiff(folder / "b.tif", descriptions=S2[4:], transform=NORTH_UP @ Affine.translation(500, 0))
    assert reason(folder, access) is Refusal.CONTRADICTION


def test_two_dates_in_one_folder(tmp_path, access):
    tiff(tmp_path / "f" / "a.tif", tags={"ACQUISITION_DATE": "2020-06-01"})
    tiff(tmp_path / "f" / "b.tif", tags={"ACQUISITION_DATE": "2021-06-01"})
    assert reason(tmp_path / "f", access) is Refusal.CONTRADICTION


def test_a_name_with_two_dates_says_none(tmp_path, access):
    path = tiff(tmp_path / "a_20200601_20200701.tif", tags={})
    assert reason(path, access) is Refusal.NO_DATE


def test_a_number_of_names_that_does_not_fit(tmp_path, access):
    path = tiff(tmp_path / "s.tif")
    assert reason(path, access, bands=["blue", "green"]) is Refusal.CONTRADICTION
    assert reason(path, access, bands=["a"] * 6) is Refusal.BANDS_UNKNOWN


@pytest.mark.parametrize(
    "said",
    [
        {"proj:code": "EPSG:32634"},
        {"proj:shape": [65, 64]},
        {"proj:transform": list(NORTH_UP @ Affine.translation(1, 0))[:6]},
        {"raster:bands": [{"scale": 2e-4}] * 6},
        {"raster:bands": [{"nodata": 7}] * 6},
        {"raster:bands": [{"data_type": "int16"}] * 6},
        {"raster:bands": [{}] * 5},
        {"eo:bands": [*eo(S2[:5]), {"name": "x"}, {"name": "B12"}]},
    ],
)
def test_items_that_contradict_their_files(tmp_path, access, said):
    tiff(tmp_path / "s.tif", nodata=0)
    asset = {"href": "s.tif", "eo:bands": eo(), **said}
    assert reason(item(tmp_path, {"data": asset}), access) is Refusal.CONTRADICTION


def test_an_item_with_a_crs_that_does_not_exist(tmp_path, access):
    tiff(tmp_path / "s.tif", crs=None)
    asset = {"href": "s.tif", "eo:bands": eo(), "proj:epsg": 999_999}
    assert reason(item(tmp_path, {"data": asset}), access) is Refusal.NO_CRS


def test_an_item_across_the_antimeridian(tmp_path, access):
    path = item(tmp_path, {}, bbox=[179.9, 10, -179.9, 11])
    assert reason(path, access) is Refusal.ANTIMERIDIAN


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    path = tiff(
        tmp_path / "bomb.tif",
        shape=(60_000, 60_000),
        options={"sparse_ok": True, "tiled": True, "compress": "deflate"},
    )
    assert path.stat().st_size < 3_000_000
    access = Access(roots=(tmp_path,), max_decoded_bytes=1 << 30)
    assert reason(path, access) is Refusal.TOO_LARGE


def test_a_block_that_decodes_to_too_much_is_refused(tmp_path):
    path = tiff(
        tmp_path / "strip.tif",
        shape=(2_000, 2_000),
        options={"blockysize": 2_000, "compress": "deflate", "sparse_ok": True},
    )
    access = Access(roots=(tmp_path,), max_block_bytes=1 << 20)
    assert reason(path, access) is Refusal.TOO_LARGE


@pytest.mark.parametrize("href", ["file:///etc/passwd", "../outside.tif", "http://h.example/x.tif"])
def test_an_item_cannot_reach_outside_the_allow_list(tmp_path, href):
    inside = tmp_path / "inside"
    inside.mkdir()
    tiff(tmp_path / "outside.tif")
    path = item(inside, {"data": {"href": href, "type": "image/tiff", "eo:bands": eo()}})
    assert reason(path, Access(roots=(inside,))) is Refusal.HREF_FORBIDDEN


# --- real data


@pytest.fixture(scope="module")
def data():
    folder = Path(os.environ.get("GROUNDSHIFT_DATA", Path(__file__).parents[3] / "shared/data"))
    if not (folder / "manifest.json").exists():
        pytest.skip(f"no real imagery at {folder}")
    return folder


@pytest.mark.data
def test_every_real_sentinel_2_item_opens(data):
    items = [*data.glob("oscd*/*/*_20*.json"), *data.glob("s2_slovenia/s2_*.json")]
    assert len(items) >= 46
    for path in items:
        scene = open_scene(path, access=Access(roots=(data,)))
        assert scene.acquired.strftime("%Y%m%d") in path.stem
        assert 9.5 < scene.gsd_m < 11


@pytest.mark.data
def test_a_real_folder_with_two_dates_is_refused(data):
    access = Access(roots=(data,))
    assert reason(data / "oscd" / "saclay_e", access) is Refusal.CONTRADICTION


@pytest.mark.data
def test_uncalibrated_landsat_needs_a_scale(data):
    path = data / "landsat_taizhou" / "landsat_taizhou_20000317.json"
    access = Access(roots=(data,))
    assert reason(path, access) is Refusal.NO_SCALE
    assert open_scene(path, access=access, scale=0.004).gsd_m == pytest.approx(30, rel=0.01)


@pytest.mark.data
def test_four_band_chips_lack_the_short_wave_infrared(data):
    path = data / "s2_cloud_chips" / "s2_cloud_chip_1.json"
    assert reason(path, Access(roots=(data,))) is Refusal.MISSING_BAND
