"""What a teacher believes of the unlabelled pairs: targets that a student learns to give by tile.

The teacher is the network so far, helped by what no tile can see: many views, the whole scene's
statistics, the neighbourhood. Its student sees one disturbed crop.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.special import expit

from training.classical import cva, levelled
from training.nets import ChangeClassifier, Segmenter
from training.realdata import Pair
from training.rules import cropland
from training.samples import Background

Score = NDArray[np.float32]
_PRIOR: Final = 0.035
"""Share of all pixels, pooled over the pairs, that the teacher believes in with p over .5."""
_SPREAD: Final = 1.5
"""Logits are divided by it: a teacher is less sure than it says."""
_SMOOTH: Final = 1.5
"""Sites are larger than pixels: the teacher's logits are smoothed by this sigma, pixels."""
_FIELD: Final = 0.2
"""Fields that differ are believed in this much less."""
_EDGE: Final = 32


def teach(
    net: ChangeClassifier,
    segmenter: Segmenter,
    grounds: list[Background],
    *,
    views: int = 8,
    seed: int = 0,
) -> list[Background]:
    """The backgrounds with what the teacher believes of them."""
    rng = np.random.default_rng(seed)
    scores = [_score(net, segmenter, ground.pair, rng, views) for ground in grounds]
    seen = [s[g.pair.valid] for s, g in zip(scores, grounds, strict=True)]
    # Pooled, never per pair: a quiet pair may hold nothing.
    middle = float(np.quantile(np.concatenate(seen), 1 - _PRIOR))
    return [
        replace(ground, belief=_belief(score, middle, ground.pair))
        for score, ground in zip(scores, grounds, strict=True)
    ]


def _belief(score: Score, middle: float, pair: Pair) -> Score:
    belief = expit((score - middle) / _SPREAD)
    belief[cropland(pair)] *= _FIELD
    believed: Score = belief.astype(np.float32)
    return believed


def _score(
    net: ChangeClassifier,
    segmenter: Segmenter,
    pair: Pair,
    rng: np.random.Generator,
    views: int,
) -> Score:
    """Mean logit of the views, smoothed, and the log of the neighbourhood's change-vector length.

    That length is of bands standardised over the scene: it ranks best where the network, which
    must judge by tile, ranks worst.
    """
    afters = [pair.after, levelled(pair.before, pair.after, pair.valid)]
    logits = [_view(net, segmenter, pair.before, afters[i % 2], rng) for i in range(views)]
    smooth = gaussian_filter(np.mean(logits, axis=0), _SMOOTH)
    length = uniform_filter(cva(pair.before, pair.after, pair.valid), 3)
    score: Score = (smooth + np.log(length + 0.3)).astype(np.float32)
    return score


def _view(
    net: ChangeClassifier,
    segmenter: Segmenter,
    before: NDArray[np.uint16],
    after: NDArray[np.uint16],
    rng: np.random.Generator,
) -> Score:
    """Logits [H,W] of the pair turned and lit otherwise, turned back."""
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    height, width = before.shape[1:]
    pads = ((0, 0), (_EDGE, _EDGE + -height % 32), (_EDGE, _EDGE + -width % 32))

    def there(stack: NDArray[np.uint16]) -> torch.Tensor:
        gain = rng.uniform(0.96, 1.04) * rng.uniform(0.98, 1.02, (len(stack), 1, 1))
        lit = np.pad(stack * gain, pads)
        spun = np.rot90(lit[..., ::-1] if flip else lit, turns, axes=(-2, -1))
        return torch.from_numpy(np.round(spun).astype(np.uint16).copy())[None]

    with torch.no_grad():
        dates = there(before), there(after)
        out = net.logits(*dates, *(segmenter(date) for date in dates))[0, 0].numpy()
    back = np.rot90(out, -turns)
    back = back[:, ::-1] if flip else back
    logits: Score = back[_EDGE : _EDGE + height, _EDGE : _EDGE + width]
    return logits
