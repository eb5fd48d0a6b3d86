import socket
from datetime import UTC, datetime
from pathlib import Path

import pystac
import pytest
import shapely
from pyproj import Transformer

from geodata_etl.align import Shift
from geodata_etl.bands import BANDS
from geodata_etl.grid import Extent, Grid
from geodata_etl.ingest import BandStatistics, Ingested
from geodata_etl.scenes import Scene
from geodata_etl.stac import (
    InvalidItem,
    extension_uri,
    grid_outline,
    projection_properties,
    scene_item,
    validate_item,
)

GRID = Grid(32633, Extent(-500_000, 50_000, -499_500, 50_700))
SHIFT = Shift(-1.25, 0.5, 20, 19, 0.07, reliable=True)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("validation reached for the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def scene(**changes) -> Scene:
    given = {
        "id": "S2A_x",
        "acquired": datetime(2020, 6, 1, 10, tzinfo=UTC),
        "platform": "sentinel-2a",
        "level": "L2A",
        "footprint": grid_outline(GRID).buffer(0.001),
        "crs": "EPSG:32633",
        "bands": (),
        "source": "/data/S2A_x.json",
    } | changes
    return Scene(**given)


def ingested(shift: Shift | None = SHIFT) -> Ingested:
    statistics = tuple(BandStatistics(name, 1, 5000, 1234.5, 300.25) for name in BANDS)
    return Ingested(
        "S2A_x", Path("scene.tif"), "sha256:" + "ab" * 32, GRID, 0.75, shift, statistics
    )


@pytest.mark.parametrize("shift", [None, SHIFT, Shift(0, 0, 3, 1, 0.0, reliable=False)])
@pytest.mark.parametrize("told", [{}, {"platform": None, "level": None}])
def test_the_item_of_a_scene_is_valid(shift, told):
    item = scene_item(scene(**told), ingested(shift), href="./scene.tif")
    validate_item(item)
    validate_item(item.to_dict(include_self_link=False))


def test_the_item_says_what_was_measured():
    item = scene_item(scene(), ingested(), href="./scene.tif", properties={"groundshift:site": "s"})
    said = item.to_dict(include_self_link=False)["properties"]
    assert item.id == "S2A_x-abababababab"
    assert said["datetime"] == "2020-06-01T10:00:00Z"
    assert said["proj:code"] == "EPSG:32633"
    assert said["proj:shape"] == [500, 700]
    assert said["proj:transform"] == [10, 0, 500_000, 0, -10, 5_000_000]
    assert said["groundshift:shift_dy_px"] == -1.25
    assert said["groundshift:shift_agreeing"] == 19
    assert said["groundshift:alignment"] == "measured"
    assert said["groundshift:valid_fraction"] == 0.75
    assert said["groundshift:source"] == "/data/S2A_x.json"
    assert said["groundshift:site"] == "s"
    asset = item.assets["scene"]
    assert asset.href == "./scene.tif"
    assert [band["common_name"] for band in asset.extra_fields["eo:bands"]] == list(BANDS)
    assert asset.extra_fields["raster:bands"][0]["scale"] == pytest.approx(1e-4)
    assert asset.extra_fields["raster:bands"][0]["nodata"] == 0


def test_the_geometry_is_the_common_ground():
    half = grid_outline(Grid(32633, Extent(-500_000, 50_000, -499_500, 50_350)))
    item = scene_item(scene(footprint=half), ingested(), href="x.tif")
    geometry = shapely.geometry.shape(item.geometry)
    assert geometry.area == pytest.approx(half.area, rel=0.01)
    assert item.bbox == list(geometry.bounds)
    assert len(shapely.get_coordinates(geometry)) < 20


def test_an_outline_follows_the_edges_of_its_grid():
    outline = grid_outline(GRID)
    to_lonlat = Transformer.from_crs(32633, 4326, always_xy=True)
    left, bottom, right, top = GRID.bounds
    for x, y in [(left, top), (right, bottom), ((left + right) / 2, top)]:
        assert outline.exterior.distance(shapely.Point(*to_lonlat.transform(x, y))) < 1e-7


def broken(**changes) -> dict:
    document = scene_item(scene(), ingested(), href="x.tif").to_dict(include_self_link=False)
    return document | changes


@pytest.mark.parametrize(
    "change",
    [
        {"geometry": {"type": "Polygon", "coordinates": [[1]]}},
        {"bbox": "everywhere"},
        {"assets": {"scene": {}}},
        {"assets": {"scene": {"href": "x", "eo:bands": [{"common_name": "ultraviolet"}]}}},
        {"assets": {"scene": {"href": "x", "raster:bands": [{"nodata": "none"}]}}},
        {"properties": {"datetime": "2020-06-01T10:00:00Z", "proj:shape": [1.5, 2]}},
        {"properties": {"datetime": "yesterday"}},
        {"properties": {"datetime": "2020-06-01T10:00:00Z", "processing:level": 2}},
    ],
)
def test_every_shipped_schema_can_say_no(change):
    with pytest.raises(InvalidItem, match="not valid"):
        validate_item(broken(**change))


def test_a_schema_that_does_not_ship_is_refused_not_fetched():
    other = "https://stac-extensions.github.io/view/v1.0.0/schema.json"
    with pytest.raises(InvalidItem, match="does not ship"):
        validate_item(broken(stac_extensions=[other]))


def test_other_items_validate_with_the_same_parts():
    item = pystac.Item(
        id="run",
        geometry=shapely.geometry.mapping(grid_outline(GRID)),
        bbox=list(grid_outline(GRID).bounds),
        datetime=datetime(2020, 6, 1, tzinfo=UTC),
        properties=projection_properties(GRID),
        stac_extensions=[extension_uri("projection")],
    )
    validate_item(item)
