"""Votes: each pixel votes for an ancestor on its way to the centre of its cell.

Composing the field of votes with itself (p <- p + v(p), by pointer doubling) contracts
a cell to one sink; no integration, no polygons, no suppression, O(pixels).

Planes at stride 2, lengths in field pixels:

    0-3   foreground logits of the four image pixels of a field pixel
    4-5   vote (y, x) / UNIT
    6     contact logit: another cell is within one pixel
    7     log2 of the cell's diameter / 12 (12 field pixels are 24 image pixels)
    8     log of the expected error of the vote, in field pixels

    9-10  two-hop vote (y, x) / UNIT                        (targets only)
    11    weight of the pixel: 1 / area of its cell         (targets only)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anycell.blocks import blocks, majority, unblock
from anycell.chances import chance_of, logit_of
from anycell.geodesic import ancestors, find_cells
from anycell.labels import Labels, areas
from anycell.representations import LOGIT, Fields
from anycell.turns import Turn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Votes"]

UNIT = 8.0
TYPICAL = 12.0
CONTACT_WEIGHT = 3.0
STILL_FAR = 3.0
LONGEST_WAY = 5
REACH = (0.35, 8.0)
"""How far a sink climbs: this share of the predicted diameter, at most so many field pixels."""
NEAR = (0.5, 2.0, 3.0)
"""And at least this share of it, itself no less and no more than so many field pixels."""
SIZED = (0.5, 3.6)
"""What it says of a cell that it is n octaves larger than its pixels say: the logit of its
confidence moves by the first times n, and falls by the second times n squared if n < 0.  Both
are a logistic fit of which cells were right, on labeled images of twelve training groups."""
LEVELS = (0.65, 0.8)
"""Foreground probabilities that may be better than the usual one, where cells are unsure."""


@dataclass(frozen=True)
class Votes:
    """Contractive geodesic votes, decoded by pointer doubling.

    Attributes
    ----------
    hop : the longest vote, field pixels.
    doublings : how often the field is composed with itself; 2 makes 4 votes.
    smallest : image pixels below which a piece is dropped.
    threshold : foreground probability from which a pixel belongs to a cell.
    """

    hop: float = 16.0
    doublings: int = 2
    smallest: int = 9
    threshold: float = 0.5

    name = "votes"
    channels = 9
    stride = 2

    @property
    def levels(self) -> tuple[float, ...]:
        """Foreground probabilities to choose from, the usual one first."""
        return (self.threshold, *(level for level in LEVELS if level > self.threshold))

    def at_level(self, level: float) -> Votes:
        """Give the same votes with another foreground probability."""
        return replace(self, threshold=level)

    def encode(self, labels: Labels) -> Fields:
        """Turn labels into the 12 planes of the module's docstring."""
        four = blocks(labels)
        coarse = majority(four)
        out = np.zeros((12, *coarse.shape), dtype=np.float32)
        sure = np.float32(LOGIT)
        out[:4] = np.where(four > 0, sure, -sure)
        out[6] = np.where(_contact(coarse), sure, -sure)
        cells = find_cells(coarse)
        if len(cells.pixels):
            one, two = ancestors(coarse, cells, self.hop)
            planes = out.reshape(12, -1)
            planes[4:6, cells.pixels] = one / UNIT
            planes[9:11, cells.pixels] = two / UNIT
            size = areas(coarse)[cells.owner]
            planes[7, cells.pixels] = np.log2(_diameter(size) / TYPICAL)
            planes[8, cells.pixels] = -3.0
            planes[11, cells.pixels] = 1.0 / size
        return out

    def loss(self, outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Sum the losses of the planes; votes and sizes weigh each cell alike.

        Cross-entropy and soft Dice on the foreground, Laplace likelihood of the votes
        under their own predicted scale, Huber on two composed votes (contraction),
        cross-entropy on contact, L1 on log size.
        """
        from torch.nn.functional import huber_loss

        from anycell.losses import blocks_of, cross_entropy, follow, soft_dice, weighted

        outputs = outputs.float()
        valid = blocks_of(weight, self.stride)
        known = (valid.amin(dim=1, keepdim=True) > 0).float()
        contact = (targets[:, 6:7] > 0).float()
        near = 1.0 + (CONTACT_WEIGHT - 1.0) * contact
        cell = targets[:, 11:12] * known * near
        truth = (targets[:, :4] > 0).float()
        votes, scale = outputs[:, 4:6], outputs[:, 8:9].clamp(-3.0, 4.0)
        error = (votes - targets[:, 4:6]).abs().sum(dim=1, keepdim=True) * UNIT
        twice = votes + follow(votes, votes * UNIT)
        bent = huber_loss(twice, targets[:, 9:11], reduction="none", delta=2.0 / UNIT)
        return (
            2.0 * cross_entropy(outputs[:, :4], truth, valid * near)
            + soft_dice(outputs[:, :4], truth, valid)
            + 0.2 * weighted(error * (-scale).exp() + 2.0 * scale, cell)
            + 0.2 * weighted(error, cell)
            + 0.1 * weighted(bent.sum(dim=1, keepdim=True) * UNIT, cell)
            + 0.3 * cross_entropy(outputs[:, 6:7], contact, known * (1.0 + 4.0 * contact))
            + 0.2 * weighted((outputs[:, 7:8] - targets[:, 7:8]).abs(), cell)
        )

    def decode(self, outputs: Fields, shape: tuple[int, int]) -> Labels:
        """Compose the votes, gather the sinks, and paint the cells at full resolution."""
        from anycell.pieces import tidy

        logit = float(np.log(self.threshold / (1.0 - self.threshold)))
        fine = outputs[:4] > logit
        coarse = np.zeros(fine.shape[1:], dtype=np.int32)
        place = np.flatnonzero(fine.any(axis=0))
        if len(place):
            sinks = self._sinks(outputs, place)
            coarse.ravel()[place] = _gather(sinks, outputs[7])
        return tidy(unblock(coarse * fine, shape), self.smallest)

    def _sinks(self, outputs: Fields, place: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the votes of each foreground pixel lead: flat indices."""
        height, width = outputs.shape[1:]
        inside = np.zeros(height * width, dtype=bool)
        inside[place] = True
        y = place // width
        x = place - y * width
        votes = outputs[4:6].reshape(2, -1)[:, place] * UNIT
        target = place.copy()
        lost = np.arange(len(place))
        for part in (1.0, 0.5, 0.25):
            vote_y, vote_x = part * votes[:, lost]
            to_y = np.clip(np.rint(y[lost] + vote_y), 0, height - 1)
            to_x = np.clip(np.rint(x[lost] + vote_x), 0, width - 1)
            to = (to_y * width + to_x).astype(np.int64)
            reached = inside[to]
            target[lost[reached]] = to[reached]
            lost = lost[~reached]
        successor = np.zeros(height * width, dtype=np.int64)
        successor[place] = target
        for _ in range(self.doublings):
            target = successor[target]
            successor[place] = target
        # In a cell longer than the votes so far, the sinks themselves still move on.
        for _ in range(LONGEST_WAY):
            moves = _far_from_still(target, successor, width)
            some = np.flatnonzero(moves[target])
            if not len(some):
                break
            target[some] = successor[target[some]]
            successor[place[some]] = target[some]
        return target

    def turn(self, fields: Fields, turn: Turn) -> Fields:
        """Turn the fields; the four sub-pixel planes change places as well."""
        out = np.empty((len(fields), *turn.plane(fields[0]).shape), dtype=np.float32)
        fine = turn.plane(unblock(fields[:4], tuple(2 * s for s in fields.shape[1:])))
        out[:4] = blocks(fine)
        out[4:6] = turn.vectors(fields[4:6])
        out[6:9] = turn.plane(fields[6:9])
        if len(fields) > self.channels:
            out[9:11] = turn.vectors(fields[9:11])
            out[11] = turn.plane(fields[11])
        return out

    def confidence(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        """Mean foreground probability, lowered by the parity error and by a wrong size.

        A piece of a cell is smaller than its pixels say that their cell is.
        """
        four = blocks(labels)
        top = int(labels.max(initial=0)) + 1
        inside = np.flatnonzero(four > 0)
        owner = four.ravel()[inside]
        chance = chance_of(outputs[:4].ravel()[inside])
        count = np.maximum(np.bincount(owner, minlength=top), 1)
        sure = np.bincount(owner, weights=chance, minlength=top) / count
        told = outputs[7].ravel()[inside % outputs[7].size]
        size = np.bincount(owner, weights=told, minlength=top) / count
        larger = np.log2(_diameter(count / 4.0) / TYPICAL) - size
        parity = self._parity(outputs, majority(four), top)
        logit = logit_of(sure * np.exp(-4.0 * parity))
        logit += SIZED[0] * larger - SIZED[1] * np.minimum(larger, 0.0) ** 2
        return chance_of(logit)[1:].astype(np.float32)

    def parity(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        """Mean difference of votes and votes recomputed from the cells, in diameters.

        Returns
        -------
        one value per cell 1..n; 0 is perfect, about 0.2 is doubtful.
        """
        top = int(labels.max(initial=0)) + 1
        return self._parity(outputs, majority(blocks(labels)), top)[1:].astype(np.float32)

    def margin(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        """How far from undecided the foreground of each cell 1..n is: mean |2 p - 1|, 0 .. 1."""
        four = blocks(labels).ravel()
        top = int(labels.max(initial=0)) + 1
        wide = np.abs(np.tanh(0.5 * outputs[:4])).ravel()
        count = np.maximum(np.bincount(four, minlength=top), 1)
        return (np.bincount(four, weights=wide, minlength=top) / count)[1:].astype(np.float32)

    def _parity(self, outputs: Fields, coarse: Labels, top: int) -> NDArray[np.float64]:
        cells = find_cells(coarse)
        if not len(cells.pixels):
            return np.ones(top)
        (ideal,) = ancestors(coarse, cells, self.hop, hops=1)
        votes = outputs[4:6].reshape(2, -1)[:, cells.pixels] * UNIT
        error = np.hypot(*(votes - ideal))
        total = np.bincount(cells.owner, weights=error, minlength=top)
        count = np.bincount(cells.owner, minlength=top)
        mean = total / np.maximum(count, 1) / _diameter(np.maximum(count, 1))
        return np.where(count > 0, mean, 1.0)


def _diameter(area: NDArray[Any]) -> NDArray[np.float64]:
    """Diameter of the disk of the same area."""
    return np.sqrt(area * (4.0 / np.pi))


def _contact(coarse: Labels) -> NDArray[np.bool_]:
    """Pixels with another cell among their eight neighbours."""
    touching = np.zeros(coarse.shape, dtype=bool)
    inside = coarse > 0
    every, first, last = slice(None), slice(None, -1), slice(1, None)
    for here, there in (
        ((last, every), (first, every)),
        ((every, last), (every, first)),
        ((last, last), (first, first)),
        ((last, first), (first, last)),
    ):
        differ = (coarse[here] != coarse[there]) & inside[here] & inside[there]
        touching[here] |= differ
        touching[there] |= differ
    return touching


def _far_from_still(
    target: NDArray[np.int64], successor: NDArray[np.int64], width: int
) -> NDArray[np.bool_]:
    """Of each pixel, whether it is a target whose own successor is far from it."""
    far = np.zeros(len(successor), dtype=bool)
    far[target] = True
    sinks = np.flatnonzero(far)
    onward = successor[sinks]
    step_y = onward // width - sinks // width
    step_x = onward - sinks - step_y * width
    far[sinks] = step_y * step_y + step_x * step_x > STILL_FAR * STILL_FAR
    return far


def _gather(sinks: NDArray[np.int64], size: NDArray[np.float32]) -> NDArray[np.int32]:
    """Join sinks that belong together: each climbs to the densest one in its reach.

    Returns
    -------
    the cell number, from 1, of each vote in ``sinks``.
    """
    from scipy.ndimage import uniform_filter

    height, width = size.shape
    votes = np.bincount(sinks, minlength=height * width)
    density = uniform_filter(votes.reshape(size.shape).astype(np.float32), 3, mode="constant")
    occupied = np.flatnonzero(votes)
    # The votes' own count breaks ties of the smoothed density, the place the rest.
    order = np.lexsort((occupied, votes[occupied], np.round(density.ravel()[occupied], 3)))
    pad = int(REACH[1])
    row = width + 2 * pad
    y = occupied // width
    at = (y + pad) * row + (occupied - y * width) + pad
    rank = np.full((height + 2 * pad) * row, -1, dtype=np.int64)
    rank[at[order]] = np.arange(len(occupied))
    diameter = TYPICAL * np.exp2(np.clip(size.ravel()[occupied], -4.0, 6.0))
    (share, most), (near, low, high) = REACH, NEAR
    least = np.clip(near * diameter, low, high)
    reach = np.rint(np.clip(share * diameter, least, most)).astype(np.int8)
    best = rank[at]
    own = best.copy()
    for radius in range(int(reach.min()), int(reach.max()) + 1):
        chosen = np.flatnonzero(reach == radius)
        centre, top = at[chosen], best[chosen]
        for dy in range(-radius, radius + 1):
            half = int(np.sqrt(radius * radius - dy * dy))
            for dx in range(-half, half + 1):
                np.maximum(top, rank[centre + (dy * row + dx)], out=top)
        best[chosen] = top
    leader = np.empty(len(occupied), dtype=np.int64)
    leader[own] = best
    while not np.array_equal(leader, onward := leader[leader]):
        leader = onward
    number = np.zeros(len(occupied), dtype=np.int32)
    is_root = np.zeros(len(occupied), dtype=bool)
    is_root[leader] = True
    number[is_root] = np.arange(1, np.count_nonzero(is_root) + 1)
    cell_at = np.zeros(height * width, dtype=np.int32)
    cell_at[occupied] = number[leader[own]]
    return cell_at[sinks]
