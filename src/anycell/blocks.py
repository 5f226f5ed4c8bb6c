"""Blocks of 2 x 2 image pixels, the field pixels of stride 2.

a b c d          a c    b d          the four pixels of a block in four planes:
e f g h    ->                        upper left, upper right, lower left, lower right
                 e g    f h
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.labels import Labels

__all__ = ["blocks", "majority", "unblock"]


def blocks(plane: NDArray[Any]) -> NDArray[Any]:
    """Rows x columns -> 4 x rows / 2 x columns / 2, odd sides padded with zeros."""
    height, width = plane.shape
    if height % 2 or width % 2:
        plane = np.pad(plane, ((0, height % 2), (0, width % 2)))
    return np.stack([plane[a::2, b::2] for a in (0, 1) for b in (0, 1)])


def unblock(parts: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Undo :func:`blocks`, cut to ``shape``."""
    out = np.empty((2 * parts.shape[1], 2 * parts.shape[2]), dtype=parts.dtype)
    for k, (a, b) in enumerate((a, b) for a in (0, 1) for b in (0, 1)):
        out[a::2, b::2] = parts[k]
    return out[: shape[0], : shape[1]]


def majority(parts: NDArray[np.int32]) -> Labels:
    """The cell with most of the four pixels; any cell before background."""
    coarse: Labels = parts[0].copy()
    mixed = np.flatnonzero((parts[1:] != coarse).any(axis=0))
    four = parts.reshape(4, -1)[:, mixed]
    count = (four[:, None] == four[None]).sum(axis=0, dtype=np.int8)
    count[four == 0] = 0
    coarse.ravel()[mixed] = np.take_along_axis(four, count.argmax(axis=0)[None], axis=0)[0]
    return coarse
