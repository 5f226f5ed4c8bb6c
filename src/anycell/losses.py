"""Losses that representations put together: weighted means, Dice, cross-entropy.

All take batch x planes x h x w; torch is needed, so representations import this file
inside their ``loss`` only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's own docs use
from torch import Tensor

__all__ = [
    "blocks_of",
    "class_balance",
    "class_dice",
    "class_entropy",
    "cross_entropy",
    "follow",
    "soft_dice",
    "weighted",
]


def weighted(loss: Tensor, weight: Tensor) -> Tensor:
    """Mean of a loss under a weight of as many planes, or one."""
    return (loss * weight).sum() / weight.expand_as(loss).sum().clamp_min(1e-6)


def cross_entropy(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of the binary cross-entropy; ``truth`` is 0..1."""
    return weighted(F.binary_cross_entropy_with_logits(logits, truth, reduction="none"), weight)


def soft_dice(logits: Tensor, truth: Tensor, weight: Tensor, smooth: float = 64.0) -> Tensor:
    """Soft Dice loss (Milletari et al. 2016) of each image, averaged.

    ``smooth`` pixels are added above and below, so that an empty image that is found
    empty costs nothing.
    """
    chance = torch.sigmoid(logits) * weight
    both = (chance * truth).sum(dim=(1, 2, 3))
    either = chance.sum(dim=(1, 2, 3)) + (truth * weight).sum(dim=(1, 2, 3))
    return (1.0 - (2.0 * both + smooth) / (either + smooth)).mean()


def class_entropy(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of the cross-entropy of classes, one plane of logits each.

    ``truth`` has as many planes, of which one is 1 at every pixel; ``weight`` has one.
    """
    return weighted(-(truth * logits.log_softmax(dim=1)).sum(dim=1, keepdim=True), weight)


def class_balance(truth: Tensor, weight: Tensor) -> Tensor:
    """Weights under which every class counts alike: n x 1 x h x w, 1 on average.

    ``truth`` has one plane for each class, as for :func:`class_entropy`.
    """
    pixels = (truth * weight).sum(dim=(0, 2, 3), keepdim=True)
    share = weight.sum() / (truth.shape[1] * pixels.clamp_min(1.0))
    return (truth * share).sum(dim=1, keepdim=True)


def class_dice(logits: Tensor, truth: Tensor, weight: Tensor, smooth: float = 64.0) -> Tensor:
    """Soft Dice loss of each class of each image, averaged; planes as for cross-entropy.

    ``smooth`` as in :func:`soft_dice`.
    """
    chance = logits.softmax(dim=1) * weight
    both = (chance * truth).sum(dim=(2, 3))
    either = chance.sum(dim=(2, 3)) + (truth * weight).sum(dim=(2, 3))
    return (1.0 - (2.0 * both + smooth) / (either + smooth)).mean()


def blocks_of(weight: Tensor, stride: int) -> Tensor:
    """Image pixels to field pixels: n x 1 x H x W to n x stride**2 x h x w.

    Sides that do not divide are padded by their last row or column.
    """
    down, right = (-side % stride for side in weight.shape[-2:])
    if down or right:
        weight = F.pad(weight, (0, right, 0, down), mode="replicate")
    return F.pixel_unshuffle(weight, stride)


def follow(field: Tensor, arrows: Tensor) -> Tensor:
    """Read a field where arrows lead to: field(p + arrow(p)), nearest pixel.

    Parameters
    ----------
    field : n x planes x h x w.
    arrows : n x 2 x h x w, (y, x) in field pixels; no gradient flows into them.
    """
    count, planes, height, width = field.shape
    rows = torch.arange(height, device=field.device).view(1, height, 1)
    columns = torch.arange(width, device=field.device).view(1, 1, width)
    to_y = (rows + arrows[:, 0].detach()).round().clamp(0, height - 1).long()
    to_x = (columns + arrows[:, 1].detach()).round().clamp(0, width - 1).long()
    place = (to_y * width + to_x).view(count, 1, -1).expand(-1, planes, -1)
    return field.reshape(count, planes, -1).gather(2, place).view_as(field)
