"""Cron schedules as a PingSource names them, for the embedded clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from cronsim import CronSim, CronSimError

from groundshift.errors import Misconfigured


@dataclass(frozen=True)
class Schedule:
    """When something is due, in UTC, to the minute."""

    text: str
    """Five fields: minute, hour, day, month, weekday."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """A schedule that is due at some time. Raises Misconfigured."""
        if len(text.split()) != 5:
            raise Misconfigured(f"schedule {text!r}: write five fields, e.g. '*/30 * * * *'")
        schedule = cls(text)
        schedule.after(datetime(2000, 1, 1, tzinfo=UTC))
        return schedule

    def after(self, moment: datetime) -> datetime:
        """The first time later than `moment`. Raises Misconfigured where there is none."""
        try:
            return next(CronSim(self.text, moment.astimezone(UTC)))
        except (CronSimError, StopIteration) as error:
            raise Misconfigured(
                f"schedule {self.text!r} is never due ({error}): write it as cron does, "
                "e.g. '*/30 * * * *'"
            ) from error
