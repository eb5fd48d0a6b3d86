"""Schedules as cron writes them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from groundshift.errors import Misconfigured
from groundshift.schedule import Schedule

NOW = datetime(2026, 5, 4, 12, 34, 56, tzinfo=UTC)  # a Monday


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("* * * * *", "2026-05-04T12:35"),
        ("*/10 * * * *", "2026-05-04T12:40"),
        ("5/20 * * * *", "2026-05-04T12:45"),
        ("0 * * * *", "2026-05-04T13:00"),
        ("34 12 * * *", "2026-05-05T12:34"),
        ("0 3,15 * * *", "2026-05-04T15:00"),
        ("0 0 1 * *", "2026-06-01T00:00"),
        ("30 6 * * 1-5", "2026-05-05T06:30"),
        ("0 0 * * 7", "2026-05-10T00:00"),
        ("0 0 * * 0", "2026-05-10T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("59 23 31 12 *", "2026-12-31T23:59"),
        ("0 0 20 * 3", "2026-05-06T00:00"),  # either day is enough
        ("0 0 */2 * 3", "2026-05-13T00:00"),  # a star: both must fit
    ],
)
def test_the_next_time_is_crons(text, expected):
    assert Schedule.parse(text).after(NOW) == datetime.fromisoformat(f"{expected}+00:00")


def test_the_next_time_is_later_than_now_also_on_the_minute():
    schedule, due = Schedule.parse("*/30 * * * *"), NOW
    for _ in range(4):
        due, before = schedule.after(due), due
        assert due > before
    assert due == datetime(2026, 5, 4, 14, 30, tzinfo=UTC)


def test_another_zones_time_is_the_same_moment():
    schedule = Schedule.parse("0 3 * * *")
    east = NOW.astimezone(timezone(timedelta(hours=9)))
    assert schedule.after(east) == schedule.after(NOW)


@pytest.mark.parametrize(
    "text",
    [
        *("", "* * * *", "@hourly", "a * * * *", "* * * * * *", "1,,2 * * * *", "*/0 * * * *"),
        *("60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *"),
        "0 0 30 2 *",
    ],
)
def test_what_is_no_schedule_is_refused(text):
    with pytest.raises(Misconfigured, match="schedule"):
        Schedule.parse(text)
