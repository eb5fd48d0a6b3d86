import json
from datetime import UTC, date, datetime

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from rasterio.windows import Window
from shapely.geometry import shape

from geodata_etl.bands import Cover
from geodata_etl.cog import write_cog
from geodata_etl.errors import GroundshiftError
from geodata_etl.grid import Extent, Grid
from geodata_etl.polygons import Change, dated
from geodata_etl.products import RunFacts, changes_frame, changes_geojson, run_item, write_products
from geodata_etl.stac import validate_item
from geodata_etl.summary import summarise

GRID = Grid(32631, Extent(-540_000, 45_000, -539_900, 45_080))
LEFT, _, _, TOP = GRID.bounds


def change(number=0, *, from_class=Cover.BARE, to_class=Cover.BUILT, geometry=None, pixels=12):
    left, top = LEFT + 100 * number, TOP - 100
    outline = geometry or shapely.box(left, top - 30, left + 40, top)
    return Change(
        id=f"{number:016x}",
        geometry=outline,
        epsg=GRID.epsg,
        from_class=from_class,
        to_class=to_class,
        area_m2=outline.area,
        pixels=pixels,
        mean_probability=2 / 3,
        max_probability=1.0,
        observed_fraction=0.875,
    )


CHANGES = dated(
    [change(0), change(1), change(2, from_class=Cover.TREE, to_class=Cover.BARE)],
    before=date(2019, 7, 1),
    after=date(2020, 7, 3),
)
RUN = RunFacts(
    run_id="ab" * 32,
    grid=GRID,
    before=datetime(2019, 7, 1, 10, 30, tzinfo=UTC),
    after=datetime(2020, 7, 3, 10, 31, 5, tzinfo=UTC),
    after_scene="S2B_20200703",
    before_scenes=("S2A_20190701", "S2A_20190601"),
    threshold=0.5,
    min_area_px=12,
    models={"segmenter": "sha256:00"},
    software="0.1.0",
    derived_from=("../../scenes/S2B_20200703/item.json",),
)


@pytest.fixture
def folder(tmp_path):
    """A run's folder whose upper half was observed."""
    observed = np.zeros(GRID.shape, np.uint8)
    observed[:50] = 1
    write_cog(
        tmp_path / "observed.tif",
        [(Window(0, 0, 80, 100), observed)],
        grid=GRID,
        dtype="uint8",
        count=1,
        nodata=None,
        band_names=["observed"],
    )
    return tmp_path


def test_the_ground_is_changed_unchanged_or_not_observed(folder):
    summary = summarise(folder / "observed.tif", CHANGES)
    assert summary.changed_km2 == pytest.approx(36 * 1e-4)
    assert summary.unchanged_km2 == pytest.approx((4000 - 36) * 1e-4)
    assert summary.not_observed_km2 == pytest.approx(4000 * 1e-4)
    assert summary.observed_fraction == pytest.approx(0.5)
    assert (summary.pixels, summary.polygons) == (8000, 3)
    rows = [(row.from_class, row.to_class, row.polygons, row.area_m2) for row in summary.by_class]
    assert rows == [("bare", "built", 2, 2400.0), ("tree", "bare", 1, 1200.0)]
    assert json.loads(json.dumps(summary.as_dict()))["by_class"][0]["polygons"] == 2


def test_changes_on_unseen_ground_cannot_be_summed_up(folder):
    with pytest.raises(GroundshiftError, match="one run"):
        summarise(folder / "observed.tif", [change(pixels=4001)])


def test_every_file_is_written_and_the_item_is_valid(folder):
    products = write_products(folder, run=RUN, changes=CHANGES)
    assert set(products.paths) == {"changes.geojson", "changes.parquet", "item.json"}
    assert all(path.parent == folder and path.is_file() for path in products.paths.values())
    item = json.loads((folder / "item.json").read_bytes())
    validate_item(item)
    assert item["id"] == RUN.run_id
    properties = item["properties"]
    assert properties["datetime"] == "2020-07-03T10:31:05Z"
    assert properties["start_datetime"] == "2019-07-01T10:30:00Z"
    assert properties["proj:code"] == "EPSG:32631"
    assert properties["groundshift:not_observed_km2"] == products.summary.not_observed_km2
    assert properties["groundshift:models"] == {"segmenter": "sha256:00"}
    files = {asset["href"] for asset in item["assets"].values()}
    rasters = {"./change.tif", "./observed.tif", "./before_class.tif", "./after_class.tif"}
    assert files >= rasters | {"./changes.geojson", "./changes.parquet", "./run.json"}
    assert item["links"][0]["href"] == RUN.derived_from[0]


