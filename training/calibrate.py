"""The classifier's one fixed threshold, set without fitting to change labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from training.nets import ChangeClassifier, Segmenter
from training.realdata import Pair

THRESHOLD: Final = 127
"""Level (of 254) from which a pixel counts as changed: p = .5 after calibration."""
BUDGET: Final = 0.03
"""Share of all valid pixels of the unlabelled pairs that may be called changed. Pairs that lie one
to two and a half years apart build on 1 to 3 % of a city's ground; held-out simulation gives its
best F1 there too, and the network's own p = .5 lies there. It was settled after the cities' F1 had
been seen at 2, 3 and 5 % (docs/models/log.md), so it is not blind to them."""


def set_bias(
    net: ChangeClassifier, segmenter: Segmenter, pairs: Iterable[Pair], *, budget: float = BUDGET
) -> float:
    """Set the network's bias so that `budget` of all pixels, pooled over the pairs, are over .5.

    Pooled, never per pair: a quiet pair must be able to show nothing. Gives the bias.
    """
    net.bias.zero_()
    logits = np.concatenate([_logits(net, segmenter, pair) for pair in pairs])
    bias = -float(np.quantile(logits, 1 - budget))
    net.bias.fill_(bias)
    return bias


def _logits(net: ChangeClassifier, segmenter: Segmenter, pair: Pair) -> NDArray[np.float32]:
    """Of the valid pixels, flat; the scene is cut to a multiple of 32 px."""
    height, width = (edge // 32 * 32 for edge in pair.before.shape[1:])
    at = (slice(None), slice(height), slice(width))
    with torch.no_grad():
        dates = [torch.from_numpy(s[at].copy())[None] for s in (pair.before, pair.after)]
        logits = net.logits(*dates, *(segmenter(date) for date in dates))
    flat: NDArray[np.float32] = logits[0, 0].numpy()[pair.valid[:height, :width]]
    return flat
