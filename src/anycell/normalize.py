"""Normalization: one straight line per channel for the whole image, never per tile.

The lines are fitted once, on the overview of the image: percentile 1.0 becomes 0 and
percentile 99.8 becomes 1.  Every tile then goes through the same lines, so that tiles
agree where they overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anycell.errors import InputError
from anycell.image import Image, Pixels

__all__ = ["Normalization", "fit_normalization", "fit_overview", "to_model_channels"]

OVERVIEW_SIDE = 1024
PERCENTILES = (1.0, 99.8)
RANGE = (-0.5, 1.5)


@dataclass(frozen=True)
class Normalization:
    """What becomes 0 and what becomes 1, per channel.

    Attributes
    ----------
    low, high : one value per channel, in the image's own units.  A channel whose
        ``high`` is not above its ``low`` holds nothing and becomes zeros.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]

    def apply(self, pixels: Pixels) -> NDArray[np.float32]:
        """Normalize channels x rows x columns; the result is clipped to -0.5 .. 1.5.

        Samples that are not numbers become 0, infinite ones the end of the range.

        Raises
        ------
        InputError : another number of channels than was fitted.
        """
        if len(pixels) != len(self.low):
            raise InputError(
                f"{len(pixels)} channels", expected=f"{len(self.low)}, as in the image fitted on"
            )
        span = self.high - self.low
        scale = np.divide(1.0, span, out=np.zeros_like(span), where=span > 0)
        with np.errstate(over="ignore", invalid="ignore"):
            out = pixels.astype(np.float32)
            out -= self.low[:, None, None]
            out *= scale[:, None, None]
        if np.issubdtype(pixels.dtype, np.floating):
            out[np.isnan(out)] = 0.0
        return np.clip(out, *RANGE, out=out)


def fit_normalization(image: Image) -> Normalization:
    """Fit the lines of an image on its overview; see :func:`fit_overview`."""
    return fit_overview(image.overview(OVERVIEW_SIDE))


def fit_overview(overview: Pixels) -> Normalization:
    """Fit the lines on the overview of an image, channels x rows x columns.

    Samples that are not finite are left out.  A channel so sparse that both
    percentiles fall on one value takes its smallest and largest value instead.

    Raises
    ------
    InputError : samples that are not real numbers.
    """
    if overview.dtype.kind not in "biuf":
        raise InputError(f"samples of type {overview.dtype}", expected="real numbers")
    lines = np.array([_line(plane) for plane in overview], dtype=np.float32)
    return Normalization(low=lines[:, 0], high=lines[:, 1])


def _line(plane: Pixels) -> tuple[float, float]:
    with np.errstate(over="ignore"):
        values = plane.astype(np.float32).ravel()
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 0.0
    low, high = np.percentile(values, PERCENTILES)
    if low == high:
        low, high = values.min(), values.max()
    return float(low), float(high)


def to_model_channels(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give a model its three channels: channels x H x W to 3 x H x W.

    One channel is repeated three times, two get a third of zeros, three stay.

    Raises
    ------
    InputError : more than three channels.
    """
    count, height, width = pixels.shape
    if count == 1:
        return np.repeat(pixels, 3, axis=0)
    if count == 2:
        return np.concatenate([pixels, np.zeros((1, height, width), dtype=pixels.dtype)])
    if count == 3:
        return pixels
    raise InputError(
        f"an image of {count} channels",
        expected="one to three",
        hint="--channels 0,1 to say which ones show the cells"
        " (or numpy.moveaxis(pixels, -1, 0) for an array with its channels last)",
    )
