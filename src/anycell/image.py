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
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.errors import InputError, SettingError

__all__ = ["Image", "Level", "Pixels", "Region", "resample"]

Pixels = NDArray[Any]

BAND = 2**22
"""Pixels of a plane that are read at once when a whole level is shrunk."""


@dataclass(frozen=True, order=True)
class Region:
    """A rectangle of pixels, half open: rows y0..y1-1, columns x0..x1-1."""

    y0: int
    x0: int
    y1: int
    x1: int

    @classmethod
    def of(cls, text: str) -> Region:
        """Read ``y0,x0,y1,x1``.

        Raises
        ------
        SettingError : not four whole numbers, or nothing between them.
        """
        words = text.split(",")
        if len(words) == 4 and all(word.strip().isdecimal() for word in words):
            region = cls(*map(int, words))
            if region.y0 < region.y1 and region.x0 < region.x1:
                return region
        raise SettingError(
            f"region {text!r}",
            expected="y0,x0,y1,x1 in pixels: from row y0 to before row y1, and columns alike",
            hint="--region 0,0,2000,2000",
        )

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
    window : the part of level 0 that is the image, see :meth:`crop`; all of it if None.
    """

    levels: tuple[Level, ...]
    channels: tuple[str, ...]
    dtype: np.dtype[Any]
    pixel_size: float | None = None
    name: str = "image"
    window: Region | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of level 0, or of the window in it."""
        return (len(self.channels), *self._shown.shape)

    @property
    def _shown(self) -> Region:
        return self.window or Region(0, 0, self.levels[0].height, self.levels[0].width)

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
        channels x rows * zoom x columns * zoom, rounded half up: the file's type at
        zoom 1, float32 at any other.
        """
        self._check(region)
        region = region.shift(self._shown.y0, self._shown.x0)
        height, width = self.levels[0].height, self.levels[0].width
        if zoom == 1.0:
            return self.levels[0].read(region)
        rows, columns = (max(1, int(side * zoom + 0.5)) for side in region.shape)
        level = self._level_for(zoom)
        fy, fx = level.height / height, level.width / width
        top, left = region.y0 * fy, region.x0 * fx
        box = (top, left, top + rows * fy / zoom, left + columns * fx / zoom)
        # A triangle filter at the region's edge mixes pixels beyond it, if there are any.
        far_y, far_x = max(fy / zoom, 1.0), max(fx / zoom, 1.0)
        around = Region(
            int(box[0] - far_y),
            int(box[1] - far_x),
            int(box[2] + far_y) + 1,
            int(box[3] + far_x) + 1,
        ).clip(level.height, level.width)
        y, x = around.y0, around.x0
        pixels = level.read(around)
        return resample(pixels, (rows, columns), (box[0] - y, box[1] - x, box[2] - y, box[3] - x))

    def overview(self, side: int = 1024) -> Pixels:
        """The whole image with its longer side at most ``side`` pixels.

        A large level is read band by band and averaged in blocks first, so that memory
        stays small.
        """
        _, height, width = self.shape
        zoom = min(1.0, side / max(height, width))
        level = self._level_for(zoom)
        full = self.levels[0]
        block = int(level.height / (2 * full.height * zoom))
        if zoom == 1.0 or block < 2:
            return self.read(Region(0, 0, height, width), zoom)
        shape = (max(1, int(height * zoom + 0.5)), max(1, int(width * zoom + 0.5)))
        fy, fx, shown = level.height / full.height, level.width / full.width, self._shown
        box = (shown.y0 * fy, shown.x0 * fx, shown.y1 * fy, shown.x1 * fx)
        # The 1e-6 is for products of whole numbers that come out just above one.
        part = Region(int(box[0]), int(box[1]), *(int(np.ceil(v - 1e-6)) for v in box[2:]))
        part = part.clip(level.height, level.width)
        y0, y1 = ((v - part.y0) / block for v in box[::2])
        x0, x1 = ((v - part.x0) / block for v in box[1::2])
        return resample(_averaged(level, block, part), shape, (y0, x0, y1, x1))

    def crop(self, region: Region) -> Image:
        """The part of the image in a region, as an image of its own; nothing is read.

        Raises
        ------
        InputError : the region is empty or does not lie inside the image.
        """
        self._check(region)
        return replace(self, window=region.shift(self._shown.y0, self._shown.x0))

    def _check(self, region: Region) -> None:
        _, height, width = self.shape
        if region.clip(height, width) != region or 0 in region.shape:
            raise InputError(
                f"region {','.join(map(str, astuple(region)))} of an image of {height} x {width}"
                " pixels (rows x columns)",
                expected="y0,x0,y1,x1 of a region of at least one pixel inside the image",
                hint=f"--region 0,0,{height},{width} is all of it",
            )

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
    a tile resampled alone equals the same part of the whole resampled.  Samples that
    are not finite are left out; where there are no others the result is nan.
    """
    if pixels.dtype.kind == "f" and not (finite := np.isfinite(pixels)).all():
        sums = resample(np.where(finite, pixels, 0), shape, box)
        shares = resample(finite, shape, box)
        return np.divide(sums, shares, out=np.full_like(sums, np.nan), where=shares > 0)
    top, left, bottom, right = box or (0.0, 0.0, float(pixels.shape[1]), float(pixels.shape[2]))
    rows = _taps(pixels.shape[1], shape[0], top, bottom)
    columns = _taps(pixels.shape[2], shape[1], left, right)
    wide = _mixed(pixels, *rows, axis=1)
    return _mixed(wide, *columns, axis=2)


