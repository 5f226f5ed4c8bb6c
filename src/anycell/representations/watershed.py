"""Watershed: peaks of the inner distance are cells, flooded over their foreground.

After Mesmer (Greenwald et al. 2022, Nature Biotechnology 40:555): a network predicts how
near each pixel is to the centre of its cell, and whether it is background, interior or
boundary; peaks of the first are the markers of a watershed of the second.  Planes at
stride 1:

    0     inner distance: 1 / (1 + d / sqrt(area)), d the distance to the centre, pixels
    1-3   logits of a softmax: background, interior, boundary

Defaults are those of github.com/vanvalenlab (deepcell-toolbox ``deep_watershed``, and the
radius, the peaks and the smallest cell of its application Mesmer), except that the flood
fills all that is not background.  The published mask, the smoothed interior above 0.2, is
a setting; it loses cells of fewer than 8 pixels across.  Mesmer smooths by 2 pixels
instead of 1, which at 24 pixels a cell takes the outlines away.  Centres are those of
``anycell.geodesic``, always inside the cell; the published centroid of a C lies outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anycell.cutouts import rims
from anycell.geodesic import find_cells
from anycell.labels import Labels, areas
from anycell.representations import LOGIT, Fields
from anycell.turns import Turn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Watershed"]

CLASS_SHARE = 0.01
STEEPNESS = 6.0


@dataclass(frozen=True)
class Watershed:
    """Peaks of an inner distance, flooded over the foreground.

    Attributes
    ----------
    peak : height by which a peak of the inner distance stands above its saddle.
    radius : of the disk of pixels that count as neighbours of a peak.
    sigma : of the Gaussian that smooths the interior before flooding, pixels.
    mask : smoothed probability of the interior above which the flood goes, 0.2 as
        published; None for wherever background is not the likelier.
    smallest : square pixels below which a cell is dropped.
    """

    peak: float = 0.1
    radius: int = 2
    sigma: float = 1.0
    mask: float | None = None
    smallest: int = 15

    name = "watershed"
    channels = 4
    stride = 1

    def encode(self, labels: Labels) -> Fields:
        """Turn labels into the 4 planes of the module's docstring."""
        out = np.zeros((4, *labels.shape), dtype=np.float32)
        rim = rims(labels)
        out[0] = _inner_distance(labels)
        out[1] = np.where(labels == 0, LOGIT, 0.0)
        out[2] = np.where((labels > 0) & ~rim, LOGIT, 0.0)
        out[3] = np.where(rim, LOGIT, 0.0)
        return out

    def loss(self, outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Mean squared error of the distance; cross-entropy of balanced classes at 0.01."""
        from anycell.losses import class_balance, class_entropy, weighted

        outputs, truth = outputs.float(), (targets[:, 1:] > 0).float()
        square = (outputs[:, :1] - targets[:, :1]).square()
        balanced = weight * class_balance(truth, weight)
        return weighted(square, weight) + CLASS_SHARE * class_entropy(
            outputs[:, 1:], truth, balanced
        )

    def decode(self, outputs: Fields, shape: tuple[int, int]) -> Labels:
        """Find the peaks and flood from them, through corners as well."""
        from scipy.ndimage import gaussian_filter
        from skimage.segmentation import watershed

        from anycell.pieces import tidy

        outputs = outputs[:, : shape[0], : shape[1]]
        background, interior, _ = _softmax(outputs[1:4])
        smooth = gaussian_filter(interior, self.sigma)
        fill = background < 0.5 if self.mask is None else smooth > self.mask
        if not fill.any():
            return np.zeros(shape, dtype=np.int32)
        markers = np.where(fill, self._markers(outputs[0]), 0)
        return tidy(
            watershed(-smooth, markers, connectivity=2, mask=fill).astype(np.int32), self.smallest
        )

    def _markers(self, distance: NDArray[np.float32]) -> NDArray[np.int32]:
        """Number the peaks that stand out by ``peak`` (h-maxima, Soille 1999)."""
        from skimage.measure import label
        from skimage.morphology import disk, reconstruction

        lowered = reconstruction(
            distance - np.float32(self.peak), distance, footprint=disk(self.radius)
        )
        # A peak that stands out is cut by its whole height; a lower one by less.
        tops = distance - lowered > 0.999 * self.peak
        numbered: NDArray[np.int32] = label(tops, connectivity=2).astype(np.int32)
        return numbered

    def turn(self, fields: Fields, turn: Turn) -> Fields:
        """Turn the planes."""
        return turn.plane(fields)

    def confidence(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        """Mean foreground probability, lowered by the error of the inner distance.

        The error is the mean difference from the distance recomputed from the cell.
        """
        height, width = labels.shape
        outputs = outputs[:, :height, :width]
        flat = labels.ravel()
        count = np.maximum(areas(flat), 1)
        chance = 1.0 - _softmax(outputs[1:4])[0]
        off = np.abs(outputs[0] - _inner_distance(labels))
        mean = np.bincount(flat, weights=chance.ravel()) / count
        error = np.bincount(flat, weights=off.ravel()) / count
        sure: NDArray[np.float32] = (mean * np.exp(-STEEPNESS * error))[1:].astype(np.float32)
        return sure


def _inner_distance(labels: Labels) -> NDArray[np.float32]:
    cells = find_cells(labels)
    out = np.zeros(labels.size, dtype=np.float32)
    y, x = np.divmod(cells.pixels, cells.width)
    cy, cx = np.divmod(cells.centre[cells.owner], cells.width)
    scale = np.sqrt(areas(labels))[cells.owner]
    out[cells.pixels] = 1.0 / (1.0 + np.hypot(y - cy, x - cx) / scale)
    return out.reshape(labels.shape)


def _softmax(logits: Fields) -> Fields:
    chance: Fields = np.exp(logits - logits.max(axis=0))
    chance /= chance.sum(axis=0)
    return chance
