"""Centres of cells and the ways to them, for representations that point inwards.

The centre of a cell is always inside it, also for a C: among the pixels whose depth
(distance to the outline) is at least ``DEPTH`` of the cell's greatest, the one
nearest the centroid.  From most cells' centres every pixel can be seen in a straight
line; for the others a shortest-path tree is grown inside the cell with the 5/7
chamfer weights of Borgefors (1986), all cells at once, by buckets of equal distance
(Dial, 1969).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anycell.labels import Labels, centroids

__all__ = ["Cells", "ancestors", "find_cells"]

DEPTH = 0.75
SIGHT_SAMPLES = 8
SIGHT_FAILURES = 0.005
STRAIGHT, DIAGONAL = 5, 7

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Cells:
    """The pixels of all cells of a label image, and each cell's centre.

    Attributes
    ----------
    pixels : flat indices of the foreground pixels into the label image.
    owner : the number of the cell of each of these pixels.
    centre : flat index of the centre of each number 0..max (0 where not in use).
    width : columns of the label image.
    """

    pixels: Ints
    owner: NDArray[np.int32]
    centre: Ints
    width: int


def find_cells(labels: Labels) -> Cells:
    """Find every cell's pixels and centre, in O(pixels)."""
    from scipy.ndimage import distance_transform_edt

    flat = labels.ravel()
    pixels = np.flatnonzero(flat)
    owner = flat[pixels]
    top = int(owner.max(initial=0)) + 1
    depth = distance_transform_edt(_inside(labels)).ravel()[pixels].astype(np.float32)
    deepest = np.zeros(top, dtype=np.float32)
    np.maximum.at(deepest, owner, depth)
    middle = centroids(labels)
    deep = np.flatnonzero(depth >= DEPTH * deepest[owner])
    y, x = np.divmod(pixels[deep], labels.shape[1])
    away = np.square(np.stack([y, x], axis=1) - middle[owner[deep]]).sum(axis=1)
    key = np.round(away * 16).astype(np.int64) * len(flat) + pixels[deep]
    nearest = np.full(top, np.iinfo(np.int64).max)
    np.minimum.at(nearest, owner[deep], key)
    centre = np.where(nearest < np.iinfo(np.int64).max, nearest % max(len(flat), 1), 0)
    return Cells(pixels, owner, centre, labels.shape[1])


def _inside(labels: Labels) -> NDArray[np.bool_]:
    """Pixels whose four neighbours all belong to the same cell; the frame counts as own."""
    inside = labels > 0
    across = labels[1:] == labels[:-1]
    inside[1:] &= across
    inside[:-1] &= across
    along = labels[:, 1:] == labels[:, :-1]
    inside[:, 1:] &= along
    inside[:, :-1] &= along
    return inside


def ancestors(labels: Labels, cells: Cells, hop: float) -> tuple[Floats, Floats]:
    """Give each foreground pixel its arrows one and two hops towards its centre.

    Parameters
    ----------
    labels : rows x columns.
    cells : what :func:`find_cells` found in them.
    hop : length of one hop, pixels along the way; a nearer centre is reached in one.

    Returns
    -------
    two arrays, 2 x foreground pixels: the (y, x) arrows in pixels.
    """
    start = np.stack(np.divmod(cells.pixels, cells.width)).astype(np.float32)
    goal = np.stack(np.divmod(cells.centre[cells.owner], cells.width)).astype(np.float32)
    arrow = goal - start
    length = np.maximum(np.hypot(arrow[0], arrow[1]), 1e-6)
    one = arrow * np.minimum(1.0, hop / length)
    two = arrow * np.minimum(1.0, 2 * hop / length)
    hidden = _hidden(labels, cells, start, arrow)
    if hidden.any():
        bent = np.flatnonzero(hidden[cells.owner])
        first, second = _tree_arrows(labels, cells, hidden, hop)
        one[:, bent] = first[:, bent]
        two[:, bent] = second[:, bent]
    return one, two


def _hidden(labels: Labels, cells: Cells, start: Floats, arrow: Floats) -> NDArray[np.bool_]:
    """Numbers of the cells in which some pixels cannot see the centre."""
    flat = labels.ravel()
    failures = np.zeros(len(cells.pixels), dtype=np.int32)
    for step in range(1, SIGHT_SAMPLES + 1):
        at = np.rint(start + arrow * (step / (SIGHT_SAMPLES + 1))).astype(np.int64)
        failures += flat[at[0] * cells.width + at[1]] != cells.owner
    top = len(cells.centre)
    blocked = np.bincount(cells.owner, weights=failures, minlength=top)
    count = np.bincount(cells.owner, minlength=top)
    return blocked > SIGHT_FAILURES * SIGHT_SAMPLES * np.maximum(count, 1)


