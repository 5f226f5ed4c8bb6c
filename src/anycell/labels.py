"""Labels: an int32 array of rows x columns; 0 is background, 1..n are cells.

Not a class: any array of whole numbers will do, these functions do the rest.  What goes
through labels band by band or cell by cell takes a :class:`Plane`, which may lie on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from anycell.errors import InputError

__all__ = [
    "Labels",
    "Plane",
    "areas",
    "as_labels",
    "bands",
    "boxes",
    "centroids",
    "edge_labels",
    "neighbours",
    "relabel",
]

Labels = NDArray[np.int32]

_BAND = 2**22  # pixels at a time
READ = 2**23
"""Pixels of a plane on disk that are read at once: 32 MiB."""
BLOCK_ROWS, BLOCK_COLUMNS = 1024, 16_384
"""Cells whose boxes begin in one block are read together: few rows, since files are stored
in strips or tiles, and all columns of most slides."""


class Plane(Protocol):
    """Labels that are read piece by piece: an array, or labels in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""

    def __getitem__(self, index: tuple[slice, slice], /) -> Labels:
        """The labels of some rows and columns, steps of 1; not to be written to."""


def as_labels(array: NDArray[Any]) -> Labels:
    """Check that an array can be labels and give it as int32.

    Raises
    ------
    InputError : not rows x columns, not whole numbers, negative, or above 2**31 - 1.
    """
    if array.ndim != 2:
        raise InputError(f"labels of shape {array.shape}", expected="rows x columns")
    if array.dtype == np.bool_:
        return array.astype(np.int32)
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"labels of type {array.dtype}", expected="whole numbers")
    if array.size and (int(array.min()) < 0 or int(array.max()) > np.iinfo(np.int32).max):
        raise InputError(f"label values {array.min()} .. {array.max()}", expected="0 .. 2147483647")
    return array.astype(np.int32, copy=False)


def relabel(labels: NDArray[Any]) -> Labels:
    """Number the cells 1..n without gaps, keeping their order of numbers."""
    top = int(labels.max(initial=0))
    if top > 4 * labels.size:
        values, inverse = np.unique(labels, return_inverse=True)
        start = 0 if values.size and values[0] == 0 else 1
        return (inverse.reshape(labels.shape) + start).astype(np.int32)
    present = np.zeros(top + 1, dtype=bool)
    present[labels.ravel()] = True
    present[0] = False
    numbers = np.where(present, np.cumsum(present), 0).astype(np.int32)
    numbered: Labels = numbers[labels]
    return numbered


def areas(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Pixels of each cell: element i belongs to cell i, element 0 to the background."""
    return np.bincount(labels.ravel(), minlength=1)


def centroids(labels: NDArray[Any]) -> NDArray[np.float64]:
    """Mean (y, x) of each number 0..max, in pixels; nan for numbers not in use."""
    top = int(labels.max(initial=0)) + 1
    flat = labels.ravel()
    count = np.bincount(flat, minlength=top).astype(np.float64)
    count[count == 0] = np.nan
    inside = np.flatnonzero(flat)
    y, x = np.divmod(inside, labels.shape[1])
    sums = [np.bincount(flat[inside], weights=v, minlength=top) for v in (y, x)]
    out = np.stack(sums, axis=1) / count[:, None]
    out[0] = np.nan
    return out


def bands(plane: Plane, step: int, margin: int = 0) -> Iterator[tuple[slice, Labels]]:
    """Go over a plane some rows at a time.

    Parameters
    ----------
    step : rows of each band, the last one excepted.
    margin : rows above and below a band that come with it, as far as there are any.

    Returns
    -------
    For each band its rows, and the labels of these and of the margin.
    """
    height, width = plane.shape
    many = step * max(1, READ // max(1, step * width))
    for first in range(0, height, many):
        top, after = max(0, first - margin), min(height, first + many)
        some = plane[top : min(height, after + margin), :width]
        for begin in range(first, after, step):
            end = min(height, begin + step)
            yield slice(begin, end), some[max(0, begin - margin) - top : end + margin - top]


def neighbours(
    plane: Plane, box: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], Labels, tuple[int, int]]]:
    """Go over the cells of a plane so that those that lie close are read together.

    Parameters
    ----------
    box : (y0, x0, y1, x1) of each cell, half open.

    Returns
    -------
    For each group the indices of its cells in ``box``, rising; labels that hold them whole;
    and the (y, x) of the first pixel of these.  Of an array all cells are one group; a cell
    much larger than a block is one by itself.
    """
    if isinstance(plane, np.ndarray):
        yield np.arange(len(box)), plane, (0, 0)
        return
    block = box[:, :2] // (BLOCK_ROWS, BLOCK_COLUMNS)
    beyond = box[:, 2:] - (block + 1) * (BLOCK_ROWS, BLOCK_COLUMNS)
    alone = (beyond > (BLOCK_ROWS // 2, BLOCK_COLUMNS // 2)).any(axis=1)
    lone = np.flatnonzero(alone)
    group = np.stack([np.zeros_like(alone, dtype=np.int64), *block.T])
    group[0, lone] = lone + 1
    order = np.lexsort(group[::-1])
    change = np.flatnonzero((np.diff(group[:, order]) != 0).any(axis=0)) + 1
    for index in np.split(order, change):
        if len(index):
            y0, x0 = box[index, :2].min(axis=0).tolist()
            y1, x1 = box[index, 2:].max(axis=0).tolist()
            yield np.sort(index), plane[y0:y1, x0:x1], (y0, x0)


def boxes(labels: Plane) -> NDArray[np.int64]:
    """Bounding boxes (y0, x0, y1, x1), half open, of each number 0..max.

    Rows of numbers not in use, and row 0, are zeros.
    """
    unseen = np.iinfo(np.int64).max
    out = np.full((1, 4), (unseen, unseen, 0, 0), dtype=np.int64)
    width = labels.shape[1]
    for rows, band in bands(labels, max(1, _BAND // max(1, width))):
        top = int(band.max(initial=0))
        if top >= len(out):
            more = np.full((top + 1 - len(out), 4), (unseen, unseen, 0, 0), dtype=np.int64)
            out = np.concatenate([out, more])
        # By stretches of equal numbers within a row: there are far fewer of them than pixels.
        first = np.ones(band.shape, dtype=bool)
        np.not_equal(band[:, 1:], band[:, :-1], out=first[:, 1:])
        start = np.flatnonzero(first)
        numbers = band.ravel()[start]
        length = np.diff(start, append=band.size)
        inside = np.flatnonzero(numbers)
        start, numbers = start[inside], numbers[inside]
        y, x = np.divmod(start, width)
        y += rows.start
        np.minimum.at(out[:, 0], numbers, y)
        np.minimum.at(out[:, 1], numbers, x)
        np.maximum.at(out[:, 2], numbers, y + 1)
        np.maximum.at(out[:, 3], numbers, x + length[inside])
    out[out[:, 3] == 0] = 0
    return out


def edge_labels(labels: NDArray[Any], margin: int = 1) -> NDArray[np.int64]:
    """The numbers of the cells that touch the outer frame of ``margin`` pixels."""
    frame = np.ones(labels.shape, dtype=bool)
    frame[margin : labels.shape[0] - margin, margin : labels.shape[1] - margin] = False
    if min(labels.shape) <= 2 * margin:
        frame[...] = True
    found = np.unique(labels[frame])
    return found[found > 0].astype(np.int64)
