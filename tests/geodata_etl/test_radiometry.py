import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodata_etl.errors import Refusal, SceneRefused
from geodata_etl.radiometry import Calibration, Declared, Product, calibrate, harmonise

NOTHING = Declared()
GENERIC = Product()
S2_OLD = Product(sentinel2=True, baseline=2.09)
S2_NEW = Product(sentinel2=True, baseline=4.0)


def cal(dtype="uint16", *, caller=NOTHING, item=NOTHING, file=NOTHING, product=GENERIC):
    return calibrate("B02", dtype, caller=caller, item=item, file=file, product=product)


def reason(**given) -> Refusal:
    with pytest.raises(SceneRefused) as caught:
        cal(**given)
    return caught.value.reason


@pytest.mark.parametrize(
    ("product", "offset"),
    [
        (S2_OLD, 0.0),
        (S2_NEW, -0.1),
        (Product(sentinel2=True, baseline=5.11), -0.1),
        (Product(sentinel2=True, baseline=5.11, offset_applied=True), 0.0),
        (Product(sentinel2=True, baseline=5.11, offset_applied=False), -0.1),
        (Product(sentinel2=True, baseline=2.09, offset_applied=False), 0.0),
    ],
)
def test_sentinel_2_products_define_scale_and_offset(product, offset):
    assert cal(product=product) == Calibration(1e-4, offset)


def test_landsat_collection_2_level_2():
    assert cal(product=Product(landsat_c2_l2=True)) == Calibration(2.75e-5, -0.2)


def test_an_item_that_gives_the_offset_is_believed():
    for offset in (0.0, -0.1):
        assert cal(item=Declared(1e-4, offset), product=S2_NEW).offset == offset


def test_an_item_with_a_scale_alone_still_gets_the_baseline_offset():
    assert cal(item=Declared(1e-4), product=S2_NEW).offset == -0.1
    assert cal(item=Declared(1e-4), product=Product(sentinel2=True)).offset == 0.0


@pytest.mark.parametrize(
    "given",
    [
        # earth-search says "applied" and gives the offset all the same
        {
            "item": Declared(1e-4, -0.1),
            "product": Product(sentinel2=True, baseline=4.0, offset_applied=True),
        },
        {
            "item": Declared(1e-4, 0.0),
            "product": Product(sentinel2=True, baseline=4.0, offset_applied=False),
        },
        {"item": Declared(1e-4, -0.1), "product": S2_OLD},
        {"item": Declared(1e-4), "file": Declared(2e-4)},
        {"item": Declared(1e-4, 0.0), "file": Declared(1e-4, -0.1)},
        {"item": Declared(1e-4, -1000.0)},
    ],
)
def test_metadata_that_disagrees_is_refused(given):
    assert reason(**given) is Refusal.CONTRADICTION


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"dtype": "float32"},
        {"product": Product(sentinel2=True)},  # the baseline decides the offset: unknown
        {"item": Declared(1.0)},  # integers with a scale of 1 are no reflectance
        {"dtype": "float32", "product": S2_NEW},  # floats of such a product may be anything
    ],
)
def test_a_missing_scale_is_never_guessed(given):
    assert reason(**given) is Refusal.NO_SCALE


def test_the_caller_overrides_everything():
    contradictory = {"item": Declared(1e-4, -0.1), "file": Declared(2e-4, 0.3), "product": S2_OLD}
    assert cal(caller=Declared(4e-3), **contradictory) == Calibration(4e-3, 0.0)
    assert cal(caller=Declared(4e-3, 0.1), **contradictory) == Calibration(4e-3, 0.1)
    assert cal(caller=Declared(None, 0.0), product=S2_NEW) == Calibration(1e-4, 0.0)


def test_floats_keep_the_offset_they_declare():
    assert cal("float32", item=Declared(1.0), product=S2_NEW) == Calibration(1.0, 0.0)


@given(
    dn=st.integers(0, 65_535),
    valid=st.booleans(),
    scale=st.sampled_from([1e-4, 2.75e-5, 1.0, 0.004]),
    offset=st.sampled_from([0.0, -0.1, -0.2]),
)
def test_stored_values_are_reflectance_times_10000_and_0_only_where_nothing_is(
    dn, valid, scale, offset
):
    values = np.full((6, 1, 1), dn, np.float32)
    out = harmonise(values, np.full((1, 1), valid), [Calibration(scale, offset)] * 6)
    assert out.dtype == np.uint16
    wanted = np.clip(round((dn * scale + offset) * 10_000, 6), 1, 65_535)
    assert (out == 0).all() if not valid else (abs(out - wanted) <= 0.5001).all()
    assert valid == bool((out > 0).all())


def test_a_sentinel_2_number_is_kept_exactly():
    dn = np.arange(1, 60_001, dtype=np.float32).reshape(1, 1, -1)
    out = harmonise(dn, np.ones((1, dn.size), bool), [Calibration(1e-4, 0.0)])
    np.testing.assert_array_equal(out[0, 0], np.arange(1, 60_001))
