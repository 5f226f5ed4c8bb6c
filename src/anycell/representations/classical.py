"""Classical: a foreground, split where the distance to the background narrows.

One plane at stride 1: the logit of the foreground.  The field's textbook pipeline:
holes are filled, the peaks of the Euclidean distance transform become markers, and a
watershed of the distance grows them (Vincent & Soille 1991).  Nothing is trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from anycell.chances import chance_of
from anycell.errors import SettingError
from anycell.labels import Labels
from anycell.representations import LOGIT, Fields
from anycell.turns import Turn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Classical"]


@dataclass(frozen=True)
class Classical:
    """Distance watershed of a foreground.

    Attributes
    ----------
    spacing : markers are at least this far apart, pixels.
    sigma : of the Gaussian that smooths the distances, pixels.
    hole : the largest hole that is filled, square pixels.
    smallest : square pixels below which a cell is dropped.
    """

    spacing: int = 7
    sigma: float = 1.0
    hole: int = 200
    smallest: int = 20

    name = "classical"
    channels = 1
    stride = 1

    def encode(self, labels: Labels) -> Fields:
        """Give the foreground as logits; borders between touching cells are lost."""
        return np.where(labels > 0, LOGIT, -LOGIT).astype(np.float32)[None]

    def loss(self, outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Refuse: there is nothing to train."""
        del outputs, targets, weight
        raise SettingError(
            "the classical method is not trained", expected="a method with a network", hint="votes"
        )

    def decode(self, outputs: Fields, shape: tuple[int, int]) -> Labels:
        """Split the foreground into cells."""
        from scipy.ndimage import distance_transform_edt, gaussian_filter
        from scipy.ndimage import label as connected
        from skimage.feature import peak_local_max
        from skimage.segmentation import watershed

        from anycell.pieces import tidy

        foreground = self._filled(outputs[0, : shape[0], : shape[1]] > 0)
        if not foreground.any():
            return np.zeros(shape, dtype=np.int32)
        distance = gaussian_filter(distance_transform_edt(foreground), self.sigma)
        peaks = peak_local_max(
            distance,
            min_distance=self.spacing,
            labels=connected(foreground)[0],
            exclude_border=False,
        )
        markers = np.zeros(shape, dtype=np.int32)
        markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        return tidy(watershed(-distance, markers, mask=foreground), self.smallest)

    def turn(self, fields: Fields, turn: Turn) -> Fields:
        """Turn the plane."""
        return turn.plane(fields)

    def confidence(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        """Mean foreground probability of each cell's pixels."""
        height, width = labels.shape
        chance = chance_of(outputs[0, :height, :width])
        flat = labels.ravel()
        count = np.maximum(np.bincount(flat), 1)
        mean = np.bincount(flat, weights=chance.ravel()) / count
        return mean[1:].astype(np.float32)

    def _filled(self, foreground: NDArray[np.bool_]) -> NDArray[np.bool_]:
        from scipy.ndimage import label as connected

        holes = connected(~foreground)[0]
        fill = np.bincount(holes.ravel()) <= self.hole
        fill[0] = False
        for side in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
            fill[side] = False
        filled: NDArray[np.bool_] = foreground | fill[holes]
        return filled
