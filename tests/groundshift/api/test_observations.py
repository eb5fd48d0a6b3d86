"""/api/stats/observations: band statistics, and how often each tile was seen."""

import numpy as np
import pytest
from api_world import SIDE, TILE, UNSEEN

from groundshift import keys, scene_stats


def observations(world):
    return world.client().get("/api/stats/observations").json()


def test_bands_are_reflectance_of_valid_pixels(world):
    found = observations(world)
    assert {scene["id"] for scene in found["scenes"]} == {"acme-before", "acme-after"}
    for scene in found["scenes"]:
        assert list(scene["bands"]) == ["blue", "green", "red", "nir", "swir16", "swir22"]
        assert scene["valid_fraction"] == pytest.approx(1 - 16 * 16 / SIDE**2, abs=1e-4)
        for points in scene["bands"].values():  # drawn evenly from 500 to 3000 of 10,000
            assert points["mean"] == pytest.approx(0.175, abs=0.003)
            assert points["p50"] == pytest.approx(0.175, abs=0.005)
            assert 0.05 <= points["p2"] < points["p25"] < points["p75"] < points["p98"] < 0.3


def test_tiles_count_scenes_that_show_them_and_runs_that_saw_them(world):
    (tile,) = observations(world)["tiles"]
    assert (tile["tile"], tile["scenes"], tile["compared"]) == (str(TILE), 2, 1)
    core = 448**2
    assert tile["mean_valid_fraction"] == pytest.approx((SIDE**2 - 16 * 16) / core, abs=1e-3)
    rows, cols = UNSEEN
    unseen = (rows.stop - rows.start) * (cols.stop - cols.start)
    assert tile["mean_observed_fraction"] == pytest.approx((SIDE**2 - unseen) / core, abs=1e-3)
    assert (tile["valid"], tile["observed"]) == (0, 0)  # a third of the tile is less than half


def test_figures_are_measured_once(world, monkeypatch):
    first = observations(world)
    key = keys.scene_stats("acme-before")
    assert world.platform.store.exists(key)
    monkeypatch.setattr(scene_stats, "_small", lambda _: pytest.fail("measured again"))
    assert observations(world) == first


def test_a_scene_whose_raster_is_gone_has_no_figures(world):
    world.platform.store.delete(keys.scene_cog("acme-before"))
    (scene,) = observations(world)["scenes"]
    assert scene["id"] == "acme-after"


def test_observations_are_of_the_callers_tenant(world):
    found = world.client(tenant="nobody").get("/api/stats/observations").json()
    assert (found["scenes"], found["tiles"]) == ([], [])


def test_a_scene_without_a_valid_pixel_has_no_percentiles():
    assert scene_stats._figures(np.array([])) == {}
