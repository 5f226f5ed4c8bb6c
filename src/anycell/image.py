"""The image: channels x rows x columns, read lazily by region and zoom.

Every reader of :mod:`anycell.files` ends in an :class:`Image`; everything above
asks it for regions.  Coordinates are (y, x) in pixels of level 0.

         x0        x1
          |         |
    y0 ---+---------+     Region(y0, x0, y1, x1), half open like a slice
          |  core   |
    y1 ---+---------+
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.errors import InputError

__all__ = ["Image", "Level", "Pixels", "Region", "resample"]

Pixels = NDArray[Any]


@dataclass(frozen=True, order=True)
class Region:
    """A rectangle of pixels, half open: rows y0..y1-1, columns x0..x1-1."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return (self.y1 - self.y0, self.x1 - self.x0)

    @property
    def slices(self) -> tuple[slice, slice]:
        """The region as an index into a (y, x) array; only for regions inside it."""
        return (slice(self.y0, self.y1), slice(self.x0, self.x1))

    def clip(self, height: int, width: int) -> Region:
        """The part of the region inside a plane of height x width."""
        y0, y1 = (min(max(v, 0), height) for v in (self.y0, self.y1))
        x0, x1 = (min(max(v, 0), width) for v in (self.x0, self.x1))
        return Region(y0, x0, y1, x1)

    def shift(self, y: int, x: int) -> Region:
        """The region moved by (y, x) pixels."""
        return Region(self.y0 + y, self.x0 + x, self.y1 + y, self.x1 + x)


@dataclass(frozen=True)
class Level:
    """One resolution of an image.

    ``read`` takes a region inside ``height`` x ``width`` and gives channels x rows x
    columns in the file's own type.
    """

    height: int
    width: int
    read: Callable[[Region], Pixels]


@dataclass(frozen=True)
class Image:
    """An image of any size: levels from full resolution down, never whole in memory.

    Attributes
    ----------
    levels : level 0 is full resolution, each further one smaller.
    pixel_size : micrometres per pixel of level 0; None when the file does not say.
    channels : one name per channel; ``("R", "G", "B")`` marks a color image.
    dtype : the type of the samples in the file.
    name : the file's name up to its first dot.
    """

    levels: tuple[Level, ...]
    channels: tuple[str, ...]
    dtype: np.dtype[Any]
    pixel_size: float | None = None
    name: str = "image"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of level 0."""
        return (len(self.channels), self.levels[0].height, self.levels[0].width)

    @property
    def is_color(self) -> bool:
        """True for a red, green, blue image."""
        return self.channels == ("R", "G", "B")

    def read(self, region: Region, zoom: float = 1.0) -> Pixels:
        """Read a region.

        Parameters
        ----------
        region : in pixels of level 0; it must lie inside the image.
        zoom : output pixels per pixel of level 0; the smallest level that is still
            at least that fine is used, then resampled.

        Returns
        -------
        channels x round(rows * zoom) x round(columns * zoom): the file's type at
        zoom 1, float32 at any other.
        """
        _, height, width = self.shape
        if region.clip(height, width) != region or 0 in region.shape:
            raise InputError(
                f"region {region} of an image of {height} x {width} pixels",
                expected="a region of at least one pixel inside the image",
            )
        if zoom == 1.0:
            return self.levels[0].read(region)
        rows, columns = (max(1, round(side * zoom)) for side in region.shape)
        level = self._level_for(zoom)
        fy, fx = level.height / height, level.width / width
        y0, y1 = region.y0 * fy, region.y1 * fy
        x0, x1 = region.x0 * fx, region.x1 * fx
        around = Region(int(y0), int(x0), int(np.ceil(y1)), int(np.ceil(x1)))
        around = around.clip(level.height, level.width)
        pixels = level.read(around)
        return resample(
            pixels,
            (rows, columns),
            (y0 - around.y0, x0 - around.x0, y1 - around.y0, x1 - around.x0),
        )

    def overview(self, side: int = 1024) -> Pixels:
        """The whole image with its longer side at most ``side`` pixels."""
        _, height, width = self.shape
        zoom = min(1.0, side / max(height, width))
        return self.read(Region(0, 0, height, width), zoom)

    @classmethod
    def from_array(
        cls,
        pixels: Pixels,
        *,
        channels: tuple[str, ...] | None = None,
        pixel_size: float | None = None,
        name: str = "image",
    ) -> Image:
        """Wrap an array of channels x rows x columns, or rows x columns.

        Three channels are called R, G, B only when ``channels`` says so.
        """
        stack = pixels[None] if pixels.ndim == 2 else pixels
        if stack.ndim != 3 or 0 in stack.shape:
            raise InputError(
                f"an array of shape {pixels.shape}",
                expected="rows x columns or channels x rows x columns, none of them 0",
                hint="numpy.moveaxis(pixels, -1, 0) puts the channels first",
            )
        names = channels if channels is not None else tuple(str(c) for c in range(len(stack)))
        if len(names) != len(stack):
            raise InputError(f"{len(names)} channel names for {len(stack)} channels")

        def read(region: Region) -> Pixels:
            return stack[(slice(None), *region.slices)]

        level = Level(stack.shape[1], stack.shape[2], read)
        return cls((level,), names, stack.dtype, pixel_size, name)

    def _level_for(self, zoom: float) -> Level:
        height = self.levels[0].height
        fine = [v for v in self.levels if v.height >= 0.999 * height * zoom]
        return min(fine, key=lambda v: v.height) if fine else self.levels[0]


def resample(
    pixels: Pixels,
    shape: tuple[int, int],
    box: tuple[float, float, float, float] | None = None,
) -> NDArray[np.float32]:
    """Resize by linear interpolation, averaging when shrinking (a triangle filter).

    Parameters
    ----------
    pixels : channels x rows x columns.
    shape : rows and columns wanted.
    box : y0, x0, y1, x1 in pixels, the part of ``pixels`` to show; all by default.

    Returns
    -------
    float32, channels x shape[0] x shape[1].  Pixel centres lie at half integers, so
    a tile resampled alone equals the same part of the whole resampled.
    """
    top, left, bottom, right = box or (0.0, 0.0, float(pixels.shape[1]), float(pixels.shape[2]))
    rows = _weights(pixels.shape[1], shape[0], top, bottom)
    columns = _weights(pixels.shape[2], shape[1], left, right)
    out = rows @ pixels.astype(np.float32, copy=False) @ columns.T
    return np.ascontiguousarray(out, dtype=np.float32)


@lru_cache(maxsize=64)
def _weights(size: int, wanted: int, start: float, stop: float) -> NDArray[np.float32]:
    step = (stop - start) / wanted
    centres = start + (np.arange(wanted) + 0.5) * step
    reach = max(step, 1.0)
    positions = np.arange(size) + 0.5
    weights = np.maximum(0.0, 1.0 - np.abs(centres[:, None] - positions[None]) / reach)
    weights[np.arange(wanted), np.clip(centres.astype(int), 0, size - 1)] += 1e-9
    normed: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return normed
