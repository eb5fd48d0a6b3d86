"""A pool of samples that is renewed bit by bit.

Drawing a sample costs more than learning from it, so each is learnt from several times, turned and
flipped anew each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from training.samples import Arrays, turn

_CAPACITY: Final = 1024
"""Samples in the pool: about 300 MB of classifier samples."""


class Replay:
    """Batches out of a pool; each call replaces its oldest samples by fresh ones."""

    def __init__(
        self, draw: Callable[[np.random.Generator, int], list[Arrays]], *, first: int, fresh: int
    ) -> None:
        self._draw, self._first, self._fresh = draw, first, fresh
        self._pool: list[Arrays] = []
        self._oldest = 0

    def batch(self, rng: np.random.Generator, count: int) -> Arrays:
        """`count` samples, stacked."""
        for sample in self._draw(rng, self._fresh if self._pool else self._first):
            self._put(sample)
        chosen = rng.integers(0, len(self._pool), count)
        samples = [turn(rng, self._pool[int(i)]) for i in chosen]
        return {key: np.stack([s[key] for s in samples]) for key in samples[0]}

    def _put(self, sample: Arrays) -> None:
        if len(self._pool) < _CAPACITY:
            self._pool.append(sample)
            return
        self._pool[self._oldest] = sample
        self._oldest = (self._oldest + 1) % _CAPACITY
