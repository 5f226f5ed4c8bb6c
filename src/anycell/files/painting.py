"""Painting cells into labels: what files of outlines, runs and masks have in common.

Cells may not lie outside the image.  Where two share pixels the reader is told what to do:

    refuse   it is an error that names both
    first    the pixels stay with the cell that comes first in the file
    last     they go to the one that comes last
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from anycell.errors import InputError
from anycell.labels import Labels
from anycell.outlines import Runs

__all__ = ["Overlaps", "Painting", "canvas_shape", "cell_numbers"]

Overlaps = Literal["refuse", "first", "last"]

PIXELS = 2**24
"""Pixels that are painted at once."""


class Painting:
    """Labels that are being painted.

    Parameters
    ----------
    path : of the file, for messages.
    shape : rows and columns.
    overlaps : see above.
    """

    def __init__(self, path: Path, shape: tuple[int, int], overlaps: Overlaps = "refuse") -> None:
        self.path = path
        self.labels: Labels = np.zeros(shape, dtype=np.int32)
        self._overlaps = overlaps

    def add(self, runs: Runs, numbers: NDArray[np.int64]) -> None:
        """Paint cells given as runs of pixels, ordered by cell; ``numbers`` of the cells.

        Raises
        ------
        InputError : outside the image, on top of another cell, or a cell without pixels.
        """
        height, width = self.labels.shape
        outside = (runs.row < 0) | (runs.row >= height) | (runs.first < 0) | (runs.last > width)
        if outside.any():
            cell = int(numbers[runs.cell[outside][0]])
            raise InputError(
                f"{self.path}: cell {cell} reaches outside the image of {height} x {width} pixels",
                expected="cells of the same image, counted in its full resolution",
                hint="the image that the cells were outlined in",
            )
        there = np.zeros(len(numbers), dtype=np.bool_)
        there[runs.cell] = True
        if not there.all():
            raise InputError(
                f"{self.path}: cell {int(numbers[~there][0])} holds no pixel's centre",
                expected="cells of at least one pixel",
                hint="remove it, or give the image in the resolution of the outlines",
            )
        length = runs.last - runs.first
        total = np.cumsum(length)
        begin = 0
        while begin < len(length):
            room = PIXELS + (total[begin - 1] if begin else 0)
            end = max(begin + 1, int(np.searchsorted(total, room, side="right")))
            part = slice(begin, end)
            first = runs.row[part] * width + runs.first[part]
            self._paint(first, length[part], numbers[runs.cell[part]])
            begin = end

    def _paint(
        self, first: NDArray[np.int64], length: NDArray[np.int64], number: NDArray[np.int64]
    ) -> None:
        flat = self.labels.reshape(-1)
        ends = np.cumsum(length)
        place = np.arange(int(ends[-1])) + np.repeat(first - (ends - length), length)
        value = np.repeat(number, length).astype(np.int32)
        if self._overlaps == "last":
            flat[place] = value  # of two values for one place, numpy keeps the last
            return
        held = flat[place]
        taken = (held > 0) & (held != value)
        if self._overlaps == "first":
            free = np.flatnonzero(~taken)[::-1]
            flat[place[free]] = value[free]
            return
        if taken.any():
            raise self._shared(int(held[taken][0]), int(value[taken][0]), int(place[taken][0]))
        flat[place] = value
        lost = flat[place] != value
        if lost.any():
            one, at = int(value[lost][0]), int(place[lost][0])
            raise self._shared(one, int(flat[at]), at)

    def _shared(self, one: int, other: int, place: int) -> InputError:
        y, x = divmod(place, self.labels.shape[1])
        return InputError(
            f"{self.path}: cells {one} and {other} overlap at row {y}, column {x}",
            expected="every pixel in one cell at most",
            hint="anycell convert --overlaps first gives shared pixels to the first of them",
        )


def canvas_shape(path: Path, told: Any, shape: tuple[int, int] | None) -> tuple[int, int]:
    """Settle the size of the image: as the file tells, as the caller does, or both.

    Raises
    ------
    InputError : nobody says, or they say different sizes.
    """
    own = None
    if told is not None:
        try:
            height, width = (int(side) for side in told)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{path} names the size {told!r}", expected="rows and columns"
            ) from error
        own = (height, width)
    if own is None and shape is None:
        raise InputError(
            f"{path} does not say how large its image is",
            expected="the image beside it",
            hint="anycell convert ... --image IMAGE",
        )
    if own is not None and shape is not None and own != tuple(shape):
        raise InputError(
            f"{path} belongs to an image of {own[0]} x {own[1]} pixels (rows x columns),"
            f" not {shape[0]} x {shape[1]}",
            expected="the image in which the cells were outlined",
        )
    found = own if own is not None else shape
    assert found is not None
    if min(found) < 1:
        raise InputError(f"{path} names the size {told!r}", expected="rows and columns from 1 up")
    return found


def cell_numbers(names: Sequence[Any]) -> NDArray[np.int64]:
    """The numbers in names, if all are whole numbers above 0 and differ; else 1..n."""
    texts = [str(name) for name in names]
    if all(text.isascii() and text.isdecimal() and len(text) < 10 for text in texts):
        numbers = np.array([int(text) for text in texts], dtype=np.int64)
        if len(np.unique(numbers)) == len(numbers) and numbers.min(initial=1) > 0:
            return numbers
    return np.arange(1, len(names) + 1)
