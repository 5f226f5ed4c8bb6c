"""Labels: an int32 array of rows x columns; 0 is background, 1..n are cells.

Not a class: any array of whole numbers will do, these functions do the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.errors import InputError

__all__ = ["Labels", "areas", "as_labels", "boxes", "centroids", "edge_labels", "relabel"]

Labels = NDArray[np.int32]

_BAND = 2**22  # pixels at a time


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


def boxes(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Bounding boxes (y0, x0, y1, x1), half open, of each number 0..max.

    Rows of numbers not in use, and row 0, are zeros.
    """
    top = int(labels.max(initial=0)) + 1
    out = np.zeros((top, 4), dtype=np.int64)
    out[:, :2] = np.iinfo(np.int64).max
    height, width = labels.shape
    step = max(1, _BAND // max(1, width))  # so that a slide needs little beside its labels
    for begin in range(0, height, step):
        flat = labels[begin : begin + step].ravel()
        inside = np.flatnonzero(flat)
        y, x = np.divmod(inside, width)
        y += begin
        numbers = flat[inside]
        np.minimum.at(out[:, 0], numbers, y)
        np.minimum.at(out[:, 1], numbers, x)
        np.maximum.at(out[:, 2], numbers, y + 1)
        np.maximum.at(out[:, 3], numbers, x + 1)
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
