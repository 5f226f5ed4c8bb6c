"""Squares in which nothing stands out: found, and left out of tiles without losing a cell."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from anycell.bare import Squares, find_squares
from anycell.errors import SettingError
from anycell.grid import MARGIN, Grid, Tile
from anycell.image import Image, Region
from anycell.looks import Looks
from anycell.matching import Rules
from anycell.normalize import fit_normalization, to_model_channels
from anycell.road import Asked
from anycell.scale import ZoomPlan
from anycell.scores import score_pair
from anycell.seam_check import check_seams
from anycell.segment import plan_zoom, segment
from anycell.zones import tiles_of
from test_scale import Seer, disks, lattice
from test_zones import two_sizes

RULES = Rules(iou=(0.7,), ignore_border=0)
CORE = 96


@st.composite
def some_squares(draw: st.DrawFn) -> tuple[Squares, tuple[int, int], Region]:
    """Squares of an image, its size, and a region of it."""
    height, width, side = (draw(st.integers(1, n)) for n in (90, 90, 30))
    shape = (-(-height // side), -(-width // side))
    bits = draw(st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    y0, x0 = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    y1, x1 = draw(st.integers(y0 + 1, height)), draw(st.integers(x0 + 1, width))
    return Squares(side, np.array(bits).reshape(shape)), (height, width), Region(y0, x0, y1, x1)


def pixels(squares: Squares, shape: tuple[int, int]) -> NDArray[np.bool_]:
    one = np.ones((squares.side, squares.side), dtype=np.bool_)
    return np.kron(squares.held, one)[: shape[0], : shape[1]]


@given(some_squares())
def test_a_region_shrinks_to_the_box_of_what_is_held(
    drawn: tuple[Squares, tuple[int, int], Region],
) -> None:
    squares, shape, region = drawn
    held = pixels(squares, shape)[region.slices]
    assert squares.any(region) == held.any()
    if not held.any():
        assert squares.shrunk(region) is None
        return
    y, x = np.nonzero(held)
    box = Region(int(y.min()), int(x.min()), int(y.max()) + 1, int(x.max()) + 1)
    assert squares.shrunk(region) == box.shift(region.y0, region.x0)


@given(some_squares())
def test_only_squares_that_lie_in_a_region_are_taken_out(
    drawn: tuple[Squares, tuple[int, int], Region],
) -> None:
    squares, shape, region = drawn
    outside = np.ones(shape, dtype=np.bool_)
    outside[region.slices] = False
    left = squares.without([region], *shape).held
    for y, x in np.ndindex(*squares.held.shape):
        own = slice(y * squares.side, (y + 1) * squares.side)
        other = slice(x * squares.side, (x + 1) * squares.side)
        assert left[y, x] == (squares.held[y, x] and outside[own, other].any())


def squares_of(image: Image, cell: float, side: int) -> Squares:
    lines = fit_normalization(image)
    overview = to_model_channels(lines.apply(image.overview(1024)))
    return find_squares(Looks(image, lines, Seer()), overview, cell, side)


@pytest.mark.parametrize(("size", "cell"), [(700, 24), (3100, 5)], ids=["overview", "image"])
def test_squares_near_a_cell_are_held_and_no_others(size: int, cell: int) -> None:
    """In the larger image, cells have 1.7 pixels in the overview, which is too few."""
    side = 5 * cell
    rng = np.random.default_rng(2)
    centres = [tuple(rng.uniform(0, size, 2)) for _ in range(25)]
    image = disks((size, size - 9), cell, centres)
    found = squares_of(image, cell, side)
    bright = image.read(Region(0, 0, size, size - 9))[0] > 100
    for y, x in np.ndindex(*found.held.shape):
        inner = Region(y * side, x * side, (y + 1) * side, (x + 1) * side).clip(size, size - 9)
        far = (y * side - 2 * cell, x * side - 2 * cell)
        wide = Region(*far, *(v + side + 4 * cell for v in far))
        more = cell // 2
        near = Region(inner.y0 - more, inner.x0 - more, inner.y1 + more, inner.x1 + more).clip(
            size, size - 9
        )
        if bright[near.slices].any():
            assert found.held[y, x]
        if not bright[wide.clip(size, size - 9).slices].any():
            assert not found.held[y, x]


def test_a_background_that_changes_slowly_is_bare() -> None:
    slope = np.linspace(0, 60, 1000)[None, :].repeat(1000, axis=0)
    image = disks((1000, 1000), 24, lattice(24, 230))
    plane = np.maximum(image.read(Region(0, 0, 1000, 1000))[0], slope).astype(np.uint8)
    found = squares_of(Image.from_array(plane), 24.0, 120)
    assert found.held[:2, :2].all()
    assert not found.held[3:, :].any()
    assert not found.held[:, 3:].any()


@given(st.integers(0, 2**31), st.sampled_from([Fraction(1), Fraction(32, 45), Fraction(64, 45)]))
def test_shrunk_tiles_see_enough_and_stay_on_the_lattice(seed: int, zoom: Fraction) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(v) for v in rng.integers(40, 900, 2))
    grid = Grid(height, width, 96, 32, 32, zoom)
    tile = grid[int(rng.integers(len(grid)))]
    y, x = (
        np.sort(rng.choice(np.arange(a, b + 1), 2, replace=False))
        for a, b in ((tile.core.y0, tile.core.y1), (tile.core.x0, tile.core.x1))
    )
    core = Region(int(y[0]), int(x[0]), int(y[1]), int(x[1]))
    small = grid.shrunk(tile, core)
    assert (small.core, small.zoom) == (core, zoom)
    around = -int(-(32 + MARGIN) // zoom)
    needed = Region(core.y0 - around, core.x0 - around, core.y1 + around, core.x1 + around)
    assert small.read.clip(height, width) == _joined(small.read, needed).clip(height, width)
    assert tile.read == _joined(tile.read, small.read)
    for begin, side, length in zip(
        (small.read.y0, small.read.x0), small.read.shape, small.shape, strict=True
    ):
        assert begin % grid.unit == 0
        assert side * zoom == length
        assert length % 32 == 0


def _joined(one: Region, other: Region) -> Region:
    low, high = (min(one.y0, other.y0), min(one.x0, other.x0)), (max(one.y1, other.y1),)
    return Region(*low, *high, max(one.x1, other.x1))


def cost(tiles: list[Tile]) -> int:
    return sum(tile.shape[0] * tile.shape[1] for tile in tiles)


def test_tiles_shrink_to_an_island_and_the_cells_are_the_same() -> None:
    centres = [(y + 90.0, x + 330.0) for y, x in lattice(24, 300)] + [(930.0, 60.0)]
    image = disks((1024, 1024), 24, centres)
    found = segment(image, Seer(), core=CORE)
    assert found.plan is not None
    whole = segment(image, Seer(), core=CORE, zoom=found.zoom)
    assert score_pair(found.labels, whole.labels, RULES)[0].values.f1 == 1.0
    assert found.labels.max() == whole.labels.max() == len(centres)
    tiles = list(tiles_of(found.plan, image, Seer(), lambda zoom: CORE))
    every = list(tiles_of(ZoomPlan(found.zoom, (), ""), image, Seer(), lambda zoom: CORE))
    assert cost(tiles) < 0.3 * cost(every)
    times = np.zeros((1024, 1024), dtype=np.int8)
    for tile in tiles:
        times[tile.core.slices] += 1
    assert times.max() == 1
    assert all(times[int(y), int(x)] == 1 for y, x in centres)


def test_where_something_is_everywhere_tiles_stay_as_they_are() -> None:
    image = disks((1024, 1024), 24, lattice(24, 1050))
    plan = plan_zoom(image, Seer(), core=CORE)
    assert plan.squares is None
    assert isinstance(tiles_of(plan, image, Seer(), lambda zoom: CORE), Grid)


def test_zones_of_two_zooms_shrink_within_their_own_region() -> None:
    full = two_sizes().read(Region(0, 0, 1000, 1280))[0].copy()
    full[400:, :640] = 0
    image = Image.from_array(full)
    found = segment(image, Seer(), core=CORE)
    assert found.plan is not None
    assert len({zone.zoom for zone in found.plan.zones} - {None}) > 1
    times = np.zeros((1000, 1280), dtype=np.int8)
    for core in found.cores:
        times[core.slices] += 1
    assert times.max() == 1
    assert (times[full > 100] == 1).all()


@pytest.mark.parametrize("contrast", [0.05, 0.1])
def test_faint_cells_beside_bright_ones_are_not_bare(contrast: float) -> None:
    """The upper half is bright, some cells of the lower are faint, the rest is noise."""
    full = disks((1000, 1000), 24, lattice(24, 480) + [(y, x + 480.0) for y, x in lattice(24, 480)])
    plane = full.read(Region(0, 0, 1000, 1000))[0] / np.float32(200.0)
    plane[600:900, 200:500] = contrast * plane[:300, :300]
    plane += np.random.default_rng(0).normal(0, 0.003, plane.shape)
    found = squares_of(Image.from_array(plane.astype(np.float32)), 24.0, 120)
    assert found.held[5:7, 2:4].all()
    assert not found.held[5:, 6:].any()
    assert not found.held[8:].any()


def test_what_is_skipped_is_said() -> None:
    """By zones or by squares: the share of the image that no tile answers for."""
    image = disks((1500, 1500), 24, lattice(24, 300))
    found = segment(image, Seer(), core=CORE)
    assert found.plan is not None
    seen = sum(core.shape[0] * core.shape[1] for core in found.cores) / 1500**2
    assert found.plan.skipped == pytest.approx(1.0 - seen) != 0.0
    assert found.plan.entry()["skipped"] == pytest.approx(1.0 - seen, abs=1e-4)
    assert found.plan.skipped > 0.8


def test_nothing_at_all_to_look_at() -> None:
    slope = np.linspace(0.0, 1.0, 4000, dtype=np.float32)[None, :].repeat(300, axis=0)
    image = Image.from_array(slope)
    found = segment(image, Seer(), core=CORE)
    assert (found.labels.shape, found.labels.max(), found.tiles) == ((300, 4000), 0, 0)
    with pytest.raises(SettingError, match="nothing to check"):
        check_seams(image, Seer(), Asked(core=CORE))
