r"""Swift: an encoder-decoder made for CPUs.

    stride  2   4    8    16    32
    width  24  64   96   160   192      plain 3x3 blocks, one convolution each once
             \   |    |    |    /        batch norm and the shortcut are folded in
              additive pyramid, modulated by one style token per image
              pixel shuffle to stride 2 (and further, when the fields need it)

A block is ReLU(x + BN(conv3x3(x))); for inference its shortcut and its norm fold into
the kernel (after RepVGG, Ding et al. 2021), so that the exported graph is convolutions
and ReLUs only.  The style token (global average of the deepest features) scales and
shifts the decoder's features (FiLM, Perez et al. 2018).  It may be given instead: the
tiles of one image share one style (``anycell.styles``), as crops of it did in training.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's own docs use
from torch import Tensor, nn

from anycell.errors import SettingError

__all__ = ["Swift", "SwiftModule", "fold"]


@dataclass(frozen=True)
class Swift:
    """Widths and depths of the five resolutions; see the module's docstring."""

    widths: tuple[int, ...] = (24, 64, 96, 160, 192)
    depths: tuple[int, ...] = (0, 2, 3, 3, 2)
    pyramid: int = 64
    head: int = 32

    name = "swift"
    multiple = 32
    reach = 32

    def build(self, channels_in: int, channels_out: int, stride: int) -> nn.Module:
        """Make the untrained module; ``stride`` is 1 or 2."""
        if stride not in (1, 2):
            raise SettingError(f"fields at stride {stride}", expected="1 or 2")
        return SwiftModule(self, channels_in, channels_out, stride)


class Block(nn.Module):
    """ReLU(x + BN(conv3x3(x))), or ReLU(BN(conv3x3(x))) where the shape changes."""

    def __init__(self, channels_in: int, channels_out: int, step: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, step, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out, momentum=0.03)
        self.step = step
        self.shortcut = channels_in == channels_out and step == 1
        if self.shortcut:
            nn.init.constant_(self.norm.weight, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        return F.relu(x + y if self.shortcut else y)


class Folded(nn.Module):
    """A block after folding: one convolution and a ReLU."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        conv, norm = block.conv, block.norm
        if norm.running_var is None or norm.running_mean is None:
            raise SettingError("a norm without running statistics", expected="a trained network")
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        kernel = conv.weight * scale[:, None, None, None]
        if block.shortcut:
            own = torch.arange(kernel.shape[0])
            kernel = kernel.clone()
            kernel[own, own, 1, 1] += 1.0
        self.conv = nn.Conv2d(conv.in_channels, conv.out_channels, 3, block.step, 1)
        self.conv.weight = nn.Parameter(kernel.detach())
        self.conv.bias = nn.Parameter((norm.bias - norm.running_mean * scale).detach())

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


class SwiftModule(nn.Module):
    """The torch module of :class:`Swift`."""

    def __init__(self, plan: Swift, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        widths, depths = plan.widths, plan.depths
        before = (channels_in, *widths[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(Block(a, b, 2), *(Block(b, b) for _ in range(depth)))
            for a, b, depth in zip(before, widths, depths, strict=True)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(w, plan.pyramid, 1) for w in widths[1:])
        self.smooth = nn.ModuleList(Block(plan.pyramid, plan.pyramid) for _ in widths[1:])
        self.style = nn.Linear(widths[-1], 2 * plan.pyramid)
        nn.init.zeros_(self.style.weight)
        nn.init.zeros_(self.style.bias)
        self.widen = nn.Conv2d(plan.pyramid, 4 * plan.head, 1)
        self.skip = nn.Conv2d(widths[0], plan.head, 1)
        self.last = nn.Sequential(Block(plan.head, plan.head), Block(plan.head, plan.head))
        self.outward = nn.Conv2d(plan.head, channels_out * (4 if stride == 1 else 1), 1)
        nn.init.normal_(self.outward.weight, std=0.02)
        self.stride = stride
        self.style_size = widths[-1]

    def forward(self, x: Tensor, style: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Give the fields of n x channels x H x W tiles, H and W multiples of 32.

        Parameters
        ----------
        style : n x ``style_size``; a tile has its own where it is not a number.  With it
            the own style of each tile is given as well.
        """
        features = self._features(x)
        own = features[-1].mean(dim=(2, 3))
        if style is None:
            return self._fields(features, own)
        return self._fields(features, torch.where(torch.isnan(style), own, style)), own

    def _features(self, x: Tensor) -> list[Tensor]:
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def _fields(self, features: list[Tensor], style: Tensor) -> Tensor:
        scale, shift = self.style(style)[:, :, None, None].chunk(2, dim=1)
        top: Tensor | None = None
        for k in range(len(self.laterals) - 1, -1, -1):
            side = self.laterals[k](features[k + 1])
            if top is not None:
                side = side + F.interpolate(top, scale_factor=2.0, mode="nearest")
            top = self.smooth[k](side * (1.0 + scale) + shift)
        if top is None:
            raise SettingError("a network without stages", expected="at least two widths")
        fine = F.pixel_shuffle(self.widen(top), 2) + self.skip(features[0])
        out = self.outward(self.last(F.relu(fine)))
        shuffled: Tensor = F.pixel_shuffle(out, 2) if self.stride == 1 else out
        return shuffled


def fold(module: nn.Module) -> nn.Module:
    """Give a copy for inference with every block folded into one convolution."""
    folded = copy.deepcopy(module).eval()
    _fold_inside(folded)
    return folded


def _fold_inside(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, Block):
            setattr(module, name, Folded(child))
        else:
            _fold_inside(child)
