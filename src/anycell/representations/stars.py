r"""Stars: every pixel says how far its cell goes in 32 directions; the best polygons stay.

After StarDist (Schmidt et al. 2018, MICCAI, arXiv 1806.03535).  Defaults are the published
ones: 32 rays, candidates above a probability of 0.5, suppressed above an intersection
over union of 0.4, on a grid of every second pixel as in the published models
(2D_versatile_fluo).

Planes at stride 2; a field pixel stands for its middle, a corner of four image pixels:

    0      logit of the object probability: depth / greatest depth of the cell
    1-32   distance to the outline / UNIT, in directions k x 11.25 degrees, from +x to +y

            6 5 4
          7  \|/  ...
         8 ---+--- 0     a polygon joins the ends of the rays
             /|\
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anycell.cutouts import depths
from anycell.labels import Labels, areas
from anycell.representations import LOGIT, Fields
from anycell.turns import Turn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Stars"]

RAYS = 32
UNIT = 8.0
TURN = 2 * np.pi / RAYS
DIRECTIONS = np.stack([np.sin(TURN * np.arange(RAYS)), np.cos(TURN * np.arange(RAYS))], axis=1)
"""(y, x) of each ray."""
SHORTEST = 1e-3
STEP = 0.5
SURE_WAY = 2.0
PROBES = 8
BLOCK = 1_000_000
BACKGROUND_SHARE = 1e-4
RAY_SHARE = 0.2

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Stars:
    """Star-convex polygons, the most probable of which suppress the others.

    Attributes
    ----------
    threshold : probability above which a pixel's polygon is a candidate.
    overlap : intersection over union above which a better polygon suppresses another.
    smallest : square pixels below which a cell is dropped.
    """

    threshold: float = 0.5
    overlap: float = 0.4
    smallest: int = 9

    name = "stars"
    channels = 1 + RAYS
    stride = 2

    def encode(self, labels: Labels) -> Fields:
        """Turn labels into the 33 planes of the module's docstring."""
        depth = depths(labels)
        owner, near = _coarse(labels, depth)
        deepest = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.float32)
        np.maximum.at(deepest, labels.ravel(), depth.ravel())
        chance = np.where(owner > 0, near / np.maximum(deepest[owner], 1.0), 0.0)
        out = np.zeros((1 + RAYS, *owner.shape), dtype=np.float32)
        edge = 1.0 / (1.0 + np.exp(LOGIT))
        chance = np.clip(chance, edge, 1.0 - edge)
        out[0] = np.log(chance / (1.0 - chance))
        place = np.flatnonzero(owner)
        out.reshape(1 + RAYS, -1)[1:, place] = _rays(labels, depth, owner, place) / UNIT
        return out

    def loss(self, outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Cross-entropy of the probability, and the rays' mean absolute error, at 0.2.

        A ray counts by its pixel's probability; those in the background are drawn to 0.
        """
        from anycell.losses import blocks_of, cross_entropy, weighted

        outputs = outputs.float()
        valid = blocks_of(weight, self.stride).amin(dim=1, keepdim=True)
        chance = targets[:, :1].sigmoid()
        inside = (targets[:, 1:].amax(dim=1, keepdim=True) > 0).float()
        error = (outputs[:, 1:] - targets[:, 1:]).abs().mean(dim=1, keepdim=True) * UNIT
        beyond = outputs[:, 1:].abs().mean(dim=1, keepdim=True) * UNIT
        return cross_entropy(outputs[:, :1], chance, valid) + RAY_SHARE * (
            weighted(error, valid * inside * chance)
            + BACKGROUND_SHARE * weighted(beyond, valid * (1.0 - inside))
        )

    def decode(self, outputs: Fields, shape: tuple[int, int]) -> Labels:
        """Choose polygons from the most probable down, and paint them."""
        from anycell.pieces import tidy

        limit = float(np.log(self.threshold / (1.0 - self.threshold)))
        place = np.flatnonzero(outputs[0] > limit)
        # Equals are ranked at random, though always alike: in order they would form chains.
        mixed = place * 2_654_435_761 % 2**32
        place = place[np.lexsort((mixed, outputs[0].ravel()[place]))]
        rays = _lengths(outputs, place)
        kept = _chosen(place, rays, (outputs.shape[1], outputs.shape[2]), self.overlap)
        centre = 2 * np.stack(np.divmod(place[kept], outputs.shape[2]), axis=1)
        top = _painted(centre, rays[kept], 0.5, np.arange(1, len(kept) + 1), shape)
        # Numbers follow the places of the middles.
        number = np.zeros(len(kept) + 1, dtype=np.int32)
        number[1:] = 1 + np.argsort(np.argsort(place[kept]))
        return tidy(number[top], self.smallest)

    def turn(self, fields: Fields, turn: Turn) -> Fields:
        """Turn the planes; rays change places as their directions do."""
        turned = turn.plane(fields)
        out = np.empty_like(turned)
        out[0] = turned[0]
        angle = np.arctan2(*(turn.matrix @ DIRECTIONS.T))
        out[1 + np.rint(angle / TURN).astype(int) % RAYS] = turned[1:]
        return out

    def confidence(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        """The best probability in a cell, times the overlap of that polygon with the cell."""
        count = int(labels.max(initial=0))
        owner, _ = _coarse(labels, np.ones(labels.shape, dtype=np.float32))
        place = np.flatnonzero(owner)
        place = place[np.argsort(outputs[0].ravel()[place], kind="stable")]
        best = np.full(count + 1, -1, dtype=np.int64)
        best[owner.ravel()[place]] = place
        cells = np.flatnonzero(best >= 0)
        sure = np.zeros(count + 1, dtype=np.float32)
        if len(cells):
            rays = _lengths(outputs, best[cells])
            both, all_of = np.zeros((2, len(cells)), dtype=np.int64)
            centre = 2 * np.stack(np.divmod(best[cells], outputs.shape[2]), axis=1)
            for which, y, x, _ in _covered(centre, rays, 0.5, labels.shape):
                all_of += np.bincount(which, minlength=len(cells))
                own = labels[y, x] == cells[which]
                both += np.bincount(which[own], minlength=len(cells))
            union = all_of + areas(labels)[cells] - both
            logit = np.clip(outputs[0].ravel()[best[cells]], -30.0, 30.0)
            sure[cells] = both / union / (1.0 + np.exp(-logit))
        return sure[1:]


def _coarse(labels: Labels, depth: Floats) -> tuple[Labels, Floats]:
    """The cell with most of a field pixel's four pixels, and its greatest depth there."""
    down, right = (side % 2 for side in labels.shape)
    four, deep = (
        np.stack([p[a::2, b::2] for a in (0, 1) for b in (0, 1)])
        for p in (np.pad(v, ((0, down), (0, right))) for v in (labels, depth))
    )
    votes = (four[:, None] == four[None]).sum(axis=0, dtype=np.int8)
    votes[four == 0] = 0
    owner: Labels = np.take_along_axis(four, votes.argmax(axis=0)[None], axis=0)[0]
    near: Floats = np.where(four == owner, deep, 0.0).max(axis=0)
    return owner, near


def _rays(labels: Labels, depth: Floats, owner: Labels, place: Ints) -> Floats:
    """Distance from each place to the outline of its cell: rays x places, in pixels.

    A ray goes on in half pixels, or as far as the depth lets it, until it leaves the
    cell; its length ends on the edge of the last pixel inside.
    """
    height, width = labels.shape
    padded = np.pad(labels, 2).ravel()
    # Rays end at the frame; only to the probability does a cell go on beyond it.
    rows, columns = (np.minimum(np.arange(s) + 1, s - np.arange(s)) for s in (height, width))
    way = np.minimum(depth, np.minimum(rows[:, None], columns))
    steps = np.maximum(1, ((way - SURE_WAY) / STEP).astype(np.int16))
    skip = np.pad(steps, 2, constant_values=1).ravel()
    y, x = (2 * v + 2 for v in np.divmod(place, owner.shape[1]))
    base = (y * (width + 4) + x).astype(np.int32)
    own = owner.ravel()[place]
    longest = 2 + int((np.hypot(height, width) + float(way.max(initial=0))) / STEP)
    out = np.empty((RAYS, len(place)), dtype=np.float32)
    for ray, direction in enumerate(DIRECTIONS):
        # The middle lies on the corner of four pixels: (0, 0) is the upper left of them.
        # Rounding errors must not decide between the pixels that a ray runs between.
        along = np.arange(longest)[:, None] * (STEP * direction)
        offset = np.ceil(along - 1e-6).astype(np.int32)
        shift = offset[:, 0] * np.int32(width + 4) + offset[:, 1]
        far = _exits(offset, direction)
        out[ray] = far[_walked(padded, skip, base, own, shift)]
    return out


def _walked(
    padded: Labels,
    skip: NDArray[np.int16],
    base: NDArray[np.int32],
    own: Labels,
    shift: NDArray[np.int32],
) -> NDArray[np.int32]:
    """How many steps one ray from each base stays inside; 0 if it never is."""
    walked = np.zeros(len(base), dtype=np.int32)
    live = np.arange(len(base), dtype=np.int32)
    step = np.ones(len(base), dtype=np.int32)
    while len(live):
        at = base + shift[step]
        inside = np.flatnonzero(padded[at] == own)
        live, base, own, step, at = (v[inside] for v in (live, base, own, step, at))
        walked[live] = step
        step += skip[at]
    return walked


def _exits(offset: NDArray[np.int32], direction: NDArray[np.float64]) -> Floats:
    """How far along a ray the edge of the pixel lies that it is in after each step."""
    far = np.full(len(offset), np.inf)
    for axis in (0, 1):
        if abs(direction[axis]) > 1e-9:
            edge = offset[:, axis] - (0.0 if direction[axis] > 0 else 1.0)
            far = np.minimum(far, edge / direction[axis])
    far[0] = SHORTEST
    exits: Floats = np.maximum(far, SHORTEST).astype(np.float32)
    return exits


def _lengths(outputs: Fields, place: Ints) -> Floats:
    """Rays of the polygons at some places: places x rays, in image pixels."""
    rays: Floats = outputs.reshape(len(outputs), -1)[1 : 1 + RAYS, place].T * np.float32(UNIT)
    return np.clip(rays, SHORTEST, 2.0 * max(outputs.shape[1:]))


def _chosen(place: Ints, rays: Floats, shape: tuple[int, int], overlap: float) -> Ints:
    """Which polygons stay when each, from the last to the first, suppresses others.

    A polygon suppresses those whose middle lies in it.  All that no better one can
    reach are taken in one round, which gives the same as one after the other.
    """
    half = rays / 2
    size = _sizes(half)
    centre = np.stack(np.divmod(place, shape[1]), axis=1)
    left, kept = np.arange(len(place)), np.zeros(len(place), dtype=bool)
    while len(left):
        won = _reached(centre[left], left, size[left], shape) == left
        winners, left = left[won], left[~won]
        kept[winners] = True
        owner = _painted(centre[winners], half[winners], 0.0, winners + 1, shape)
        rival = owner.ravel()[place[left]]
        near = np.flatnonzero(rival)
        share = _overlaps(centre[left[near]], half[left[near]], rival[near], owner)
        left = np.delete(left, near[share > overlap])
    return np.flatnonzero(kept)


def _reached(centre: Ints, left: Ints, size: Ints, shape: tuple[int, int]) -> Ints:
    """The best of the polygons that are left whose square covers each one's middle.

    Looked up on a raster of a quarter of the square, a little more than it covers.
    """
    from scipy.ndimage import maximum_filter

    best = left.copy()
    for reach in np.unique(size):
        unit = max(1, int(reach) // 4)
        y, x = (centre // unit).T
        own = np.full([-(-side // unit) for side in shape], -1, dtype=np.int32)
        some = size == reach
        np.maximum.at(own, (y[some], x[some]), left[some].astype(np.int32))
        window = 2 * -(-int(reach) // unit) + 1
        best = np.maximum(best, maximum_filter(own, window, mode="nearest")[y, x])
    return best


def _overlaps(
    centre: Ints, rays: Floats, rival: NDArray[np.int32], owner: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Intersection over union of each polygon and its rival among those painted.

    Large polygons are probed at every second, third ... place.
    """
    area = np.bincount(owner.ravel())
    share = np.zeros(len(centre))
    for which, y, x, spacing in _covered(centre, rays, 0.0, owner.shape, sparse=True):
        count = np.bincount(which, minlength=len(centre))
        both = np.bincount(which[owner[y, x] == rival[which]], minlength=len(centre))
        union = count + area[rival] / spacing**2 - both
        share = np.where(count > 0, both / union, share)
    return share


def _painted(
    centre: Ints, rays: Floats, shift: float, number: Ints, shape: tuple[int, int]
) -> NDArray[np.int32]:
    """Fill polygons with their numbers; the highest number lies on top."""
    top = np.zeros(shape, dtype=np.int32)
    for which, y, x, _ in _covered(centre, rays, shift, shape):
        np.maximum.at(top, (y, x), number[which].astype(np.int32))
    return top


def _sizes(rays: NDArray[np.floating]) -> Ints:
    """The longest ray of each polygon, rounded up to powers of sqrt(2)."""
    power = np.ceil(2.0 * np.log2(np.maximum(rays.max(axis=1, initial=1.0), 1.0)))
    sizes: Ints = np.ceil(2.0 ** (power / 2.0)).astype(np.int64)
    return sizes


def _covered(
    centre: Ints, rays: Floats, shift: float, shape: tuple[int, int], *, sparse: bool = False
) -> Iterator[tuple[Ints, Ints, Ints, int]]:
    """Pixels inside polygons: which polygon, y, x, and the spacing of the probes.

    The middle of a polygon lies ``shift`` beyond its centre, along both axes.  A point at
    angle t between rays k and k + 1 is inside if, by the area of the triangles,
    r sin(t - t_k) / ray_(k+1) + r sin(t_(k+1) - t) / ray_k <= sin(t_(k+1) - t_k).
    Each polygon's points come in one piece.
    """
    sizes = _sizes(rays)
    for size in np.unique(sizes):
        spacing = max(1, int(size) // PROBES) if sparse else 1
        side = np.arange(-(size // spacing) - 1, size // spacing + 2) * spacing
        y, x = (v.ravel() for v in np.meshgrid(side, side, indexing="ij"))
        radius, angle = np.hypot(y - shift, x - shift), np.arctan2(y - shift, x - shift)
        ray = np.floor(angle / TURN).astype(np.int64)
        first = (radius * np.sin(angle - ray * TURN)).astype(np.float32)
        second = (radius * np.sin((ray + 1) * TURN - angle)).astype(np.float32)
        members = np.flatnonzero(sizes == size)
        count = max(1, BLOCK // len(y))
        for start in range(0, len(members), count):
            some = members[start : start + count]
            inverse = 1.0 / rays[some]
            level = inverse[:, (ray + 1) % RAYS] * first + inverse[:, ray % RAYS] * second
            row, point = np.nonzero(level <= np.sin(TURN) + 1e-5)
            at_y, at_x = centre[some[row], 0] + y[point], centre[some[row], 1] + x[point]
            within = (at_y >= 0) & (at_y < shape[0]) & (at_x >= 0) & (at_x < shape[1])
            yield some[row[within]], at_y[within], at_x[within], spacing
