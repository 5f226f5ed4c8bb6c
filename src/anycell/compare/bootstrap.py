"""Intervals: how much a ranking hangs on the images that happened to be there.

The value of a contender is the mean over groups of the mean over the images of each
group.  Images are drawn again with replacement within each group, 10,000 times, the same
ones for all contenders (a paired, stratified bootstrap; Efron & Tibshirani 1993,
chapters 8 and 13; percentile intervals).  What this does not see: other groups than
these, other seeds, and the spread within a group of a single image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anycell.errors import InputError

__all__ = ["RESAMPLES", "Interval", "Resampled", "resample_means"]

RESAMPLES = 10_000
COVERAGE = 0.95
BATCH = 1000


@dataclass(frozen=True)
class Interval:
    """A value and the 95 % interval around it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Resampled:
    """Values of all contenders, and the same under every draw.

    Attributes
    ----------
    values : contenders; mean over groups of the mean over images.
    draws : resamples x contenders.
    """

    values: NDArray[np.float64]
    draws: NDArray[np.float64]

    def interval(self, contender: int) -> Interval:
        """The value of a contender."""
        return self._interval(float(self.values[contender]), self.draws[:, contender])

    def difference(self, contender: int, other: int) -> Interval:
        """The value of a contender less that of another one, image by image."""
        value = float(self.values[contender] - self.values[other])
        return self._interval(value, self.draws[:, contender] - self.draws[:, other])

    @staticmethod
    def _interval(value: float, draws: NDArray[np.float64]) -> Interval:
        low, high = np.quantile(draws, ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2))
        return Interval(value, float(low), float(high))


def resample_means(
    scores: NDArray[np.float64],
    groups: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Resampled:
    """Draw images again and again, and average over images and groups.

    Parameters
    ----------
    scores : images x contenders.
    groups : of each image.
    resamples : how many draws.
    seed : of the draws.

    Raises
    ------
    InputError : no images, or another number of groups than images.
    """
    if not len(scores) or len(groups) != len(scores):
        raise InputError(
            f"scores of {len(scores)} images, groups of {len(groups)}",
            expected="at least one image, and one group for each",
        )
    random = np.random.default_rng(seed)
    names = np.asarray(groups)
    kinds = sorted(set(groups))
    values = np.mean([scores[names == kind].mean(axis=0) for kind in kinds], axis=0)
    draws = np.zeros((resamples, scores.shape[1]))
    for kind in kinds:
        own = scores[names == kind]
        count = len(own)
        even = np.full(count, 1.0 / count)
        for start in range(0, resamples, BATCH):
            stop = min(start + BATCH, resamples)
            # How often each image is drawn is all that its mean depends on.
            times = random.multinomial(count, even, stop - start)
            draws[start:stop] += times @ own / (count * len(kinds))
    return Resampled(values, draws)
