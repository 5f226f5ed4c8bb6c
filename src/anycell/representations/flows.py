"""Flows: heat spreads from the centre of each cell, and pixels follow it back.

After Cellpose (Stringer et al. 2021, Nature Methods 18:100): the targets are the unit
vectors of the heat's gradient; a decoder lets every pixel walk along them, and pixels
that end in one place are one cell.  Defaults are the published ones.

Planes at stride 1:

    0     foreground logit
    1-2   flow (y, x) x 5: of length 5 in cells, 0 in the background

Two things differ.  Heat starts at the centre of ``anycell.geodesic``, well inside the
cell, instead of the pixel nearest its median, which may lie on the rim.  And no cell is
dropped for covering much of the image: a tile may be small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anycell.chances import chance_of
from anycell.cutouts import Stack, stacks
from anycell.geodesic import find_cells
from anycell.labels import Labels, relabel
from anycell.representations import LOGIT, Fields
from anycell.turns import Turn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Flows"]

SCALE = 5.0
DEEPEST_DECAY = 60.0
WIDEST_SINGLE = 64
GROWTH = 5
WINDOW = 5
FEWEST = 2
BLOCK = 16_384
STILL = 0.02

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Flows:
    """Flows of heat, followed to their sinks.

    Attributes
    ----------
    threshold : foreground logit above which a pixel belongs to a cell.
    steps : Euler steps of one pixel that are followed.
    seed : pixels that must have ended in one place to make a cell; more than this.
    error : largest mean squared difference of the flows and those recomputed from a
        cell; cells above are dropped.  0 drops none.
    smallest : pixels below which a cell is dropped.
    """

    threshold: float = 0.0
    steps: int = 200
    seed: int = 10
    error: float = 0.4
    smallest: int = 15

    name = "flows"
    channels = 3
    stride = 1

    def encode(self, labels: Labels) -> Fields:
        """Turn labels into the 3 planes of the module's docstring."""
        out = np.empty((3, *labels.shape), dtype=np.float32)
        out[0] = np.where(labels > 0, LOGIT, -LOGIT)
        out[1:] = SCALE * _flows(labels)
        return out

    def loss(self, outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Cross-entropy of the foreground, and half the mean squared error of the flows."""
        from anycell.losses import cross_entropy, weighted

        outputs = outputs.float()
        truth = (targets[:, :1] > 0).float()
        square = (outputs[:, 1:3] - targets[:, 1:3]).square()
        return cross_entropy(outputs[:, :1], truth, weight) + 0.5 * weighted(square, weight)

    def decode(self, outputs: Fields, shape: tuple[int, int]) -> Labels:
        """Follow the flows, find the sinks, and drop cells whose flows do not fit."""
        from anycell.pieces import tidy

        outputs = outputs[:, : shape[0], : shape[1]]
        place = np.flatnonzero(outputs[0] > self.threshold)
        labels = np.zeros(shape, dtype=np.int32)
        if not len(place):
            return labels
        field = np.where(outputs[0] > self.threshold, outputs[1:3] / np.float32(SCALE), 0.0)
        ends = _follow(field.astype(np.float32), place, self.steps)
        labels.ravel()[place] = self._gather(ends, shape)
        labels = relabel(labels)
        if self.error > 0.0:
            bad = np.append(False, _errors(outputs, labels) > self.error)
            labels[bad[labels]] = 0
        return tidy(labels, self.smallest)

    def _gather(self, ends: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.int32]:
        """Number the ends by the sink they belong to: seeds in their histogram, grown.

        A seed is the greatest of 5 x 5 places and grows five times by its neighbours
        with more than two ends; where seeds meet, the greater has the place.
        """
        from scipy.ndimage import maximum_filter

        count = np.bincount(ends, minlength=shape[0] * shape[1]).reshape(shape)
        greatest = maximum_filter(count, WINDOW, mode="constant")
        seeds = np.flatnonzero((count == greatest) & (count > self.seed))
        seeds = seeds[np.lexsort((-seeds, count.ravel()[seeds]))]
        rank = np.zeros(shape, dtype=np.int32)
        rank.ravel()[seeds] = np.arange(1, len(seeds) + 1)
        occupied = count > FEWEST
        for _ in range(GROWTH):
            rank = np.where(occupied, maximum_filter(rank, 3, mode="constant"), 0)
        number = np.zeros(len(seeds) + 1, dtype=np.int32)
        number[1:] = 1 + np.argsort(np.argsort(seeds))
        found: NDArray[np.int32] = number[rank.ravel()[ends]]
        return found

    def turn(self, fields: Fields, turn: Turn) -> Fields:
        """Turn the planes, and the flows as arrows."""
        out = np.empty((3, *turn.plane(fields[0]).shape), dtype=np.float32)
        out[0] = turn.plane(fields[0])
        out[1:3] = turn.vectors(fields[1:3])
        return out

    def confidence(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        """Mean foreground probability times exp(- flow error); 0.67 at the limit of 0.4."""
        outputs = outputs[:, : labels.shape[0], : labels.shape[1]]
        chance = chance_of(outputs[0])
        flat = labels.ravel()
        mean = np.bincount(flat, weights=chance.ravel()) / np.maximum(np.bincount(flat), 1)
        sure: NDArray[np.float32] = (mean[1:] * np.exp(-_errors(outputs, labels))).astype(
            np.float32
        )
        return sure


def _errors(outputs: Fields, labels: Labels) -> NDArray[np.float64]:
    """Mean squared length of (flow - flow recomputed from the cell), of cells 1..n."""
    off = np.square(outputs[1:3] / np.float32(SCALE) - _flows(labels)).sum(axis=0)
    flat = labels.ravel()
    total = np.bincount(flat, weights=off.ravel())
    error: NDArray[np.float64] = (total / np.maximum(np.bincount(flat), 1))[1:]
    return error


def _flows(labels: Labels) -> Floats:
    """Unit vectors of the gradient of heat that spreads from each cell's centre."""
    flow = np.zeros((2, labels.size), dtype=np.float32)
    centre = find_cells(labels).centre
    for stack in stacks(labels):
        cy, cx = np.divmod(centre[stack.numbers], labels.shape[1])
        count, rows, columns = stack.inside.shape
        source = (np.arange(count) * rows + cy - stack.corner[:, 0]) * columns
        heat = _heat(stack, source + cx - stack.corner[:, 1])
        own = np.flatnonzero(stack.inside)
        y = heat[own + columns] - heat[own - columns]
        x = heat[own + 1] - heat[own - 1]
        length = np.hypot(y, x)
        length[length == 0.0] = 1.0
        flow[:, stack.place] = y / length, x / length
    return flow.reshape(2, *labels.shape)


def _heat(stack: Stack, source: NDArray[np.int64]) -> NDArray[Any]:
    """Heat of every pixel of a stack, flat, after the published number of steps.

    Each step adds 1 at the source and averages over 3 x 3 pixels, the outside being 0;
    there are 2 x (rows + columns) of them, more in a curled cell, so that heat reaches
    its ends.
    """
    inside = stack.inside
    columns = inside.shape[2]
    middle = inside[:, 1:-1, 1:-1]
    within = middle & inside[:, :-2, 1:-1] & inside[:, 2:, 1:-1]
    within &= inside[:, 1:-1, :-2] & inside[:, 1:-1, 2:]
    area = middle.sum(axis=(1, 2))
    rim = area - within.sum(axis=(1, 2))
    # Along a band the heat falls as exp(-pi way / width); its rim is twice the way.
    decay = float((np.pi / 4 * rim * rim / area).max())
    tame = decay < DEEPEST_DECAY and max(inside.shape[1:]) <= WIDEST_SINGLE
    kind = np.float32 if tame else np.float64
    share = (inside.ravel() / 9.0).astype(kind)
    heat, along = np.zeros_like(share), np.zeros_like(share)
    for _ in range(int(max(2 * stack.extent.max(), rim.max() // 2))):
        heat[source] += 1
        np.add(heat[:-2], heat[1:-1], out=along[1:-1])
        along[1:-1] += heat[2:]
        np.add(along[: -2 * columns], along[columns:-columns], out=heat[columns:-columns])
        heat[columns:-columns] += along[2 * columns :]
        heat *= share
    return heat


def _follow(field: Floats, place: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
    """Walk from each place along a field by Euler steps, interpolating linearly.

    A walk that stands still, or goes to and fro between two points, need not be walked
    to its end: which of the two points it ends on is known.

    Returns
    -------
    flat indices of the pixels, coordinates cut off as published.
    """
    _, height, width = field.shape
    arrows = (field[0] + 1j * field[1]).astype(np.complex64)
    arrows = np.pad(arrows, ((0, 1), (0, 1)), mode="edge").ravel()
    ends = np.empty(len(place), dtype=np.int64)
    for first in range(0, len(place), BLOCK):
        block = place[first : first + BLOCK]
        y, x = (v.astype(np.float32) for v in np.divmod(block, width))
        live = np.arange(len(block))
        end = np.empty((2, len(block)), dtype=np.float32)
        before = y, x
        for step in range(steps):
            last = y, x
            y, x = _stepped(arrows, (height, width), y, x)
            if step % 2:
                continue
            moving = (np.abs(y - before[0]) > STILL) | (np.abs(x - before[1]) > STILL)
            even = (steps - 1 - step) % 2 == 0
            end[:, live[~moving]] = [v[~moving] for v in ((y, x) if even else last)]
            live, y, x = live[moving], y[moving], x[moving]
            if not len(live):
                break
            before = y, x
        end[:, live] = y, x
        at = end.astype(np.int64)
        ends[first : first + BLOCK] = at[0] * width + at[1]
    return ends


def _stepped(
    arrows: NDArray[np.complex64], shape: tuple[int, int], y: Floats, x: Floats
) -> tuple[Floats, Floats]:
    """One step along arrows of a field with one more row and column than ``shape``."""
    width = shape[1] + 1
    row, column = y.astype(np.int32), x.astype(np.int32)
    at = row * np.int32(width) + column
    down, right = y - row, x - column
    above, below = arrows[at], arrows[at + width]
    above += (arrows[at + 1] - above) * right
    below += (arrows[at + width + 1] - below) * right
    above += (below - above) * down
    return (
        np.clip(y + above.real, 0.0, np.float32(shape[0] - 1)),
        np.clip(x + above.imag, 0.0, np.float32(shape[1] - 1)),
    )
