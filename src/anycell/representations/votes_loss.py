"""The loss of :mod:`anycell.representations.votes`; the only part that needs torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's own docs use
from torch import Tensor

__all__ = ["votes_loss"]


def votes_loss(
    outputs: Tensor, targets: Tensor, weight: Tensor, *, unit: float, contact_weight: float
) -> Tensor:
    """Sum of the losses of the planes of ``Votes``.

    Binary cross-entropy and soft Dice on the foreground, Laplace likelihood of the
    votes with their own predicted scale, Huber on two composed votes (contraction),
    cross-entropy on contact, L1 on log size.
    """
    outputs = outputs.float()
    valid = F.pixel_unshuffle(_even(weight), 2)
    known = (valid.amin(dim=1, keepdim=True) > 0).float()
    contact = (targets[:, 6:7] > 0).float()
    cell = targets[:, 11:12] * known * (1.0 + (contact_weight - 1.0) * contact)
    total = cell.sum().clamp_min(1e-6)
    truth = (targets[:, :4] > 0).float()

    emphasis = valid * (1.0 + (contact_weight - 1.0) * contact)
    foreground = _mean(
        F.binary_cross_entropy_with_logits(outputs[:, :4], truth, reduction="none"), emphasis
    )
    error = (outputs[:, 4:6] - targets[:, 4:6]).abs().sum(dim=1, keepdim=True) * unit
    scale = outputs[:, 8:9].clamp(-3.0, 4.0)
    votes = ((error * torch.exp(-scale) + 2.0 * scale) * cell).sum() / total
    plain = (error * cell).sum() / total
    contraction = (_composed(outputs[:, 4:6], targets[:, 9:11], unit) * cell).sum() / total
    touching = _mean(
        F.binary_cross_entropy_with_logits(outputs[:, 6:7], contact, reduction="none"),
        known * (1.0 + 4.0 * contact),
    )
    size = ((outputs[:, 7:8] - targets[:, 7:8]).abs() * cell).sum() / total
    return (
        2.0 * foreground
        + _dice(outputs[:, :4], truth, valid)
        + 0.2 * votes
        + 0.2 * plain
        + 0.1 * contraction
        + 0.3 * touching
        + 0.2 * size
    )


def _even(weight: Tensor) -> Tensor:
    """Pad odd sides by repeating the last row and column."""
    down, right = weight.shape[-2] % 2, weight.shape[-1] % 2
    return F.pad(weight, (0, right, 0, down), mode="replicate") if down or right else weight


def _mean(loss: Tensor, weight: Tensor) -> Tensor:
    return (loss * weight).sum() / weight.expand_as(loss).sum().clamp_min(1.0)


def _dice(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Soft Dice loss per image, so that dim and sparse images count as much as full ones."""
    chance = torch.sigmoid(logits) * valid
    truth = truth * valid
    both = (chance * truth).sum(dim=(1, 2, 3))
    either = chance.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3))
    smooth = 64.0
    return (1.0 - (2.0 * both + smooth) / (either + smooth)).mean()


def _composed(votes: Tensor, two_hops: Tensor, unit: float) -> Tensor:
    """Huber loss of v(p) + v(p + v(p)) against the two-hop target, one plane."""
    batch, _, height, width = votes.shape
    arrow = votes.detach() * unit
    rows = torch.arange(height, device=votes.device).view(1, height, 1)
    columns = torch.arange(width, device=votes.device).view(1, 1, width)
    to_y = (rows + arrow[:, 0]).round().clamp(0, height - 1).long()
    to_x = (columns + arrow[:, 1]).round().clamp(0, width - 1).long()
    place = (to_y * width + to_x).view(batch, 1, -1).expand(-1, 2, -1)
    onward = votes.reshape(batch, 2, -1).gather(2, place).view_as(votes)
    loss = F.huber_loss(votes + onward, two_hops, reduction="none", delta=0.25)
    return loss.sum(dim=1, keepdim=True) * unit
