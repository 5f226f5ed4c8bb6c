"""Bare: squares of a large image in which nothing stands out, so that nobody looks there.

    +----+----+----+----+----+
    |    |    | ## | ## |    |      # something stands out; the squares have about five
    +----+----+----+----+----+        typical cells on a side, and are judged with what
    |    |    | ## | ## |    |        lies within one cell around them
    +----+----+----+----+----+

A square is bare when all of its pixels are as good as alike, in an image in which a typical
cell has a few pixels: the overview, or where that is too coarse the image itself, small.
Background that is brighter on one side of the image than on the other is bare, too.
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

FLAT = 0.08
"""Nothing stands out where all pixels are as near as this; dark is 0, bright is 1."""
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
    held = np.zeros((ceil(height / side), ceil(width / side)), dtype=np.bool_)
    scale = (overview.shape[1] / height, overview.shape[2] / width)
    enough = cell * max(scale) >= SEEN or max(scale) >= 1.0
    fine = exact_zoom(max(SEEN / cell, 1 / 64))
    for row, column in product(*(range(0, count, BLOCK) for count in held.shape)):
        block = Region(row, column, row + BLOCK, column + BLOCK).clip(*held.shape)
        if enough:
            part, corner, pixels = overview, (0, 0), scale
        else:
            around = _grown(block, side, cell).clip(height, width)
            part, corner = looks.planes(around, fine), (around.y0, around.x0)
            pixels = (float(fine), float(fine))
        for y, x in product(range(block.y0, block.y1), range(block.x0, block.x1)):
            square = _grown(Region(y, x, y + 1, x + 1), side, cell).clip(height, width)
            held[y, x] = _stands_out(part, square.shift(-corner[0], -corner[1]), pixels)
    return Squares(side, held)


def _grown(squares: Region, side: int, cell: float) -> Region:
    """The pixels of some squares, and those within a cell around them."""
    more = round(cell)
    return Region(
        squares.y0 * side - more,
        squares.x0 * side - more,
        squares.y1 * side + more,
        squares.x1 * side + more,
    )


def _stands_out(planes: NDArray[np.float32], region: Region, scale: tuple[float, float]) -> bool:
    """Whether something does in a region of a picture that is so much smaller."""
    rows = slice(int(region.y0 * scale[0]), ceil(region.y1 * scale[0]))
    columns = slice(int(region.x0 * scale[1]), ceil(region.x1 * scale[1]))
    part = planes[:, rows, columns]
    spread = part.max(axis=(1, 2)) - part.min(axis=(1, 2))
    return bool(spread.max() > FLAT)
