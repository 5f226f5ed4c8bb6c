"""What every decoder does last: one connected piece per cell, no holes, no specks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anycell.labels import Labels, relabel

__all__ = ["fill_holes", "largest_pieces", "tidy"]


def tidy(labels: Labels, smallest: int) -> Labels:
    """Keep each cell's largest piece, fill its holes, drop it below ``smallest`` pixels.

    Pieces of cells are connected through edges or corners, holes through edges only.
    Numbered 1..n afterwards.
    """
    kept = fill_holes(largest_pieces(labels))
    size = np.bincount(kept.ravel())
    drop = size < smallest
    drop[0] = False
    if drop.any():
        kept = np.where(drop[kept], 0, kept)
    return relabel(kept)


def largest_pieces(labels: Labels) -> Labels:
    """Keep the largest piece of each cell."""
    from skimage.measure import label

    pieces = label(labels, background=0, connectivity=2).astype(np.int32, copy=False)
    count = int(pieces.max(initial=0)) + 1
    size = np.bincount(pieces.ravel(), minlength=count)
    owner = np.zeros(count, dtype=np.int64)
    owner[pieces.ravel()] = labels.ravel()
    order = np.lexsort((-np.arange(count), size))
    winner = np.zeros(int(owner.max(initial=0)) + 1, dtype=np.int64)
    winner[owner[order]] = order
    keep = winner[owner] == np.arange(count)
    keep[0] = False
    kept: Labels = np.where(keep[pieces], labels, 0).astype(np.int32, copy=False)
    return kept


def fill_holes(labels: Labels) -> Labels:
    """Give each background piece that touches one cell only, and no edge, to that cell."""
    from skimage.measure import label

    gaps = label(labels == 0, background=0, connectivity=1).astype(np.int32, copy=False)
    count = int(gaps.max(initial=0)) + 1
    if count <= 2:
        return labels
    lowest = np.full(count, np.iinfo(np.int32).max, dtype=np.int32)
    highest = np.zeros(count, dtype=np.int32)
    for gap, cell in _neighbours(gaps, labels):
        np.minimum.at(lowest, gap, cell)
        np.maximum.at(highest, gap, cell)
    enclosed = lowest == highest
    for side in (gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]):
        enclosed[side] = False
    enclosed[0] = False
    fill = np.where(enclosed, highest, 0)
    filled: Labels = labels + fill[gaps]
    return filled


def _neighbours(
    gaps: NDArray[np.int32], labels: Labels
) -> list[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Pairs (background piece, cell) that share an edge, in the four directions."""
    pairs = []
    up, down = (slice(None, -1), slice(None)), (slice(1, None), slice(None))
    left, right = (slice(None), slice(None, -1)), (slice(None), slice(1, None))
    for here, there in ((up, down), (down, up), (left, right), (right, left)):
        at = (gaps[here] > 0) & (labels[there] > 0)
        pairs.append((gaps[here][at], labels[there][at]))
    return pairs
