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

__all__ = ["LOOKS", "Photometry", "photometric"]

LOW, HIGH = -0.5, 1.5
STAINS = ((0.650, 0.704, 0.286), (0.072, 0.990, 0.105), (0.268, 0.570, 0.776))
"""Density of hematoxylin, eosin and DAB in red, green, blue (Ruifrok & Johnston 2001)."""


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
    restyle: float = 0.0
    stain: float = 0.0
    haze: float = 0.0
    sharpen: float = 0.0
    filter: float = 0.0


LOOKS = {
    "near": Photometry(),
    "far": Photometry(restyle=0.1, stain=0.6, haze=0.3, sharpen=0.15, light=0.4, blur=0.3),
    "strange": Photometry(
        restyle=0.1, stain=0.6, haze=0.3, sharpen=0.15, light=0.4, blur=0.3, filter=0.25
    ),
}
"""How far the looks of training images are moved, by name: what another microscope of the same
kind does; or also another laboratory's stain, out-of-focus light and sharpening; or also what no
microscope does, random filters, so that outlines count and not textures."""


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
    out = images
    # What is never to happen draws no number, so that older runs stay as they were.
    if how.restyle:
        out = torch.where(dice.chance(how.restyle), _restyled(out, dice), out)
    if how.stain:
        bright = ~grey & (images.mean(dim=(1, 2, 3), keepdim=True) > 0.45)
        out = torch.where(dice.chance(how.stain) & bright, _stained(out, dice), out)
    out = _cellwise(out, labels, dice, how.cells)
    if how.haze:
        out = torch.where(dice.chance(how.haze), _hazy(out, dice), out)
    if how.sharpen:
        out = torch.where(dice.chance(how.sharpen), _sharpened(out, dice), out)
    if how.filter:
        out = torch.where(dice.chance(how.filter), _filtered(out, grey, dice), out)
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


def _restyled(images: Tensor, dice: _Dice) -> Tensor:
    """Give each image some of the low frequencies' amplitudes of the next (Yang & Soatto 2020)."""
    height, width = images.shape[-2:]
    own = torch.fft.rfft2(images.float())
    rows = torch.fft.fftfreq(height, device=images.device).abs().view(-1, 1)
    columns = torch.fft.rfftfreq(width, device=images.device).view(1, -1)
    low = torch.maximum(rows, columns) < 0.5 * dice.uniform(0.02, 0.12)
    low = low & ((rows + columns > 0) | dice.chance(0.5))
    share = dice.uniform(0.2, 0.8) * low
    amplitude = own.abs() * (1.0 - share) + own.abs().roll(1, dims=0) * share
    out: Tensor = torch.fft.irfft2(torch.polar(amplitude, own.angle()), s=(height, width))
    return out


def _stained(images: Tensor, dice: _Dice) -> Tensor:
    """Other shades and amounts of the stains: unmix, change, mix."""
    stains = torch.tensor(STAINS, device=images.device)
    stains = F.normalize(stains, dim=1)
    other = F.normalize((stains + 0.12 * dice.normal(3, 3)).clamp_min(0.0), dim=2)
    change = torch.linalg.inv(stains) @ (torch.exp(0.35 * dice.normal(3, 1)) * other)
    density = -torch.log(images.clamp_min(0.02))
    return torch.exp(-torch.einsum("nchw,ncd->ndhw", density, change))


def _hazy(images: Tensor, dice: _Dice) -> Tensor:
    """Light from out of focus: a wide blur of the image added, or some of it taken off.

    Each channel then spans what it spanned before, as it would after normalization.
    """
    wide, which = torch.zeros_like(images), dice.uniform(0, 3).long()
    for k, side in enumerate((8, 16, 32)):
        small = F.avg_pool2d(images, side)
        blurred = F.interpolate(small, size=images.shape[-2:], mode="bilinear")
        wide = torch.where(which == k, blurred, wide)
    amount = torch.where(dice.chance(0.75), dice.uniform(0.2, 2.0), dice.uniform(-0.6, -0.1))
    each = amount * dice.uniform(0.2, 1.0, 3)
    hazy = images + torch.where(dice.chance(0.5), each, amount) * wide
    span = [
        (x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True))
        for x in (F.avg_pool2d(hazy, 4), F.avg_pool2d(images, 4))
    ]
    (low, high), (first, last) = span
    return (hazy - low) / (high - low).clamp_min(1e-3) * (last - first) + first


def _sharpened(images: Tensor, dice: _Dice) -> Tensor:
    """What a camera's sharpening adds: differences from a mean of 3 or 5 pixels."""
    near = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="reflect"), 3, 1)
    wide = F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="reflect"), 5, 1)
    soft = torch.where(dice.chance(0.5), near, wide)
    return images + dice.uniform(0.3, 1.5) * (images - soft)


def _filtered(images: Tensor, grey: Tensor, dice: _Dice) -> Tensor:
    """Filters of 1, 3, 5 or 7 pixels with random weights, mixed with the image (Xu et al. 2021).

    Each channel then has the mean and the spread that the image had; grey stays grey.
    """
    reach = dice.uniform(0, 4).long().clamp(0, 3)
    steps = (torch.arange(7, device=images.device) - 3).abs()
    near = torch.maximum(steps.view(1, 1, -1, 1), steps.view(1, 1, 1, -1)) <= reach
    weights = dice.normal(9, 7, 7) * near
    flat = F.pad(images, (3, 3, 3, 3), mode="reflect").flatten(0, 1)[None]
    out = F.conv2d(flat, weights.view(-1, 3, 7, 7), groups=len(images)).view(images.shape)
    out = torch.where(grey, out[:, :1].expand_as(out), out)
    mean = out.mean(dim=(2, 3), keepdim=True)
    spread = out.std(dim=(2, 3), keepdim=True).clamp_min(1e-4)
    own = images.mean(dim=(2, 3), keepdim=True), images.std(dim=(2, 3), keepdim=True)
    share = dice.uniform(0.0, 1.0)
    return share * images + (1.0 - share) * ((out - mean) / spread * own[1] + own[0])


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