def test_the_item_lies_where_its_grid_lies(folder):
    item = run_item(RUN, summarise(folder / "observed.tif", CHANGES))
    footprint = shape(item["geometry"])
    assert footprint.exterior.is_ccw
    assert footprint.bounds == pytest.approx(tuple(item["bbox"]), abs=1e-6)
    for feature in changes_geojson(CHANGES)["features"]:
        assert footprint.buffer(1e-6).contains(shape(feature["geometry"]))


def test_geojson_follows_rfc_7946(folder):
    write_products(folder, run=RUN, changes=CHANGES)
    document = json.loads((folder / "changes.geojson").read_bytes())
    assert "crs" not in document
    assert [feature["id"] for feature in document["features"]] == [c.id for c in CHANGES]
    first = document["features"][0]
    ring = shape(first["geometry"]).exterior
    assert ring.is_ccw
    assert ring.coords[0] == pytest.approx((2.32, 48.75), abs=0.01)
    assert first["properties"] == {
        "from_class": "bare",
        "to_class": "built",
        "area_m2": 1200.0,
        "pixels": 12,
        "mean_probability": 0.6667,
        "max_probability": 1.0,
        "observed_fraction": 0.875,
        "before_date": "2019-07-01",
        "after_date": "2020-07-03",
    }


def test_holes_and_parts_survive_in_every_file(folder):
    ring = shapely.box(LEFT, TOP - 50, LEFT + 50, TOP) - shapely.box(
        LEFT + 10, TOP - 40, LEFT + 20, TOP - 30
    )
    parts = shapely.MultiPolygon([ring, shapely.box(LEFT + 50, TOP - 60, LEFT + 60, TOP - 50)])
    write_products(folder, run=RUN, changes=[change(geometry=parts)])
    read = geopandas.read_file(folder / "changes.geojson").to_crs(GRID.epsg).geometry[0]
    assert read.is_valid
    assert read.area == pytest.approx(parts.area, rel=1e-3)
    assert geopandas.read_parquet(folder / "changes.parquet").geometry[0].equals(parts)


def test_geoparquet_is_in_utm_with_its_crs(folder):
    write_products(folder, run=RUN, changes=CHANGES)
    frame = geopandas.read_parquet(folder / "changes.parquet")
    assert frame.crs.to_epsg() == GRID.epsg
    assert list(frame.id) == [c.id for c in CHANGES]
    assert frame.geometry[1].equals(CHANGES[1].geometry)
    assert frame.after_date[0] == date(2020, 7, 3)


def test_a_run_without_change_has_empty_files_of_the_same_schema(folder):
    products = write_products(folder, run=RUN, changes=[])
    assert products.summary.polygons == products.summary.changed_km2 == 0
    assert json.loads((folder / "changes.geojson").read_bytes())["features"] == []
    empty = geopandas.read_parquet(folder / "changes.parquet")
    assert len(empty) == 0
    assert empty.crs.to_epsg() == GRID.epsg
    changes_frame(CHANGES, GRID.epsg).to_parquet(folder / "full.parquet", index=False)
    schemas = [
        pq.read_schema(folder / name).remove_metadata()
        for name in ("changes.parquet", "full.parquet")
    ]
    assert schemas[0].equals(schemas[1])


def test_the_same_run_gives_the_same_bytes(folder):
    first = write_products(folder, run=RUN, changes=CHANGES)
    bytes_of_first = {name: path.read_bytes() for name, path in first.paths.items()}
    again = write_products(folder, run=RUN, changes=CHANGES)
    assert {name: path.read_bytes() for name, path in again.paths.items()} == bytes_of_first
