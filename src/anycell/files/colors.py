"""Colors that are not red, green, blue, turned into it.  All take channels first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.image import Pixels

__all__ = ["invert", "look_up", "rgb_of_inks", "rgb_of_ycbcr"]


def look_up(numbers: Pixels, palette: NDArray[np.uint16]) -> Pixels:
    """Replace palette numbers (1 x rows x columns) by 8-bit colors.

    ``palette`` is 3 x numbers, 0..65535 as TIFF has it.
    """
    colors = (palette >> 8).astype(np.uint8)
    found: Pixels = colors[:, numbers[0]]
    return found


def invert(pixels: Pixels) -> Pixels:
    """Turn light into dark for images of whole numbers from 0 up that store white as 0."""
    inverted: Pixels = np.invert(pixels)
    return inverted


def rgb_of_inks(pixels: Pixels) -> Pixels:
    """Turn cyan, magenta, yellow, black (and alpha) into red, green, blue.

    Each color is (1 - ink)(1 - black), without the profile of a printer.
    """
    top = np.iinfo(pixels.dtype).max
    light = top - pixels[:4].astype(np.uint64)
    mixed: NDArray[Any] = (light[:3] * light[3] + top // 2) // top
    return mixed.astype(pixels.dtype)


def rgb_of_ycbcr(pixels: Pixels) -> Pixels:
    """Turn 8-bit Y, Cb, Cr of the full range into red, green, blue (ITU-T T.871)."""
    luma, blue, red = pixels[:3].astype(np.float32)
    blue, red = blue - 128, red - 128
    mixed = [
        luma + 1.402 * red,
        luma - 0.344136 * blue - 0.714136 * red,
        luma + 1.772 * blue,
    ]
    rounded: NDArray[np.uint8] = np.clip(np.rint(np.stack(mixed)), 0, 255).astype(np.uint8)
    return rounded
