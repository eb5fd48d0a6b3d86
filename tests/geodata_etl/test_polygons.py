from datetime import date

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as np_arrays
from pyproj import Transformer
from rasterio.features import rasterize
from rasterio.windows import Window
from scipy.ndimage import binary_dilation, label

from geodata_etl.bands import Cover
from geodata_etl.cog import write_cog
from geodata_etl.grid import Extent, Grid
from geodata_etl.mosaic import mosaic_blocks
from geodata_etl.polygons import dated, find_changes, to_lonlat
from geodata_etl.zonal import UnclassedChange

NAMES = ("change", "observed", "before_class", "after_class")
KNOWN = np.ones((3, 3), bool)
quick = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def grid_of(shape, *, epsg=32631, top=-540_000, left=45_000):
    return Grid(epsg, Extent(top, left, top + shape[0], left + shape[1]))


def write(folder, change, *, observed=None, before=None, after=None, grid=None):
    """The four rasters of a run; ground is seen, and went from bare to built, unless said."""
    change = np.asarray(change, np.uint8)
    observed = np.ones_like(change) if observed is None else np.asarray(observed, np.uint8)
    before = np.full_like(change, Cover.BARE) if before is None else np.asarray(before, np.uint8)
    after = np.full_like(change, Cover.BUILT) if after is None else np.asarray(after, np.uint8)
    unseen = observed == 0
    rasters = [np.where(unseen, 255, change), observed]
    rasters += [np.where(unseen, 255, classes) for classes in (before, after)]
    for name, raster in zip(NAMES, rasters, strict=True):
        write_cog(
            folder / f"{name}.tif",
            [(Window(0, 0, change.shape[1], change.shape[0]), raster.astype(np.uint8))],
            grid=grid or grid_of(change.shape),
            dtype="uint8",
            count=1,
            nodata=None if name == "observed" else 255,
            band_names=[name],
        )
    return [folder / f"{name}.tif" for name in NAMES]


def changes_of(folder, change, *, threshold=128, min_area_px=1, **options):
    given_rasters = {k: options.pop(k) for k in ("observed", "before", "after") if k in options}
    paths = write(folder, change, **given_rasters)
    return find_changes(*paths, threshold=threshold, min_area_px=min_area_px, **options)


def painted(text, level=200):
    return np.array([[level * (c == "#") for c in row] for row in text.split()], np.uint8)


def test_a_change_says_what_where_and_how_sure(tmp_path):
    level = np.zeros((40, 50), np.uint8)
    level[10:14, 20:26] = 127
    level[10, 20] = 254
    (change,) = changes_of(tmp_path, level, threshold=127)
    assert change.geometry.equals(shapely.box(450_200, 5_399_860, 450_260, 5_399_900))
    assert change.epsg == 32631
    assert (change.from_class, change.to_class) == (Cover.BARE, Cover.BUILT)
    assert change.pixels == 24
    assert change.mean_probability == pytest.approx((23 * 127 + 254) / 24 / 254)
    assert change.max_probability == 1
    assert change.observed_fraction == 1
    assert change.before_date is None


def test_dates_come_from_the_caller(tmp_path):
    found = changes_of(tmp_path, painted("##"))
    (change,) = dated(found, before=date(2020, 1, 2), after=date(2020, 3, 4))
    assert (change.before_date, change.after_date) == (date(2020, 1, 2), date(2020, 3, 4))
    assert change.id == found[0].id


def test_the_threshold_counts_and_what_was_not_seen_never_does(tmp_path):
    level = np.array([[127, 0, 128, 0, 254, 0, 255]], np.uint8)
    observed = np.array([[1, 1, 1, 1, 1, 1, 0]], np.uint8)
    found = changes_of(tmp_path, level, observed=observed, threshold=128)
    assert [change.geometry.bounds[0] for change in found] == [450_020, 450_040]


def test_pixels_that_touch_at_a_corner_are_one_valid_change(tmp_path):
    corners = painted("#...# .#.#. ..#.. .#.#. #...#")
    (change,) = changes_of(tmp_path, corners)
    assert change.geometry.is_valid
    assert change.geometry.geom_type == "MultiPolygon"
    assert change.pixels == 9
    assert change.geometry.area == 900
    assert len(changes_of(tmp_path, corners, connectivity=4)) == 9


