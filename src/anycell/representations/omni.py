"""Omni: pixels follow the gradient of a smooth distance field, and cluster by cell.

After Omnipose (Cutler et al. 2022, Nature Methods 19:1438).  The field has no centre that
a long or curled cell would have to agree on: pixels walk inwards from the outline, slow
down where the field bends, and those that end near one another are one cell.

Planes at stride 1:

    0     smooth distance to the outline, pixels; -5 in the background
    1-2   flow (y, x) x 5: gradient of the distance, 0 in the background
    3     boundary logit: another number is among the eight neighbours

Discretization of the distance: |grad phi| = 1 is solved upwind (Godunov) along rows and
columns, and again along the diagonals, sqrt(2) apart; phi is the geometric mean of both,
relaxed from 1 everywhere as often as the published bound says, 1.16 x greatest depth + 1.
The outside, the frame of the image included, is 0.  The gradient is the mean of central
differences in both pairs of directions.

Three things differ from the published decoder, all so that neighbouring tiles agree and a
slide takes no longer than it must.  The divergence that slows pixels down is scaled by
fixed ends, not by percentiles of the image.  Ends are always clustered by distance, as
DBSCAN does, not only where cells are small.  And late steps, which become shorter and
shorter, are taken together up to a quarter of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anycell.cutouts import Stack, rims, stacks
from anycell.labels import Labels, areas, relabel
from anycell.representations import LOGIT, Fields
from anycell.turns import Turn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Omni"]

SCALE = 5.0
OUTSIDE = -5.0
ROUNDS = 1.16
SLOWEST, FASTEST = -2.0, 1.0
TOGETHER = 0.25
FINE, FAR = 2, 3
REACH = 2.0**0.5
BLOCK = 16_384

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Omni:
    """Smooth distance, followed by suppressed steps, clustered.

    Attributes
    ----------
    threshold : distance above which a pixel belongs to a cell; so do those down to 1
        less that touch such pixels (hysteresis).
    steps : suppressed Euler steps that are followed; step t is 1 / t of a pixel.
    crowd : ends that must lie within sqrt(2) pixels of an end to make a cluster there.
    smallest : pixels below which a cell is dropped.
    """

    threshold: float = 0.0
    steps: int = 200
    crowd: int = 5
    smallest: int = 15

    name = "omni"
    channels = 4
    stride = 1

    def encode(self, labels: Labels) -> Fields:
        """Turn labels into the 4 planes of the module's docstring."""
        distance, flow = _distance_and_flow(labels)
        out = np.empty((4, *labels.shape), dtype=np.float32)
        out[0] = np.where(labels > 0, distance, OUTSIDE)
        out[1:3] = SCALE * flow
        out[3] = np.where(rims(labels, corners=True), LOGIT, -LOGIT)
        return out

    def loss(self, outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Squared errors of flow and distance, cross-entropy of the boundary.

        Cells weigh twice as much as the background, as published; a distance that is off
        by more than 5 pixels counts linearly, so that large cells do not drown the rest.
        """
        from torch.nn.functional import huber_loss

        from anycell.losses import cross_entropy, weighted

        outputs = outputs.float()
        half = weight * (1.0 + (targets[:, :1] > 0).float()) / 2.0
        square = (outputs[:, 1:3] - targets[:, 1:3]).square()
        off = huber_loss(outputs[:, :1], targets[:, :1], reduction="none", delta=-OUTSIDE)
        rim = (targets[:, 3:4] > 0).float()
        return (
            weighted(square, half)
            + 2.0 * weighted(off, half)
            + 2.0 * cross_entropy(outputs[:, 3:4], rim, weight)
        )

    def decode(self, outputs: Fields, shape: tuple[int, int]) -> Labels:
        """Follow the flow, cluster the ends."""
        from skimage.filters import apply_hysteresis_threshold

        from anycell.pieces import tidy

        outputs = outputs[:, : shape[0], : shape[1]]
        inside = apply_hysteresis_threshold(outputs[0], self.threshold - 1.0, self.threshold)
        place = np.flatnonzero(inside)
        labels = np.zeros(shape, dtype=np.int32)
        if not len(place):
            return labels
        ends = _follow(_speeds(outputs[1:3], inside), place, shape[1], self.steps)
        labels.ravel()[place] = _clusters(ends, shape, self.crowd)
        return _in_order(tidy(labels, self.smallest))

    def turn(self, fields: Fields, turn: Turn) -> Fields:
        """Turn the planes, and the flow as arrows."""
        out = np.ascontiguousarray(turn.plane(fields))
        out[1:3] = turn.vectors(fields[1:3])
        return out

    def confidence(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        """Share of a cell's pixels that are foreground, times exp(- flow error).

        The error is the mean squared length of the flow minus that of the cell itself.
        """
        outputs = outputs[:, : labels.shape[0], : labels.shape[1]]
        flat = labels.ravel()
        count = np.maximum(areas(flat), 1)
        off = np.square(outputs[1:3] / np.float32(SCALE) - _distance_and_flow(labels)[1])
        error = np.bincount(flat, weights=off.sum(axis=0).ravel()) / count
        share = np.bincount(flat, weights=outputs[0].ravel() > self.threshold - 1.0) / count
        sure: NDArray[np.float32] = (share * np.exp(-error))[1:].astype(np.float32)
        return sure


def _distance_and_flow(labels: Labels) -> tuple[Floats, Floats]:
    """Smooth distance inside each cell, and its gradient (y, x)."""
    distance = np.zeros(labels.size, dtype=np.float32)
    flow = np.zeros((2, labels.size), dtype=np.float32)
    for stack in stacks(labels):
        phi = _relaxed(stack)
        own = np.flatnonzero(stack.inside)
        columns = stack.inside.shape[2]
        down, right = phi[own + columns] - phi[own - columns], phi[own + 1] - phi[own - 1]
        one = phi[own + columns + 1] - phi[own - columns - 1]
        other = phi[own + columns - 1] - phi[own - columns + 1]
        distance[stack.place] = phi[own]
        flow[0, stack.place] = down / 4 + (one + other) / 8
        flow[1, stack.place] = right / 4 + (one - other) / 8
    return distance.reshape(labels.shape), flow.reshape(2, *labels.shape)


def _relaxed(stack: Stack) -> Floats:
    """Smooth distance of every pixel of a stack, flat; 0 outside the cells."""
    columns = stack.inside.shape[2]
    inside = stack.inside.ravel().astype(np.float32)
    phi = inside.copy()
    edge = columns + 1
    within = slice(edge, -edge)

    def near(shift: int) -> Floats:
        """Values one shift further on, for the pixels ``within``."""
        return phi[edge + shift : len(phi) - edge + shift]

    depth = (min(stack.inside.shape[1:]) - 2) / 2
    for _ in range(int(np.ceil(ROUNDS * depth)) + 1):
        straight = _upwind(
            np.minimum(near(-columns), near(columns)), np.minimum(near(-1), near(1)), 1.0
        )
        diagonal = _upwind(
            np.minimum(near(-columns - 1), near(columns + 1)),
            np.minimum(near(-columns + 1), near(columns - 1)),
            2.0**0.5,
        )
        straight *= diagonal
        phi[within] = np.sqrt(straight, out=straight)
        phi *= inside
    return phi


def _upwind(a: Floats, b: Floats, step: float) -> Floats:
    """Solve (x - a)^2 + (x - b)^2 = step^2 for x from the sides that are lower than x."""
    low = np.minimum(a, b)
    gap = np.minimum(np.abs(a - b), np.float32(step))
    root = np.sqrt(np.float32(2 * step * step) - gap * gap)
    above: Floats = low + (root + gap) / 2
    return above


def _speeds(flow: Floats, inside: NDArray[np.bool_]) -> Floats:
    """Arrows of at most 1, times 0..1 by their divergence: 0 in sinks, 1 on outlines."""
    arrows = np.where(inside, flow / np.float32(SCALE), np.float32(0.0))
    arrows /= np.maximum(np.hypot(arrows[0], arrows[1]), 1.0)
    spread = np.zeros(inside.shape, dtype=np.float32)
    for axis in (0, 1):
        if inside.shape[axis] > 1:
            spread += np.gradient(arrows[axis], axis=axis)
    speed = np.clip((spread - SLOWEST) / (FASTEST - SLOWEST), 0.0, 1.0)
    field: Floats = arrows * speed
    return field


def _follow(field: Floats, place: NDArray[np.int64], width: int, steps: int) -> Floats:
    """Walk from each place: each step the mean of this velocity and the last, over t.

    Returns
    -------
    ends, 2 x places: (y, x) inside the field.
    """
    lengths = _lengths(steps)
    reach = int(np.ceil(lengths.sum())) + 1
    arrows = (field[0] + 1j * field[1]).astype(np.complex64)
    arrows = np.pad(arrows, reach)
    columns = np.int32(arrows.shape[1])
    flat = arrows.ravel()
    ends = np.empty((2, len(place)), dtype=np.float32)
    for first in range(0, len(place), BLOCK):
        some = slice(first, first + BLOCK)
        y, x = (v.astype(np.float32) + reach for v in np.divmod(place[some], width))
        velocity = flat[y.astype(np.int32) * columns + x.astype(np.int32)]
        for length in lengths:
            nearest = (y + 0.5).astype(np.int32) * columns + (x + 0.5).astype(np.int32)
            velocity += flat[nearest]
            velocity *= np.float32(0.5)
            y += velocity.real * length
            x += velocity.imag * length
        ends[:, some] = y - reach, x - reach
    for axis in (0, 1):
        np.clip(ends[axis], 0, field.shape[axis + 1] - 1, out=ends[axis])
    return ends


def _lengths(steps: int) -> Floats:
    """Steps of 1, 1/2, 1/3 ... pixels; late ones are joined up to ``TOGETHER``."""
    joined: list[float] = []
    for t in range(1, steps + 1):
        if joined and joined[-1] + 1 / t <= TOGETHER:
            joined[-1] += 1 / t
        else:
            joined.append(1 / t)
    return np.array(joined, dtype=np.float32)


def _clusters(ends: Floats, shape: tuple[int, int], crowd: int) -> NDArray[np.int64]:
    """Number each end by its cluster (DBSCAN, Ester et al. 1996); 0 if there is none.

    An end with ``crowd`` ends around it is a core, cores within ``REACH`` are one
    cluster, and every other end goes to the nearest core.  All this is done with the
    places of a raster of half pixels, each standing at the mean of its ends.
    """
    from scipy.ndimage import uniform_filter
    from scipy.spatial import cKDTree
    from skimage.measure import label

    rows, columns = (FINE * side + 2 * FAR for side in shape)
    fine = (ends * FINE + 0.5).astype(np.int64) + FAR
    place = fine[0] * columns + fine[1]
    count = np.bincount(place, minlength=rows * columns).astype(np.float32)
    # 5 x 5 half pixels are as large as the disk of radius sqrt(2).
    around = uniform_filter(count.reshape(rows, columns), 5, mode="constant") * 25
    core = ((count > 0) & (around.ravel() > crowd - 0.5)).reshape(rows, columns)
    number = label(core, connectivity=2).ravel().astype(np.int32)
    cores = np.flatnonzero(number)
    if not len(cores):
        return np.zeros(len(place), dtype=np.int64)
    sums = [np.bincount(place, weights=v, minlength=rows * columns)[cores] for v in ends]
    middle = np.stack(sums, axis=1) / count[cores, None]
    number[cores] = _joined(number, cores, middle, columns)[number[cores]]
    found: NDArray[np.int64] = number[place].astype(np.int64)
    lost = np.flatnonzero(found == 0)
    if len(lost):
        found[lost] = number[cores[cKDTree(middle).query(ends[:, lost].T)[1]]]
    return found


def _joined(
    number: NDArray[np.int32], cores: NDArray[np.int64], middle: NDArray[Any], columns: int
) -> NDArray[np.int32]:
    """Join pieces of which two places lie within reach: old number -> new, from 1."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    where = np.zeros(len(number), dtype=np.int64)
    where[cores] = np.arange(len(cores))
    pairs = []
    for dy in range(FAR + 1):
        for dx in range(-FAR, FAR + 1):
            if max(dy, abs(dx)) < 2 or (dy == 0 and dx < 0):
                continue  # touching places are one piece already; the other half mirrors
            there = cores + (dy * columns + dx)
            other = number[there]
            some = np.flatnonzero((other > 0) & (other != number[cores]))
            apart = np.hypot(*(middle[some] - middle[where[there[some]]]).T)
            some = some[apart <= REACH]
            pairs.append(np.stack([number[cores[some]], other[some]]))
    one, two = np.concatenate(pairs, axis=1)
    size = int(number.max()) + 1
    graph = coo_array((np.ones(len(one), dtype=np.int8), (one, two)), shape=(size, size))
    joined: NDArray[np.int32] = connected_components(graph, directed=False)[1].astype(np.int32)
    return joined + np.int32(1)


def _in_order(labels: Labels) -> Labels:
    """Number cells by their first pixel."""
    flat: NDArray[Any] = labels.ravel()
    numbers, first = np.unique(flat, return_index=True)
    order = np.zeros(int(numbers[-1]) + 1, dtype=np.int32)
    cells = numbers > 0
    order[numbers[cells]] = 1 + np.argsort(np.argsort(first[cells]))
    return relabel(order[labels])
