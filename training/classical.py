"""Classical change scores, in numpy: the yardstick, and the judge of which pixels are doubtful."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.stats import rankdata
from skimage.filters import threshold_otsu

from training.spectra import as_reflectance

Stack = NDArray[np.uint16]
Score = NDArray[np.float32]


def cva(before: Stack, after: Stack, valid: NDArray[np.bool_]) -> Score:
    """Change-vector analysis: length of the difference of standardised bands, float32 [H,W].

    Each date's bands are standardised over the valid pixels (the usual relative normalisation).
    """
    difference = _standardised(after, valid) - _standardised(before, valid)
    length: Score = np.sqrt((difference**2).sum(axis=0))
    length[~valid] = 0
    return length


def cva_otsu(before: Stack, after: Stack, valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[H,W] changed by change-vector analysis with Otsu's threshold over the valid pixels."""
    score = cva(before, after, valid)
    if valid.sum() < 2 or np.ptp(score[valid]) == 0:
        return np.zeros_like(valid)
    threshold = threshold_otsu(score[valid])  # type: ignore[no-untyped-call]
    changed: NDArray[np.bool_] = (score > threshold) & valid
    return changed


def _standardised(stack: Stack, valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    r = as_reflectance(stack)
    inside = r[:, valid] if valid.any() else r.reshape(len(r), -1)
    mean, std = inside.mean(axis=1), inside.std(axis=1) + 1e-6
    z: NDArray[np.float32] = (r - mean[:, None, None]) / std[:, None, None]
    return z


def spectral_angle(before: Stack, after: Stack) -> Score:
    """Angle between 3x3 mean spectra, radians [H,W]: steady under light and small shifts."""
    a, b = (uniform_filter(as_reflectance(s), (0, 3, 3)) for s in (before, after))
    lengths = np.sqrt((a * a).sum(0) * (b * b).sum(0)) + 1e-6
    angle: Score = np.arccos(np.clip((a * b).sum(0) / lengths, -1, 1)).astype(np.float32)
    return angle


def fused_rank(before: Stack, after: Stack, valid: NDArray[np.bool_]) -> Score:
    """Mean rank (0..1) of change-vector length and spectral angle over the valid pixels [H,W]."""
    fused = np.zeros(valid.shape, np.float32)
    scores = (cva(before, after, valid), spectral_angle(before, after))
    ranks = [rankdata(score[valid]) / max(1, valid.sum()) for score in scores]
    fused[valid] = np.mean(ranks, axis=0)
    return fused
