"""Real scenes that measure, where they are."""

from __future__ import annotations

import numpy as np
import pytest

from groundshift.settings import Settings
from training import realdata
from training.evaluation import real, verified
from training.evaluation.failures import MODES
from training.split import side

data = pytest.mark.data


@pytest.fixture(scope="module")
def root():
    found = realdata.data_root()
    if found is None:
        pytest.skip("no real imagery: set GROUNDSHIFT_DATA, or put it at ../shared/data")
    return found


@data
@pytest.mark.parametrize("days", [real.SUMMER, real.WINTER])
def test_nothing_changed_in_slovenia(root, days):
    samples = list(real.slovenia(root, days))
    assert len(samples) == len(days) - 1
    assert {sample.site for sample in samples} == {"slovenia"}
    for sample in samples:
        assert not sample.change.any()
        assert not sample.ignore.all()
        assert sample.dates[0] < sample.dates[1]


@data
def test_cloud_chips_have_four_bands_and_a_label_of_both_kinds(root):
    chips = list(real.cloud_chips(root))
    assert [chip.name for chip in chips] == ["chip_1", "chip_2", "chip_4"]
    for chip in chips:
        assert chip.image.shape == (4, *chip.cloud.shape)
        assert chip.image.dtype == np.uint16
        assert {0, 1} <= set(np.unique(chip.cloud)) <= {0, 1, 255}


def test_only_labels_of_sites_that_never_train_measure(monkeypatch, tmp_path):
    class Tile:
        def __init__(self, site):
            self.site = site

    sites = [f"local/{n}" for n in range(60)]
    monkeypatch.setattr(verified, "current_labels", lambda settings: sites)
    monkeypatch.setattr(verified, "VerifiedTiles", lambda store, versions: Tiles(versions))

    class Tiles:
        def __init__(self, versions):
            self.versions = versions

        def samples(self):
            return map(Tile, self.versions)

    kept = [tile.site for tile in verified.held_out(Settings(data_dir=tmp_path))]
    assert kept
    assert len(kept) < len(sites)
    assert all(side(site) == "validation" for site in kept)


def test_modes_have_names_of_their_own():
    assert len({mode.name for mode in MODES}) == len(MODES)
