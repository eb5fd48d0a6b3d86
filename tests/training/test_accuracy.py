"""The shipped models against change-vector analysis with Otsu's threshold: no torch needed."""

from __future__ import annotations

from importlib.resources import as_file, files

import pytest
from scipy.ndimage import binary_dilation

from groundshift.settings import Settings
from training import measure, realdata
from training.evaluate import ModelSet, evaluate_pairs, load_models, mean_f1, table


@pytest.fixture(scope="module")
def models() -> ModelSet:
    with as_file(files("groundshift") / "model_store") as store:
        return load_models(store)


@pytest.fixture(scope="module")
def data():
    root = realdata.data_root()
    if root is None:
        pytest.skip("no real imagery: set GROUNDSHIFT_DATA, or put it at ../shared/data")
    return root


def test_better_than_cva_otsu_on_held_out_simulation(models, capsys):
    rows = evaluate_pairs(models, measure.changed_pairs(measure.held_out()))
    with capsys.disabled():
        print("\nheld-out simulation\n" + table(rows))
    ours, plain = mean_f1(rows)
    assert ours > plain


@pytest.mark.data
def test_better_than_cva_otsu_on_the_eight_cities(models, data, capsys):
    rows = evaluate_pairs(models, measure.cities(data))
    with capsys.disabled():
        print("\neight labelled cities\n" + table(rows))
    ours, plain = mean_f1(rows)
    assert ours > plain


@pytest.mark.data
def test_summer_crops_are_no_change(models, data):
    assert max(measure.false_alarms(models, data).values()) < 0.005


@pytest.mark.data
@pytest.mark.parametrize("date", measure.CLEAR_DATES)
def test_clear_dates_are_clear(models, data, date):
    mask = models.clouds(measure.slovenia(data, date))
    assert (mask == 0).mean() >= 0.98


@pytest.mark.data
@pytest.mark.parametrize("date", measure.CLOUDY_DATES)  # a translucent veil, thick cloud
def test_overcast_dates_are_not_clear(models, data, date):
    hidden = models.clouds(measure.slovenia(data, date)) != 0
    grown = binary_dilation(hidden, iterations=Settings().cloud_buffer_px)  # as the platform does
    assert grown.mean() >= 0.95


@pytest.mark.data
@pytest.mark.parametrize("place", ["dubai", "lasvegas"])
def test_sand_and_bright_roofs_are_no_cloud(models, data, place):
    pair = realdata.read_pair(data / "oscd_unlabelled" / place)
    for stack in (pair.before, pair.after):
        assert (models.clouds(stack) == 0).mean() >= 0.95
