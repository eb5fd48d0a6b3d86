"""The one-shot job on real imagery, with the shipped models behind the real server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from rasterio.warp import Resampling, reproject
from rio_cogeo.cogeo import cog_validate

from functions.commands.detect import Detection, Options, detect
from geodata_etl.bands import NOT_OBSERVED
from geodata_etl.errors import Refusal, SceneRefused
from geodata_etl.stac import validate_item
from groundshift import keys
from groundshift.models import list_models
from groundshift.settings import Settings

DATA = Path(os.environ.get("GROUNDSHIFT_DATA", Path(__file__).parents[3] / "shared" / "data"))

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"real imagery is not at {DATA}"),
]

Compare = Callable[..., Detection]


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    def run(*items: str, options: Options | None = None) -> Detection:
        names = [str(DATA / item) for item in items]
        return detect(names, out=tmp_path / "out", options=options or Options(), quiet=True)

    return run


@pytest.mark.parametrize(
    ("city", "before", "after"),
    [("saclay_e", "20160315", "20170829"), ("abudhabi", "20160120", "20180328")],
)
def test_a_labelled_city_gives_valid_products_and_the_known_shift(
    compare: Compare, city: str, before: str, after: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compare(f"oscd/{city}/{city}_{before}.json", f"oscd/{city}/{city}_{after}.json")
    check_products(found)
    record = json.loads(found.files["run.json"].read_text())
    assert record["threshold"] == Settings().threshold
    assert [model["digest"] for model in record["models"]] == shipped_digests()
    known = shift_of(f"oscd_{city}")
    measured = record["shift_px"]
    assert measured["dy"] == pytest.approx(known["dy"], abs=0.3)
    assert measured["dx"] == pytest.approx(known["dx"], abs=0.3)
    f1, all_marked = f1_against(
        DATA / "oscd" / city / "label_change.tif", found, record["threshold"]
    )
    with capsys.disabled():
        print(
            f"\n{city}: F1 {f1:.3f} against the urban labels, shift {measured['dy']:+.2f} "
            f"{measured['dx']:+.2f} px (manifest {known['dy']:+.2f} {known['dx']:+.2f})"
        )
    assert f1 > all_marked, "no better than marking every pixel"


@pytest.mark.parametrize("date", ["20150820", "20150731"])  # thick cloud, a translucent veil
def test_a_scene_all_under_cloud_is_not_observed_and_holds_no_change(
    compare: Compare, date: str
) -> None:
    found = compare(slovenia("20150711"), slovenia(date))
    assert share(found, "not_observed") > 0.95
    assert found.summary["polygons"] == 0


def test_clear_unchanged_land_gives_next_to_no_change(compare: Compare) -> None:
    found = compare(slovenia("20150711"), slovenia("20150830"))
    assert share(found, "not_observed") < 0.1
    assert share(found, "changed") < 0.005


def test_digital_numbers_without_a_scale_are_refused_and_run_with_one(compare: Compare) -> None:
    items = [f"landsat_taizhou/landsat_taizhou_{day}.json" for day in ("20000317", "20030206")]
    with pytest.raises(SceneRefused) as refused:
        compare(*items)
    assert refused.value.reason is Refusal.NO_SCALE
    assert "--scale" in str(refused.value)
    check_products(compare(*items, options=Options(scale=0.002, offset=0.0)))


def check_products(found: Detection) -> None:
    """Every file is there, and others' validators accept it."""
    assert set(found.files) == set(keys.PRODUCTS)
    for name in ("change", "observed", "before_class", "after_class"):
        valid, errors, _ = cog_validate(found.files[f"{name}.tif"], quiet=True)
        assert valid, errors
    item = json.loads(found.files["item.json"].read_text())
    validate_item(item)
    assert all(Path(link["href"]).is_file() for link in item["links"])
    assert len(item["links"]) == 2
    frame = geopandas.read_parquet(found.files["changes.parquet"])
    assert frame.crs.is_projected
    assert len(frame) == found.summary["polygons"]
    features = json.loads(found.files["changes.geojson"].read_text())["features"]
    assert len(features) == len(frame)
    with rasterio.open(found.files["change.tif"]) as change:
        level, unseen = change.read(1), change.nodata
    with rasterio.open(found.files["observed.tif"]) as observed:
        assert ((level == NOT_OBSERVED) == (observed.read(1) == 0)).all()
    assert unseen == NOT_OBSERVED


def slovenia(day: str) -> str:
    return f"s2_slovenia/s2_slovenia_{day}.json"


def share(found: Detection, what: str) -> float:
    areas = [found.summary[f"{name}_km2"] for name in ("changed", "unchanged", "not_observed")]
    return float(found.summary[f"{what}_km2"]) / sum(areas)


def shift_of(item: str) -> dict[str, float]:
    manifest = json.loads((DATA / "manifest.json").read_text())
    (found,) = [i for i in manifest["items"] if i["id"] == item]
    shift: dict[str, float] = found["measured_misregistration_px"]
    return shift


def shipped_digests() -> list[str]:
    by_name = {record.name: record.digest for record in list_models(Settings().models)}
    return [by_name[name] for name in ("cloud-mask", "segmenter", "change-classifier")]


def f1_against(label: Path, found: Detection, threshold: float) -> tuple[float, float]:
    """F1 over the observed, labelled pixels: of change.tif, and of marking every one of them."""
    with rasterio.open(found.files["change.tif"]) as change:
        level = change.read(1)
        truth = np.full(level.shape, NOT_OBSERVED, np.uint8)
        with rasterio.open(label) as source:
            reproject(
                rasterio.band(source, 1),
                truth,
                dst_transform=change.transform,
                dst_crs=change.crs,
                dst_nodata=NOT_OBSERVED,
                resampling=Resampling.nearest,
            )
    judged = (level != NOT_OBSERVED) & (truth != NOT_OBSERVED)
    marked = (level >= round(threshold * 254)) & judged
    changed = (truth == 1) & judged
    hits = int((marked & changed).sum())
    truly = int(changed.sum())
    everything = int(judged.sum())
    return 2 * hits / (int(marked.sum()) + truly), 2 * truly / (everything + truly)
