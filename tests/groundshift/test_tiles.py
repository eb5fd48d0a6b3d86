from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from geodata_etl.bands import NOT_OBSERVED
from geodata_etl.grid import CORE_PX, TILE_PX, Tile
from groundshift.adapters.files import FileObjectStore
from groundshift.adapters.inprocess import InProcessClient
from groundshift.runs import MODEL_NAMES, choose_model_set
from groundshift.serving.testing import write_test_models
from groundshift.tiles import SingleFlight, TileChain, TileScene, cache_key

TILE = Tile(-3, 7)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> InProcessClient:
    return InProcessClient(write_test_models(tmp_path_factory.mktemp("models")))


@pytest.fixture
def chain(models: InProcessClient, tmp_path: Path) -> TileChain:
    models.calls.clear()
    return TileChain(
        models=models,
        model_set=choose_model_set(models.split(MODEL_NAMES), scene_id="b", baseline=["a"]),
        store=FileObjectStore(tmp_path),
        cloud_buffer_px=3,
    )


def ground(value: int) -> NDArray[np.uint16]:
    return np.full((6, TILE_PX, TILE_PX), value, np.uint16)


def scene(name: str, bands: NDArray[np.uint16]) -> TileScene:
    return TileScene(name, lambda: bands)


def test_clear_unchanged_ground_is_observed_and_unchanged(chain: TileChain) -> None:
    result = chain.compare(TILE, scene("b", ground(800)), [scene("a", ground(800))])
    assert result.change.shape == (CORE_PX, CORE_PX)
    assert (result.observed == 1).all()
    assert (result.change == 0).all()
    assert (result.before_class == result.after_class).all()


def test_a_changed_patch_is_found_where_it_is(chain: TileChain) -> None:
    after = ground(800)
    after[:, 100:150, 200:260] = 2500
    result = chain.compare(TILE, scene("b", after), [scene("a", ground(800))])
    rows, cols = np.nonzero(result.change)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (68, 117, 168, 227)


def test_cloud_and_nodata_are_not_observed_and_never_zero(chain: TileChain) -> None:
    after = ground(800)
    after[:, 200:300, 200:300] = 9000
    after[:, 400:, 400:] = 0
    result = chain.compare(TILE, scene("b", after), [scene("a", ground(800))])
    unseen = result.observed == 0
    assert unseen[168 - 3 : 268 + 3, 168 - 3 : 268 + 3].all()
    assert unseen[-80:, -80:].all()
    assert ((result.change == NOT_OBSERVED) == unseen).all()
    assert (result.after_class[unseen] == NOT_OBSERVED).all()


def test_a_prime_run_fills_the_caches_and_observes_no_change(chain: TileChain) -> None:
    result = chain.compare(TILE, scene("a", ground(800)), [])
    assert (result.observed == 0).all()
    assert (result.change == NOT_OBSERVED).all()
    for revision in chain.model_set.revisions[:2]:
        assert chain.store.exists(cache_key(revision, "a", TILE))


def test_no_scene_is_segmented_twice_by_the_same_model(
    chain: TileChain, models: InProcessClient
) -> None:
    a, b, c = (scene(name, ground(value)) for name, value in (("a", 700), ("b", 800), ("c", 900)))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda pair: chain.compare(TILE, *pair), [(a, []), (b, [a]), (c, [b, a])]))
    assert models.calls["segmenter"] == 3
    assert models.calls["cloud-mask"] == 3
    assert models.calls["change-classifier"] == 2


def test_ground_without_data_asks_no_model(chain: TileChain, models: InProcessClient) -> None:
    result = chain.compare(TILE, scene("b", ground(0)), [scene("a", ground(0))])
    assert not models.calls
    assert (result.change == NOT_OBSERVED).all()


def test_a_scene_all_under_cloud_is_not_segmented(
    chain: TileChain, models: InProcessClient
) -> None:
    chain.compare(TILE, scene("b", ground(9000)), [scene("a", ground(800))])
    assert models.calls == {"cloud-mask": 2, "segmenter": 1}


def test_single_flight_lets_one_worker_in_at_a_time_and_forgets_the_key() -> None:
    flights, inside, most = SingleFlight(), [0], [0]

    def work(_: int) -> None:
        with flights("key"):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            inside[0] -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(200)))
    assert most == [1]
    assert not flights._flights


def test_another_digest_or_signature_has_another_cache(chain: TileChain) -> None:
    from dataclasses import replace

    revision = chain.model_set.segmenter
    make: Callable[..., str] = lambda **new: cache_key(replace(revision, **new), "a", TILE)  # noqa: E731
    keys = {make(), make(digest="sha256:" + "0" * 64), make(signature="another"), make(url="x")}
    assert len(keys) == 3, "the address plays no part, digest and signature do"