def _tree_arrows(
    labels: Labels, cells: Cells, wanted: NDArray[np.bool_], hop: float
) -> tuple[Floats, Floats]:
    """Arrows to the tree ancestors one and two hops away, for the wanted cells."""
    width = labels.shape[1] + 2
    padded = np.zeros((labels.shape[0] + 2, width), dtype=np.int32)
    padded[1:-1, 1:-1] = np.where(wanted[labels], labels, 0)
    flat = padded.ravel()
    place = _pad(cells.pixels, cells.width)
    distance = _distances(flat, _pad(cells.centre[np.flatnonzero(wanted)], cells.width), width)
    parent = _parents(flat, distance, _pad(cells.centre, cells.width), width)
    reach = hop * STRAIGHT
    first = _climb(place, distance, parent, reach)
    second = _climb(first, distance, parent, reach)
    here = np.stack(np.divmod(place, width))
    arrows = [np.stack(np.divmod(p, width)) - here for p in (first, second)]
    return arrows[0].astype(np.float32), arrows[1].astype(np.float32)


def _pad(index: Ints, width: int) -> Ints:
    """Flat indices of an image in the same image with a frame of one pixel around it."""
    y, x = np.divmod(index, width)
    return (y + 1) * (width + 2) + x + 1


def _distances(flat: NDArray[np.int32], seeds: Ints, width: int) -> NDArray[np.int32]:
    """Chamfer distance from each cell's seed within the cell, in fifths of a pixel."""
    distance = np.full(len(flat), np.iinfo(np.int32).max, dtype=np.int32)
    order = np.zeros(len(flat), dtype=np.int32)
    distance[seeds] = 0
    straight = np.array([-width, -1, 1, width])
    diagonal = np.array([-width - 1, -width + 1, width - 1, width + 1])
    buckets: defaultdict[int, list[Ints]] = defaultdict(list)
    buckets[0].append(seeds)
    level = 0
    while buckets:
        front = np.concatenate(buckets.pop(level, [seeds[:0]]))
        front = front[distance[front] == level]
        turn = np.arange(len(front), dtype=np.int32)
        order[front] = turn
        front = front[order[front] == turn]
        for offsets, weight in ((straight, STRAIGHT), (diagonal, DIAGONAL)):
            near = (front[:, None] + offsets).ravel()
            same = flat[near] == np.repeat(flat[front], 4)
            near = near[same & (distance[near] > level + weight)]
            if len(near):
                distance[near] = level + weight
                buckets[level + weight].append(near)
        level += 1
    return distance


def _parents(
    flat: NDArray[np.int32], distance: NDArray[np.int32], centre: Ints, width: int
) -> Ints:
    """The next pixel on the way; among equals the one nearest the straight line."""
    far = np.iinfo(np.int32).max
    parent = np.arange(len(flat))
    place = np.flatnonzero((flat > 0) & (distance > 0) & (distance < far))
    y, x = np.divmod(place, width)
    cy, cx = np.divmod(centre[flat[place]], width)
    best = np.full(len(place), far, dtype=np.int64)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            weight = DIAGONAL if dy and dx else STRAIGHT
            near = place + dy * width + dx
            on_way = (flat[near] == flat[place]) & (distance[near] == distance[place] - weight)
            aside = np.abs((cy - y) * dx - (cx - x) * dy)
            better = on_way & (aside < best)
            best[better] = aside[better]
            parent[place[better]] = near[better]
    return parent


def _climb(place: Ints, distance: NDArray[np.int32], parent: Ints, reach: float) -> Ints:
    """The ancestor at most ``reach`` fifths of a pixel up the tree, by halving jumps."""
    jumps = [parent]
    while STRAIGHT * 2 ** len(jumps) <= reach:
        jumps.append(jumps[-1][jumps[-1]])
    floor = distance[place].astype(np.int64) - reach
    at = place.copy()
    for jump in reversed(jumps):
        onward = jump[at]
        go = distance[onward] >= floor
        at[go] = onward[go]
    return at
