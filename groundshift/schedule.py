"""Cron schedules as a PingSource names them, for the embedded clock.

The five fields of the classic form, with ``*``, numbers, ranges, lists and steps. Names of months
and ``@hourly`` and its like, which Knative takes too, are refused: write numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from groundshift.errors import Misconfigured

_FIELDS: Final = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12))
_WEEKDAY: Final = ("weekday", 0, 7)
_HORIZON: Final = timedelta(days=4 * 366)
"""29 February comes within it."""


@dataclass(frozen=True)
class Schedule:
    """When something is due, in UTC, to the minute."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday, as in cron."""
    either_day: bool
    """Whether one of `days` and `weekdays` is enough: where both are restricted (cron's rule)."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """A schedule of five fields. Raises Misconfigured."""
        fields = text.split()
        if len(fields) != 5:
            raise Misconfigured(f"schedule {text!r}: write five fields, e.g. '*/30 * * * *'")
        bounds = (*_FIELDS, _WEEKDAY)
        minutes, hours, days, months, weekdays = (
            _values(text, field, *bound) for field, bound in zip(fields, bounds, strict=True)
        )
        either = not (fields[2].startswith("*") or fields[4].startswith("*"))
        weekdays = frozenset(day % 7 for day in weekdays)
        schedule = cls(minutes, hours, days, months, weekdays, either_day=either)
        schedule.after(datetime(2000, 1, 1, tzinfo=UTC))
        return schedule

    def after(self, moment: datetime) -> datetime:
        """The first time later than `moment`. Raises Misconfigured where there is none."""
        found = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        end = found + _HORIZON
        while found < end:
            if not self._day_fits(found):
                found = found.replace(hour=0, minute=0) + timedelta(days=1)
            elif found.hour not in self.hours:
                found = found.replace(minute=0) + timedelta(hours=1)
            elif found.minute not in self.minutes:
                found += timedelta(minutes=1)
            else:
                return found
        raise Misconfigured("a schedule that is never due: no such day in any year")

    def _day_fits(self, day: datetime) -> bool:
        by_date, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        fits = by_date or by_week if self.either_day else by_date and by_week
        return day.month in self.months and fits


def _values(schedule: str, field: str, name: str, low: int, high: int) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        top = last if dash else str(high) if slash else first
        if not all(text.isdecimal() for text in (first, top, step or "1")):
            raise Misconfigured(f"schedule {schedule!r}: {part!r} is no {name}: write numbers")
        begin, end, width = int(first), int(top), int(step or "1")
        if not (low <= begin <= end <= high and width > 0):
            raise Misconfigured(
                f"schedule {schedule!r}: {part!r} lies outside the {name}s {low} to {high}"
            )
        found.update(range(begin, end + 1, width))
    return frozenset(found)
