"""Matching: which predicted cell is which true cell, at a given IoU.

Both images are walked once, a few rows at a time.  Equal neighbors along a row are
one run, so that only runs are sorted, never pixels; what is kept is one line per pair
of cells that share a pixel, never a table of all cells by all cells:

    prediction  . 1 1 1 2 2        (prediction, truth, pixels)
    truth       . . 5 5 5 6   ->   (1, 0, 1) (1, 5, 2) (2, 5, 1) (2, 6, 1)

The rules are those of the NeurIPS 2022 Cell Segmentation Challenge, read from the
organisers' ``baseline/compute_metric.py`` (github.com/JunMa11/NeurIPS-CellSeg; Ma et
al., Nature Methods 2024):

- a cell with a pixel in the outer frame of 2 px is left out, of the truth and of the
  prediction each by itself; its pixels then count as background;
- IoU = shared pixels / pixels of the union, both within the image (or window);
- pairs are one to one: as many as can be with IoU >= threshold, among those the
  largest sum of IoU;
- an image of 25,000,000 pixels or more is cut into windows of 2000 px from its top
  left corner; each is an image of its own (frame, cells, pairs) and the counts are
  summed.  The last windows are filled up with background to their full side, so there
  a cell at the right or lower edge of the image stays in.

Where ours differs, on purpose:

- predictions are found from the truth: a missing one is all misses (theirs goes
  through the predictions and never sees it), an unreadable file is an error (theirs
  leaves the image out of the mean);
- misses in an image or window without any prediction are counted as FN (their FN
  column says 0; their F1 does count them, so F1 is the same);
- the images given are never edited, and predicted numbers are never squeezed into the
  truth's integer type (theirs wraps above 65,535 in windows);
- in an image of at most 4 px a side everything touches the frame and is left out
  (theirs keeps the lowest number if there is no background);
- scores are not rounded (theirs to 4 decimals before the mean).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.errors import InputError, SettingError, unknown_name
from anycell.image import Region
from anycell.labels import Labels, as_labels

__all__ = ["RULES", "Match", "Rules", "match", "rules_named"]

Numbers = NDArray[np.int64]

BLOCK = 1 << 20
"""Pixels that are looked at together: bounds the memory, fits the cache."""


@dataclass(frozen=True)
class Rules:
    """How a prediction is compared with the truth; every score carries its rules.

    Attributes
    ----------
    iou : thresholds, rising, each above 0 and at most 1; a pair counts from there on.
    ignore_border : cells with a pixel in the outer frame this wide (px) are left out.
    window : side (px) of the windows that large images are cut into; 0 never cuts.
    window_from : images of at least so many pixels are large.
    empty : score of an image without cells in truth and prediction; the official code
        gives 0 (no true positive, no score), 1 would reward finding nothing.
    """

    iou: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9)
    ignore_border: int = 2
    window: int = 2000
    window_from: int = 25_000_000
    empty: float = 0.0

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in pairwise(self.iou))
        if not self.iou or not rising or not all(0 < v <= 1 for v in self.iou):
            raise SettingError(
                f"IoU thresholds {self.iou}", expected="rising values above 0, at most 1"
            )
        if self.ignore_border < 0 or self.window_from < 0:
            raise SettingError(
                f"ignore_border {self.ignore_border}, window_from {self.window_from}",
                expected="0 or more pixels",
            )
        if self.window != 0 and self.window <= 2 * self.ignore_border:
            raise SettingError(
                f"windows of {self.window} px with a frame of {self.ignore_border} px",
                expected="windows wider than both frames, or 0 for none",
            )
        if not 0 <= self.empty <= 1:
            raise SettingError(f"empty {self.empty}", expected="a score from 0 to 1")


RULES: dict[str, Rules] = {
    "neurips2022": Rules(),
    "plain": Rules(ignore_border=0, window=0),
}
"""Name -> rules: the challenge's own, and every cell of the whole image."""


def rules_named(name: str) -> Rules:
    """Look rules up by name; an unknown one is a SettingError with the nearest name."""
    if name not in RULES:
        raise unknown_name("rules", name, RULES)
    return RULES[name]


