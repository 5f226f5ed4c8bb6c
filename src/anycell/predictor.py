"""Predictors: what ``segment`` asks for the outputs of a tile.

A trained network is one (``anycell.model``), the classical method another, a test's
known truth a third.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from anycell.confidence import RAW, ConfidenceMap
from anycell.errors import ModelError
from anycell.representations import LOGIT, Fields, Representation
from anycell.representations.classical import Classical

__all__ = ["Classic", "Predictor"]


class Predictor(Protocol):
    """Turns normalized tiles into outputs that its representation can decode.

    ``look`` is called once per image, then ``outputs`` once per tile and from one
    thread at a time; ``representation.decode`` and ``representation.confidence`` may
    run in several.
    """

    @property
    def name(self) -> str:
        """The name to report."""

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that change when the results may change."""

    @property
    def representation(self) -> Representation:
        """What the outputs are."""

    @property
    def halo(self) -> int:
        """Network pixels around a core that must be seen: reach + radius of the largest cell."""

    @property
    def multiple(self) -> int:
        """Rows and columns of a tile must be a multiple of this."""

    @property
    def diameter(self) -> float | None:
        """Network pixels that cells should have across; None when any size will do."""

    @property
    def min_confidence(self) -> float:
        """Cells of a lower confidence are more often wrong than right, 0 .. 1."""

    @property
    def style_size(self) -> int:
        """Values that a network sums a tile up in (``anycell.styles``); 0 when it does not."""

    @property
    def confidence_map(self) -> ConfidenceMap:
        """Turns the representation's confidences into those to report, and to limit."""

    def look(self, overview: NDArray[np.float32]) -> Predictor:
        """Look at the whole image once, 3 x h x w, small and normalized.

        Returns
        -------
        the predictor for this image; a network gives itself.
        """

    def split(self, count: int) -> Sequence[Predictor]:
        """Give predictors of the same outputs to be used side by side, 1 .. ``count`` of them.

        If there are several, each needs one core only.
        """

    def style(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the network sums up about n x 3 x H x W normalized tiles: n x ``style_size``."""

    def outputs(
        self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None = None
    ) -> Fields:
        """Predict n x 3 x H x W normalized tiles.

        Parameters
        ----------
        style : of the image that the tiles belong to, ``style_size`` values; by default
            each tile has its own.

        Returns
        -------
        n x channels x ceil(H / stride) x ceil(W / stride), float32.
        """


@dataclass(frozen=True)
class Cut:
    """Where grey values are cut in two.

    Attributes
    ----------
    threshold : between background and cells.
    contrast : half the difference of the two means; negative when cells are darker, 0
        when all pixels are alike.
    """

    threshold: float
    contrast: float


@dataclass(frozen=True)
class Classic:
    """The classical method: one Otsu threshold for the image, then a distance watershed.

    The channels' mean is smoothed and cut at Otsu's threshold of the overview
    (Otsu 1979).  Cells are the side that spreads more: a background is even.

    Attributes
    ----------
    sigma : of the Gaussian that smooths the image, pixels.
    cut : fitted by ``look``.
    """

    sigma: float = 1.0
    cut: Cut | None = None
    representation: Classical = field(default_factory=Classical)

    name = "classical"
    halo = 64
    multiple = 1
    diameter = None
    min_confidence = 0.0
    confidence_map = RAW
    style_size = 0

    @property
    def hash(self) -> str:
        """Digits of the settings."""
        settings = repr(replace(self, cut=None))
        return hashlib.sha256(settings.encode()).hexdigest()[:16]

    def look(self, overview: NDArray[np.float32]) -> Classic:
        """Fit the threshold, and whether cells are brighter or darker than it."""
        from skimage.filters import threshold_otsu

        grey = self._smooth(overview)
        threshold = float(threshold_otsu(grey))
        above = grey > threshold
        if not above.any():
            return replace(self, cut=Cut(threshold, 0.0))
        bright, dark = grey[above], grey[~above]
        sign = 1.0 if bright.std() >= dark.std() else -1.0
        contrast = sign * float(bright.mean() - dark.mean()) / 2.0
        return replace(self, cut=Cut(threshold, contrast))

    def split(self, count: int) -> Sequence[Classic]:
        """Give itself: it keeps nothing between calls."""
        return (self,) * count

    def style(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sum nothing up: ``look`` has seen the whole image."""
        return np.zeros((len(tiles), 0), dtype=np.float32)

    def outputs(
        self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None = None
    ) -> Fields:
        """Give the logit of the foreground: half of ``LOGIT`` at the cells' mean grey."""
        del style
        if self.cut is None:
            raise ModelError(
                "the classical method has not looked at the image", expected="look(overview) first"
            )
        grey = np.stack([self._smooth(tile) for tile in tiles])[:, None]
        if self.cut.contrast == 0.0:
            return np.full_like(grey, -LOGIT)
        scale = 0.5 * LOGIT / self.cut.contrast
        return (grey - np.float32(self.cut.threshold)) * np.float32(scale)

    def _smooth(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        from scipy.ndimage import gaussian_filter

        grey = pixels.mean(axis=0, dtype=np.float32)
        smooth: NDArray[np.float32] = gaussian_filter(grey, self.sigma, mode="nearest")
        return smooth
