"""The measured reach of a model, on functions whose reach is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from groundshift.influence import (
    NotContained,
    measure_influence,
    standard_inputs,
    within_halo,
)


def _box(radius: int):
    def model(inputs):
        image = inputs["image"][:, 0].astype(np.float64)
        return uniform_filter(image / 100, (0, 2 * radius + 1, 2 * radius + 1)).astype(np.uint8)

    return model


@pytest.fixture
def image():
    rng = np.random.default_rng(0)
    return {"image": rng.integers(1, 10_000, (1, 1, 192, 192)).astype(np.uint16)}


@pytest.mark.parametrize(("radius", "reach"), [(3, 8), (14, 16), (27, 28)])
def test_reach_is_the_smallest_tested_distance_that_holds_the_filter(image, radius, reach):
    found = measure_influence(_box(radius), image, standard_inputs(image))
    assert found.px == reach
    assert within_halo(found)


def test_a_model_that_looks_past_the_halo_is_not_contained(image):
    with pytest.raises(NotContained, match="32 px"):
        measure_influence(_box(45), image, standard_inputs(image))


def test_any_other_class_counts_in_a_class_mask(image):
    def flips(inputs):  # differs by one class where the far corner is bright
        return (inputs["image"][:, 0] * 0 + (inputs["image"][:, 0, :1, :1] > 0)).astype(np.uint8)

    assert measure_influence(flips, image, standard_inputs(image)).px == 8
    with pytest.raises(NotContained):
        measure_influence(flips, image, standard_inputs(image), categorical=True)


def test_an_image_smaller_than_its_margins_is_refused(image):
    small = {"image": image["image"][..., :128, :128]}
    with pytest.raises(ValueError, match="too small"):
        measure_influence(_box(1), small, standard_inputs(small))