def test_a_ring_that_touches_itself_is_one_valid_change_with_its_holes(tmp_path):
    (change,) = changes_of(tmp_path, painted("###### #.#### ##.### ###.## ######"))
    assert change.geometry.is_valid
    assert change.geometry.area == (30 - 3) * 100
    (ring,) = changes_of(tmp_path, painted("####. #..#. #...# #####"))
    assert ring.geometry.is_valid
    assert ring.geometry.area == ring.pixels * 100 == 1300


def test_changes_below_the_minimum_area_are_left_out(tmp_path):
    level = painted("##.### ##.... ...... #.#### ..####")
    assert [c.pixels for c in changes_of(tmp_path, level, min_area_px=4)] == [4, 8]
    assert [c.pixels for c in changes_of(tmp_path, level, min_area_px=9)] == []


def test_the_order_is_from_the_top_left(tmp_path):
    level = painted("....#. ##..#. .....# #.....")
    found = changes_of(tmp_path, level, strip_rows=1)
    firsts = [(-c.geometry.bounds[3], c.geometry.bounds[0]) for c in found]
    assert firsts == sorted(firsts)
    assert len(found) == 3


@pytest.mark.parametrize("epsg", [32631, 32733])
def test_the_area_is_right_to_one_percent(tmp_path, epsg):
    """Against the authalic sphere's equal-area projection, at the edge of the zone as well."""
    level = np.full((64, 64), 200, np.uint8)
    grid = grid_of(level.shape, epsg=epsg, top=-700_000, left=82_000)
    paths = write(tmp_path, level, grid=grid)
    (change,) = find_changes(*paths, threshold=128, min_area_px=1)
    equal_area = Transformer.from_crs(epsg, 6933, always_xy=True).transform
    x, y = equal_area(*shapely.get_coordinates(change.geometry).T)
    exact = shapely.Polygon(np.column_stack([x, y])).area
    assert change.area_m2 == pytest.approx(exact, rel=0.001)
    assert change.area_m2 == pytest.approx(64 * 64 * 100, rel=0.01)


def test_a_change_is_named_after_the_commonest_pair_of_classes(tmp_path):
    level = np.full((1, 10), 200, np.uint8)
    before = [[Cover.TREE] * 4 + [Cover.BARE] * 6]
    after = [[Cover.BARE] * 4 + [Cover.BARE] * 3 + [Cover.BUILT] * 3]
    (change,) = changes_of(tmp_path, level, before=before, after=after)
    assert (change.from_class, change.to_class) == (Cover.TREE, Cover.BARE)


def test_a_few_pixels_that_changed_class_do_not_name_the_change(tmp_path):
    level = np.full((1, 10), 200, np.uint8)
    before = [[Cover.BUILT] * 10]
    (most,) = changes_of(tmp_path, level, before=before, after=[[Cover.BUILT] * 8 + [3] * 2])
    assert (most.from_class, most.to_class) == (Cover.BUILT, Cover.BUILT)
    (share,) = changes_of(tmp_path, level, before=before, after=[[Cover.BUILT] * 7 + [3] * 3])
    assert (share.from_class, share.to_class) == (Cover.BUILT, Cover.BARE)


def test_class_rasters_of_another_run_are_refused(tmp_path):
    unknown = np.full((2, 2), 255, np.uint8)
    with pytest.raises(UnclassedChange, match="same run"):
        changes_of(tmp_path, np.full((2, 2), 200), before=unknown, after=unknown)


def test_a_change_that_a_cloud_cuts_says_so(tmp_path):
    level = np.zeros((40, 40), np.uint8)
    level[10:20, 10:20] = 200
    observed = np.ones_like(level)
    assert changes_of(tmp_path, level, observed=observed)[0].observed_fraction == 1
    observed[:, 20:] = 0
    (cut,) = changes_of(tmp_path, level, observed=observed)
    assert cut.observed_fraction == pytest.approx(1 - 3 / 16)
    (edge,) = changes_of(tmp_path, level[10:, 10:])
    assert edge.observed_fraction == pytest.approx(13 * 13 / 16**2)


