"""Pieces, holes and depths by runs and rows, against slow references pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.measure import label

from anycell.cutouts import square_distances
from anycell.labels import Labels
from anycell.pieces import fill_holes, largest_pieces, tidy
from cells import CELLS, ODD, draw, enlarge

PICTURES = {**CELLS, **ODD}


def random_labels(seed: int) -> Labels:
    """A few cells in many pieces with many holes: smooth patches, cut and speckled."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 50, 2))
    patches = [gaussian_filter(rng.standard_normal(shape), s, mode="wrap") for s in (1.0, 2.5)]
    cells = np.digitize(patches[0] / max(patches[0].std(), 1e-9), [-0.5, 0.0, 0.6])
    cells = np.where(patches[1] > 0, cells, 2 * cells)
    return np.where(rng.random(shape) < 0.05, 0, cells).astype(np.int32)


def slow_largest(labels: Labels) -> Labels:
    """Count each cell's pieces one after the other."""
    out = np.zeros_like(labels)
    for number in range(1, labels.max(initial=0) + 1):
        pieces = label(labels == number, connectivity=2)
        sizes = [int((pieces == k).sum()) for k in range(1, pieces.max() + 1)]
        if sizes:
            out[pieces == 1 + sizes.index(max(sizes))] = number
    return out


def slow_filled(labels: Labels) -> Labels:
    """Look at each background piece's neighbours, one after the other."""
    gaps = label(np.pad(labels, 1) == 0, connectivity=1)[1:-1, 1:-1]
    framed = {0, *gaps[0], *gaps[-1], *gaps[:, 0], *gaps[:, -1]}
    out = labels.copy()
    for gap in set(range(1, gaps.max() + 1)) - framed:
        y, x = np.nonzero(gaps == gap)
        around = {
            int(number)
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
            for number in labels[y + dy, x + dx]
        } - {0}
        if len(around) == 1:
            out[y, x] = around.pop()
    return out


@pytest.mark.parametrize("seed", range(40))
def test_random_labels_are_tidied_as_by_the_slow_reference(seed: int) -> None:
    labels = random_labels(seed)
    largest = slow_largest(labels)
    assert np.array_equal(largest_pieces(labels), largest)
    assert np.array_equal(fill_holes(labels), slow_filled(labels))
    filled = slow_filled(largest)
    size = np.bincount(filled.ravel())
    numbers = [n for n in range(1, len(size)) if size[n] >= 5]
    expected = sum((k * (filled == n) for k, n in enumerate(numbers, 1)), np.zeros_like(filled))
    found = tidy(labels, 5)
    assert np.array_equal(found, expected)
    assert found.dtype == np.int32


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("k", [1, 3])
def test_drawn_cells_are_tidied_as_by_the_slow_reference(picture: str, k: int) -> None:
    labels = enlarge(PICTURES[picture], k)
    assert np.array_equal(largest_pieces(labels), slow_largest(labels))
    assert np.array_equal(fill_holes(labels), slow_filled(labels))


def test_of_equal_pieces_the_first_stays_and_corners_join() -> None:
    labels = draw("""
        ..a.aa
        ......
        bb.a..
        ..b.a.
        .....b
    """)
    expected = draw("""
        ....aa
        ......
        bb....
        ..b...
        ......
    """)
    assert np.array_equal(largest_pieces(labels), expected)


def test_a_hole_goes_through_edges_only_and_not_to_the_frame() -> None:
    labels = draw("""
        aaaaa.
        a.aa.a
        aa.aaa
        .aaaab
        aab.bb
        aaabbb
    """)
    expected = draw("""
        aaaaa.
        aaaaaa
        aaaaaa
        .aaaab
        aab.bb
        aaabbb
    """)
    assert np.array_equal(fill_holes(labels), expected)


def squares(within: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.rint(distance_transform_edt(within) ** 2)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (30, 41), (90, 70)])
@pytest.mark.parametrize("share", [0.0, 0.002, 0.2, 0.9, 1.0])
def test_square_distances_are_exact(shape: tuple[int, int], share: float) -> None:
    within = np.random.default_rng(5).random(shape) >= share
    assert np.array_equal(square_distances(within), squares(within))


@pytest.mark.parametrize("depth", [5, 31, 32, 33, 60])
def test_square_distances_are_exact_at_any_depth(depth: int) -> None:
    within = np.ones((2 * depth + 1, 3 * depth), dtype=bool)
    within[:, 0] = within[depth, -1] = False
    assert np.array_equal(square_distances(within), squares(within))
