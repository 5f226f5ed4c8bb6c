"""The catalogue holds the cases that it is named after."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import label

from anycell.labels import Labels, areas, boxes, edge_labels
from anycell.pieces import fill_holes
from cells import CELLS


def neighbours(labels: Labels) -> set[tuple[int, int]]:
    """Pairs of cells that share an edge, the lower number first."""
    pairs: set[tuple[int, int]] = set()
    for here, there in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        met = (here != there) & (here > 0) & (there > 0)
        low, high = np.minimum(here, there)[met], np.maximum(here, there)[met]
        pairs |= set(zip(low.tolist(), high.tolist(), strict=True))
    return pairs


@pytest.mark.parametrize("name", sorted(CELLS))
def test_cells_are_numbered_without_gaps_and_each_is_one_piece(name: str) -> None:
    labels = CELLS[name]
    top = int(labels.max())
    assert labels.dtype == np.int32
    assert set(np.unique(labels)) - {0} == set(range(1, top + 1))
    corners: NDArray[np.int64] = np.ones((3, 3), dtype=np.int64)
    assert all(label(labels == k, corners)[1] == 1 for k in range(1, top + 1))


def test_touching_cells_share_edges() -> None:
    assert neighbours(CELLS["touching"]) == {(1, 2), (1, 3), (2, 4), (3, 4)}
    assert neighbours(CELLS["two"]) == set()


def test_a_nested_cell_lies_wholly_within_another() -> None:
    labels = CELLS["nested"]
    outer = (labels == 1).astype(np.int32)
    assert np.array_equal(fill_holes(outer) > 0, labels > 0)
    assert neighbours(labels) == {(1, 2)}
    assert areas(labels)[2] > 1


def test_cells_are_cut_by_the_edge_on_all_four_sides() -> None:
    labels = CELLS["cut by the edge"]
    sides = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    assert all(side.any() for side in sides)
    cut = set(edge_labels(labels).tolist())
    assert cut == {1, 2, 4, 5}
    assert cut < set(range(1, labels.max() + 1))


def test_thin_cells_are_one_pixel_wide_along_and_askew() -> None:
    labels = CELLS["thin"]
    sides = {tuple((box[2:] - box[:2]).tolist()) for box in boxes(labels)[1:]}
    assert sides == {(1, 10), (5, 1), (4, 4)}
    assert areas(labels)[1:].tolist() == [10, 5, 4]
    assert areas(CELLS["single pixel"])[1:].tolist() == [1]
