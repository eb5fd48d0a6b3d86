from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geodata_etl.bands import NOT_OBSERVED, Cloud
from geodata_etl.composite import Layer, blend_baseline, class_map, clear_mask

SHAPE = (8, 8)


def layer(value: int, clear: np.ndarray, *, valid: np.ndarray | None = None) -> Layer:
    bands = np.full((6, *SHAPE), value, np.uint16)
    if valid is not None:
        bands[:, ~valid] = 0
    return Layer(bands, clear, np.full((6, *SHAPE), value % 200, np.uint8))


def test_clouds_grow_by_the_buffer_and_nodata_is_never_clear() -> None:
    bands = np.full((6, *SHAPE), 500, np.uint16)
    bands[:, 0, 0] = 0
    cloud = np.zeros(SHAPE, np.uint8)
    cloud[4, 4] = Cloud.SHADOW
    clear = clear_mask(bands, cloud, buffer_px=1)
    assert not clear[3:6, 3:6].any()
    assert not clear[0, 0]
    assert clear.sum() == 64 - 9 - 1


def test_the_most_recent_clear_scene_wins_and_the_rest_is_not_observed() -> None:
    left = np.zeros(SHAPE, np.bool_)
    left[:, :4] = True
    top = np.zeros(SHAPE, np.bool_)
    top[:4] = True
    mixed = blend_baseline([layer(100, left), layer(200, top)], shape=SHAPE)
    assert (mixed.bands[0][:, :4] == 100).all()
    assert (mixed.bands[0][:4, 4:] == 200).all()
    assert (mixed.bands[0][4:, 4:] == 100).all(), "cloudy ground keeps the most recent look"
    assert (mixed.observed == (left | top)).all()


def test_older_scenes_are_not_read_once_every_pixel_is_clear() -> None:
    def layers():  # type: ignore[no-untyped-def]
        yield layer(100, np.ones(SHAPE, np.bool_))
        raise AssertionError("the second scene must not be read")

    assert blend_baseline(layers(), shape=SHAPE).observed.all()


def test_an_empty_baseline_observes_nothing() -> None:
    empty = blend_baseline([], shape=SHAPE)
    assert not empty.observed.any()
    assert (empty.bands == 0).all()
    assert (empty.probabilities == NOT_OBSERVED).all()


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
def test_each_pixel_comes_from_the_first_layer_that_is_clear(seeds: list[int]) -> None:
    layers = []
    for index, seed in enumerate(seeds):
        bits = np.unpackbits(np.frombuffer(seed.to_bytes(8, "little"), np.uint8))
        layers.append(layer(index + 1, bits.reshape(SHAPE).astype(np.bool_)))
    mixed = blend_baseline(layers, shape=SHAPE)
    for y, x in np.ndindex(SHAPE):
        clear = [k for k, one in enumerate(layers) if one.clear[y, x]]
        assert mixed.observed[y, x] == bool(clear)
        assert mixed.bands[0, y, x] == (clear[0] + 1 if clear else 1)


def test_classes_are_255_where_not_observed_and_ties_go_to_the_first() -> None:
    probabilities = np.zeros((6, 1, 3), np.uint8)
    probabilities[2, 0, 0] = 254
    probabilities[:, 0, 2] = NOT_OBSERVED
    observed = np.array([[True, False, True]])
    assert class_map(probabilities, observed).tolist() == [[2, NOT_OBSERVED, NOT_OBSERVED]]
    assert class_map(np.full((6, 1, 1), 40, np.uint8), np.array([[True]])).tolist() == [[0]]
