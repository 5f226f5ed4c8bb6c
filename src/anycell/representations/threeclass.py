"""Three classes: background, interior, boundary; interiors are pieces, grown back.

The baseline of the NeurIPS 2022 challenge (github.com/JunMa11/NeurIPS-CellSeg): its
networks, its loss (Dice and cross-entropy), its threshold and its boundary, two pixels
deep inside cells.  Planes at stride 1, logits of a softmax:

    0  background      1  interior      2  boundary

The organisers' labels are the interiors alone.  Here they are grown through the boundary,
so that decoding undoes encoding; for the same reason the boundary lies inside its cell
only (theirs has a third pixel outside), and is thinner in cells that it would use up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anycell.cutouts import rims
from anycell.labels import Labels, areas
from anycell.representations import LOGIT, Fields
from anycell.turns import Turn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ThreeClass"]

BACKGROUND, INTERIOR, BOUNDARY = range(3)


@dataclass(frozen=True)
class ThreeClass:
    """Background, interior, boundary.

    Attributes
    ----------
    boundary : depth of the boundary, pixels; at most half of a cell's own depth.
    threshold : probability above which a pixel is interior.
    hole : square pixels up to which a hole of an interior is filled.
    smallest : square pixels below which a cell is dropped.
    """

    boundary: int = 2
    threshold: float = 0.5
    hole: int = 64
    smallest: int = 9

    name = "threeclass"
    channels = 3
    stride = 1

    def encode(self, labels: Labels) -> Fields:
        """Give each class 0 where it is not, and ``LOGIT`` where it is."""
        out = np.zeros((3, *labels.shape), dtype=np.float32)
        np.put_along_axis(out, self._classes(labels)[None], LOGIT, axis=0)
        return out

    def _classes(self, labels: Labels) -> NDArray[np.int64]:
        """The class of each pixel; depth is counted in steps to any of four neighbours."""
        from scipy.ndimage import distance_transform_cdt

        inside = labels > 0
        within = inside & ~rims(labels)
        if within.all():
            return np.full(labels.shape, INTERIOR)
        depth = distance_transform_cdt(within, metric="taxicab") + inside
        deepest = np.zeros(int(labels.max(initial=0)) + 1, dtype=depth.dtype)
        np.maximum.at(deepest, labels.ravel(), depth.ravel())
        limit = np.minimum(self.boundary, deepest // 2)
        return np.where(inside, np.where(depth > limit[labels], INTERIOR, BOUNDARY), BACKGROUND)

    def loss(self, outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Dice and cross-entropy of the three classes, in equal parts."""
        from anycell.losses import class_dice, class_entropy

        outputs, truth = outputs.float(), (targets > 0).float()
        return class_entropy(outputs, truth, weight) + class_dice(outputs, truth, weight)

    def decode(self, outputs: Fields, shape: tuple[int, int]) -> Labels:
        """Number the pieces of the interior, and grow them over the boundary."""
        from skimage.measure import label

        from anycell.pieces import tidy

        chance = _softmax(outputs[:, : shape[0], : shape[1]])
        interior = self._filled(chance[INTERIOR] > self.threshold)
        pieces = label(interior, connectivity=1).astype(np.int32, copy=False)
        boundary = ~interior & (chance[BACKGROUND] < 0.5)
        return tidy(_grown(pieces, boundary, 2 * self.boundary), self.smallest)

    def _filled(self, interior: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Fill small holes; what touches the frame is no hole."""
        from scipy.ndimage import label

        holes = label(~interior)[0]
        fill = areas(holes) <= self.hole
        fill[0] = False
        for side in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
            fill[side] = False
        filled: NDArray[np.bool_] = interior | fill[holes]
        return filled

    def turn(self, fields: Fields, turn: Turn) -> Fields:
        """Turn the planes."""
        return turn.plane(fields)

    def confidence(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        """Mean probability of each pixel's class, times the share of the largest interior.

        A cell whose predicted interior falls into several pieces is one too many.
        """
        from skimage.measure import label

        height, width = labels.shape
        chance = _softmax(outputs[:, :height, :width])
        flat = labels.ravel()
        classes = self._classes(labels)
        own = np.take_along_axis(chance, classes[None], axis=0).ravel()
        mean = np.bincount(flat, weights=own) / np.maximum(areas(flat), 1)
        pieces = label(np.where(chance[INTERIOR] > self.threshold, labels, 0), connectivity=1)
        owner = np.zeros(int(pieces.max(initial=0)) + 1, dtype=np.int64)
        owner[pieces.ravel()] = flat
        size = areas(pieces)
        largest, total = np.zeros((2, len(mean)))
        np.maximum.at(largest, owner[1:], size[1:])
        np.add.at(total, owner[1:], size[1:])
        sure: NDArray[np.float32] = (mean * largest / np.maximum(total, 1))[1:].astype(np.float32)
        return sure


def _grown(pieces: Labels, boundary: NDArray[np.bool_], reach: int) -> Labels:
    """Give each pixel of the boundary to the nearest piece, if that is within reach."""
    from scipy.ndimage import distance_transform_edt

    y, x = np.nonzero(boundary)
    if not len(y) or not pieces.any():
        return pieces
    near = distance_transform_edt(pieces == 0, return_distances=False, return_indices=True)
    to_y, to_x = near[:, y, x]
    out = pieces.copy()
    out[y, x] = np.where(np.hypot(to_y - y, to_x - x) <= reach, pieces[to_y, to_x], 0)
    return out


def _softmax(logits: Fields) -> Fields:
    chance: Fields = np.exp(logits - logits.max(axis=0))
    chance /= chance.sum(axis=0)
    return chance
