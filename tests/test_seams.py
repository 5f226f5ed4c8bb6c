"""The seam rule, tile by tile.  Whole images are in test_segment."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from anycell.errors import InputError
from anycell.grid import Grid, Tile
from anycell.image import Region
from anycell.labels import Labels
from anycell.road import enlarged
from anycell.seams import ArraySink, Canvas, claimable
from truth import pieces

ONE = Fraction(1)
LEFT = Tile(Region(0, 0, 20, 30), Region(0, 0, 20, 40), ONE, (20, 40))
RIGHT = Tile(Region(0, 30, 20, 60), Region(0, 20, 20, 60), ONE, (20, 40))
SURE = np.linspace(0.1, 0.9, 9, dtype=np.float32)


def plane() -> tuple[ArraySink, Canvas]:
    sink = ArraySink(20, 60)
    return sink, Canvas(sink)


def cell(y0: int, x0: int, y1: int, x1: int, value: int = 1) -> Labels:
    """A rectangle on the plane of two tiles."""
    labels = np.zeros((20, 60), dtype=np.int32)
    labels[y0:y1, x0:x1] = value
    return labels


def show(canvas: Canvas, tile: Tile, labels: Labels) -> int:
    """Let a tile claim its part of labels of the whole plane."""
    return canvas.claim(tile, labels[tile.read.slices], SURE)


@pytest.mark.parametrize(
    ("middle", "kept_left", "kept_right"),
    [(10, 1, 0), (29, 1, 1), (33, 1, 1), (34, 0, 1), (26, 1, 1), (25, 1, 0), (50, 0, 1)],
)
def test_a_tile_keeps_what_has_its_centre_in_the_widened_core(
    middle: int, kept_left: int, kept_right: int
) -> None:
    labels = cell(5, middle - 2, 9, middle + 2)
    for tile, kept in ((LEFT, kept_left), (RIGHT, kept_right)):
        _, canvas = plane()
        assert show(canvas, tile, labels) == kept


@pytest.mark.parametrize("middle", range(3, 57))
def test_each_cell_is_there_once_and_whole(middle: int) -> None:
    labels = cell(5, middle - 3, 12, middle + 3)
    sink, canvas = plane()
    for tile in (LEFT, RIGHT):
        show(canvas, tile, labels)
    assert canvas.cells == 1
    assert np.array_equal(sink.labels > 0, labels > 0)


def test_a_cell_half_claimed_is_dropped_and_one_less_claimed_is_kept() -> None:
    for columns, new in ((4, 0), (5, 0), (6, 1)):
        sink, canvas = plane()
        show(canvas, LEFT, cell(5, 24, 9, 34))
        assert show(canvas, RIGHT, cell(5, 34 - (10 - columns), 9, 34 + columns)) == new
        assert canvas.cells == 1 + new
        assert (sink.labels[5:9, 24:34] == 1).all()
        assert np.count_nonzero(sink.labels == 2) == new * 4 * columns


def test_a_claimed_pixel_is_never_claimed_again() -> None:
    sink, canvas = plane()
    show(canvas, LEFT, cell(5, 26, 10, 33))
    before = sink.labels.copy()
    show(canvas, RIGHT, cell(9, 28, 16, 36))
    assert canvas.cells == 2
    assert np.array_equal(sink.labels[before > 0], before[before > 0])
    assert sink.labels[9, 33:36].tolist() == [2, 2, 2]


def test_a_cell_that_claims_split_keeps_its_largest_piece() -> None:
    sink, canvas = plane()
    show(canvas, LEFT, cell(8, 26, 11, 34))
    show(canvas, RIGHT, cell(4, 29, 18, 33))
    assert canvas.cells == 2
    rows, _ = np.nonzero(sink.labels == 2)
    assert set(rows) == set(range(11, 18))
    assert pieces(sink.labels) == 2


def test_numbers_run_on_and_confidence_follows_them() -> None:
    sink, canvas = plane()
    show(canvas, LEFT, cell(1, 5, 4, 8, 3) + cell(1, 36, 4, 38, 5) + cell(9, 5, 12, 8, 8))
    show(canvas, RIGHT, cell(1, 36, 4, 38, 2) + cell(9, 50, 12, 52, 9))
    assert np.unique(sink.labels).tolist() == [0, 1, 2, 3, 4]
    assert sink.labels[[1, 9, 1, 9], [5, 5, 36, 50]].tolist() == [1, 2, 3, 4]
    assert canvas.confidence == pytest.approx(SURE[[2, 7, 1, 8]])
    assert canvas.confidence.dtype == np.float32


@pytest.mark.parametrize("x", range(48))
def test_the_part_of_a_cell_at_the_edge_of_a_read_is_not_taken_for_a_cell(x: int) -> None:
    """The left half of a dumbbell has its own mass in the left core, the dumbbell has not."""
    labels = cell(2, x, 14, x + 2) + cell(7, x + 2, 8, x + 10) + cell(2, x + 10, 14, x + 12)
    sink, canvas = plane()
    for tile in (LEFT, RIGHT):
        show(canvas, tile, labels)
    assert np.array_equal(sink.labels, labels)


def test_a_cell_larger_than_the_halo_is_put_together() -> None:
    labels = cell(3, 2, 17, 58)
    sink, canvas = plane()
    assert show(canvas, LEFT, labels) == 1
    assert show(canvas, RIGHT, labels) == 0
    assert np.array_equal(sink.labels, labels)
    assert len(canvas.confidence) == 1


def test_a_cut_cell_is_finished_by_a_tile_that_sees_it_whole() -> None:
    labels = cell(3, 18, 17, 48)
    labels[3:17, 18:21] = 0
    sink, canvas = plane()
    for tile in (LEFT, RIGHT):
        show(canvas, tile, labels)
    assert canvas.cells == 1
    assert np.array_equal(sink.labels, labels)


def test_another_cell_beside_a_cut_one_does_not_go_on_under_its_number() -> None:
    sink, canvas = plane()
    show(canvas, LEFT, cell(3, 2, 17, 40))
    show(canvas, RIGHT, cell(3, 38, 17, 55))
    assert canvas.cells == 2
    assert (sink.labels[3:17, 40:55] == 2).all()


def test_a_larger_cell_over_the_end_of_a_cut_one_does_not_go_on_under_its_number() -> None:
    sink, canvas = plane()
    show(canvas, LEFT, cell(3, 2, 5, 40))
    show(canvas, RIGHT, cell(3, 22, 17, 58))
    assert canvas.cells == 2
    assert (sink.labels[5:17, 22:58] == 2).all()


def test_what_goes_on_stays_one_piece() -> None:
    """The right tile sees a bridge that the left one denied: nothing is left hanging."""
    sink, canvas = plane()
    show(canvas, LEFT, cell(3, 2, 17, 40))
    labels = cell(3, 20, 17, 39) + cell(3, 45, 17, 60)
    show(canvas, RIGHT, labels)
    assert canvas.cells == pieces(sink.labels) == 1
    assert not sink.labels[:, 45:].any()


def test_cut_cells_are_forgotten_when_no_tile_can_meet_them() -> None:
    grid = Grid(400, 30, core=10, halo=0)
    sink = ArraySink(400, 30)
    canvas = Canvas(sink)
    for tile in grid:
        region = tile.read.clip(400, 30)
        canvas.claim(tile, np.ones(region.shape, dtype=np.int32), SURE)
        remembered = [other for seen in canvas._cut.values() for other in seen]
        assert len(remembered) <= 12
    assert (sink.labels == 1).all()


def test_nothing_to_claim() -> None:
    sink, canvas = plane()
    assert show(canvas, LEFT, cell(0, 0, 0, 0)) == 0
    assert canvas.confidence.shape == (0,)
    assert not sink.labels.any()


def test_each_tile_has_the_margin_of_its_own_zoom() -> None:
    for zoom, farthest in ((Fraction(1, 2), 8), (ONE, 4), (Fraction(2), 2)):
        for beyond in (farthest - 1, farthest):
            _, canvas = plane()
            tile = Tile(LEFT.core, LEFT.read, zoom, (20, 40))
            middle = LEFT.core.x1 + beyond
            kept = show(canvas, tile, cell(5, middle - 1, 7, middle + 1))
            assert kept == (beyond < farthest)


def test_tiles_out_of_order_are_refused() -> None:
    _, canvas = plane()
    below = Tile(Region(10, 0, 20, 60), Region(5, 0, 20, 60), ONE, (15, 60))
    show(canvas, below, cell(12, 5, 15, 9))
    with pytest.raises(InputError, match="a tile from row 0 after one from row 5"):
        show(canvas, LEFT, cell(5, 3, 9, 8))


def test_labels_that_do_not_fit_are_refused() -> None:
    _, canvas = plane()
    with pytest.raises(InputError, match="expected: labels of"):
        canvas.claim(LEFT, np.zeros((20, 30), dtype=np.int32), SURE)
    with pytest.raises(InputError, match="one confidence for each"):
        canvas.claim(LEFT, np.full((20, 40), 10, dtype=np.int32), SURE)


def test_what_a_tile_does_not_keep_is_taken_away_and_the_rest_numbered_anew() -> None:
    labels = cell(2, 5, 6, 9, 1) + cell(2, 37, 6, 39, 4) + cell(10, 25, 14, 29, 7)
    left = claimable(labels[LEFT.read.slices], LEFT, (20, 40))
    assert np.unique(left).tolist() == [0, 1, 2]
    assert (left[2:6, 5:9] == 1).all()
    assert (left[10:14, 25:29] == 2).all()
    right = claimable(labels[RIGHT.read.slices], RIGHT, (20, 40))
    assert np.array_equal(np.unique(right[2:6, 17:19]), [1])
    assert not claimable(cell(2, 48, 6, 52)[RIGHT.read.slices] * 0, RIGHT, (20, 40)).any()


def test_a_part_of_a_cell_larger_than_the_halo_is_not_taken_away() -> None:
    labels = cell(3, 20, 17, 27)[RIGHT.read.slices]
    assert claimable(labels, RIGHT, (20, 40)).any()
    small = cell(3, 20, 6, 24)[RIGHT.read.slices]
    assert not claimable(small, RIGHT, (20, 40)).any()


@pytest.mark.parametrize("zoom", [ONE, Fraction(1, 2), Fraction(2), Fraction(32, 45)])
def test_what_is_taken_away_would_not_have_been_claimed(zoom: Fraction) -> None:
    random = np.random.default_rng(int(1000 * zoom))
    side = 240
    y, x = np.mgrid[: int(side * zoom), : int(side * zoom)]
    whole = np.zeros(y.shape, dtype=np.int32)
    for number in range(1, int(150 * zoom * zoom) + 20):
        top, left = random.uniform(0, len(y), 2)
        high, wide = random.uniform(1.5, 7.0, 2)
        whole[((y - top) / high) ** 2 + ((x - left) / wide) ** 2 <= 1.0] = number
    planes = []
    gone = 0
    for shorten in (lambda labels, *_: labels, claimable):
        sink = ArraySink(side, side)
        canvas = Canvas(sink)
        for tile in Grid(side, side, 40, 16, 4, zoom):
            rows, columns = (int(v * zoom) for v in (tile.read.y0, tile.read.x0))
            seen = whole[rows : rows + tile.shape[0], columns : columns + tile.shape[1]]
            small = shorten(seen, tile, seen.shape)
            gone += len(np.unique(seen)) - len(np.unique(small))
            sure = np.bincount(small.ravel(), minlength=2)[1:].astype(np.float32)
            shape = tile.read.clip(side, side).shape
            canvas.claim(tile, enlarged(small, shape, zoom), sure)
        planes.append((sink.labels, canvas.confidence))
    assert gone > 20
    for kept, wanted in zip(planes[1], planes[0], strict=True):
        np.testing.assert_array_equal(kept, wanted)
