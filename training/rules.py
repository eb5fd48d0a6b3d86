"""Land cover by rule on real pairs: only pixels that are sure; everything else is ignored.

Rules and thresholds: Hollstein et al. 2016 (decision tree on Sentinel-2 spectra), Zha et al. 2003
(NDBI), Xu 2006 (MNDWI); the split of trees from low vegetation and of built from bare ground by
texture and by the other date was set by eye on the unlabelled pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_opening, uniform_filter

from geodata_etl.bands import Cover
from training.realdata import Pair
from training.spectra import Indices, as_reflectance, indices

IGNORE = 255


def cover_labels(pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """bands.Cover of each date [H,W], 255 where the rules are not sure."""
    before, after = as_reflectance(pair.before), as_reflectance(pair.after)
    one, two = indices(before), indices(after)
    built = _built(one) & _built(two)
    labels = []
    for r, mine, other in ((before, one, two), (after, two, one)):
        label = _label(r, mine, other, built)
        label[~pair.valid] = IGNORE
        labels.append(label)
    return labels[0], labels[1]


def suspected(pair: Pair, score: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """[H,W] pixels that probably were built on, cleared or rebuilt: pseudo-labels.

    Strong classical change of the neighbourhood (`score` over `threshold`) on ground that is bare
    or built at both dates, or rough once its leaves are gone: not a field, not a tree in autumn.
    """
    before, after = as_reflectance(pair.before), as_reflectance(pair.after)
    one, two = indices(before), indices(after)
    open_twice = (np.maximum(one.ndvi, two.ndvi) < 0.3) & (
        np.maximum(one.texture, two.texture) > 0.07  # else a field in two states of tillage
    )
    barer, greener = np.minimum(one.ndvi, two.ndvi), np.maximum(one.ndvi, two.ndvi)
    rough = np.where(one.ndvi < two.ndvi, one.texture, two.texture) > 0.12
    cleared = (barer < 0.2) & (greener > 0.35) & rough
    wet = np.minimum(one.mndwi, two.mndwi) > 0
    probable = (open_twice | cleared) & ~wet & ~cropland(pair) & pair.valid
    marked: NDArray[np.bool_] = probable & (uniform_filter(score, 3) > threshold)
    return marked


def _built(i: Indices) -> NDArray[np.bool_]:
    built: NDArray[np.bool_] = (
        (i.ndvi < 0.22) & (i.ndbi > -0.15) & (i.texture > 0.13) & (i.mndwi < 0.05)
    )
    return built


def _label(
    r: NDArray[np.float32], mine: Indices, other: Indices, built: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    _, green, red, nir, swir, _ = r
    label = np.full(nir.shape, IGNORE, np.uint8)
    leafy = mine.ndvi > 0.45
    label[leafy & (nir > 0.32) & (swir > 0.16)] = Cover.LOW_VEGETATION
    label[leafy & (nir < 0.30) & (swir < 0.15) & (red < 0.06)] = Cover.TREE
    smooth = (mine.texture < 0.06) & (swir > 0.18) & (red > 0.10)
    open_soil = (mine.ndvi < 0.25) & (mine.ndbi > -0.02) & (mine.mndwi < 0)
    label[open_soil & (smooth | (other.ndvi > 0.45))] = Cover.BARE
    label[built] = Cover.BUILT
    label[(mine.mndwi > 0.15) & (nir < 0.10) & (swir < 0.06) & (green < 0.2)] = Cover.WATER
    return label


def cropland(pair: Pair) -> NDArray[np.bool_]:
    """[H,W] fields: smooth at both dates, in leaf at one of them, never as bright as earthworks.

    Fields differ between dates more than anything else does; taking them for unchanged is what
    teaches a network the difference between a harvest and a building site.
    """
    before, after = as_reflectance(pair.before), as_reflectance(pair.after)
    one, two = indices(before), indices(after)
    smooth = (one.texture < 0.12) & (two.texture < 0.12)
    leafy = np.maximum(one.ndvi, two.ndvi) > 0.35
    dull = np.maximum(before[2], after[2]) < 0.19
    field = smooth & leafy & dull & (one.mndwi < 0) & (two.mndwi < 0)
    opened: NDArray[np.bool_] = binary_opening(field, iterations=2)
    return opened & pair.valid
