"""Classical change scores, in numpy: the yardstick, and the judge of which pixels are doubtful."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.ndimage import uniform_filter
from scipy.stats import chi2, rankdata
from skimage.filters import threshold_otsu

from training.spectra import as_reflectance, as_stack, ratio

Stack = NDArray[np.uint16]
Score = NDArray[np.float32]
_STEADY, _BARE = 0.5, 0.3
"""Probability of no change and NDVI of pseudo-invariant pixels. IR-MAD's probability is uniform on
unchanged ground: over .95 lies a twentieth of it, which gives the same gains from too few."""
_ENOUGH = 300
"""Fewer pseudo-invariant pixels say nothing."""
_GAINS = (0.7, 1.4)
"""A gain beyond these in any band: the pixels were not invariant."""


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


def no_change_probability(
    before: Stack, after: Stack, valid: NDArray[np.bool_], *, rounds: int = 12
) -> Score:
    """Probability of no change by iteratively reweighted MAD (Nielsen 2007), float32 [H,W].

    Linear radiometric differences between the dates change nothing. 0 where not valid.
    """
    both = np.concatenate([as_reflectance(before)[:, valid], as_reflectance(after)[:, valid]])
    bands, weight = len(before), np.ones(both.shape[1])
    for _ in range(rounds):
        mean = np.average(both, axis=1, weights=weight)
        spread = np.cov(both, aweights=weight) + 1e-9 * np.eye(2 * bands)
        one, two, cross = spread[:bands, :bands], spread[bands:, bands:], spread[:bands, bands:]
        squared, first = eigh(cross @ np.linalg.solve(two, cross.T), one)
        rho = np.sqrt(np.clip(squared, 1e-6, 1 - 1e-6))
        second = np.linalg.solve(two, cross.T @ first) / rho
        centred = both - mean[:, None]
        variates = first.T @ centred[:bands] - second.T @ centred[bands:]
        distance = (variates**2 / (2 * (1 - rho))[:, None]).sum(axis=0)
        weight = chi2.sf(distance, bands)
    probability = np.zeros(valid.shape, np.float32)
    probability[valid] = weight
    return probability


def levelled(before: Stack, after: Stack, valid: NDArray[np.bool_]) -> Stack:
    """`after` with gain and offset per band that make unchanged ground look as it did `before`.

    Orthogonal regression on pseudo-invariant pixels: no change by IR-MAD and hardly any leaf at
    either date (the season must not set the gain). As it was where too few are such, or where
    the line found is no sun and no haze.
    """
    one, two = as_reflectance(before), as_reflectance(after)
    bare = (ratio(one[3], one[2]) < _BARE) & (ratio(two[3], two[2]) < _BARE)
    steady = (no_change_probability(before, after, valid) > _STEADY) & bare
    if steady.sum() < _ENOUGH:
        return after
    lines = [_line(a[steady], b[steady]) for a, b in zip(one, two, strict=True)]
    if not all(_GAINS[0] < gain < _GAINS[1] for gain, _ in lines):
        return after
    matched = np.stack([b * gain + offset for b, (gain, offset) in zip(two, lines, strict=True)])
    return as_stack(matched.astype(np.float32), after.min(axis=0) > 0)


def _line(reference: Score, band: Score) -> tuple[float, float]:
    """(gain, offset) by orthogonal regression."""
    spread = np.cov(band, reference)
    difference = spread[1, 1] - spread[0, 0]
    gain = (difference + np.hypot(difference, 2 * spread[0, 1])) / (2 * spread[0, 1] + 1e-12)
    return float(gain), float(reference.mean() - gain * band.mean())
