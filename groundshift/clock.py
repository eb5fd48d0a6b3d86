"""Time as a dependency: programs pass the system's clock, tests one that they turn by hand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the platform asks of time."""

    def now(self) -> datetime:
        """The present, aware, UTC."""
        ...

    async def wait(self, wakeup: asyncio.Event, *, seconds: float) -> None:
        """Return once `wakeup` is set or `seconds` have passed, whichever is first."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present, aware, UTC."""
        return datetime.now(UTC)

    async def wait(self, wakeup: asyncio.Event, *, seconds: float) -> None:
        """Return once `wakeup` is set or `seconds` have passed, whichever is first."""
        try:
            async with asyncio.timeout(seconds):
                await wakeup.wait()
        except TimeoutError:
            return
