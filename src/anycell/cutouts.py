"""Cells cut out of their image and stacked by size, so that many are worked on at once.

     image          stack of cells x rows x columns
    .......         ......   ......
    .aab...         .aa...   .b....      a frame of background around each,
    .aabbb.   ->    .aa...   .bbb..      other cells are background as well
    ..abb..         ..a...   .bb...
    .......         ......   ......

What is computed inside a cell (distances, heat) sees nothing of its neighbours then, and
a loop runs over a few stacks instead of thousands of cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anycell.labels import Labels, boxes

__all__ = ["Stack", "depths", "rims", "square_distances", "stacks"]

LARGEST = 65_536
"""Pixels of a stack: some arrays of that many stay in a processor's own cache."""
ROUNDS = 32
"""Depth up to which comparing columns one by one is faster than scipy's transform."""
BEYOND = 30_000
"""Further than any distance of interest; its square fits into 32 bits."""


@dataclass(frozen=True)
class Stack:
    """Cells of like size.

    Attributes
    ----------
    numbers : of the cells, n.
    inside : n x rows x columns; True on the cell's own pixels, never on the frame.
    place : flat indices in the label image of these pixels, in the order of ``inside``.
    corner : (y, x) in the label image of each cell's first pixel of the frame, n x 2.
    extent : rows + columns of each cell's bounding box, n.
    """

    numbers: NDArray[np.int64]
    inside: NDArray[np.bool_]
    place: NDArray[np.int64]
    corner: NDArray[np.int64]
    extent: NDArray[np.int64]


def stacks(labels: Labels) -> Iterator[Stack]:
    """Cut out all cells; each is in one stack.

    Sides are rounded up by at most a quarter, so that few sizes occur.
    """
    box = boxes(labels)
    numbers = np.flatnonzero(box[:, 3])
    if not len(numbers):
        return
    padded = np.pad(labels, 1)
    box = box[numbers]
    sides = _rounded(box[:, 2:] - box[:, :2]) + 2
    order = np.lexsort((numbers, sides[:, 1], sides[:, 0]))
    change = np.any(np.diff(sides[order], axis=0) != 0, axis=1)
    for group in np.split(order, np.flatnonzero(change) + 1):
        rows, columns = (int(s) for s in sides[group[0]])
        count = max(1, LARGEST // (rows * columns))
        for first in range(0, len(group), count):
            some = group[first : first + count]
            yield _cut(padded, numbers[some], box[some], (rows, columns))


def _rounded(length: NDArray[np.int64]) -> NDArray[np.int64]:
    """Round lengths up to 1..8, then steps of an eighth to a quarter of themselves."""
    step = 2 ** np.maximum(0, np.floor(np.log2(np.maximum(length, 1))).astype(np.int64) - 2)
    rounded: NDArray[np.int64] = -(-length // step) * step
    return rounded


def _cut(
    padded: Labels, numbers: NDArray[np.int64], box: NDArray[np.int64], shape: tuple[int, int]
) -> Stack:
    """Cut cells out of labels that have a frame of one pixel."""
    height, width = padded.shape
    # A rounded side may reach beyond the image; what lies there belongs to no cell.
    y = np.minimum(box[:, 0, None] + np.arange(shape[0]), height - 1)
    x = np.minimum(box[:, 1, None] + np.arange(shape[1]), width - 1)
    inside = padded[y[:, :, None], x[:, None, :]] == numbers[:, None, None]
    cell, row, column = np.nonzero(inside)
    place = (y[cell, row] - 1) * (width - 2) + x[cell, column] - 1
    extent = (box[:, 2:] - box[:, :2]).sum(axis=1)
    return Stack(numbers, inside, place, box[:, :2] - 1, extent)


def rims(labels: Labels, *, corners: bool = False) -> NDArray[np.bool_]:
    """Pixels of cells with another number among their four neighbours, or all eight.

    The frame of the image makes no rim: a cell goes on beyond it.
    """
    rim = np.zeros(labels.shape, dtype=bool)
    every, first, last = slice(None), slice(None, -1), slice(1, None)
    pairs = [((last, every), (first, every)), ((every, last), (every, first))]
    if corners:
        pairs += [((last, last), (first, first)), ((last, first), (first, last))]
    for here, there in pairs:
        differ = labels[here] != labels[there]
        rim[here] |= differ
        rim[there] |= differ
    return rim & (labels > 0)


def depths(labels: Labels) -> NDArray[np.float32]:
    """Distance of each pixel to its cell's outside: 1 on the rim, 0 in the background."""
    inside = labels > 0
    within = inside & ~rims(labels)
    if within.all():  # one cell fills the image: there is no outside to measure from
        return np.full(labels.shape, float(max(labels.shape)), dtype=np.float32)
    depth: NDArray[np.float32] = np.sqrt(square_distances(within)).astype(np.float32)
    depth += inside
    return depth


def square_distances(within: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Square of the Euclidean distance of each pixel to the nearest that is not ``within``.

    Exact: first along the columns, then, along the rows, the least of what each column
    gives plus the square of how far it is (Saito & Toriwaki 1994).  What nothing bounds is
    as far as from the corner (-1, 0), as ``distance_transform_edt`` has it.
    """
    height, width = within.shape
    if within.all():
        y, x = np.ogrid[1 : height + 1, :width]
        return np.asarray(y * y + x * x, dtype=np.int32)
    row = np.arange(height, dtype=np.int32)[:, None]
    above = np.maximum.accumulate(np.where(within, -np.int32(BEYOND), row), axis=0)
    below = np.minimum.accumulate(np.where(within, np.int32(height + BEYOND), row)[::-1], axis=0)[
        ::-1
    ]
    column = np.square(np.minimum(np.minimum(row - above, below - row), BEYOND))
    found = column.copy()
    for k in range(1, min(ROUNDS, width)):
        if k * k >= found.max():
            return found
        shifted = column + np.int32(k * k)
        np.minimum(found[:, k:], shifted[:, :-k], out=found[:, k:])
        np.minimum(found[:, :-k], shifted[:, k:], out=found[:, :-k])
    return _far_squares(within)


def _far_squares(within: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The same at any depth."""
    from scipy.ndimage import distance_transform_edt

    place = distance_transform_edt(within, return_distances=False, return_indices=True)
    y, x = np.ogrid[: within.shape[0], : within.shape[1]]
    squares: NDArray[np.int32] = np.square(place[0] - y) + np.square(place[1] - x)
    return squares.astype(np.int32)
