"""Try again what was given up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from functions.commands.common import open_ledger
from groundshift.ledger import DeadLetter, deliveries, outcomes


def replay(
    *, data_dir: Path | None, event_id: str | None, trigger: str | None, only_list: bool
) -> Sequence[DeadLetter]:
    """The dead letters of a data folder; unless `only_list`, those chosen are put back in line."""
    with open_ledger(data_dir) as (ledger, _):
        if not only_list:
            return outcomes.replay_dead(ledger, event_id=event_id, trigger=trigger)
        with ledger.read() as connection:
            return deliveries.dead_letters(connection)
