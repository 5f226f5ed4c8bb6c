"""Regions side by side, each with a zoom of its own: cells on their borders come out once."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anycell.grid import Grid, Tile, exact_zoom
from anycell.image import Region
from anycell.labels import boxes
from anycell.matching import Rules
from anycell.scores import score_pair
from anycell.segment import segment
from test_segment import in_order, shaken
from truth import disks, same_cells, truth


def quilt(
    shape: tuple[int, int], zooms: list[Fraction], core: int, halo: int, skipped: int | None = None
) -> list[Tile]:
    """Four regions around a point off the middle, each with a zoom of its own."""
    height, width = shape
    y, x = height * 2 // 5, width * 3 // 7
    corners = [(0, 0, y, x), (0, x, y, width), (y, 0, height, x), (y, x, height, width)]
    tiles = [
        tile
        for index, (zoom, corner) in enumerate(zip(zooms, corners, strict=True))
        if index != skipped
        for tile in Grid(height, width, core, halo, 8, zoom, Region(*corner))
    ]
    return sorted(tiles, key=lambda tile: (tile.read.y0, tile.read.x0))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), core=st.integers(20, 90), radius=st.integers(3, 14))
def test_regions_of_one_zoom_leave_no_seams(seed: int, core: int, radius: int) -> None:
    labels = disks((190, 230), 80, (2, radius), seed)
    image, predictor = truth(labels, halo=radius + 1, multiple=8)
    tiles = quilt(labels.shape, [Fraction(1)] * 4, core, radius + 1)
    found = segment(image, predictor, tiles=tiles)
    assert same_cells(found.labels, labels)
    assert in_order(found)
    assert found.tiles == len(tiles)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    core=st.integers(30, 90),
    zooms=st.permutations([Fraction(1), Fraction(1, 2), Fraction(12, 17), Fraction(2)]),
)
def test_cells_on_the_border_of_two_zooms_come_out_once_and_whole(
    seed: int, core: int, zooms: list[Fraction]
) -> None:
    """An outline is off by up to half a network pixel: a pixel of the image at zoom 1/2.

    The disk of 10 pixels with one pixel less all around has an IoU of 0.81 with the whole
    one; a cell cut in two by a border would have 0.5, and one that is there twice is extra.
    """
    labels = disks((230, 270), 60, (10, 15), seed, gap=2)
    halo = 33  # of the largest cell at zoom 2
    image, predictor = truth(labels, halo=halo, multiple=8)
    found = segment(image, predictor, tiles=quilt(labels.shape, zooms, core, halo))
    assert in_order(found)
    scores = score_pair(found.labels, labels, Rules(iou=(0.8,), ignore_border=1))[0]
    assert scores.values.f1 >= 0.999


def test_one_grid_of_tiles_is_the_same_as_one_zoom() -> None:
    labels = disks((200, 300), 40, (4, 9), 2)
    image, predictor = truth(labels, noise=shaken)
    for zoom in (1.0, 0.75):
        grid = Grid(200, 300, 60, predictor.halo, predictor.multiple, exact_zoom(zoom))
        given = segment(image, predictor, tiles=list(grid))
        asked = segment(image, predictor, core=60, zoom=zoom)
        assert np.array_equal(given.labels, asked.labels)
        assert np.array_equal(given.confidence, asked.confidence)
        assert given.zoom == asked.zoom == float(exact_zoom(zoom))


def test_what_no_core_holds_stays_background() -> None:
    labels = disks((190, 230), 80, (3, 8), 3)
    image, predictor = truth(labels, halo=9, multiple=8)
    tiles = quilt(labels.shape, [Fraction(1)] * 4, 60, 9, skipped=3)
    found = segment(image, predictor, tiles=tiles)
    assert not found.labels[76 + 13 :, 98 + 13 :].any()
    box = boxes(labels)
    middle = (box[1:, :2] + box[1:, 2:]) / 2
    kept = ~((middle >= (76 + 4, 98 + 4)).all(axis=1))
    wanted = np.where(np.isin(labels, np.flatnonzero(kept) + 1), labels, 0)
    assert same_cells(found.labels, wanted)
    nothing = segment(image, predictor, tiles=[])
    assert (nothing.tiles, nothing.labels.any(), nothing.zoom) == (0, False, 1.0)
