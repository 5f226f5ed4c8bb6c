from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from anycell import matching
from anycell.errors import InputError, SettingError
from anycell.labels import Labels
from anycell.matching import RULES, Match, Rules, match, rules_named
from cells import CELLS, ODD, PAIRS, Pair, draw, enlarge

ALL = Rules(iou=(0.1, 0.3, 0.5, 0.6, 0.75, 1.0), ignore_border=0, window=0)
Counts = tuple[int, int, int]


def counts(found: Match) -> Counts:
    return len(found.pairs), len(found.extra), len(found.missed)


def dense(prediction: Labels, truth: Labels, iou: float, border: int) -> tuple[Counts, float]:
    """The metric as the papers write it: one mask per cell, one dense table, one assignment."""
    frame = np.pad(np.zeros([max(0, n - 2 * border) for n in truth.shape], bool), border,
                   constant_values=True)[: truth.shape[0], : truth.shape[1]]  # fmt: skip
    masks = [
        [labels == n for n in np.unique(labels) if n > 0 and not (frame & (labels == n)).any()]
        for labels in (prediction, truth)
    ]
    table = np.zeros((len(masks[0]), len(masks[1])))
    for p, t in np.ndindex(table.shape):
        table[p, t] = (masks[0][p] & masks[1][t]).sum() / (masks[0][p] | masks[1][t]).sum()
    good = np.where(table >= iou, table, 0.0)
    few = 2 * max(1, min(table.shape))
    tp = int(
        (table[linear_sum_assignment(-(table >= iou).astype(float) - table / few)] >= iou).sum()
    )
    best = good[linear_sum_assignment(-(good > 0).astype(float) - good / few)]
    return (tp, len(masks[0]) - tp, len(masks[1]) - tp), float(best.sum())