def _mixed(
    pixels: Pixels, index: NDArray[np.int64], weight: NDArray[np.float32], *, axis: int
) -> NDArray[np.float32]:
    """Weighted sums of pixels along an axis, tap by tap."""
    side = [1, 1, 1]
    side[axis] = -1
    out = np.zeros((), dtype=np.float32)
    for place, share in zip(index.T, weight.T, strict=True):
        out = out + np.take(pixels, place, axis=axis) * share.reshape(side)
    return out


@lru_cache(maxsize=64)
def _taps(
    size: int, wanted: int, start: float, stop: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Which pixels each output pixel mixes, and in which shares: wanted x taps each."""
    step = (stop - start) / wanted
    centres = start + (np.arange(wanted) + 0.5) * step
    reach = max(step, 1.0)
    first = np.floor(centres - reach).astype(np.int64)
    index = first[:, None] + np.arange(int(np.ceil(2 * reach)) + 1)
    weight = np.maximum(0.0, 1.0 - np.abs(centres[:, None] - index - 0.5) / reach)
    weight[(index < 0) | (index >= size)] = 0.0
    lost = weight.sum(axis=1) == 0.0
    index = np.clip(index, 0, size - 1)
    weight[lost, 0] = 1.0
    return index, (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


def _averaged(level: Level, block: int, part: Region) -> NDArray[np.float32]:
    """Means of block x block pixels; the last row and column of blocks may be partial."""
    tall = block * max(1, BAND // (block * part.shape[1]))
    bands = []
    for y in range(part.y0, part.y1, tall):
        band = level.read(Region(y, part.x0, min(y + tall, part.y1), part.x1))
        down = _block_mean(band, block, axis=1)
        bands.append(_block_mean(down, block, axis=2))
    out: NDArray[np.float32] = np.concatenate(bands, axis=1)
    return out


def _block_mean(pixels: Pixels, block: int, *, axis: int) -> NDArray[np.float32]:
    """Means of runs of ``block`` pixels along an axis; the last run may be shorter."""
    size = pixels.shape[axis]
    before = (slice(None),) * axis
    whole = size // block * block
    shape = [*pixels.shape]
    shape[axis] = -(-size // block)
    out = np.zeros(shape, dtype=np.float32)
    inner = out[(*before, slice(0, size // block))]
    for first in range(block):
        inner += pixels[(*before, slice(first, whole, block))]
    inner /= np.float32(block)
    if size % block:
        rest = pixels[(*before, slice(whole, size))]
        out[(*before, slice(size // block, None))] = rest.mean(
            axis=axis, dtype=np.float32, keepdims=True
        )
    return out
