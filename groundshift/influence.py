"""How far around a pixel a model looks: measured on the artifact itself, without torch.

The lattice gives every tile core a halo of 32 px. A model whose outputs in the core change when
something changes outside the halo would answer differently for the same ground in another tile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from geodata_etl.grid import HALO_PX

Inputs = Mapping[str, NDArray[np.generic]]
Model = Callable[[Inputs], NDArray[np.generic]]
"""Inputs by name ([N,C,H,W]) to the one output, [N,H,W] or [N,C,H,W] uint8."""

TOLERANCE: Final = 1
"""Levels (of 254) an output may move: the quantisation step itself."""
SHARE: Final = 0.999
"""Share of the pixels that must stay within the tolerance."""
_BEYOND: Final = 32
"""Width of the surroundings that are replaced at the largest tested distance, pixels."""


@dataclass(frozen=True)
class Influence:
    """How far a model was seen to look."""

    px: int
    """Smallest tested distance beyond which changing everything changes nothing (see SHARE)."""
    shares: Mapping[int, float]
    """Distance -> share of the worst-placed pixels that stayed within the tolerance."""


class NotContained(ValueError):
    """The model looks further than any tested distance."""


def measure_influence(
    model: Model,
    inputs: Inputs,
    others: Sequence[Inputs],
    *,
    distances: Sequence[int] = (8, 12, 16, 20, 24, 28, 32),
    categorical: bool = False,
) -> Influence:
    """The distance beyond which nothing reaches the model's output.

    For every distance d, all pixels farther than d from a core are replaced by each of `others`
    (imagery of another place, noise, nodata: the same names, shapes and dtypes), and the output is
    compared on the core's outermost pixels, which have exactly d pixels of context on one side.
    The core is the image without `max(distances)` + 32 px on each side. With `categorical` (a
    class mask) any difference counts; otherwise one of more than TOLERANCE levels does.

    Raises NotContained where no distance reaches SHARE; ValueError where the image is too small.
    """
    margin = max(distances) + _BEYOND
    height, width = next(iter(inputs.values())).shape[-2:]
    if min(height, width) < 2 * margin + 8:
        raise ValueError(f"image of {height} x {width} px is too small for a margin of {margin} px")
    reference = _rim(model(inputs), margin)
    shares = {}
    for distance in sorted(distances):
        kept = [
            _kept(
                reference,
                _rim(model(_replaced(inputs, other, margin - distance)), margin),
                categorical=categorical,
            )
            for other in others
        ]
        shares[distance] = min(kept)
    contained = [d for d in shares if all(shares[e] >= SHARE for e in shares if e >= d)]
    if not contained:
        raise NotContained(
            f"influence reaches beyond {max(distances)} px: {shares}; use a smaller network"
        )
    return Influence(min(contained), shares)


def standard_inputs(inputs: Inputs, *, seed: int = 0) -> list[Inputs]:
    """Replacements for the surroundings: the image turned upside down, noise, and nodata.

    Noise is drawn within the range of each input; nodata is 0 for uint16 and 255 for uint8.
    """
    rng = np.random.default_rng(seed)
    turned = {k: np.ascontiguousarray(v[..., ::-1, ::-1]) for k, v in inputs.items()}
    noise = {k: _noise(rng, v) for k, v in inputs.items()}
    empty = {k: np.full_like(v, 255 if v.dtype == np.uint8 else 0) for k, v in inputs.items()}
    return [turned, noise, empty]


def within_halo(influence: Influence) -> bool:
    """Whether the lattice's halo holds everything the model looks at."""
    return influence.px <= HALO_PX


def _noise(rng: np.random.Generator, like: NDArray[np.generic]) -> NDArray[np.generic]:
    low, high = (1, 10_000) if like.dtype == np.uint16 else (0, 255)
    return rng.integers(low, high, like.shape).astype(like.dtype)


def _replaced(inputs: Inputs, other: Inputs, margin: int) -> Inputs:
    inner = (..., *(slice(margin, -margin),) * 2)
    replaced = {}
    for name, array in inputs.items():
        replaced[name] = other[name].copy()
        replaced[name][inner] = array[inner]
    return replaced


def _rim(output: NDArray[np.generic], margin: int) -> NDArray[np.int16]:
    """The outermost pixels of the core, as one axis."""
    core = output[..., margin:-margin, margin:-margin].astype(np.int16)
    sides = (core[..., 0, :], core[..., -1, :], core[..., :, 0], core[..., :, -1])
    rim: NDArray[np.int16] = np.concatenate(sides, axis=-1)
    return rim


def _kept(a: NDArray[np.int16], b: NDArray[np.int16], *, categorical: bool) -> float:
    return float((np.abs(a - b) <= (0 if categorical else TOLERANCE)).mean())
