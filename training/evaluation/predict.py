"""What the three models make of a sample, as the platform would: no store, no server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from geodata_etl.bands import NOT_OBSERVED
from geodata_etl.composite import class_map, clear_mask
from groundshift.settings import Settings
from training.dataset import Sample
from training.evaluate import ModelSet, tiled

BUFFER_PX: Final = int(Settings.model_fields["cloud_buffer_px"].default)
"""Clouds and shadows grow by this much before anything is compared: the platform's default."""


@dataclass(frozen=True)
class Prediction:
    """The models' answer to one sample, all planes [H,W]."""

    level: NDArray[np.uint8]
    """Change probability x 254 of the classifier; 255 where it had no data."""
    hidden: NDArray[np.bool_]
    """The cloud mask, grown by the buffer, hides the pixel at either date."""
    clouds: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    """bands.Cloud per date, 255 without data."""
    covers: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    """The most probable bands.Cover per date, 255 without data."""
    threshold: int
    """Level from which the set calls a pixel changed."""

    @property
    def called(self) -> NDArray[np.bool_]:
        """[H,W] called changed and shown."""
        over: NDArray[np.bool_] = (self.level >= self.threshold) & (self.level != NOT_OBSERVED)
        return over & ~self.hidden


def predict(models: ModelSet, sample: Sample) -> Prediction:
    """Cloud mask, segmenter and classifier over a sample of any size."""
    stacks = (sample.before, sample.after)
    clouds = (models.clouds(sample.before), models.clouds(sample.after))
    clear = [
        clear_mask(stack, cloud, buffer_px=BUFFER_PX)
        for stack, cloud in zip(stacks, clouds, strict=True)
    ]
    before, after = (models.covers(stack) for stack in stacks)
    level = tiled(
        models.classifier,
        {
            "before": sample.before,
            "after": sample.after,
            "before_probabilities": before,
            "after_probabilities": after,
        },
    ).astype(np.uint8)
    return Prediction(
        level=level,
        hidden=~(clear[0] & clear[1]),
        clouds=clouds,
        covers=(_classes(before), _classes(after)),
        threshold=models.threshold,
    )


def _classes(probabilities: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return class_map(probabilities, probabilities[0] != NOT_OBSERVED)
