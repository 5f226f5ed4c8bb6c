"""Bare: squares of a large image in which nothing stands out, so that nobody looks there.

    +----+----+----+----+----+
    |    |    | ## | ## |    |      # something stands out; the squares have about five
    +----+----+----+----+----+        typical cells on a side, and are judged with what
    |    |    | ## | ## |    |        lies within one cell around them
    +----+----+----+----+----+

A square is bare when its pixels differ by no more than noise does, in an image in which a
typical cell has a few pixels: the overview, or where that is too coarse the image itself,
small.  So faint cells are seen beside bright ones.  The noise is taken from the quietest
parts of the image.  Background that is brighter on one side of the image than on the other
is bare, too: slopes are taken away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from math import ceil

import numpy as np
from numpy.typing import NDArray

from anycell.grid import exact_zoom
from anycell.image import Region
from anycell.looks import Looks

__all__ = ["Squares", "find_squares"]

FLAT = (0.04, 0.08)
"""Nothing stands out where all pixels are as near as this, at least and at most; dark is 0,
bright is 1."""
NOISE = 10.0
"""Between those, so many deviations of the noise; its extremes in a square lie 6 to 9 apart."""
QUIET = 10
"""Per cent of the image's blocks that are taken to be quiet."""
SEEN = 2.0
"""Diameter of a typical cell, pixels, in the small image in which it would stand out."""
BLOCK = 8
"""Squares on a side that are read at once."""


@dataclass(frozen=True, eq=False)
class Squares:
    """Squares that tile an image from its upper left corner; those at its ends may be cut.

    Attributes
    ----------
    side : pixels of the image.
    held : rows x columns of squares; whether something may be there.
    """

    side: int
    held: NDArray[np.bool_]

    def any(self, region: Region) -> bool:
        """Whether a square that a region touches holds something."""
        return bool(self.held[self._touched(region)].any())

    def shrunk(self, region: Region) -> Region | None:
        """The smallest part of a region with all that its squares hold; None if they hold nothing.

        Its sides lie on those of squares, or of the region.
        """
        rows, columns = self._touched(region)
        held = self.held[rows, columns]
        if not held.any():
            return None
        y, x = (np.flatnonzero(held.any(axis=axis)) for axis in (1, 0))
        return Region(
            max(region.y0, (rows.start + int(y[0])) * self.side),
            max(region.x0, (columns.start + int(x[0])) * self.side),
            min(region.y1, (rows.start + int(y[-1]) + 1) * self.side),
            min(region.x1, (columns.start + int(x[-1]) + 1) * self.side),
        )

    def without(self, regions: Iterable[Region], height: int, width: int) -> Squares:
        """The same, where squares that lie in one of the regions hold nothing."""
        held = self.held.copy()
        for region in regions:
            y1, x1 = (
                count if end == size else end // self.side
                for count, end, size in zip(
                    held.shape, (region.y1, region.x1), (height, width), strict=True
                )
            )
            held[ceil(region.y0 / self.side) : y1, ceil(region.x0 / self.side) : x1] = False
        return Squares(self.side, held)

    def joined(self, coarser: Squares) -> Squares:
        """The same, where squares that touch a held one of a coarser division are held, too."""
        held = coarser.held
        ends = []
        for count, most in zip(self.held.shape, held.shape, strict=True):
            begin = np.arange(count) * self.side
            last = np.minimum((begin + self.side - 1) // coarser.side, most - 1)
            ends.append((begin // coarser.side, last))
        (top, bottom), (left, right) = ends
        either = self.held.copy()
        for rows in (top, bottom):
            for columns in (left, right):
                either |= held[np.ix_(rows, columns)]
        return Squares(self.side, either)

    def _touched(self, region: Region) -> tuple[slice, slice]:
        side = self.side
        return (
            slice(region.y0 // side, ceil(region.y1 / side)),
            slice(region.x0 // side, ceil(region.x1 / side)),
        )


def find_squares(looks: Looks, overview: NDArray[np.float32], cell: float, side: int) -> Squares:
    """Find the squares of an image in which something stands out.

    Parameters
    ----------
    looks : at the image.
    overview : of the image, normalized, 3 x h x w.
    cell : diameter of a typical cell, pixels of the image.
    side : of the squares, pixels of the image.
    """
    _, height, width = looks.image.shape
    spread = np.zeros((ceil(height / side), ceil(width / side)), dtype=np.float32)
    noise: list[float] = []
    scale = (overview.shape[1] / height, overview.shape[2] / width)
    enough = cell * max(scale) >= SEEN or max(scale) >= 1.0
    fine = exact_zoom(max(SEEN / cell, 1 / 64))
    for row, column in product(*(range(0, count, BLOCK) for count in spread.shape)):
        block = Region(row, column, row + BLOCK, column + BLOCK).clip(*spread.shape)
        around = _grown(block, side, cell).clip(height, width)
        if enough:
            part, corner, pixels = overview, (0, 0), scale
            noise.append(_noise(_seen(overview, around, scale)))
        else:
            part, corner = looks.planes(around, fine), (around.y0, around.x0)
            pixels = (float(fine), float(fine))
            noise.append(_noise(part))
        for y, x in product(range(block.y0, block.y1), range(block.x0, block.x1)):
            square = _grown(Region(y, x, y + 1, x + 1), side, cell).clip(height, width)
            seen = _seen(part, square.shift(-corner[0], -corner[1]), pixels)
            level = _levelled(seen)
            spread[y, x] = (level.max(axis=(1, 2)) - level.min(axis=(1, 2))).max()
    flat = np.clip(NOISE * np.percentile(noise, QUIET), *FLAT)
    return Squares(side, spread > flat)


def _grown(squares: Region, side: int, cell: float) -> Region:
    """The pixels of some squares, and those within a cell around them."""
    more = round(cell)
    return Region(
        squares.y0 * side - more,
        squares.x0 * side - more,
        squares.y1 * side + more,
        squares.x1 * side + more,
    )


def _seen(
    planes: NDArray[np.float32], region: Region, scale: tuple[float, float]
) -> NDArray[np.float32]:
    """A region in a picture that is so much smaller."""
    rows = slice(int(region.y0 * scale[0]), ceil(region.y1 * scale[0]))
    columns = slice(int(region.x0 * scale[1]), ceil(region.x1 * scale[1]))
    return planes[:, rows, columns]


def _levelled(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take away a slope: the mean steps from edge to edge, down and across."""
    _, rows, columns = planes.shape
    down = (planes[:, -1].mean(axis=1) - planes[:, 0].mean(axis=1)) / max(1, rows - 1)
    right = (planes[:, :, -1].mean(axis=1) - planes[:, :, 0].mean(axis=1)) / max(1, columns - 1)
    y, x = np.arange(rows, dtype=np.float32), np.arange(columns, dtype=np.float32)
    levelled: NDArray[np.float32] = planes - (
        down[:, None, None] * y[:, None] + right[:, None, None] * x
    )
    return levelled


def _noise(planes: NDArray[np.float32]) -> float:
    """Standard deviation of the noisiest channel, from the differences of neighbours.

    Their median is 0.954 deviations of Gaussian noise; edges are few and do not move it.
    """
    if planes.shape[2] < 2:
        return 0.0
    return float(np.median(np.abs(np.diff(planes, axis=2)), axis=(1, 2)).max() / 0.954)
