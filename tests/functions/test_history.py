"""Which Items lie somewhere, and in what order their scenes were acquired."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from functions.history import history
from groundshift.errors import Misconfigured, SceneRefused
from groundshift.settings import Settings


def item(path: Path, when: str | None = None, **properties: Any) -> Path:
    """A STAC Item, as far as its place in history goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = {"type": "Feature", "stac_version": "1.0.0"}
    path.write_text(json.dumps(body | {"properties": {"datetime": when, **properties}}))
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


def test_items_come_in_order_of_acquisition_whatever_they_are_called(
    tmp_path: Path, settings: Settings
) -> None:
    c = item(tmp_path / "a.json", "2024-06-03T10:00:00Z")
    a = item(tmp_path / "sub" / "b.json", "2024-06-01T10:00:00+00:00")
    b = item(tmp_path / "c.json", "2024-06-01T23:00:00-02:00")
    assert [one.href for one in history([str(tmp_path)], settings)] == [str(a), str(b), str(c)]
    named = history([str(c), str(a)], settings)
    assert [one.acquired for one in named] == [
        datetime(2024, 6, 1, 10, tzinfo=UTC),
        datetime(2024, 6, 3, 10, tzinfo=UTC),
    ]


def test_a_span_counts_from_its_begin_and_the_undated_come_last(
    tmp_path: Path, settings: Settings
) -> None:
    undated = item(tmp_path / "a.json")
    odd = item(tmp_path / "b.json", "yesterday")
    span = item(tmp_path / "c.json", start_datetime="2024-06-02T00:00:00Z")
    late = item(tmp_path / "d.json", "2024-06-03")
    found = history([str(tmp_path)], settings)
    assert [one.href for one in found] == [str(p) for p in (span, late, undated, odd)]
    assert [one.acquired is None for one in found] == [False, False, True, True]


def test_an_item_that_is_named_twice_counts_once_and_a_changed_one_is_another(
    tmp_path: Path, settings: Settings
) -> None:
    one = item(tmp_path / "a.json", "2024-06-01T10:00:00Z")
    (found,) = history([str(tmp_path), str(one)], settings)
    item(one, "2024-06-01T10:00:00Z", note="processed again")
    (changed,) = history([str(one)], settings)
    assert found.href == changed.href
    assert found.digest != changed.digest


def test_what_is_no_item_is_passed_over(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "site.json").write_text('{"type": "FeatureCollection"}')
    (tmp_path / "feature.json").write_text('{"type": "Feature"}')
    with pytest.raises(Misconfigured, match="no STAC Item there"):
        history([str(tmp_path)], settings)
    one = item(tmp_path / "item.json", "2024-06-01T10:00:00Z")
    assert [found.href for found in history([str(tmp_path)], settings)] == [str(one)]


@pytest.mark.parametrize(
    ("source", "error", "why"),
    [
        ("gone", Misconfigured, "no such file or folder"),
        ("s3://scenes/site", Misconfigured, "GROUNDSHIFT_ALLOWED_BUCKETS"),
        ("http://example.invalid/item.json", SceneRefused, "allow the host"),
    ],
)
def test_a_source_that_may_not_be_read_is_named_with_the_cure(
    source: str, error: type[Exception], why: str, settings: Settings
) -> None:
    with pytest.raises(error, match=why):
        history([source], settings)
