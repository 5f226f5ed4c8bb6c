"""UNETR: a vision transformer as encoder, a convolutional decoder; from MONAI, in 2D.

Hatamizadeh et al. 2021 on Dosovitskiy et al. 2020, at the sizes of the challenge's
baseline (github.com/JunMa11/NeurIPS-CellSeg): patches of 16 pixels, twelve layers of 768
features, position embeddings for a tile of 256 x 256 pixels.

Those embeddings fit one size only.  A larger tile is therefore seen by the transformer in
windows of 256 x 256 pixels side by side, each as in training, and decoded in one piece; a
smaller one is padded with its edge to one window.  So tiles of any sides that are a
multiple of 16 are taken, but a token never attends beyond its window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F  # noqa: N812 - the name that torch's own docs use
from torch import Tensor, nn

from anycell.networks.unet import HEAD, with_head

__all__ = ["Unetr"]

PATCH = 16


@dataclass(frozen=True)
class Unetr:
    """Features of the decoder and of the transformer, and the side of its window."""

    features: int = 16
    hidden: int = 768
    inner: int = 3072
    heads: int = 12
    side: int = 256

    name = "unetr"
    multiple = PATCH
    reach = 128

    def build(self, channels_in: int, channels_out: int, stride: int) -> nn.Module:
        """Make the untrained module; ``stride`` is 1 or 2."""
        from monai.networks.nets import UNETR as Monai  # noqa: N811 - MONAI writes it so

        backbone = Monai(
            spatial_dims=2,
            in_channels=channels_in,
            out_channels=channels_out if stride == 1 else HEAD,
            img_size=self.side,
            feature_size=self.features,
            hidden_size=self.hidden,
            mlp_dim=self.inner,
            num_heads=self.heads,
            conv_block=False,
            res_block=True,
        )
        return with_head(Windowed(backbone, self.side), channels_out, stride)


class Windowed(nn.Module):
    """MONAI's UNETR for tiles of any size; the transformer sees windows of one."""

    def __init__(self, unetr: Any, side: int) -> None:
        super().__init__()
        self.unetr = unetr
        self.side = side
        for block in unetr.vit.blocks:
            block.norm_cross_attn = nn.Identity()  # MONAI makes it, and never uses it

    def forward(self, x: Tensor) -> Tensor:
        """Give the planes of n x channels x H x W tiles, H and W multiples of 16."""
        net = self.unetr
        last, hidden = net.vit(self._windows(x))
        one, two, three, four = (self._map(t, x) for t in (hidden[3], hidden[6], hidden[9], last))
        up = net.decoder5(four, net.encoder4(three))
        up = net.decoder4(up, net.encoder3(two))
        up = net.decoder3(up, net.encoder2(one))
        planes: Tensor = net.out(net.decoder2(up, net.encoder1(x)))
        return planes

    def _windows(self, x: Tensor) -> Tensor:
        """Cut tiles into windows, padded with their edge: (n windows) x channels x side x side."""
        count, channels, height, width = x.shape
        side = self.side
        rows, columns = (height + side - 1) // side, (width + side - 1) // side
        beyond = (0, columns * side - width, 0, rows * side - height)
        padded = F.pad(x, beyond, mode="replicate")
        cut = padded.reshape(count, channels, rows, side, columns, side)
        return cut.permute(0, 2, 4, 1, 3, 5).reshape(count * rows * columns, channels, side, side)

    def _map(self, tokens: Tensor, x: Tensor) -> Tensor:
        """Put the tokens of all windows together again: n x hidden x H / 16 x W / 16."""
        count, _, height, width = x.shape
        side, grid = self.side, self.side // PATCH
        rows, columns = (height + side - 1) // side, (width + side - 1) // side
        cut = tokens.reshape(count, rows, columns, grid, grid, tokens.shape[-1])
        whole = cut.permute(0, 5, 1, 3, 2, 4)
        whole = whole.reshape(count, tokens.shape[-1], rows * grid, columns * grid)
        return whole[:, :, : height // PATCH, : width // PATCH].contiguous()
