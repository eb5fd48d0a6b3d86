"""Say again what is overdue; one pass."""

from __future__ import annotations

from datetime import timedelta

from functions.sweep import Swept, say_again
from groundshift.opening import open_ledger, settings_of


def sweep() -> list[Swept]:
    """What was said again."""
    settings = settings_of()
    with open_ledger(settings) as ledger:
        return say_again(ledger, after=timedelta(seconds=settings.sweep_after_s))
