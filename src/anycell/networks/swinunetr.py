"""SwinUNETR: a transformer with shifted windows as encoder; from MONAI, in 2D.

Hatamizadeh et al. 2022 on Liu et al. 2021, at the sizes of the challenge's baseline
(github.com/JunMa11/NeurIPS-CellSeg): 24 features, windows of 7 x 7.

MONAI counts windows with numbers that an export to ONNX freezes.  The stages' loop over
windows is therefore written anew here, on MONAI's own layers; outputs are the same for
tiles from 128 pixels.  In smaller ones MONAI shrinks the last windows, here they are
padded.  Tiles of any sides that are a multiple of 64 are taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's own docs use
from torch import Tensor, nn

from anycell.networks.unet import HEAD, with_head

__all__ = ["SwinUnetr"]

WINDOW = 7
SHIFT = WINDOW // 2
APART = -100.0


@dataclass(frozen=True)
class SwinUnetr:
    """Features of the first resolution; each further one has twice as many."""

    features: int = 24

    name = "swinunetr"
    multiple = 64
    reach = 96

    def build(self, channels_in: int, channels_out: int, stride: int) -> nn.Module:
        """Make the untrained module; ``stride`` is 1 or 2."""
        from monai.networks.nets import SwinUNETR as Monai

        backbone = Monai(
            spatial_dims=2,
            in_channels=channels_in,
            out_channels=channels_out if stride == 1 else HEAD,
            feature_size=self.features,
            window_size=WINDOW,
        )
        encoder = backbone.swinViT
        for stages in (encoder.layers1, encoder.layers2, encoder.layers3, encoder.layers4):
            stages[0] = Stage(stages[0])
        return with_head(backbone, channels_out, stride)


class Stage(nn.Module):
    """The blocks of one resolution, every second one with shifted windows."""

    def __init__(self, stage: Any) -> None:
        super().__init__()
        self.blocks = stage.blocks
        self.downsample = stage.downsample

    def forward(self, x: Tensor) -> Tensor:
        """N x channels x h x w -> n x 2 channels x h / 2 x w / 2."""
        x = x.permute(0, 2, 3, 1)
        mask = _mask(x)
        for k, block in enumerate(self.blocks):
            x = x + _attended(x, block, SHIFT if k % 2 else 0, mask)
            x = x + block.mlp(block.norm2(x))
        halved: Tensor = self.downsample(x)
        return halved.permute(0, 3, 1, 2)


def _attended(x: Tensor, block: Any, shift: int, mask: Tensor) -> Tensor:
    """Attention within windows of n x h x w x channels, shifted by some pixels."""
    count, height, width, channels = x.shape
    rows, columns = _counts(x)
    beyond = (0, 0, 0, columns * WINDOW - width, 0, rows * WINDOW - height)
    y = F.pad(block.norm1(x), beyond)
    if shift:
        y = torch.roll(y, (-shift, -shift), (1, 2))
    y = block.attn(_windows(y), mask if shift else None)
    y = y.reshape(count, rows, columns, WINDOW, WINDOW, channels).permute(0, 1, 3, 2, 4, 5)
    y = y.reshape(count, rows * WINDOW, columns * WINDOW, channels)
    if shift:
        y = torch.roll(y, (shift, shift), (1, 2))
    return y[:, :height, :width]


def _counts(x: Tensor) -> tuple[int, int]:
    """Windows that cover n x h x w x channels."""
    return (x.shape[1] + WINDOW - 1) // WINDOW, (x.shape[2] + WINDOW - 1) // WINDOW


def _windows(x: Tensor) -> Tensor:
    """Cut n x h x w x channels, h and w multiples of 7: (n windows) x 49 x channels."""
    count, height, width, channels = x.shape
    rows, columns = height // WINDOW, width // WINDOW
    cut = x.reshape(count, rows, WINDOW, columns, WINDOW, channels).permute(0, 1, 3, 2, 4, 5)
    return cut.reshape(count * rows * columns, WINDOW * WINDOW, channels)


def _mask(x: Tensor) -> Tensor:
    """Keep apart what a shift has brought together from opposite edges: windows x 49 x 49."""
    zones = []
    for count in _counts(x):
        place = torch.arange(count * WINDOW, device=x.device)
        zones.append((place >= (count - 1) * WINDOW).long() + (place >= count * WINDOW - SHIFT))
    region = (3 * zones[0][:, None] + zones[1][None])[None, :, :, None]
    number = _windows(region)[..., 0]
    return (number[:, None] != number[:, :, None]).to(x.dtype) * APART
