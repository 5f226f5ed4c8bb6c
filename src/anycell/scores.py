"""Scores of matches: F1, precision, recall, AP and PQ, of one image and of many.

    precision = TP / (TP + FP)          recall = TP / (TP + FN)
    F1 = 2 TP / (2 TP + FP + FN)        AP = TP / (TP + FP + FN)
    PQ = sum of the pairs' IoU / (TP + FP / 2 + FN / 2)

AP is the one of the cell literature (Caicedo et al. 2019; Schmidt et al. 2018), also
called critical success index.  It is NOT the average precision of COCO, which is the
area under a curve over confidences.  PQ is that of Kirillov et al. 2019.

Without a true positive every score is 0, as in the challenge's code.  That makes an
image without cells in truth and prediction a 0, too, unless ``Rules.empty`` says
otherwise; it then holds for all five.

Three ways to bring many images together, never to be mixed up: the mean of the
images' scores, their median, and pooled (counts added up first, so that an image
weighs as many times as it has cells).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.errors import InputError
from anycell.matching import RULES, Match, Rules, match

__all__ = [
    "METRICS",
    "Score",
    "Summary",
    "Values",
    "mean_over",
    "pool",
    "score_match",
    "score_pair",
    "summarize",
]


@dataclass(frozen=True)
class Values:
    """The five scores, each from 0 to 1, higher is better."""

    f1: float
    precision: float
    recall: float
    ap: float
    pq: float


METRICS: tuple[str, ...] = tuple(field.name for field in fields(Values))
"""The names of the five scores, in the order of the tables."""


@dataclass(frozen=True)
class Score:
    """The counts of one image, or of several added up, at one IoU threshold.

    Attributes
    ----------
    iou : the threshold.
    tp, fp, fn : pairs, predicted cells without a partner, true cells without one.
    iou_sum : sum of the pairs' IoU.
    empty : the score if there is no cell at all (``Rules.empty``).
    """

    iou: float
    tp: int
    fp: int
    fn: int
    iou_sum: float
    empty: float = 0.0

    @property
    def true(self) -> int:
        """Cells of the truth that count."""
        return self.tp + self.fn

    @property
    def predicted(self) -> int:
        """Cells of the prediction that count."""
        return self.tp + self.fp

    @property
    def values(self) -> Values:
        """The five scores."""
        if self.true + self.predicted == 0:
            return Values(*(self.empty for _ in METRICS))
        if self.tp == 0:
            return Values(*(0.0 for _ in METRICS))
        half = (self.true + self.predicted) / 2
        return Values(
            f1=self.tp / half,
            precision=self.tp / self.predicted,
            recall=self.tp / self.true,
            ap=self.tp / (self.tp + self.fp + self.fn),
            pq=self.iou_sum / half,
        )


@dataclass(frozen=True)
class Summary:
    """Many images at one IoU threshold.

    Attributes
    ----------
    name : what they are: all images, a group, or a mean over groups.
    iou : the threshold.
    images : how many.
    true, predicted : cells that count, in all of them.
    mean, median : over the images' scores.
    pooled : of the counts added up.
    """

    name: str
    iou: float
    images: int
    true: int
    predicted: int
    mean: Values
    median: Values
    pooled: Values


def score_match(found: Match) -> Score:
    """Count a match."""
    return Score(
        iou=found.iou,
        tp=len(found.pairs),
        fp=len(found.extra),
        fn=len(found.missed),
        iou_sum=float(found.ious.sum()),
        empty=found.rules.empty,
    )


def score_pair(
    prediction: NDArray[Any], truth: NDArray[Any], rules: Rules = RULES["neurips2022"]
) -> tuple[Score, ...]:
    """Score one prediction, rows x columns, against its truth.

    Returns
    -------
    One score per threshold of ``rules.iou``, in that order.

    Raises
    ------
    InputError : not labels, or of different size.
    """
    return tuple(score_match(found) for found in match(prediction, truth, rules))


def pool(scores: Sequence[Score]) -> Score:
    """Add up the counts of several images, at least one, at the same threshold."""
    _same_threshold([score.iou for score in scores])
    return Score(
        iou=scores[0].iou,
        tp=sum(score.tp for score in scores),
        fp=sum(score.fp for score in scores),
        fn=sum(score.fn for score in scores),
        iou_sum=sum(score.iou_sum for score in scores),
        empty=scores[0].empty,
    )


def summarize(name: str, scores: Sequence[Score]) -> Summary:
    """Bring the scores of several images, at least one, at one threshold together."""
    pooled = pool(scores)
    values = [score.values for score in scores]
    return Summary(
        name=name,
        iou=pooled.iou,
        images=len(scores),
        true=pooled.true,
        predicted=pooled.predicted,
        mean=_over(values, np.mean),
        median=_over(values, np.median),
        pooled=pooled.values,
    )


def mean_over(name: str, groups: Sequence[Summary]) -> Summary:
    """Average the summaries of groups, at least one, each group weighing the same.

    ``mean`` is then the mean of the groups' means, ``median`` the mean of their
    medians, ``pooled`` the mean of their pooled scores; images and cells are summed.
    """
    _same_threshold([group.iou for group in groups])
    return Summary(
        name=name,
        iou=groups[0].iou,
        images=sum(group.images for group in groups),
        true=sum(group.true for group in groups),
        predicted=sum(group.predicted for group in groups),
        mean=_over([group.mean for group in groups], np.mean),
        median=_over([group.median for group in groups], np.mean),
        pooled=_over([group.pooled for group in groups], np.mean),
    )


def _over(values: Sequence[Values], how: Callable[[list[float]], Any]) -> Values:
    return Values(*(float(how([getattr(v, metric) for v in values])) for metric in METRICS))


def _same_threshold(thresholds: Sequence[float]) -> None:
    if len(set(thresholds)) != 1:
        raise InputError(
            f"scores at IoU {sorted(set(thresholds))}",
            expected="at least one score, all at the same IoU",
        )