@quick
@given(
    level=np_arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24))),
    seen=st.integers(0, 2**32 - 1),
    min_area_px=st.integers(1, 6),
    connectivity=st.sampled_from([4, 8]),
    strip_rows=st.integers(1, 24),
)
def test_polygons_rasterise_back_to_the_changed_pixels(
    tmp_path, level, seen, min_area_px, connectivity, strip_rows
):
    """And every statistic is that of an in-memory computation over the whole raster."""
    observed = np.random.default_rng(seen).random(level.shape) < 0.9
    level = np.where(level == 255, 254, level)
    found = changes_of(
        tmp_path,
        level,
        observed=observed,
        min_area_px=min_area_px,
        connectivity=connectivity,
        strip_rows=strip_rows,
    )
    grid = grid_of(level.shape)
    structure = KNOWN if connectivity == 8 else None
    groups, count = label((level >= 128) & observed, structure)
    kept = [n for n in range(1, count + 1) if (groups == n).sum() >= min_area_px]
    assert len(found) == len(kept)
    for change in found:
        back = rasterize([change.geometry], out_shape=level.shape, transform=grid.transform) == 1
        (number,) = set(groups[back])
        np.testing.assert_array_equal(back, groups == number)
        assert change.geometry.is_valid
        assert change.pixels == back.sum()
        assert change.mean_probability == pytest.approx(level[back].mean() / 254)
        assert change.max_probability == level[back].max() / 254
        zone = binary_dilation(np.pad(back, 3), np.ones((7, 7), bool))
        assert change.observed_fraction == pytest.approx(
            (zone & np.pad(observed, 3)).sum() / zone.sum()
        )


@quick
@given(
    level=np_arrays(np.uint8, (30, 20), elements=st.sampled_from([0, 0, 200])),
    heights=st.lists(st.integers(1, 40), min_size=2, max_size=3),
)
def test_changes_do_not_depend_on_the_height_of_strips(tmp_path, level, heights):
    paths = write(tmp_path, level)
    first, *others = (
        find_changes(*paths, threshold=128, min_area_px=2, strip_rows=rows) for rows in heights
    )
    assert all(other == first for other in others)


def test_a_change_across_tiles_and_blocks_stays_whole(tmp_path):
    grid = Grid(32631, Extent(-540_288, 44_800, -540_288 + 1000, 44_800 + 1000))
    level = np.zeros(grid.shape, np.uint8)
    level[100:900, 440:460] = 200
    level[500, 100:900] = 200
    one = np.ones_like(level)
    rasters = dict(zip(NAMES, (level, one, one, one * 4), strict=True))

    def split(size):
        for block in grid.blocks(rows=size, cols=size):
            where = (block.core & grid.extent).slices_in(grid.extent)
            yield block, {name: raster[where] for name, raster in rasters.items()}

    found = []
    for size in (1, 2, 4):
        paths = mosaic_blocks(split(size), grid, tmp_path / str(size))
        found.append(find_changes(*paths.values(), threshold=128, min_area_px=10))
    assert len(found[0]) == 1
    assert found[0] == found[1] == found[2]


def test_the_id_follows_from_outline_and_classes(tmp_path):
    level = painted("##. ##.")
    (one,) = changes_of(tmp_path, level)
    (same,) = changes_of(tmp_path, painted("##. ##.", level=150))
    (moved,) = changes_of(tmp_path, painted(".## .##"))
    (other,) = changes_of(tmp_path, level, after=np.full((2, 3), Cover.WATER))
    assert one.id == same.id
    assert len({one.id, moved.id, other.id}) == 3


def test_nothing_changed_gives_no_change(tmp_path):
    assert changes_of(tmp_path, np.zeros((5, 5))) == []
    assert changes_of(tmp_path, np.zeros((5, 5)), observed=np.zeros((5, 5))) == []


@pytest.mark.parametrize("wrong", [{"threshold": 0}, {"threshold": 255}, {"connectivity": 6}])
def test_options_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="give"):
        changes_of(tmp_path, np.zeros((5, 5)), **wrong)


def test_rasters_of_two_grids_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    change, *_ = write(tmp_path / "a", np.zeros((5, 5)))
    _, *others = write(tmp_path / "b", np.zeros((5, 6)))
    with pytest.raises(ValueError, match="different grids"):
        find_changes(change, *others, threshold=128, min_area_px=1)


def test_lonlat_goes_east_then_north():
    (point,) = to_lonlat([shapely.Point(500_000, 5_400_000)], 32631)
    assert (point.x, point.y) == pytest.approx((3.0, 48.7535), abs=1e-3)
