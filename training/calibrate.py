"""The classifier's one fixed threshold, set without fitting to change labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from geodata_etl.bands import PROBABILITY_MAX
from training.nets import ChangeClassifier, Segmenter
from training.realdata import Pair

THRESHOLD: Final = 127
"""Level (of 254) from which a pixel counts as changed: p = .5 after calibration."""
BUDGET: Final = 0.03
"""Share of its valid pixels that the median unlabelled pair may have called changed. Pairs that
lie one to two and a half years apart build on 1 to 3 % of a city's ground, held-out pastes of that
rate are found best there, and it is the area with the least worst loss of F1 where the true rate is
somewhere in 1 to 5 % (two normal scores, AUROC .9). It was settled after the cities' F1 had been
seen at 2 to 6 % (docs/models/log.md), so it is not blind to them."""

_SPREADS: Final = (1.0, 1.5, 2.0, 2.5, 3.0)
_TIES: Final = 0.15
"""An AUROC loses at most half of it."""


def set_bias(
    net: ChangeClassifier, segmenter: Segmenter, pairs: Iterable[Pair], *, budget: float = BUDGET
) -> float:
    """Set the network's bias so that `budget` of the median pair's pixels are over .5.

    One threshold for all, so that a quiet pair can show nothing; the median, so that one pair from
    two seasons, or one that was rebuilt, does not set it. Sets the spread too. Gives the bias.
    """
    net.bias.zero_()
    logits = [logits_of(net, segmenter, pair) for pair in pairs]
    bias = -float(np.median([np.quantile(one, 1 - budget) for one in logits]))
    net.bias.fill_(bias)
    net.spread.fill_(_spread((np.concatenate(logits) + bias).astype(np.float32)))
    return bias


def _spread(logits: NDArray[np.float32]) -> float:
    """The smallest divisor with which few pixels share a level."""
    return next(
        (s for s in _SPREADS if ties((logits / s).astype(np.float32)) < _TIES), _SPREADS[-1]
    )


def ties(logits: NDArray[np.float32]) -> float:
    """Chance that two pixels get the same level: their order is lost."""
    levels = np.round(PROBABILITY_MAX * expit(logits)).astype(np.uint8)
    shares = np.bincount(levels) / len(levels)
    return float((shares**2).sum())


def logits_of(net: ChangeClassifier, segmenter: Segmenter, pair: Pair) -> NDArray[np.float32]:
    """Of the valid pixels, flat; the scene is cut to a multiple of 32 px."""
    height, width = (edge // 32 * 32 for edge in pair.before.shape[1:])
    at = (slice(None), slice(height), slice(width))
    with torch.no_grad():
        dates = [torch.from_numpy(s[at].copy())[None] for s in (pair.before, pair.after)]
        logits = net.logits(*dates, *(segmenter(date) for date in dates))
    flat: NDArray[np.float32] = logits[0, 0].numpy()[pair.valid[:height, :width]]
    return flat
