"""Masks: each seed emits a tiny network, which says what in the window around is its cell.

After CondInst (Tian et al. 2020, ECCV, arXiv 2003.05664) and SOLOv2 (Wang et al. 2020,
NeurIPS, arXiv 2003.10152): a kernel is predicted at every pixel; those at the peaks of a
seed plane are applied to features that all seeds share, and to the place in the window.

      seed plane          window of a seed              one logit per image pixel
    . . . . . . .        +---------+
    . . o . . . .   ->   | . . . . |   shared features      - - - -
    . . . . . o .        | . o . . | + place from o    ->   - # # -   the highest logit
    . . . . . . .        | . . . . |   under o's kernel     - # # -   has the pixel
                         +---------+

Planes at stride 2, lengths in field pixels, s a seed, p a pixel of its window:

    0      seed logit: nearness to the centre of the cell
    1      log2(E / 8), E from the pixel to the farthest side of its cell's bounding box
    2-5    f, shared: foreground logits of the four image pixels of a field pixel
    6-7    c, shared: (y, x) from the pixel to its cell's centre / UNIT
    8-9    g, shared: free features; 0 in encoded labels
    10-12  kernel: bias, and weights of g
    13-40  kernel: four hidden units; bias, and weights of (y, x), of e and of g

    41     number of the cell                         (targets only)
    42     weight of the pixel: 1 / area of its cell  (targets only)
    43     1 at the centre of a cell                  (targets only)

The kernel's logit (``anycell.kernels``) plus f is that of an image pixel.  An encoded
kernel takes the pixels that point nearer to its seed's centre than to any other, and so
gives all cells back, whatever their shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anycell.blocks import blocks, majority, unblock
from anycell.chances import chance_of
from anycell.geodesic import Cells, find_cells
from anycell.kernels import (
    BIAS,
    DIRECTIONS,
    INPUTS,
    STEEP,
    UNIT,
    best_masks,
    half_windows,
    mask_logits,
    offsets,
)
from anycell.labels import Labels, areas, boxes
from anycell.representations import LOGIT, Fields
from anycell.turns import Turn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Masks"]

TYPICAL = 8.0
SEED, EXTENT, SHARED, KERNEL = 0, 1, slice(2, 10), slice(10, 41)
FINE, CODE, FREE = slice(2, 6), slice(6, 8), slice(8, 10)
UNITS = KERNEL.start + 3
NUMBER, SHARE, CENTRE = 41, 42, 43
SEED_WIDTH = 0.25
"""Standard deviation of the nearness to a centre, in diameters of the cell."""
BLOCK = 100_000
PROBES = 16
"""The loss probes a window at so many places on each side of its seed, at most twice that."""
MOST_CELLS = 320
"""In a batch, whose masks enter the loss."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Masks:
    """Seeds, and the masks that their kernels draw; better ones suppress others.

    Attributes
    ----------
    threshold : probability above which a peak of the seed plane is a seed.
    peak : field pixels around a seed in which it must be the highest.
    overlap : intersection over union above which a better mask suppresses another.
    smallest : image pixels below which a cell is dropped.
    """

    threshold: float = 0.5
    peak: int = 2
    overlap: float = 0.4
    smallest: int = 9

    name = "masks"
    channels = 41
    stride = 2

    def encode(self, labels: Labels) -> Fields:
        """Turn labels into the 44 planes of the module's docstring."""
        four = blocks(labels)
        coarse = majority(four)
        out = np.zeros((44, *coarse.shape), dtype=np.float32)
        out[SEED] = -LOGIT
        out[FINE] = np.where(four > 0, LOGIT, -LOGIT)
        cells = find_cells(coarse)
        if not len(cells.pixels):
            return out
        planes, own = out.reshape(44, -1), cells.owner
        y, x = (v.astype(np.int32) for v in np.divmod(cells.pixels, cells.width))
        to_y, to_x = np.stack(np.divmod(cells.centre, cells.width)).astype(np.int32)[:, own]
        size = areas(coarse)[own].astype(np.float32)
        to_y -= y
        to_x -= x
        edge = 1.0 / (1.0 + np.exp(LOGIT))
        # (distance / (width * diameter))**2 / 2, the diameter that of a disk of the same area
        near = np.exp((to_y * to_y + to_x * to_x) / (size * (-8.0 / np.pi * SEED_WIDTH**2)))
        near = np.clip(near, edge, 1.0 - edge)
        y0, x0, y1, x1 = boxes(coarse).astype(np.int32).T[:, own]
        extent = np.maximum.reduce([y - y0, y1 - 1 - y, x - x0, x1 - 1 - x, np.ones_like(y)])
        planes[SEED, cells.pixels] = np.log(near / (1.0 - near))
        planes[EXTENT, cells.pixels] = np.log2(extent / TYPICAL)
        planes[CODE.start, cells.pixels] = to_y / UNIT
        planes[CODE.start + 1, cells.pixels] = to_x / UNIT
        # Half of LOGIT where the pixels point, 3/2 of -LOGIT at the next centre: f is +-LOGIT.
        planes[KERNEL.start, cells.pixels] = LOGIT / 2.0 - BIAS
        sharp = 2.0 * LOGIT * np.maximum(extent / _apart(cells)[own], 1.0) - STEEP
        for unit, (down, right) in enumerate(DIRECTIONS):
            first = UNITS + unit * INPUTS + 3
            planes[first if down else first + 1, cells.pixels] = (down + right) * sharp
        planes[NUMBER, cells.pixels] = own
        planes[SHARE, cells.pixels] = 1.0 / size
        planes[CENTRE, cells.centre[np.unique(own)]] = 1.0
        return out

    def loss(self, outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Sum the losses of seeds, extents, foreground and masks; cells weigh alike.

        Cross-entropy and soft Dice of the masks of two seeds of each cell, its centre and
        the highest seed logit in it, in windows of the true extent; the same of the
        foreground; cross-entropy of the seeds; L1 of log2 extents.
        """
        from anycell.losses import blocks_of, cross_entropy, soft_dice, weighted

        outputs = outputs.float()
        valid = blocks_of(weight, self.stride)
        known = (valid.amin(dim=1, keepdim=True) > 0).float()
        cell = targets[:, SHARE : SHARE + 1] * known
        near = targets[:, :1].sigmoid()
        truth = (targets[:, FINE] > 0).float()
        far = (outputs[:, EXTENT] - targets[:, EXTENT]).abs()[:, None]
        return (
            _mask_loss(outputs, targets, valid)
            + cross_entropy(outputs[:, :1], near, known)
            + cross_entropy(outputs[:, :1], near, cell)
            + 0.2 * weighted(far, cell)
            + cross_entropy(outputs[:, FINE], truth, valid)
            + soft_dice(outputs[:, FINE], truth, valid)
        )

    def decode(self, outputs: Fields, shape: tuple[int, int]) -> Labels:
        """Draw the mask of every seed, drop what better ones suppress, and paint the rest."""
        from anycell.pieces import tidy

        seeds = self._seeds(outputs[SEED])
        drawn = _drawn(outputs, seeds)
        kept = best_masks(drawn.score, drawn.seed, drawn.place, self.overlap)
        stay = kept[drawn.seed]
        seed, place, logit = drawn.seed[stay], drawn.place[stay], drawn.logit[stay]
        highest = np.full(outputs[0].size, -np.inf, dtype=np.float32)
        np.maximum.at(highest, place, logit)
        first = logit == highest[place]
        owner = np.zeros(outputs[0].size, dtype=np.int32)
        owner[place[first]] = seed[first] + 1
        fine = highest.reshape(outputs[0].shape) + outputs[FINE] > 0
        labels = unblock(np.where(fine, owner.reshape(outputs[0].shape), 0), shape)
        return tidy(labels, self.smallest)

    def _seeds(self, logit: Floats) -> Ints:
        """Places of the peaks of the seed plane."""
        from scipy.ndimage import maximum_filter

        limit = float(np.log(self.threshold / (1.0 - self.threshold)))
        top = maximum_filter(logit, 2 * self.peak + 1, mode="nearest")
        return np.flatnonzero((logit == top) & (logit > limit))

    def turn(self, fields: Fields, turn: Turn) -> Fields:
        """Turn the planes; weights of places turn as arrows, units and image pixels swap."""
        out: Fields = np.ascontiguousarray(turn.plane(fields))
        fine = turn.plane(unblock(fields[FINE], tuple(2 * s for s in fields.shape[1:])))
        out[FINE] = blocks(fine)
        out[CODE] = turn.vectors(fields[CODE])
        turned = DIRECTIONS @ turn.matrix.T
        for unit, direction in enumerate(turned):
            old = UNITS + unit * INPUTS
            to = int(np.flatnonzero((direction == DIRECTIONS).all(axis=1))[0])
            new = UNITS + to * INPUTS
            out[new : new + INPUTS] = turn.plane(fields[old : old + INPUTS])
            for arrow in (1, 3):
                out[new + arrow : new + arrow + 2] = turn.vectors(
                    fields[old + arrow : old + arrow + 2]
                )
        return out

    def confidence(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        """The best seed's probability in a cell, times how well its mask agrees with the cell.

        That is the intersection over union of probabilities and pixels.
        """
        four = blocks(labels)
        coarse = majority(four).ravel()
        logit = outputs[SEED].ravel()
        place = np.flatnonzero(coarse)
        place = place[np.argsort(logit[place], kind="stable")]
        best = np.full(int(labels.max(initial=0)) + 1, -1, dtype=np.int64)
        best[coarse[place]] = place
        cells = np.flatnonzero(best >= 0)
        sure = np.zeros(len(best), dtype=np.float32)
        both, drawn = np.zeros((2, len(cells)))
        numbers, fine = four.reshape(4, -1), outputs[FINE].reshape(4, -1)
        for some, index, inside, logits in _windows(outputs, best[cells]):
            for part in range(4):
                chance = chance_of(logits + fine[part][index]) * inside
                drawn[some] += chance.sum(axis=1)
                own = numbers[part][index] == cells[some, None]
                both[some] += (chance * own).sum(axis=1)
        union = drawn + areas(labels)[cells] - both
        sure[cells] = chance_of(logit[best[cells]]) * both / union
        return sure[1:]


def _apart(cells: Cells) -> Floats:
    """Along the axes, the way from the centre of each number 0..max to the next centre."""
    from scipy.spatial import KDTree

    numbers = np.unique(cells.owner)
    centres = np.stack(np.divmod(cells.centre[numbers], cells.width), axis=1)
    way = np.ones(len(cells.centre), dtype=np.float32)
    way[numbers] = KDTree(centres).query(centres, k=2, p=1)[0][:, 1]
    return way


@dataclass(frozen=True)
class _Drawn:
    """Masks of seeds, which may overlap.

    Attributes
    ----------
    score : of each seed; its probability times the mean of its mask's (as in SOLOv2).
    seed, place, logit : of the field pixels: whose mask, flat place, logit without f.
    """

    score: Floats
    seed: Ints
    place: Ints
    logit: Floats


def _windows(
    outputs: Fields, seeds: Ints
) -> Iterator[tuple[Ints, Ints, NDArray[np.bool_], Floats]]:
    """Windows of seeds, by size: which seeds, and their pixels n x P.

    Of the pixels: flat place, whether it lies in the image, and logit without f.
    """
    height, width = outputs.shape[1:]
    flat = outputs.reshape(len(outputs), -1)
    shared = np.ascontiguousarray(flat[CODE.start : FREE.stop].T)
    kernels, codes = flat[KERNEL, seeds].T, flat[CODE, seeds].T
    largest = float(max(height, width))
    extents = np.clip(TYPICAL * np.exp2(np.clip(flat[EXTENT, seeds], -3, 12)), 1.0, largest)
    halves = np.minimum(half_windows(extents), max(height, width))
    y, x = np.divmod(seeds, width)
    for half in np.unique(halves):
        members = np.flatnonzero(halves == half)
        places = offsets(int(half))
        count = max(1, BLOCK // len(places))
        for start in range(0, len(members), count):
            some = members[start : start + count]
            at_y, at_x = y[some, None] + places[:, 0], x[some, None] + places[:, 1]
            inside = (at_y >= 0) & (at_y < height) & (at_x >= 0) & (at_x < width)
            index = np.where(inside, at_y * width + at_x, seeds[some, None])
            logits = mask_logits(
                kernels[some],
                codes[some],
                extents[some],
                shared[index],
                places.astype(np.float32),
                DIRECTIONS,
            )
            yield some, index, inside, logits


def _drawn(outputs: Fields, seeds: Ints) -> _Drawn:
    """Draw the mask of every seed: all field pixels of which a part belongs to it."""
    front = outputs[FINE].max(axis=0).ravel()
    parts: list[tuple[Ints, Ints, Floats, Floats]] = []
    for some, index, inside, logits in _windows(outputs, seeds):
        whole = logits + front[index]
        row, point = np.nonzero(inside & (whole > 0))
        parts.append((some[row], index[row, point], logits[row, point], whole[row, point]))
    none = (seeds[:0], seeds[:0], outputs[0].ravel()[:0], outputs[0].ravel()[:0])
    seed, place, logit, whole = (np.concatenate(part) for part in zip(none, *parts, strict=True))
    total = np.bincount(seed, chance_of(whole), minlength=len(seeds))
    mean = total / np.maximum(np.bincount(seed, minlength=len(seeds)), 1)
    score = chance_of(outputs[SEED].ravel()[seeds]) * mean.astype(np.float32)
    return _Drawn(score, seed, place, logit)


def _mask_loss(outputs: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Cross-entropy and soft Dice of the masks of seeds, averaged over the seeds."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    height, width = outputs.shape[-2:]
    seeds = _sampled(outputs[:, SEED], targets, valid)
    if not len(seeds):
        return outputs.new_zeros(())
    shared = _rows(outputs[:, SHARED])
    known, fine = _rows(valid), _rows((targets[:, FINE] > 0).float())
    number = targets[:, NUMBER].reshape(-1)
    kernels, codes = _rows(outputs[:, KERNEL])[seeds], shared[seeds, 4:6]
    extents = TYPICAL * torch.exp2(targets[:, EXTENT].reshape(-1)[seeds])
    directions = torch.from_numpy(DIRECTIONS).to(outputs.device)
    halves = torch.from_numpy(half_windows(extents.cpu())).to(outputs.device)
    y, x = seeds % (height * width) // width, seeds % width
    losses = []
    for half in sorted(set(halves.tolist())):
        some = torch.nonzero(halves == half)[:, 0]
        places = torch.from_numpy(offsets(half, max(1, half // PROBES))).to(outputs.device)
        at_y, at_x = y[some, None] + places[:, 0], x[some, None] + places[:, 1]
        inside = (at_y >= 0) & (at_y < height) & (at_x >= 0) & (at_x < width)
        steps = places[:, 0] * width + places[:, 1]
        index = torch.where(inside, seeds[some, None] + steps, seeds[some, None])
        seen = shared.index_select(0, index.reshape(-1)).view(*index.shape, -1)
        logits = mask_logits(
            kernels[some], codes[some], extents[some], seen[..., 4:], places.float(), directions
        )
        logits = logits[..., None] + seen[..., :4]
        own = number[index] == number[seeds[some], None]
        truth = own[..., None] * fine[index]
        share = known[index] * inside[..., None]
        entropy = binary_cross_entropy_with_logits(logits, truth, share, reduction="none")
        chance = logits.sigmoid() * share
        both = (chance * truth).sum(dim=(1, 2))
        either = chance.sum(dim=(1, 2)) + (truth * share).sum(dim=(1, 2))
        losses.append(entropy.sum(dim=(1, 2)) / share.sum(dim=(1, 2)).clamp_min(1e-6))
        losses.append(1.0 - (2.0 * both + 1.0) / (either + 1.0))
    return torch.cat(losses).sum() / len(seeds)


def _rows(planes: Tensor) -> Tensor:
    """Pixels x planes, of n x planes x h x w."""
    return planes.permute(0, 2, 3, 1).reshape(-1, planes.shape[1])


def _sampled(logit: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Two seeds of each cell, or of evenly chosen ones among many: flat places.

    The centre, and where the predicted seed logit of the cell is highest; neither lies
    where the truth is not known.
    """
    import torch

    number = targets[:, NUMBER].long()
    top = int(number.max()) + 1
    number = number + top * torch.arange(len(number), device=number.device).view(-1, 1, 1)
    number, logit = number.reshape(-1), logit.detach().reshape(-1)
    known = (valid.amin(dim=1) > 0).reshape(-1)
    centres = torch.nonzero((targets[:, CENTRE].reshape(-1) > 0) & known)[:, 0]
    if len(centres) > MOST_CELLS:
        centres = centres[torch.linspace(0, len(centres) - 1, MOST_CELLS).long()]
    height = torch.where(known, logit, -torch.inf)
    highest = torch.full((top * len(targets),), -torch.inf, device=logit.device)
    highest = highest.scatter_reduce(0, number, height, "amax")
    place = torch.nonzero(known & (logit == highest[number]))[:, 0]
    peak = torch.zeros(len(highest), dtype=torch.long, device=logit.device)
    peak = peak.scatter_reduce(0, number[place], place, "amax")
    return torch.cat([centres, peak[number[centres]]])
