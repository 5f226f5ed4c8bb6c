"""Ranking: contenders in order of their mean over groups, with intervals.

Entries that differ in nothing but the seed are one contender; its score of an image is
the mean over seeds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anycell.compare.bootstrap import RESAMPLES, Interval, resample_means
from anycell.compare.comparison import Comparison
from anycell.compare.entries import Cost, Entry, Result

__all__ = ["Standing", "standings"]


@dataclass(frozen=True)
class Standing:
    """A contender and where it stands.

    Attributes
    ----------
    name : of the contender.
    results : one per seed.
    f1 : at the lowest IoU, mean over groups, with its interval.
    behind : f1 less that of the best, image by image; None for the best itself.
    span : F1, mean over all IoU thresholds and over groups.
    seeds : standard deviation of f1 over the seeds; None with a single one.
    """

    name: str
    results: tuple[Result, ...]
    f1: Interval
    behind: Interval | None
    span: float
    seeds: float | None

    @property
    def entry(self) -> Entry:
        """What was judged; the seed is that of the first."""
        return self.results[0].entry

    @cached_property
    def cost(self) -> Cost:
        """Mean cost over the seeds."""
        costs = [result.cost for result in self.results]
        memory = _mean(c.peak_memory for c in costs)
        parameters = _mean(c.parameters for c in costs)
        steps = _mean(c.steps for c in costs)
        return Cost(
            seconds_per_mp=_mean(c.seconds_per_mp for c in costs),
            start_seconds=_mean(c.start_seconds for c in costs),
            peak_memory=None if memory is None else round(memory),
            parameters=None if parameters is None else round(parameters),
            train_seconds=_mean(c.train_seconds for c in costs),
            steps=None if steps is None else round(steps),
        )

    @cached_property
    def levels(self) -> NDArray[np.float64]:
        """``METRICS`` of every image at every IoU, mean over seeds: 5 x images x levels."""
        values = [
            [[astuple(score.values) for score in image.scores] for image in result.images]
            for result in self.results
        ]
        return np.moveaxis(np.mean(np.array(values, dtype=np.float64), axis=0), 2, 0)

    def by(self, names: list[str]) -> dict[str, NDArray[np.float64]]:
        """Means over the images of each name: 5 x levels; ``names`` has one per image."""
        kinds = np.asarray(names)
        return {
            kind: self.levels[:, kinds == kind].mean(axis=1) for kind in sorted(set(names)) if kind
        }

    def over_groups(self, groups: list[str]) -> NDArray[np.float64]:
        """``METRICS`` at every IoU, mean over groups: 5 x levels."""
        mean: NDArray[np.float64] = np.mean(list(self.by(groups).values()), axis=0)
        return mean


def standings(
    comparison: Comparison, *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Standing]:
    """Rank the contenders, best first; those that failed altogether are left out.

    Parameters
    ----------
    resamples, seed : of the bootstrap.
    """
    teams: dict[str, list[Result]] = {}
    for result in comparison.good:
        teams.setdefault(result.entry.contender, []).append(result)
    if not teams:
        return []
    groups = [image.group for image in comparison.images]
    empty = Interval(0.0, 0.0, 0.0)
    plain = [Standing(k, tuple(v), empty, None, 0.0, None) for k, v in teams.items()]
    scores = np.stack([one.levels[0, :, 0] for one in plain], axis=1)
    drawn = resample_means(scores, groups, resamples=resamples, seed=seed)
    best = int(drawn.values.argmax())
    found = [
        Standing(
            name=one.name,
            results=one.results,
            f1=drawn.interval(k),
            behind=None if k == best else drawn.difference(k, best),
            span=float(one.over_groups(groups)[0].mean()),
            seeds=_spread(one, groups),
        )
        for k, one in enumerate(plain)
    ]
    return sorted(found, key=lambda v: (-v.f1.value, v.name))


def _spread(one: Standing, groups: list[str]) -> float | None:
    """Standard deviation over seeds of F1 at the lowest IoU, mean over groups."""
    if len(one.results) < 2:
        return None
    alone = [
        Standing(one.name, (result,), one.f1, None, 0.0, None).over_groups(groups)[0, 0]
        for result in one.results
    ]
    return float(np.std(alone, ddof=1))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
