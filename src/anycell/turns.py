"""The eight symmetries of the square, for images, labels and vector fields.

A turn is k quarter turns counter-clockwise (as ``numpy.rot90``), after a
left-right flip when ``flip`` is set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TURNS", "Turn"]


@dataclass(frozen=True)
class Turn:
    """One of the eight symmetries of the square."""

    quarters: int = 0
    flip: bool = False

    def plane(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn the last two axes, rows x columns, of an array."""
        out = array[..., ::-1] if self.flip else array
        return np.rot90(out, self.quarters, axes=(-2, -1))

    def vectors(self, field: NDArray[Any]) -> NDArray[Any]:
        """Turn a field of (y, x) vectors: 2 x rows x columns, places and arrows both."""
        y, x = self.plane(field)
        matrix = self.matrix
        return np.stack([matrix[0, 0] * y + matrix[0, 1] * x, matrix[1, 0] * y + matrix[1, 1] * x])

    @property
    def matrix(self) -> NDArray[np.int64]:
        """The 2 x 2 matrix that maps a (y, x) arrow to the turned one."""
        matrix = np.eye(2, dtype=np.int64)
        if self.flip:
            matrix = np.array([[1, 0], [0, -1]])
        quarter = np.array([[0, -1], [1, 0]])  # np.rot90 sends +x to -y and +y to +x
        for _ in range(self.quarters % 4):
            matrix = quarter @ matrix
        return matrix

    @property
    def inverse(self) -> Turn:
        """The turn that undoes this one."""
        return Turn(self.quarters if self.flip else -self.quarters % 4, self.flip)


TURNS: tuple[Turn, ...] = tuple(Turn(k, flip) for flip in (False, True) for k in range(4))