@dataclass(frozen=True, eq=False)
class Match:
    """The pairs found at one IoU threshold.

    The numbers are those of the two label images; where an image was cut into windows
    a number can come up once per window.

    Attributes
    ----------
    iou : the threshold.
    pairs : k x 2, the prediction's number and the truth's.
    ious : k, the IoU of each pair.
    missed : numbers of the truth without a partner (FN).
    extra : numbers of the prediction without a partner (FP).
    rules : how they were found.
    """

    iou: float
    pairs: Numbers
    ious: NDArray[np.float64]
    missed: Numbers
    extra: Numbers
    rules: Rules


@dataclass(frozen=True, eq=False)
class _Overlaps:
    """The cells of one window that count, and the pairs of them that share a pixel."""

    predicted: Numbers
    true: Numbers
    pairs: Numbers
    ious: NDArray[np.float64]


def match(
    prediction: NDArray[Any], truth: NDArray[Any], rules: Rules = RULES["neurips2022"]
) -> tuple[Match, ...]:
    """Match two label images, one to one.

    Parameters
    ----------
    prediction, truth : rows x columns, 0 is background; neither is edited.

    Returns
    -------
    One match per threshold of ``rules.iou``, in that order.

    Raises
    ------
    InputError : not labels, no pixels, or of different size.
    """
    predicted, true = as_labels(prediction), as_labels(truth)
    if predicted.shape != true.shape or not true.size:
        raise InputError(
            f"a prediction of {_size(predicted)} for a truth of {_size(true)}",
            expected="two label images of the same size, at least one pixel",
        )
    windows = _windows(true.shape[0], true.shape[1], rules)
    parts = [_overlaps(predicted, true, window, rules.ignore_border) for window in windows]
    return tuple(_match_at(parts, iou, rules) for iou in rules.iou)


def _size(labels: Labels) -> str:
    return f"{labels.shape[0]} x {labels.shape[1]} pixels"


def _windows(height: int, width: int, rules: Rules) -> Iterator[Region]:
    """The windows in row-major order; the last ones may reach outside the image."""
    side = rules.window
    if side == 0 or height * width < rules.window_from:
        yield Region(0, 0, height, width)
        return
    for y in range(0, height, side):
        for x in range(0, width, side):
            yield Region(y, x, y + side, x + side)


def _overlaps(prediction: Labels, truth: Labels, window: Region, border: int) -> _Overlaps:
    inside = window.clip(truth.shape[0], truth.shape[1]).slices
    prediction, truth = prediction[inside], truth[inside]
    p, t, shared = _count(prediction, truth)
    predicted, p_at = np.unique(p, return_inverse=True)
    true, t_at = np.unique(t, return_inverse=True)
    # The lines with background on one side are in here, so these are whole areas.
    p_area = np.bincount(p_at, weights=shared)[p_at]
    t_area = np.bincount(t_at, weights=shared)[t_at]
    ious = shared / (p_area + t_area - shared)
    predicted = _off_frame(predicted, prediction, window.shape, border)
    true = _off_frame(true, truth, window.shape, border)
    kept = np.isin(p, predicted) & np.isin(t, true)
    return _Overlaps(predicted, true, np.stack([p, t], axis=1)[kept], ious[kept])


