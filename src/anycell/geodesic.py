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
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from anycell.cutouts import rims, square_distances
from anycell.labels import Labels

__all__ = ["Cells", "ancestors", "find_cells"]

DEPTH = 0.75
SIGHT_SAMPLES = 8
SIGHT_FAILURES = 0.005
STRAIGHT, DIAGONAL = 5, 7
AROUND = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x)
"""The eight neighbours (y, x), row by row."""
ROUNDING = 0.75
"""Rounding a sample to its pixel moves it by at most sqrt(0.5), and a little more in float32."""
FAR = np.iinfo(np.int32).max

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
    clear : no pixel of another number lies nearer to the centre of each number 0..max.
    width : columns of the label image.
    """

    pixels: Ints
    owner: NDArray[np.int32]
    centre: Ints
    clear: Floats
    width: int

    def places(self, flat: Ints) -> tuple[Ints, Ints]:
        """Rows and columns of flat indices."""
        y = flat // self.width
        return y, flat - y * self.width


def find_cells(labels: Labels) -> Cells:
    """Find every cell's pixels and centre, in O(pixels)."""
    flat = labels.ravel()
    pixels = np.flatnonzero(flat > 0)
    owner = flat[pixels]
    top = int(owner.max(initial=0)) + 1
    within = (labels > 0) & ~rims(labels)
    depth = np.sqrt(square_distances(within).ravel()[pixels]).astype(np.float32)
    deepest = np.zeros(top, dtype=np.float32)
    np.maximum.at(deepest, owner, depth)
    cells = Cells(pixels, owner, np.zeros(top, np.int64), deepest, labels.shape[1])
    y, x = cells.places(pixels)
    count = np.maximum(np.bincount(owner, minlength=top), 1)
    middle = [np.bincount(owner, weights=v, minlength=top) / count for v in (y, x)]
    deep = np.flatnonzero(depth >= (DEPTH * deepest)[owner])
    own = owner[deep]
    away = np.square(y[deep] - middle[0][own]) + np.square(x[deep] - middle[1][own])
    key = np.round(away * 16).astype(np.int64) * len(flat) + pixels[deep]
    nearest = np.full(top, np.iinfo(np.int64).max)
    np.minimum.at(nearest, own, key)
    used = nearest < np.iinfo(np.int64).max
    cells.centre[used] = nearest[used] % len(flat)
    return replace(cells, clear=DEPTH * deepest)


def ancestors(labels: Labels, cells: Cells, hop: float, hops: int = 2) -> tuple[Floats, ...]:
    """Give each foreground pixel its arrows one, two .. hops towards its centre.

    Parameters
    ----------
    labels : rows x columns.
    cells : what :func:`find_cells` found in them.
    hop : length of one hop, pixels along the way; a nearer centre is reached in one.
    hops : how many arrows each pixel gets.

    Returns
    -------
    for each number of hops an array, 2 x foreground pixels: the (y, x) arrows in pixels.
    """
    start = np.stack(cells.places(cells.pixels)).astype(np.float32)
    goal = np.stack(cells.places(cells.centre)).astype(np.float32)
    arrow = goal[:, cells.owner] - start
    length = np.maximum(np.hypot(arrow[0], arrow[1]), 1e-6)
    found = tuple(arrow * np.minimum(1.0, k * hop / length) for k in range(1, hops + 1))
    hidden = _hidden(labels, cells, arrow, length)
    if hidden.any():
        bent = np.flatnonzero(hidden[cells.owner])
        tree = _grown(labels, cells, bent)
        at = np.arange(len(bent))
        for arrows in found:
            at = tree.climb(at, hop * STRAIGHT)
            arrows[:, bent] = start[:, bent[at]] - start[:, bent]
    return found


def _hidden(labels: Labels, cells: Cells, arrow: Floats, length: Floats) -> NDArray[np.bool_]:
    """Numbers of the cells in which some pixels cannot see the centre.

    Sight is sampled in eight places.  Around the centre nothing can hide a pixel, so that
    only samples that lie further from it are looked at.
    """
    flat = labels.ravel()
    failures = np.zeros(len(cells.pixels), dtype=np.int8)
    free = cells.clear[cells.owner]
    some = np.arange(len(cells.pixels))
    for step in range(1, SIGHT_SAMPLES + 1):
        part = step / (SIGHT_SAMPLES + 1)
        some = some[(1.0 - part) * length[some] + ROUNDING >= free[some]]
        y, x = (np.rint(a[some] * np.float32(part)).astype(np.int64) for a in arrow)
        at = cells.pixels[some] + y * cells.width + x
        failures[some] += flat[at] != cells.owner[some]
    top = len(cells.centre)
    blocked = np.bincount(cells.owner, weights=failures, minlength=top)
    count = np.bincount(cells.owner, minlength=top)
    return blocked > SIGHT_FAILURES * SIGHT_SAMPLES * np.maximum(count, 1)


