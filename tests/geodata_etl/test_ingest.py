import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rio_cogeo import cog_validate
from scipy import ndimage

from geodata_etl.align import Shift
from geodata_etl.bands import BANDS
from geodata_etl.cog import file_digest
from geodata_etl.errors import Refusal, SceneRefused
from geodata_etl.grid import Extent, Grid, extent_of_bounds, utm_epsg
from geodata_etl.hrefs import Access
from geodata_etl.ingest import ingest_scene
from geodata_etl.scenes import open_scene

EPSG = 32633
TOP, LEFT = -500_000, 50_000
SITE = Extent(TOP, LEFT, TOP + 700, LEFT + 700)


def landscape(shape=(700, 700), seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = ndimage.gaussian_filter(rng.standard_normal(shape), 8)
    fields = np.digitize(coarse, np.quantile(coarse, np.linspace(0, 1, 9)[1:-1])) * 250.0
    base = ndimage.gaussian_filter(fields + 100 * rng.standard_normal(shape), 1.2) + 800
    return np.stack([base * factor for factor in (0.8, 0.9, 1.0, 1.6, 1.3, 1.1)]).astype(np.uint16)


def save(path: Path, pixels: np.ndarray, *, dy=0.0, dx=0.0, **changes) -> Path:
    """A scene at the site's corner; its georeference is off by (dy, dx) pixels."""
    profile = {
        "driver": "GTiff",
        "count": 6,
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": pixels.dtype.name,
        "crs": f"EPSG:{EPSG}",
        "transform": Affine(10, 0, (LEFT + dx) * 10, 0, -10, -(TOP + dy) * 10),
        "nodata": 0,
    } | changes
    with rasterio.open(path, "w", **profile) as file:
        file.descriptions = BANDS
        file.update_tags(ACQUISITION_DATE="2020-06-01")
        file.scales = (1e-4,) * 6
        file.write(pixels)
    return path


def ingest(path: Path, out: Path, *, site=SITE, epsg=EPSG, **given):
    scene = open_scene(path, access=Access(roots=(path.parent,)))
    return ingest_scene(scene, epsg=epsg, site_extent=site, out=out, **given)


def refusal(path: Path, out: Path, **given) -> Refusal:
    with pytest.raises(SceneRefused) as caught:
        ingest(path, out, **given)
    assert len(str(caught.value)) > 40
    assert not out.exists()
    assert not out.parent.exists() or list(out.parent.iterdir()) == []  # no leftovers
    return caught.value.reason


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out" / "scene.tif"


def test_the_first_scene_of_a_site_becomes_a_valid_cog(tmp_path, out):
    pixels = landscape()
    pixels[:, :70, :] = 0
    done = ingest(save(tmp_path / "first scene.tif", pixels), out)
    assert cog_validate(out, strict=True) == (True, [], [])
    with rasterio.open(out) as file:
        np.testing.assert_array_equal(file.read(), pixels)
        assert file.descriptions == BANDS
        assert file.nodata == 0
        assert file.scales[0] == pytest.approx(1e-4)
        assert file.crs.to_epsg() == EPSG
        assert file.tags()["ACQUISITION_DATETIME"].startswith("2020-06-01")
    assert done.digest == file_digest(out)
    assert done.grid == Grid(EPSG, SITE)
    assert done.valid_fraction == pytest.approx(0.9)
    assert (done.shift, done.alignment, done.shift_yx_px) == (None, "reference", (0.0, 0.0))
    assert done.scene_id == f"first-scene-{done.digest[7:19]}"
    seen = pixels[:, 70:, :]
    for band, values in zip(done.statistics, seen, strict=True):
        assert (band.minimum, band.maximum) == (values.min(), values.max())
        assert band.mean == pytest.approx(values.mean())
        assert band.stddev == pytest.approx(values.std(), rel=1e-6)


def test_the_same_scene_gives_the_same_bytes(tmp_path, out):
    path = save(tmp_path / "s.tif", landscape(), dy=0.3)
    digests = {ingest(path, out.with_name(f"{i}.tif")).digest for i in range(2)}
    assert len(digests) == 1
    assert ingest(path, out).digest in digests


@pytest.mark.parametrize("number", range(5))
def test_ids_of_scenes_are_safe_in_paths(tmp_path, out, number):
    name = ["../../etc", "a/b", "x" * 300, "...", "ü é"][number]
    done = ingest(save(tmp_path / "s.tif", landscape((64, 64))), out)
    renamed = type(done)(**vars(done) | {"source_id": name})
    assert "/" not in renamed.scene_id
    assert not renamed.scene_id.startswith(".")
    assert 12 < len(renamed.scene_id) < 100


def test_only_the_common_ground_is_written(tmp_path, out):
    site = Extent(TOP + 500, LEFT - 300, TOP + 1500, LEFT + 200)
    done = ingest(save(tmp_path / "s.tif", landscape()), out, site=site)
    assert done.grid.extent == Extent(TOP + 500, LEFT, TOP + 700, LEFT + 200)
    assert done.valid_fraction == 1.0


def test_a_later_scene_is_moved_onto_the_reference(tmp_path, out):
    truth = landscape((720, 720))
    reference = ingest(save(tmp_path / "first.tif", truth[:, 10:710, 10:710]), out)
    # the later file says it lies 1.6 rows further south and 0.8 columns further west than it does
    later = save(tmp_path / "later.tif", truth[:, 10:710, 10:710], dy=1.6, dx=-0.8)
    done = ingest(later, out.with_name("later.tif"), reference=reference.path, max_shift_px=3)
    assert done.alignment == "measured"
    assert abs(done.shift.dy + 1.6) < 0.15
    assert abs(done.shift.dx - 0.8) < 0.15
    with rasterio.open(reference.path) as a, rasterio.open(done.path) as b:
        shared = done.grid.extent & reference.grid.extent.buffered(-8)
        first = a.read(3, window=shared.window_in(reference.grid.extent)).astype(int)
        second = b.read(3, window=shared.window_in(done.grid.extent)).astype(int)
    assert np.abs(first - second).mean() < 12  # 40 to 60 where it is not moved


def test_a_scene_too_far_off_is_refused_with_the_numbers(tmp_path, out):
    pixels = landscape()
    reference = ingest(save(tmp_path / "first.tif", pixels), out)
    later = save(tmp_path / "later.tif", pixels, dy=5.0)
    target = out.with_name("later.tif")
    with pytest.raises(SceneRefused, match=r"5\.\d\d px .*limit of 3") as caught:
        ingest(later, target, reference=reference.path, max_shift_px=3)
    assert caught.value.reason is Refusal.NOT_ALIGNED
    assert not target.exists()


def test_a_scene_without_features_is_not_moved_and_says_so(tmp_path, out):
    reference = ingest(save(tmp_path / "first.tif", landscape()), out)
    cloudy = np.full((6, 700, 700), 8000, np.uint16)
    later = save(tmp_path / "cloudy.tif", cloudy)
    done = ingest(later, out.with_name("c.tif"), reference=reference.path, max_shift_px=3)
    assert done.alignment == "unmeasured"
    assert isinstance(done.shift, Shift)
    assert done.shift_yx_px == (0.0, 0.0)


def test_a_reference_elsewhere_on_the_site_measures_nothing(tmp_path, out):
    reference = ingest(save(tmp_path / "first.tif", landscape((300, 300))), out)
    later = save(tmp_path / "later.tif", landscape((300, 300)), dy=400)
    done = ingest(later, out.with_name("l.tif"), reference=reference.path)
    assert (done.alignment, done.shift.windows) == ("unmeasured", 0)


def test_a_reference_of_another_zone_is_an_error_of_the_caller(tmp_path, out):
    reference = ingest(save(tmp_path / "first.tif", landscape((64, 64))), out)
    with pytest.raises(ValueError, match="EPSG:32633"):
        ingest(
            save(tmp_path / "s.tif", landscape((64, 64)), crs="EPSG:32634"),
            out.with_name("s.tif"),
            epsg=32634,
            reference=reference.path,
        )


def test_no_overlap(tmp_path, out):
    path = save(tmp_path / "s.tif", landscape((64, 64)))
    beside = Extent(TOP, LEFT + 64, TOP + 500, LEFT + 600)
    assert refusal(path, out, site=beside) is Refusal.NO_OVERLAP
    assert refusal(path, out, epsg=32733) is Refusal.NO_OVERLAP
    assert refusal(path, out, epsg=32610) is Refusal.NO_OVERLAP


def test_a_sliver_of_overlap_is_too_small(tmp_path, out):
    path = save(tmp_path / "s.tif", landscape((64, 64)))
    sliver = Extent(TOP, LEFT + 50, TOP + 500, LEFT + 600)
    assert refusal(path, out, site=sliver) is Refusal.TOO_SMALL


def test_all_nodata(tmp_path, out):
    assert refusal(save(tmp_path / "s.tif", landscape() * 0), out) is Refusal.ALL_NODATA
    one_band = landscape()
    one_band[4] = 0
    assert refusal(save(tmp_path / "s.tif", one_band), out) is Refusal.ALL_NODATA


def test_a_truncated_file_leaves_nothing(tmp_path, out):
    pixels = np.random.default_rng(0).integers(1, 9000, (6, 700, 700)).astype(np.uint16)
    path = save(tmp_path / "s.tif", pixels, compress="deflate", tiled=True)
    os.truncate(path, path.stat().st_size // 2)
    assert refusal(path, out) is Refusal.UNREADABLE


@pytest.mark.parametrize(
    ("value", "wanted"), [(np.nan, Refusal.UNDECLARED_NAN), (np.inf, Refusal.INFINITE)]
)
def test_numbers_that_are_none_leave_nothing(tmp_path, out, value, wanted):
    pixels = landscape().astype(np.float32)
    pixels[5, 650, 650] = value  # in the last block of all
    assert refusal(save(tmp_path / "s.tif", pixels, nodata=None), out) is wanted


# --- real data


@pytest.fixture(scope="module")
def data():
    folder = Path(os.environ.get("GROUNDSHIFT_DATA", Path(__file__).parents[3] / "shared/data"))
    if not (folder / "manifest.json").exists():
        pytest.skip(f"no real imagery at {folder}")
    return folder


def real_site(scene) -> tuple[int, Extent]:
    from pyproj import Transformer

    middle = scene.footprint.centroid
    epsg = utm_epsg(middle.x, middle.y)
    to_site = Transformer.from_crs(4326, epsg, always_xy=True)
    return epsg, extent_of_bounds(*to_site.transform_bounds(*scene.footprint.bounds))


@pytest.mark.data
@pytest.mark.parametrize(
    ("city", "days", "shift"),
    [
        ("saclay_e", ("20160315", "20170829"), (-0.07, -1.02)),
        ("abudhabi", ("20160120", "20180328"), (-1.25, -0.58)),  # two UTM zones
    ],
)
def test_a_real_pair_is_aligned(data, tmp_path, city, days, shift):
    access = Access(roots=(data,))
    scenes = [
        open_scene(data / "oscd" / city / f"{city}_{day}.json", access=access) for day in days
    ]
    epsg, site = real_site(scenes[0])
    first, second = tmp_path / "a.tif", tmp_path / "b.tif"
    ingest_scene(scenes[0], epsg=epsg, site_extent=site, out=first)
    done = ingest_scene(
        scenes[1], epsg=epsg, site_extent=site, out=second, reference=first, max_shift_px=3
    )
    assert cog_validate(second, strict=True) == (True, [], [])
    assert done.alignment == "measured"
    assert abs(done.shift.dy - shift[0]) < 0.3
    assert abs(done.shift.dx - shift[1]) < 0.3
    assert done.valid_fraction > 0.95
    assert 500 < done.statistics[0].mean < 3000


@pytest.mark.data
def test_real_nan_is_nodata(data, tmp_path):
    path = data / "s2_slovenia" / "s2_slovenia_20150711.json"
    scene = open_scene(path, access=Access(roots=(data,)))
    epsg, site = real_site(scene)
    done = ingest_scene(scene, epsg=epsg, site_extent=site, out=tmp_path / "s.tif")
    with rasterio.open(scene.files[0].path) as file:
        missing = np.isnan(file.read([band.index for band in scene.bands])).any(axis=0).mean()
    assert done.valid_fraction == pytest.approx(1 - missing, abs=0.03)


@pytest.mark.data
def test_real_landsat_at_30_m_runs_with_a_scale(data, tmp_path):
    path = data / "landsat_taizhou" / "landsat_taizhou_20000317.json"
    scene = open_scene(path, access=Access(roots=(data,)), scale=0.004)
    epsg, site = real_site(scene)
    done = ingest_scene(scene, epsg=epsg, site_extent=site, out=tmp_path / "s.tif")
    assert done.grid.shape[0] > 1200
    assert done.valid_fraction > 0.85
