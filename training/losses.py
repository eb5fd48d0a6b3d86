"""Losses that leave out what is not known (weight 0)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_SMOOTHING = 0.05


def class_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross entropy over known pixels; logits [N,C,H,W], target [N,H,W], weight [N,H,W]."""
    per_pixel = functional.cross_entropy(
        logits, target.long(), reduction="none", label_smoothing=_SMOOTHING
    )
    return (per_pixel * weight).sum() / weight.sum().clamp(min=1)


def change_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Binary cross entropy plus Dice over the whole batch; logits [N,1,H,W].

    Dice is summed over the batch because most crops hold no change.
    """
    logits, truth = logits.squeeze(1), target.to(torch.float32)
    soft = truth * (1 - _SMOOTHING) + _SMOOTHING / 2
    per_pixel = functional.binary_cross_entropy_with_logits(logits, soft, reduction="none")
    entropy = (per_pixel * weight * (1 + 2 * truth)).sum() / weight.sum().clamp(min=1)
    p = torch.sigmoid(logits) * weight
    both = (p * truth).sum()
    dice = 1 - (2 * both + 1) / (p.sum() + (truth * weight).sum() + 1)
    return entropy + 0.5 * dice


def imitation_loss(logits: Tensor, teacher: Tensor, weight: Tensor) -> Tensor:
    """Distance from a teacher's logits [N,H,W]; logits [N,1,H,W]. What it calls change, which is
    rare, counts up to ten times as much.
    """
    apart = functional.smooth_l1_loss(logits.squeeze(1), teacher, reduction="none")
    heavy = weight * (1 + 9 * torch.sigmoid(teacher))
    return (apart * heavy).sum() / heavy.sum().clamp(min=1)
