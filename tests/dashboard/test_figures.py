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
        "traffic": 0.25,
    }
    (shown,) = figures.model_sets([row]).to_dict("records")
    assert shown["segmenter"] == "01234567"
    assert shown["traffic"] == "25%"
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


def test_reasons_are_summed_and_what_was_compared_has_none() -> None:
    again = {**SCENES[1], "month": "2024-07", "scenes": 4}
    (row,) = figures.reasons([*SCENES, again]).to_dict("records")
    assert row == {"outcome": "skipped", "reason": "no baseline", "scenes": 5}


def test_bands_are_one_row_each_and_unseen_ones_none() -> None:
    points = dict.fromkeys(figures.POINTS, 0.1)
    scene = {"acquired": "2024-05-01T10:30:00Z", "stac_id": "a"}
    frame = figures.bands([{**scene, "bands": {"blue": points, "nir": {}}}])
    (row,) = frame.to_dict("records")
    assert (row["scene"], row["band"], row["p50"]) == ("a", "blue", 0.1)


def test_versions_come_newest_first_with_their_lineage() -> None:
    label = {
        "created": "2024-05-01T10:30:12Z",
        "site_id": "s",
        "tile": "1_2",
        "version": "0123456789abcdef",
        "current": False,
        "counts": {"changed": 1, "unchanged": 2, "ignored": 3},
        "reviews": ["r1", "r2"],
        "actor": "ann",
        "run_id": "fedcba9876543210",
        "licence": "CC-BY-4.0",
    }
    newer = {**label, "version": "f" * 16, "current": True}
    first, second = figures.versions([label, newer]).to_dict("records")
    assert (first["version"], first["stands"]) == ("f" * 12, True)
    assert (second["version"], second["reviews"], second["run"]) == (
        "0123456789ab",
        2,
        "fedcba987654",
    )
    assert (second["changed px"], second["ignored px"]) == (1, 3)
    assert second["made"] == "2024-05-01 10:30"


def test_a_tile_lies_where_the_lattice_says() -> None:
    counts = {"scenes": 4, "valid": 3, "compared": 2, "observed": 1}
    rows = [{"tile": "-1203_100", "epsg": 32631, **counts}]
    (feature,) = figures.tile_polygons(rows)["features"]
    assert feature["properties"] == {"tile": "-1203_100", **counts}
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
        figures.reasons,
        figures.bands,
        figures.observations,
        figures.versions,
    ],
)
def test_no_rows_are_an_empty_table(table) -> None:  # type: ignore[no-untyped-def]
    assert table([]).empty


def test_classes_wear_the_colours_of_every_other_picture() -> None:
    text = (STATIC / "palette.mjs").read_text()
    block = text[text.index("export const CLASSES") : text.index("};")]
    found = dict(re.findall(r"(\w+): \{ label: \"[^\"]+\", colour: \"(#\w+)\" \}", block))
    assert found == {cover.label: css(colour) for cover, colour in COVER_COLOURS.items()}
