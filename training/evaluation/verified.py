"""Labels that reviewers vouch for and that never trained: what the gate measures on."""

from __future__ import annotations

from groundshift.opening import open_store
from groundshift.settings import Settings
from training.dataset import Sample
from training.sources import VerifiedTiles, current_labels
from training.split import side


def held_out(settings: Settings) -> tuple[Sample, ...]:
    """Every tenant's current labels on the sites that the split keeps from training.

    The side of a site follows from its name (`training.split`), so that a label never moves from
    here into a training. It may have chosen between the checkpoints of one. Raises NotFound where
    the object store lacks a label that the ledger names.
    """
    tiles = VerifiedTiles(open_store(settings), current_labels(settings))
    return tuple(s for s in tiles.samples() if side(s.site) == "validation")
