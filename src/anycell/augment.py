"""Photometric augmentation of whole batches, on the CPU or the GPU.

Turning and scaling are done where crops are cut (``batches``); here are the changes
that another microscope, stain, camera or lamp would make.  Every chance below is per
image, every draw comes from the generator that is handed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's own docs use
from torch import Generator, Tensor

__all__ = ["Photometry", "photometric"]

LOW, HIGH = -0.5, 1.5


@dataclass(frozen=True)
class Photometry:
    """Chance per image of each change, and how strong it may get."""

    to_grey: float = 0.15
    tint: float = 0.3
    mix: float = 0.4
    shuffle: float = 0.1
    invert: float = 0.1
    cells: float = 0.3
    gamma: float = 0.6
    contrast: float = 0.6
    light: float = 0.3
    blur: float = 0.25
    coarse: float = 0.15
    noise: float = 0.4


def photometric(images: Tensor, labels: Tensor, how: Photometry, random: Generator) -> Tensor:
    """Change the look of normalized images, each in its own way.

    Parameters
    ----------
    images : n x 3 x H x W, normalized to about 0..1.
    labels : n x H x W, for changes that differ from cell to cell.
    how : the chances.
    random : the source of all draws; its device is the images' device.
    """
    dice = _Dice(len(images), random, images.device)
    grey = (images[:, :1] == images[:, 1:]).all(dim=1).flatten(1).all(dim=1).view(-1, 1, 1, 1)
    out = _cellwise(images, labels, dice, how.cells)
    out = torch.where(dice.chance(how.to_grey) & ~grey, _one_grey(out, dice), out)
    out = torch.where(dice.chance(how.tint) & grey, out * _tint(dice), out)
    out = torch.where(dice.chance(how.mix) & ~grey, _mixed(out, dice), out)
    out = torch.where(dice.chance(how.shuffle) & ~grey, _shuffled(out, dice), out)
    out = torch.where(dice.chance(how.invert), 1.0 - out, out)
    power = torch.exp(dice.uniform(-0.7, 0.7) + (~grey) * dice.uniform(-0.2, 0.2, 3))
    bent = out.clamp_min(0.0) ** power + out.clamp_max(0.0)
    out = torch.where(dice.chance(how.gamma), bent, out)
    gain, offset = torch.exp(dice.uniform(-0.4, 0.4)), dice.uniform(-0.15, 0.15)
    out = torch.where(dice.chance(how.contrast), (out - 0.5) * gain + 0.5 + offset, out)
    out = torch.where(dice.chance(how.light), _lit(out, dice), out)
    out = torch.where(dice.chance(how.blur), _blurred(out, dice), out)
    out = _coarsened(out, dice, how.coarse)
    out = torch.where(dice.chance(how.noise), _noisy(out, dice), out)
    return out.clamp(LOW, HIGH)


class _Dice:
    """Draws one number per image, shaped to broadcast over n x channels x H x W."""

    def __init__(self, count: int, random: Generator, device: torch.device) -> None:
        self.count, self.random, self.device = count, random, device

    def uniform(self, low: float, high: float, channels: int = 1) -> Tensor:
        shape = (self.count, channels, 1, 1)
        return torch.rand(shape, generator=self.random, device=self.device) * (high - low) + low

    def chance(self, probability: float) -> Tensor:
        return self.uniform(0.0, 1.0) < probability

    def normal(self, *shape: int) -> Tensor:
        return torch.randn((self.count, *shape), generator=self.random, device=self.device)


def _cellwise(images: Tensor, labels: Tensor, dice: _Dice, probability: float) -> Tensor:
    """Make each cell brighter or dimmer than its neighbours."""
    top = int(labels.max()) + 1
    gain = torch.exp(0.25 * dice.normal(top))
    gain[:, 0] = 1.0
    spread = torch.gather(gain, 1, labels.flatten(1).long()).view(len(images), 1, *labels.shape[1:])
    # A soft edge, so that the outline is not given away.
    soft = F.avg_pool2d(F.pad(spread, (2, 2, 2, 2), mode="replicate"), 5, 1)
    return torch.where(dice.chance(probability), images * soft, images)


def _one_grey(images: Tensor, dice: _Dice) -> Tensor:
    weights = dice.uniform(0.1, 1.0, 3)
    weights = weights / weights.sum(dim=1, keepdim=True)
    return (images * weights).sum(dim=1, keepdim=True).expand(-1, 3, -1, -1)


def _tint(dice: _Dice) -> Tensor:
    """A gain per channel: one channel only half of the time, a color otherwise."""
    only = F.one_hot(dice.uniform(0, 3).flatten().long().clamp(0, 2), 3).float()
    color = dice.uniform(0.2, 1.0, 3)
    return torch.where(dice.chance(0.5), only.view(-1, 3, 1, 1), color)


def _mixed(images: Tensor, dice: _Dice) -> Tensor:
    """Mix the channels by a matrix near the identity (stains and filters differ)."""
    matrix = torch.eye(3, device=images.device) + 0.15 * dice.normal(3, 3)
    matrix = matrix / matrix.sum(dim=2, keepdim=True).clamp_min(0.3)
    return torch.einsum("nij,njhw->nihw", matrix, images)


def _shuffled(images: Tensor, dice: _Dice) -> Tensor:
    order = dice.uniform(0, 1, 3).argsort(dim=1)
    return torch.gather(images, 1, order.expand_as(images))


def _lit(images: Tensor, dice: _Dice) -> Tensor:
    """Uneven light: a slope and a vignette, multiplied or added."""
    height, width = images.shape[-2:]
    y = torch.linspace(-1, 1, height, device=images.device).view(1, 1, -1, 1)
    x = torch.linspace(-1, 1, width, device=images.device).view(1, 1, 1, -1)
    shade = dice.uniform(-0.3, 0.3) * y + dice.uniform(-0.3, 0.3) * x
    shade = shade + dice.uniform(-0.3, 0.1) * (y * y + x * x)
    return torch.where(dice.chance(0.5), images * (1.0 + shade), images + 0.5 * shade)


def _blurred(images: Tensor, dice: _Dice) -> Tensor:
    """Gaussian blur with its own sigma for each image, 0.4 to 2 pixels."""
    reach = 4
    sigma = dice.uniform(0.4, 2.0).view(-1, 1)
    steps = torch.arange(-reach, reach + 1, device=images.device).view(1, -1)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(3, dim=0)
    count = len(kernel)
    flat = F.pad(images, (reach, reach, reach, reach), mode="reflect")
    flat = flat.reshape(1, count, *flat.shape[-2:])
    flat = F.conv2d(flat, kernel.view(count, 1, -1, 1), groups=count)
    flat = F.conv2d(flat, kernel.view(count, 1, 1, -1), groups=count)
    return flat.view(images.shape)


def _coarsened(images: Tensor, dice: _Dice, probability: float) -> Tensor:
    """Down- and upsample some images by 1.5 to 3, as a coarser camera would."""
    chosen = dice.chance(probability).flatten()
    factor = dice.uniform(1.5, 3.0).flatten()
    out = images.clone()
    for k in torch.nonzero(chosen).flatten().tolist():
        small = F.interpolate(images[k : k + 1], scale_factor=1.0 / float(factor[k]), mode="area")
        out[k : k + 1] = F.interpolate(small, size=images.shape[-2:], mode="bilinear")
    return out


def _noisy(images: Tensor, dice: _Dice) -> Tensor:
    """Shot and read noise; the same in all channels half of the time (a grey camera)."""
    read, shot = dice.uniform(0.0, 0.08), dice.uniform(0.0, 0.1)
    noise = dice.normal(3, *images.shape[-2:])
    noise = torch.where(dice.chance(0.5), noise[:, :1].expand_as(noise), noise)
    return images + noise * torch.sqrt(read**2 + shot**2 * images.clamp(0.0, 1.0))