@st.composite
def rival_labels(draw_: st.DrawFn) -> tuple[Labels, Labels]:
    """Two small label images, one a disturbed copy of the other, so that IoUs are high."""
    height, width = draw_(st.integers(1, 12)), draw_(st.integers(1, 12))
    rng = np.random.default_rng(draw_(st.integers(0, 2**32 - 1)))
    coarse = rng.integers(0, draw_(st.integers(2, 9)), (height // 2 + 1, width // 2 + 1))
    truth = enlarge(coarse.astype(np.int32), 2)[:height, :width]
    change = rng.random(truth.shape) < draw_(st.sampled_from([0.0, 0.1, 0.3, 1.0]))
    prediction = np.where(change, rng.integers(0, 6, truth.shape), truth).astype(np.int32)
    shift = draw_(st.integers(0, 2))
    return np.roll(prediction, shift, axis=1), truth


@given(rival_labels(), st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_equals_the_dense_reference(images: tuple[Labels, Labels], border: int) -> None:
    for found in match(*images, replace(ALL, ignore_border=border)):
        expected, iou_sum = dense(*images, found.iou, border)
        assert counts(found) == expected
        assert found.ious.sum() == pytest.approx(iou_sum)


@given(rival_labels(), st.integers(0, 2))
@settings(max_examples=150, deadline=None)
def test_windows_are_images_of_their_own(images: tuple[Labels, Labels], border: int) -> None:
    side = 5
    rules = Rules(ignore_border=border, window=side, window_from=0)
    filled = [np.pad(v, [(0, -n % side) for n in v.shape]) for v in images]
    corners = [
        (y, x)
        for y in range(0, filled[1].shape[0], side)
        for x in range(0, filled[1].shape[1], side)
    ]
    for found in match(*images, rules):
        parts = [
            dense(*(v[y : y + side, x : x + side] for v in filled), found.iou, border)[0]
            for y, x in corners
        ]
        assert counts(found) == tuple(np.sum(parts, axis=0))


@given(rival_labels())
@settings(max_examples=100, deadline=None)
def test_pairs_are_one_to_one_and_name_the_cells(images: tuple[Labels, Labels]) -> None:
    prediction, truth = images
    for found in match(prediction, truth, ALL):
        p, t = found.pairs.T
        assert sorted([*p, *found.extra]) == [n for n in np.unique(prediction) if n > 0]
        assert sorted([*t, *found.missed]) == [n for n in np.unique(truth) if n > 0]
        for (one, other), iou in zip(found.pairs, found.ious, strict=True):
            a, b = prediction == one, truth == other
            assert iou == (a & b).sum() / (a | b).sum() >= found.iou


@given(rival_labels())
@settings(max_examples=100, deadline=None)
def test_numbers_and_sides_do_not_matter(images: tuple[Labels, Labels]) -> None:
    prediction, truth = images
    renumbered = np.array([0, *range(2**31 - 1, 2**31 - 10, -1)], dtype=np.int32)[prediction]
    for found, other, turned in zip(
        match(prediction, truth, ALL),
        match(renumbered, truth, ALL),
        match(truth, prediction, ALL),
        strict=True,
    ):
        tp, fp, fn = counts(found)
        assert counts(other) == (tp, fp, fn)
        assert counts(turned) == (tp, fn, fp)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("k", [1, 7])
def test_drawn_cases(pair: Pair, k: int) -> None:
    (found,) = match(enlarge(pair.prediction, k), enlarge(pair.truth, k), replace(ALL, iou=(0.5,)))
    assert counts(found) == (pair.tp, pair.fp, pair.fn)


@pytest.mark.parametrize("labels", [*CELLS.values(), *ODD.values()], ids=[*CELLS, *ODD])
def test_every_cell_matches_itself(labels: Labels) -> None:
    numbers = [n for n in np.unique(labels) if n > 0]
    for found in match(labels, labels, ALL):
        assert found.pairs.tolist() == [[n, n] for n in numbers]
        assert found.ious.tolist() == [1.0] * len(numbers)


def test_as_many_pairs_as_can_be_not_the_best_pair_first() -> None:
    prediction = draw("aaaaabb")
    truth = draw("aabbbbb")  # IoU 2/5 on the diagonal, 3/7 between prediction a and truth b
    low, high = match(prediction, truth, Rules(iou=(0.4, 0.41), ignore_border=0))
    assert low.pairs.tolist() == [[1, 1], [2, 2]]
    assert high.pairs.tolist() == [[1, 2]]


def test_more_pairs_go_before_a_larger_sum_of_iou() -> None:
    n = 6  # each one shares 2 px with its own number and 6 px, IoU 0.6, with the next
    prediction = np.repeat(np.arange(1, n + 1), [8] * (n - 1) + [2])[None]
    truth = np.repeat(np.arange(1, n + 1), [2] + [8] * (n - 1))[None]
    low, high = match(prediction, truth, Rules(iou=(0.1, 0.5), ignore_border=0))
    assert low.pairs.tolist() == [[k, k] for k in range(1, n + 1)]
    assert high.pairs.tolist() == [[k, k + 1] for k in range(1, n)]


@pytest.mark.parametrize("truth", ["abbb", "aaab", "bbba", "baaa"])
def test_among_as_many_pairs_the_largest_sum_of_iou(truth: str) -> None:
    (found,) = match(draw("aaaa"), draw(truth), Rules(iou=(0.2,), ignore_border=0))
    assert found.ious.tolist() == [0.75]


def test_cells_in_the_outer_frame_are_left_out_on_each_side_by_itself() -> None:
    truth = draw("""
        ........
        .a......
        ..bb....
        ..bb....
        .....c..
        ........
        ........
    """)
    prediction = draw("""
        ........
        ........
        ..bb....
        .abb....
        .....c..
        .....c..
        ........
    """)
    (found,) = match(prediction, truth, Rules(iou=(0.5,)))
    assert counts(found) == (1, 0, 1)  # c of the prediction reaches into the frame
    assert found.missed.tolist() == [3]
    (found,) = match(prediction, truth, Rules(iou=(0.5,), ignore_border=1))
    assert found.pairs.tolist() == [[2, 2], [3, 3]]
    assert found.missed.tolist() == found.extra.tolist() == [1]


def test_pixels_of_a_cell_left_out_still_widen_the_union() -> None:
    truth = draw("""
        aaaaaa..
        ...aaa..
        ...abb..
        ...abb..
        ........
        ........
    """)
    prediction = draw("""
        ........
        ........
        ...aaa..
        ...aaa..
        ........
        ........
    """)
    (found,) = match(prediction, truth, Rules(iou=(0.5,)))
    assert found.ious.tolist() == [4 / 6]


@pytest.mark.parametrize("side", [1, 3, 4])
def test_an_image_within_the_frame_has_no_cells(side: int) -> None:
    labels = np.ones((side, side), np.int32)
    assert counts(match(labels, labels)[0]) == (0, 0, 0)


def test_windows_start_at_their_size_and_cut_cells() -> None:
    truth = np.zeros((10, 20), np.int32)
    truth[3:7, 8:12] = 1  # over the line between two windows of 10
    truth[3:7, 3:6] = 2
    truth[4:6, 15:18] = 3
    rules = Rules(iou=(0.5,), window=10, window_from=200)
    assert match(truth, truth, rules)[0].pairs.tolist() == [[2, 2], [3, 3]]
    assert len(match(truth, truth, replace(rules, window_from=201))[0].pairs) == 3
    assert len(match(truth, truth, replace(rules, window=0))[0].pairs) == 3


def test_the_last_windows_are_filled_up_with_background() -> None:
    labels = np.zeros((10, 17), np.int32)
    labels[4:6, 13:17] = 1
    (found,) = match(labels, labels, Rules(iou=(0.5,), window=10, window_from=0))
    assert counts(found) == (1, 0, 0)  # at the edge of the image, not of its window
    (found,) = match(labels, labels, Rules(iou=(0.5,), window=9, window_from=0))
    assert counts(found) == (0, 0, 0)  # the window ends one pixel after the image
    (found,) = match(labels, labels, Rules(iou=(0.5,), window=0))
    assert counts(found) == (0, 0, 0)


def test_the_official_rules() -> None:
    assert RULES["neurips2022"] == Rules(
        iou=(0.5, 0.6, 0.7, 0.8, 0.9),
        ignore_border=2,
        window=2000,
        window_from=5000 * 5000,
        empty=0.0,
    )
    assert rules_named("plain").ignore_border == rules_named("plain").window == 0
    with pytest.raises(SettingError, match=r"(?s)'neurips'.*try: neurips2022"):
        rules_named("neurips")


def test_a_number_may_come_again_in_another_window() -> None:
    labels = enlarge(draw(".a..a."), 10)
    labels[:3] = labels[-3:] = 0
    rules = Rules(iou=(0.5,), window=30, window_from=0)
    assert match(labels * 0, labels, rules)[0].missed.tolist() == [1, 1]
    assert match(labels, labels * 0, rules)[0].extra.tolist() == [1, 1]
    assert match(labels, labels, rules)[0].pairs.tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("block", [1, 7, 64])
def test_blocks_do_not_change_the_result(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth = enlarge(rng.integers(0, 20, (8, 9)).astype(np.int32), 3)
    prediction = np.roll(truth, (1, 1), axis=(0, 1))
    whole = [(*counts(found), found.ious.tolist()) for found in match(prediction, truth, ALL)]
    monkeypatch.setattr(matching, "BLOCK", block)
    blocks = [(*counts(found), found.ious.tolist()) for found in match(prediction, truth, ALL)]
    assert whole == blocks
    assert whole[0][0] > 0


def test_many_cells_take_little_memory() -> None:
    truth = enlarge(np.arange(1, 150 * 150 + 1, dtype=np.int32).reshape(150, 150), 8)
    prediction = np.roll(truth, 2, axis=1)
    tracemalloc.start()
    low, half, high = match(prediction, truth, replace(ALL, iou=(0.1, 0.5, 0.9)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6  # a table of all by all would take 4e9
    assert len(half.pairs) == 150 * 149 + 150
    assert len(low.pairs) == 150 * 150
    assert len(high.pairs) == 0


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64, np.uint32, np.bool_])
def test_inputs_of_any_whole_type_stay_as_they_are(kind: type[np.generic]) -> None:
    truth: NDArray[np.generic] = (CELLS["cut by the edge"] > 0).astype(kind)
    before = truth.copy()
    truth.flags.writeable = False
    assert counts(match(truth, truth, ALL)[0]) == (1, 0, 0)
    assert counts(match(truth, truth)[0]) == (0, 0, 0)
    np.testing.assert_array_equal(truth, before)


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (np.zeros((4, 5), np.int32), "4 x 5 pixels for a truth of 5 x 4"),
        (np.zeros((5, 4)), "float64"),
        (np.zeros((1, 5, 4), np.int32), "rows x columns"),
        (np.full((5, 4), -1), "-1"),
    ],
)
def test_what_cannot_be_compared(prediction: NDArray[np.generic], message: str) -> None:
    with pytest.raises(InputError, match=message):
        match(prediction, np.zeros((5, 4), np.int32))


def test_no_pixels_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="at least one pixel"):
        match(np.zeros((0, 4), np.int32), np.zeros((0, 4), np.int32))


@pytest.mark.parametrize(
    "settings_",
    [
        {"iou": ()},
        {"iou": (0.0, 0.5)},
        {"iou": (0.5, 1.1)},
        {"iou": (0.6, 0.5)},
        {"iou": (0.5, 0.5)},
        {"ignore_border": -1},
        {"window": 4},
        {"window": -2000},
        {"window_from": -1},
        {"empty": float("nan")},
    ],
    ids=str,
)
def test_rules_that_make_no_sense(settings_: dict[str, object]) -> None:
    with pytest.raises(SettingError):
        replace(Rules(), **settings_)  # type: ignore[arg-type]
