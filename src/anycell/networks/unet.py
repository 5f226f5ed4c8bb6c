"""U-Net: the residual U-Net of MONAI at the sizes of the challenge's baseline.

Ronneberger et al. 2015, with residual units (Kerfoot et al. 2019); widths 16 to 256 over
five resolutions, two units each (github.com/JunMa11/NeurIPS-CellSeg).  Its norms take
their statistics from the whole tile, so what is far away shifts the outputs a little.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from anycell.errors import SettingError

__all__ = ["HEAD", "UNet", "with_head"]

HEAD = 32
"""Planes before the head where the fields are coarser than the image."""


@dataclass(frozen=True)
class UNet:
    """Widths of the five resolutions, and residual units at each."""

    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    units: int = 2

    name = "unet"
    multiple = 32
    reach = 64

    def build(self, channels_in: int, channels_out: int, stride: int) -> nn.Module:
        """Make the untrained module; ``stride`` is 1 or 2."""
        from monai.networks.nets import UNet as Monai

        backbone = Monai(
            spatial_dims=2,
            in_channels=channels_in,
            out_channels=channels_out if stride == 1 else HEAD,
            channels=self.widths,
            strides=(2,) * (len(self.widths) - 1),
            num_res_units=self.units,
        )
        return with_head(backbone, channels_out, stride)


def with_head(backbone: nn.Module, channels_out: int, stride: int) -> nn.Module:
    """Finish a network whose features have the size of the image.

    Parameters
    ----------
    backbone : gives ``channels_out`` planes for stride 1, ``HEAD`` for stride 2.

    Raises
    ------
    SettingError : a stride other than 1 and 2.
    """
    if stride == 1:
        return backbone
    if stride == 2:
        return nn.Sequential(backbone, nn.PReLU(), nn.Conv2d(HEAD, channels_out, 2, stride=2))
    raise SettingError(f"fields at stride {stride}", expected="1 or 2")
