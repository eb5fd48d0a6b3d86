"""What the data page counts."""

from __future__ import annotations

import re

import pytest
import shapely

from geodata_etl.grid import CORE_PX, PIXEL_M
from geodata_etl.palette import COVER_COLOURS, css
from groundshift.dashboard import figures
from groundshift.dashboard.server import STATIC

SCENES = [
    {"month": "2024-05", "outcome": "done", "reason": None, "scenes": 2},
    {"month": "2024-05", "outcome": "skipped", "reason": "no_baseline", "scenes": 1},
    {"month": "2024-06", "outcome": "done", "reason": None, "scenes": 4},
]


def test_scenes_by_outcome_and_reason() -> None:
    assert figures.outcomes(SCENES) == {"done": 6, "skipped": 1}
    assert list(figures.scenes_by_month(SCENES)["ended"]) == [
        "done",
        "skipped: no_baseline",
        "done",
    ]


def test_scenes_without_a_run_have_no_cloud_share() -> None:
    rows = [
        {"acquired": "2024-05-01T10:30:00Z", "stac_id": "a", "not_observed_fraction": 0.25},
        {"acquired": "2024-05-06T10:30:00Z", "stac_id": "b", "not_observed_fraction": None},
    ]
    frame = figures.clouds(rows)
    assert list(frame["scene"]) == ["a"]
    assert list(frame["unseen"]) == [25.0]


def test_acceptance_counts_what_was_decided() -> None:
    row = {
        "models": [{"name": "segmenter", "digest": "sha256:0123456789"}],
        "runs": 3,
        "current_runs": 2,
        "reviews": {"accept": 2, "redraw": 1, "reject": 1, "unsure": 5},
        "last_run": "2024-05-01T10:30:00Z",
    }
    (shown,) = figures.model_sets([row]).to_dict("records")
    assert shown["segmenter"] == "01234567"
    assert (shown["accepted"], shown["verdicts"]) == ("75% of 4", 9)
    (shown,) = figures.model_sets([{**row, "reviews": {}}]).to_dict("records")
    assert shown["accepted"] == "no verdict yet"


def test_areas_are_hectares() -> None:
    labels = {"pairs": {"low_vegetation -> built": 250}}
    (row,) = figures.label_balance(labels).to_dict("records")
    assert row == {"change": "low vegetation -> built", "hectares": 2.5}
    alerts = [
        {
            "state": "first",
            "from_class": "tree",
            "to_class": "low_vegetation",
            "alerts": 2,
            "area_m2": 25_000,
        }
    ]
    (alert,) = figures.alerts_by_class(alerts).to_dict("records")
    assert (alert["change"], alert["hectares"]) == ("tree → low vegetation", 2.5)


def test_a_tile_lies_where_the_lattice_says() -> None:
    rows = [{"tile": "-1203_100", "epsg": 32631, "scenes": 4, "mean_valid_fraction": 1.0}]
    (feature,) = figures.tile_polygons(rows)["features"]
    assert feature["properties"]["scenes"] == 4
    west, south, east, north = shapely.geometry.shape(feature["geometry"]).bounds
    assert (2 < west < east < 3, 48 < south < north < 50) == (True, True)
    assert (north - south) * 111_320 == pytest.approx(CORE_PX * PIXEL_M, rel=0.02)


@pytest.mark.parametrize(
    "table",
    [
        figures.scenes_by_month,
        figures.clouds,
        figures.gaps,
        figures.durations,
        figures.alerts_by_class,
        figures.model_sets,
    ],
)
def test_no_rows_are_an_empty_table(table) -> None:  # type: ignore[no-untyped-def]
    assert table([]).empty


def test_classes_wear_the_colours_of_every_other_picture() -> None:
    text = (STATIC / "palette.mjs").read_text()
    block = text[text.index("export const CLASSES") : text.index("};")]
    found = dict(re.findall(r"(\w+): \{ label: \"[^\"]+\", colour: \"(#\w+)\" \}", block))
    assert found == {cover.label: css(colour) for cover, colour in COVER_COLOURS.items()}
