"""Which site learns and which one judges: by a hash of the site, never by tile.

The side of a site depends on its name and the salt alone: it stays where it is when samples or
sites are added, and two datasets that share a place never put it on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from training.dataset import Sample

Side = Literal["train", "validation"]
VALIDATION_SHARE: Final = 0.1
"""Of the sites; what the gate measures on is held out before (simulator seeds, other labels)."""
_SALT: Final = "groundshift split 1"


@dataclass(frozen=True)
class Split:
    """Samples by side."""

    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]


def side(site: str, *, share: float = VALIDATION_SHARE, salt: str = _SALT) -> Side:
    """The side of a site; `share` of all sites validate. A simulated site counts as any other."""
    digest = hashlib.sha256(f"{salt}\n{site}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return "validation" if place < share else "train"


def by_site(samples: Iterable[Sample], *, share: float = VALIDATION_SHARE) -> Split:
    """Every sample on its site's side, in the order given.

    Where the hash leaves a small dataset without a site to validate on, the site whose hash is the
    lowest does; a single site trains.
    """
    listed = tuple(samples)
    sites = sorted({sample.site for sample in listed}, key=_rank)
    judging = {site for site in sites if side(site, share=share) == "validation"}
    if share > 0 and not judging:
        judging = {sites[0]} if sites else set()
    if len(judging) == len(sites):  # somebody has to learn
        judging.discard(sites[-1] if sites else "")
    return Split(
        tuple(s for s in listed if s.site not in judging),
        tuple(s for s in listed if s.site in judging),
    )


def _rank(site: str) -> str:
    return hashlib.sha256(f"{_SALT}\n{site}".encode()).hexdigest()
