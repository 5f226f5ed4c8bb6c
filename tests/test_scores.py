from __future__ import annotations

from dataclasses import astuple, replace

import pytest

from anycell.errors import InputError
from anycell.matching import RULES, Rules, match
from anycell.scores import (
    METRICS,
    Score,
    Values,
    mean_over,
    pool,
    score_match,
    score_pair,
    summarize,
)
from cells import CELLS, PAIRS, Pair, draw

PLAIN = replace(RULES["plain"], iou=(0.5,))


def score(tp: int, fp: int, fn: int, iou_sum: float = 0.0) -> Score:
    return Score(0.5, tp, fp, fn, iou_sum)


def test_the_five_formulas() -> None:
    values = score(6, 2, 4, iou_sum=4.5).values
    assert values == Values(
        f1=12 / 18, precision=6 / 8, recall=6 / 10, ap=6 / 12, pq=4.5 / (6 + 2 / 2 + 4 / 2)
    )
    assert values.f1 == pytest.approx(2 * 0.75 * 0.6 / (0.75 + 0.6))
    assert METRICS == ("f1", "precision", "recall", "ap", "pq")


def test_counts() -> None:
    assert (score(6, 2, 4).predicted, score(6, 2, 4).true) == (8, 10)


@pytest.mark.parametrize("found", [score(0, 3, 0), score(0, 0, 3), score(0, 2, 2)], ids=str)
def test_without_a_true_positive_all_are_zero(found: Score) -> None:
    assert astuple(found.values) == (0.0,) * 5
    assert astuple(replace(found, empty=1.0).values) == (0.0,) * 5


def test_nothing_on_both_sides_scores_as_the_rules_say() -> None:
    empty = CELLS["empty"]
    (official,) = score_pair(empty, empty, Rules(iou=(0.5,)))
    (kind,) = score_pair(empty, empty, Rules(iou=(0.5,), empty=1.0))
    assert astuple(official.values) == (0.0,) * 5
    assert astuple(kind.values) == (1.0,) * 5


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_drawn_cases(pair: Pair) -> None:
    (found,) = score_pair(pair.prediction, pair.truth, PLAIN)
    assert (found.iou, found.tp, found.fp, found.fn) == (0.5, pair.tp, pair.fp, pair.fn)
    assert found.values.f1 <= 1.0
    assert found.values.pq <= found.values.f1


def test_thresholds_and_iou_sum_of_a_drawn_case() -> None:
    truth = draw("aaaa.bbbbb.ccc")
    prediction = draw("aaa..bbbbb....")
    half, high = score_pair(prediction, truth, Rules(iou=(0.5, 0.8), ignore_border=0))
    assert half == Score(0.5, tp=2, fp=0, fn=1, iou_sum=1.75)
    assert high == Score(0.8, tp=1, fp=1, fn=2, iou_sum=1.0)
    assert half.values.pq == 1.75 / 2.5


def test_a_match_and_a_pair_give_the_same_score() -> None:
    pair = PAIRS["merged"]
    found = match(pair.prediction, pair.truth, Rules())
    assert score_pair(pair.prediction, pair.truth) == tuple(score_match(v) for v in found)


def test_mean_median_and_pooled_differ() -> None:
    scores = [score(90, 10, 10, 80.0), score(1, 9, 9, 0.5), score(0, 0, 5)]
    summary = summarize("three", scores)
    assert (summary.name, summary.iou, summary.images) == ("three", 0.5, 3)
    assert (summary.true, summary.predicted) == (115, 110)
    assert summary.mean.f1 == pytest.approx((0.9 + 0.1 + 0.0) / 3)
    assert summary.median.f1 == pytest.approx(0.1)
    assert summary.pooled.f1 == pytest.approx(2 * 91 / 225)
    assert summary.mean.pq == pytest.approx((0.8 + 0.05 + 0) / 3)
    assert summary.pooled == pool(scores).values
    assert pool(scores) == score(91, 19, 24, 80.5)


def test_pooled_keeps_the_rule_for_empty_images() -> None:
    empty = replace(score(0, 0, 0), empty=1.0)
    assert summarize("", [empty, empty]).pooled.f1 == 1.0
    assert summarize("", [empty, replace(score(0, 1, 0), empty=1.0)]).mean.f1 == 0.5


def test_every_group_weighs_the_same() -> None:
    large = summarize("large", [score(9, 1, 1)] * 9)
    small = summarize("small", [score(1, 4, 4), score(1, 0, 0), score(1, 0, 0)])
    none = summarize("none", [score(0, 1, 2)])
    over = mean_over("all three", [large, small, none])
    assert (over.name, over.images, over.true, over.predicted) == ("all three", 13, 99, 98)
    assert over.mean.f1 == pytest.approx((0.9 + 2.2 / 3) / 3)
    assert over.median.f1 == pytest.approx((0.9 + 1.0) / 3)
    assert over.pooled.f1 == pytest.approx((0.9 + 3 / 7) / 3)


def test_thresholds_are_not_mixed() -> None:
    mixed = [score(1, 0, 0), Score(0.7, 1, 0, 0, 1.0)]
    with pytest.raises(InputError, match=r"0\.5, 0\.7"):
        pool(mixed)
    with pytest.raises(InputError, match=r"0\.5, 0\.7"):
        mean_over("", [summarize("", [v]) for v in mixed])
    with pytest.raises(InputError, match="at least one"):
        summarize("", [])


def test_values_are_plain_numbers() -> None:
    (found,) = score_pair(CELLS["two"], CELLS["two"], PLAIN)
    summary = summarize("", [found])
    kinds = {type(v) for v in (*astuple(found), *astuple(summary.mean), *astuple(summary.median))}
    assert kinds == {int, float}