def _count(prediction: Labels, truth: Labels) -> tuple[Numbers, Numbers, Numbers]:
    """Count the pixels of every pair of numbers but (0, 0): prediction, truth, pixels."""
    base = int(truth.max()) + 1  # 2**31 squared still fits an int64
    rows = max(1, BLOCK // truth.shape[1])
    codes, pixels = [], []
    for y in range(0, truth.shape[0], rows):
        p, t = prediction[y : y + rows].ravel(), truth[y : y + rows].ravel()
        changes = np.flatnonzero((p[1:] != p[:-1]) | (t[1:] != t[:-1])) + 1
        starts = np.concatenate([[0], changes])
        code = p[starts].astype(np.int64) * base + t[starts]
        length = np.diff(starts, append=p.size)
        code, length = _sum_by(code[code > 0], length[code > 0])
        codes.append(code)
        pixels.append(length)
    code, count = _sum_by(np.concatenate(codes), np.concatenate(pixels))
    return code // base, code % base, count


def _sum_by(keys: Numbers, values: Numbers) -> tuple[Numbers, Numbers]:
    """The distinct keys, sorted, and the sum of the values of each."""
    distinct, at = np.unique(keys, return_inverse=True)
    return distinct, np.bincount(at, values, len(distinct)).astype(np.int64)


def _off_frame(numbers: Numbers, labels: Labels, shape: tuple[int, int], border: int) -> Numbers:
    """The cells among ``numbers`` that do not touch the frame of a window of ``shape``.

    ``labels`` is the part of the window inside the image, so it may be smaller.
    """
    low, right = (max(0, side - border) for side in shape)
    strips = (labels[:border], labels[low:], labels[:, :border], labels[:, right:])
    frame = np.unique(np.concatenate([strip.ravel() for strip in strips]))
    return np.setdiff1d(numbers[numbers > 0], frame, assume_unique=True)


def _match_at(parts: list[_Overlaps], iou: float, rules: Rules) -> Match:
    chosen = [_choose(part, iou) for part in parts]
    pairs = [part.pairs[at] for part, at in zip(parts, chosen, strict=True)]
    both = list(zip(parts, pairs, strict=True))
    return Match(
        iou=iou,
        pairs=np.concatenate(pairs),
        ious=np.concatenate([part.ious[at] for part, at in zip(parts, chosen, strict=True)]),
        missed=np.concatenate([np.setdiff1d(part.true, pair[:, 1]) for part, pair in both]),
        extra=np.concatenate([np.setdiff1d(part.predicted, pair[:, 0]) for part, pair in both]),
        rules=rules,
    )


def _choose(part: _Overlaps, iou: float) -> Numbers:
    """Which of the pairs to take: indices into ``part.pairs``, rising."""
    good = np.flatnonzero(part.ious >= iou)
    if iou > 0.5:
        # Cells of one image share no pixel, so only one of them can hold more than
        # half of a cell of the other: no pair has a rival.
        return good
    _, p_at, p_rivals = np.unique(part.pairs[good, 0], return_inverse=True, return_counts=True)
    _, t_at, t_rivals = np.unique(part.pairs[good, 1], return_inverse=True, return_counts=True)
    contested = (p_rivals[p_at] > 1) | (t_rivals[t_at] > 1)
    disputes = good[contested]
    won = _assign(part.pairs[disputes], part.ious[disputes])
    return np.sort(np.concatenate([good[~contested], disputes[won]]))


def _assign(pairs: Numbers, ious: NDArray[np.float64]) -> Numbers:
    """Take as many pairs as can be, one to one, and of these the largest sum of IoU.

    The official cost of a pair is -1 - IoU / (2 n): the IoU only breaks ties.  Here
    every true cell may also stay alone, at cost 2 against 1 - IoU / (2 n), so that the
    sparse algorithm (Jonker & Volgenant 1987) sees good pairs only.

    Returns
    -------
    Indices into ``pairs``, rising.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    if not len(pairs):
        return np.zeros(0, dtype=np.int64)
    predicted, p_at = np.unique(pairs[:, 0], return_inverse=True)
    true, t_at = np.unique(pairs[:, 1], return_inverse=True)
    alone = np.arange(len(true))
    costs = np.concatenate([1 - ious / (2 * len(true)), np.full(len(true), 2.0)])
    rows = np.concatenate([t_at, alone])
    columns = np.concatenate([p_at, len(predicted) + alone])
    shape = (len(true), len(predicted) + len(true))
    at_row, at_column = min_weight_full_bipartite_matching(
        csr_array((costs, (rows, columns)), shape=shape)
    )
    partner = np.full(len(true), -1)
    partner[at_row] = at_column
    return np.flatnonzero(partner[t_at] == p_at)
