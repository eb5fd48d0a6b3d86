"""What every stage is given: the settings and the seams to the outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from groundshift.baseline import Rules
from groundshift.ledger import Ledger
from groundshift.ports import ModelClient, ObjectStore
from groundshift.runs import Parameters
from groundshift.settings import Settings
from groundshift.tiles import SingleFlight

if TYPE_CHECKING:
    from functions.blocks import Scorer  # Dask, which most stages do without

SCRATCH: Final = "scratch"
"""Folder below the data folder."""


@dataclass(frozen=True)
class Platform:
    """One platform as its programs see it. Safe for threads."""

    settings: Settings
    ledger: Ledger
    store: ObjectStore
    models: ModelClient
    flights: SingleFlight = field(default_factory=SingleFlight)
    """Keeps two workers of this process from computing the same thing."""
    score: Scorer | None = None
    """Makes blocks elsewhere, as a backfill's Dask cluster does; None: in this process."""

    @property
    def scratch(self) -> Path:
        """Folder of files that are being made; what a kill leaves there, the next start clears."""
        folder = self.settings.data_dir / SCRATCH
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def parameters(self) -> Parameters:
        """What changes a run's pixels, from the settings."""
        s = self.settings
        return Parameters(
            threshold=s.threshold, min_area_px=s.min_area_px, cloud_buffer_px=s.cloud_buffer_px
        )

    @property
    def rules(self) -> Rules:
        """The gate of the plan stage, from the settings."""
        s = self.settings
        return Rules(
            size=s.baseline_size,
            min_overlap_fraction=s.min_overlap_fraction,
            season_max_days=s.season_max_days,
            min_valid_fraction=s.min_valid_fraction,
            max_shift_spread_px=s.max_shift_spread_px,
        )
