"""What every decoder does last: one connected piece per cell, no holes, no specks.

Labels are worked on as runs, the longest stretches of equal numbers in the rows:

    .aabb.      .|aa|bb|.
    .aab..  ->  .|aa|b|..      8 runs for 12 pixels

There are some twenty times fewer of them than pixels, and one graph of runs that touch
gives the pieces of the cells and of the background alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anycell.labels import Labels

__all__ = ["fill_holes", "largest_pieces", "tidy"]

Ints = NDArray[np.int64]
Pairs = tuple[Ints, Ints]
"""Two runs that touch, by their indices: the one above or to the left, and the other."""


@dataclass(frozen=True)
class Runs:
    """The runs of a label image, in the order of their pixels.

    Attributes
    ----------
    shape : rows x columns of the image.
    start : flat index of each run's first pixel.
    length : pixels of each run.
    stacked : runs that share an edge, one above the other.
    cornered : runs that share a corner and may share no edge, one above the other.
    """

    shape: tuple[int, ...]
    start: Ints
    length: Ints
    stacked: Pairs
    cornered: Pairs

    @classmethod
    def of(cls, labels: Labels) -> Runs:
        """Find the runs of rows x columns, at least one pixel."""
        width = labels.shape[1]
        first = np.ones(labels.shape, dtype=bool)
        np.not_equal(labels[:, 1:], labels[:, :-1], out=first[:, 1:])
        start = np.flatnonzero(first)
        length = np.diff(start, append=labels.size)
        run = np.repeat(np.arange(len(start), dtype=np.int32), length)
        # A shared edge begins where the run above or the run below does.
        below = width + np.flatnonzero(first[1:] | first[:-1])
        own = np.flatnonzero(start >= width)
        left = own[start[own] % width > 0]
        end = start + length
        right = own[end[own] % width > 0]
        corners = run[start[left] - width - 1], run[end[right] - width]
        return cls(
            labels.shape,
            start,
            length,
            (run[below - width], run[below]),
            (np.concatenate(corners), np.concatenate([left, right])),
        )

    def beside(self) -> Pairs:
        """Runs that follow one another in a row."""
        right = np.flatnonzero(self.start % self.shape[1] > 0)
        return right - 1, right

    def at_frame(self) -> NDArray[np.bool_]:
        """Runs with a pixel on the frame of the image."""
        height, width = self.shape
        row, column = np.divmod(self.start, width)
        at_side = (column == 0) | (column + self.length == width)
        frame: NDArray[np.bool_] = at_side | (row == 0) | (row == height - 1)
        return frame

    def painted(self, value: NDArray[np.int32]) -> Labels:
        """Labels with one number for each run."""
        return np.repeat(value, self.length).reshape(self.shape)


def tidy(labels: Labels, smallest: int) -> Labels:
    """Keep each cell's largest piece, fill its holes, drop it below ``smallest`` pixels.

    Pieces of cells are connected through edges or corners, holes through edges only.
    Numbered 1..n afterwards.
    """
    if not labels.any():
        return np.zeros(labels.shape, dtype=np.int32)
    runs = Runs.of(labels)
    value = _filled(runs, _largest(runs, labels.ravel()[runs.start]))
    size = np.bincount(value, weights=runs.length)
    stays = (size >= smallest) & (size > 0)
    stays[0] = False
    number = np.where(stays, np.cumsum(stays), 0).astype(np.int32)
    return runs.painted(number[value])


def largest_pieces(labels: Labels) -> Labels:
    """Keep the largest piece of each cell; of equals, the one with the first pixel."""
    if not labels.any():
        return np.zeros(labels.shape, dtype=np.int32)
    runs = Runs.of(labels)
    return runs.painted(_largest(runs, labels.ravel()[runs.start]))


def fill_holes(labels: Labels) -> Labels:
    """Give each background piece that touches one cell only, and no edge, to that cell."""
    if not labels.any():
        return np.zeros(labels.shape, dtype=np.int32)
    runs = Runs.of(labels)
    return runs.painted(_filled(runs, labels.ravel()[runs.start]))


def _largest(runs: Runs, value: NDArray[np.int32]) -> NDArray[np.int32]:
    """The number of each run, 0 where it is not in its cell's largest piece."""
    joined = []
    for one, two in (runs.stacked, runs.cornered):
        same = (value[one] == value[two]) & (value[one] > 0)
        joined.append((one[same], two[same]))
    piece = _pieces(joined, len(value))
    size = np.bincount(piece, weights=runs.length).astype(np.int64)
    owner = np.zeros(len(size), dtype=np.int64)
    owner[piece] = value
    first = np.empty(len(size), dtype=np.int64)
    first[piece[::-1]] = np.arange(len(piece))[::-1]
    order = np.lexsort((-first, size))
    winner = np.zeros(int(owner.max()) + 1, dtype=np.int64)
    winner[owner[order]] = order
    kept: NDArray[np.int32] = np.where(winner[value] == piece, value, 0).astype(np.int32)
    return kept


def _filled(runs: Runs, value: NDArray[np.int32]) -> NDArray[np.int32]:
    """The number of each run once the holes belong to their cells."""
    edges = (runs.stacked, runs.beside())
    joined = []
    for one, two in edges:
        gap = (value[one] == 0) & (value[two] == 0)
        joined.append((one[gap], two[gap]))
    piece = _pieces(joined, len(value))
    lowest = np.full(len(value), np.iinfo(np.int32).max, dtype=np.int32)
    highest = np.zeros(len(value), dtype=np.int32)
    for one, two in edges:
        for gap, cell in ((one, two), (two, one)):
            some = np.flatnonzero((value[gap] == 0) & (value[cell] > 0))
            np.minimum.at(lowest, piece[gap[some]], value[cell[some]])
            np.maximum.at(highest, piece[gap[some]], value[cell[some]])
    enclosed = lowest == highest
    enclosed[piece[runs.at_frame()]] = False
    filled: NDArray[np.int32] = np.where((value == 0) & enclosed[piece], highest[piece], value)
    return filled


def _pieces(joined: list[Pairs], count: int) -> NDArray[np.int32]:
    """Number what hangs together, from 0."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, two = (np.concatenate(ends) for ends in zip(*joined, strict=True))
    graph = coo_array((np.ones(len(one), dtype=np.int8), (one, two)), shape=(count, count))
    piece: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return piece