@dataclass(frozen=True)
class Tree:
    """Shortest ways to the centres, of some pixels; all indices are into these pixels.

    Attributes
    ----------
    distance : chamfer distance from the centre within the cell, in fifths of a pixel.
    parent : the next pixel on the way; a centre, and what it cannot reach, is its own.
    """

    distance: NDArray[np.int32]
    parent: Ints

    def climb(self, place: Ints, reach: float) -> Ints:
        """The ancestor at most ``reach`` fifths of a pixel up the tree, by halving jumps."""
        jumps = [self.parent]
        while STRAIGHT * 2 ** len(jumps) <= reach:
            jumps.append(jumps[-1][jumps[-1]])
        floor = self.distance[place] - reach
        at = place.copy()
        for jump in reversed(jumps):
            onward = jump[at]
            at = np.where(self.distance[onward] >= floor, onward, at)
        return at


def _grown(labels: Labels, cells: Cells, bent: Ints) -> Tree:
    """Grow the trees of the cells that ``bent``, indices into ``cells.pixels``, make up."""
    y, x = cells.places(cells.pixels[bent])
    owner = cells.owner[bent]
    width = cells.width + 2
    at = (y + 1) * width + x + 1
    index = np.full((labels.shape[0] + 2) * width, -1, dtype=np.int32)
    index[at] = np.arange(len(bent), dtype=np.int32)
    near = index[at[:, None] + np.array([dy * width + dx for dy, dx in AROUND])]
    # -1, which no way leads to, stands for all that is not of the same cell.
    near[owner[near] != owner[:, None]] = -1
    centre = cells.centre[owner]
    seeds = np.flatnonzero(cells.pixels[bent] == centre)
    distance = _distances(near, seeds)
    cy, cx = cells.places(centre)
    parent = np.arange(len(bent))
    beside = np.full(near.shape, FAR, dtype=np.int64)
    for k, (dy, dx) in enumerate(AROUND):
        weight = DIAGONAL if dy and dx else STRAIGHT
        on_way = (near[:, k] >= 0) & (distance[near[:, k]] == distance - weight)
        beside[on_way, k] = np.abs((cy - y) * dx - (cx - x) * dy)[on_way]
    # Among equals the one nearest the straight line.
    best = beside.argmin(axis=1)
    led = np.flatnonzero(np.take_along_axis(beside, best[:, None], 1)[:, 0] < FAR)
    parent[led] = near[led, best[led]]
    return Tree(distance, parent)


def _distances(near: NDArray[np.int32], seeds: Ints) -> NDArray[np.int32]:
    """Chamfer distance of each pixel from its cell's seed, in fifths of a pixel.

    ``near`` has the eight neighbours of each pixel, -1 for none.
    """
    distance = np.full(len(near) + 1, FAR, dtype=np.int32)
    distance[-1] = -1
    order = np.zeros(len(near), dtype=np.int32)
    distance[seeds] = 0
    ways = [
        (near[:, [k for k, (y, x) in enumerate(AROUND) if bool(y and x) == slant]], weight)
        for slant, weight in ((False, STRAIGHT), (True, DIAGONAL))
    ]
    buckets: defaultdict[int, list[Ints]] = defaultdict(list)
    buckets[0].append(seeds)
    level = 0
    while buckets:
        front = np.concatenate(buckets.pop(level, [seeds[:0]]))
        front = front[distance[front] == level]
        turn = np.arange(len(front), dtype=np.int32)
        order[front] = turn
        front = front[order[front] == turn]
        for neighbours, weight in ways:
            there = neighbours[front].ravel()
            there = there[distance[there] > level + weight]
            if len(there):
                distance[there] = level + weight
                buckets[level + weight].append(there)
        level += 1
    return distance[:-1]
