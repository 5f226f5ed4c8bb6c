"""Cores tile the plane, reads hold their halos, tiles have one size."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycell.errors import SettingError
from anycell.grid import MARGIN, Grid, exact_zoom
from anycell.image import Region

ZOOMS = [
    Fraction(1),
    Fraction(1, 8),
    Fraction(32, 45),
    Fraction(64, 45),
    Fraction(2),
    Fraction(7, 5),
]

grids = st.builds(
    Grid,
    height=st.integers(1, 900),
    width=st.integers(1, 900),
    core=st.integers(1, 300),
    halo=st.integers(0, 80),
    multiple=st.sampled_from([1, 2, 16, 32]),
    zoom=st.sampled_from(ZOOMS),
).filter(lambda grid: len(grid) <= 3000)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(grids)
def test_cores_tile_the_plane_exactly(grid: Grid) -> None:
    times = np.zeros((grid.height, grid.width), dtype=np.int16)
    for tile in grid:
        assert min(tile.core.shape) > 0
        times[tile.core.slices] += 1
    assert (times == 1).all()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(grids)
def test_a_read_holds_the_core_and_its_halo(grid: Grid) -> None:
    for tile in grid:
        halo = grid.halo / grid.zoom + tile.margin
        core, read = tile.core, tile.read
        assert read.y0 == 0 if core.y0 == 0 else read.y0 <= core.y0 - halo
        assert read.x0 == 0 if core.x0 == 0 else read.x0 <= core.x0 - halo
        assert read.y1 >= core.y1 + (halo if core.y1 < grid.height else 0)
        assert read.x1 >= core.x1 + (halo if core.x1 < grid.width else 0)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(grids)
def test_tiles_have_one_size(grid: Grid) -> None:
    rows, columns = grid.shape
    assert rows % grid.multiple == columns % grid.multiple == 0
    assert len({tile.read.shape for tile in grid}) == 1
    for tile in grid:
        assert (tile.zoom, tile.shape) == (grid.zoom, grid.shape)
        assert (rows, columns) == tuple(side * grid.zoom for side in tile.read.shape)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(grids)
def test_reads_begin_on_the_lattice_and_hardly_leave_the_plane(grid: Grid) -> None:
    for tile in grid:
        assert tile.read.y0 >= 0
        assert tile.read.x0 >= 0
        assert tile.read.y0 * grid.zoom % grid.multiple == 0
        assert tile.read.x0 * grid.zoom % grid.multiple == 0
        assert tile.read.y0 % grid.unit == tile.read.x0 % grid.unit == 0
        assert tile.read.y1 < grid.height + grid.unit
        assert tile.read.x1 < grid.width + grid.unit


@settings(max_examples=50, deadline=None, derandomize=True)
@given(grids)
def test_no_slivers(grid: Grid) -> None:
    """Cores between two others differ by no more than rounding, those at edges are longer."""
    halo = 2 * (grid.unit + (grid.halo + MARGIN) / grid.zoom)
    for axis in (0, 1):
        sides = sorted({tile.core.shape[axis] for tile in grid})
        assert sides[-1] - sides[0] <= halo + 3 * grid.unit


@settings(max_examples=60, deadline=None, derandomize=True)
@given(grids, st.tuples(*[st.floats(0, 1)] * 4))
def test_a_region_is_cut_like_a_plane_and_seen_with_what_is_around(
    grid: Grid, corners: tuple[float, float, float, float]
) -> None:
    y0, y1 = sorted(round(part * (grid.height - 1)) for part in corners[:2])
    x0, x1 = sorted(round(part * (grid.width - 1)) for part in corners[2:])
    cut = replace(grid, region=Region(y0, x0, y1 + 1, x1 + 1))
    times = np.zeros((grid.height, grid.width), dtype=np.int16)
    for tile in cut:
        core, read = tile.core, tile.read
        assert min(core.shape) > 0
        times[core.slices] += 1
        halo = grid.halo / grid.zoom + tile.margin
        assert read.y0 == 0 or read.y0 <= core.y0 - halo
        assert read.x0 == 0 or read.x0 <= core.x0 - halo
        assert read.y1 >= min(core.y1 + halo, grid.height)
        assert read.x1 >= min(core.x1 + halo, grid.width)
        assert min(read.y0, read.x0) >= 0
        assert read.y0 % grid.unit == read.x0 % grid.unit == 0
        assert read.y0 == 0 or read.y1 < grid.height + grid.unit
        assert read.x0 == 0 or read.x1 < grid.width + grid.unit
        assert tile.shape == cut.shape
    assert (times[cut.whole.slices] == 1).all()
    assert times.sum() == np.prod(cut.whole.shape)


def test_the_whole_plane_is_a_region() -> None:
    for zoom in ZOOMS:
        grid = Grid(1000, 1501, core=200, halo=20, multiple=32, zoom=zoom)
        assert list(replace(grid, region=Region(0, 0, 1000, 1501))) == list(grid)


@pytest.mark.parametrize("wrong", [(0, 0, 5, 11), (3, 3, 3, 5), (-1, 0, 5, 5)])
def test_a_region_outside_the_plane_is_refused(wrong: tuple[int, int, int, int]) -> None:
    with pytest.raises(SettingError, match="inside the plane"):
        Grid(10, 10, region=Region(*wrong))


def test_tiles_come_row_by_row_and_by_number() -> None:
    grid = Grid(1000, 1500, core=200, halo=20)
    tiles = list(grid)
    assert [tile.core for tile in tiles] == sorted(tile.core for tile in tiles)
    assert len(tiles) == len(grid) == len(set(tiles))
    assert tiles == [grid[index] for index in range(len(grid))] == list(grid)
    with pytest.raises(IndexError):
        grid[len(grid)]
    with pytest.raises(IndexError):
        grid[-1]


def test_a_plane_that_fits_in_one_read_is_one_tile() -> None:
    assert len(Grid(640 + 192, 640, core=640, halo=92, multiple=32)) == 1
    assert len(Grid(640 + 193, 640, core=640, halo=92, multiple=32)) == 2
    assert Grid(300, 1, core=512, halo=64, multiple=32).shape == (320, 32)


def test_little_is_seen_twice() -> None:
    """A slide costs no more than core and halos ask for, but for rounding."""
    grid = Grid(10_000, 10_000, core=512, halo=60, multiple=32)
    assert grid.shape == (640, 640)
    assert len(grid) == 20 * 20


def test_the_lattice_is_the_same_in_every_zone_and_on_both_scales() -> None:
    assert Grid(999, 999, multiple=32, zoom=Fraction(1)).unit == 32
    assert Grid(999, 999, multiple=32, zoom=Fraction(1, 4)).unit == 128
    assert Grid(999, 999, multiple=32, zoom=Fraction(2)).unit == 16
    assert Grid(999, 999, multiple=32, zoom=Fraction(32, 45)).unit == 45
    assert Grid(999, 999, multiple=16, zoom=Fraction(7, 5)).unit == 80
    assert Grid(999, 999, zoom=Fraction(7, 5)).unit == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 0},
        {"width": 0},
        {"core": 0},
        {"halo": -1},
        {"multiple": 0},
        {"zoom": Fraction(9)},
        {"zoom": Fraction(1, 65)},
    ],
)
def test_what_cannot_be_cut_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingError):
        Grid(**({"height": 10, "width": 10} | wrong))  # type: ignore[arg-type]


def test_zooms_are_met_closely_on_a_fine_lattice() -> None:
    for zoom in np.geomspace(1 / 64, 8.0, 500):
        found = exact_zoom(float(zoom))
        assert abs(float(found) / zoom - 1) <= 1 / 64
        assert 256 % found.numerator == 0
        assert zoom > 1 or 32 % found.numerator == 0
    for octave in range(-12, 7):
        wanted = 2.0 ** (octave / 2)
        assert abs(float(exact_zoom(wanted)) / wanted - 1) < (0.006 if octave % 2 else 1e-9)
    assert exact_zoom(0.7) == Fraction(16, 23)
    for wrong in (0.0, -1.0, 9.0, float("nan"), float("inf")):
        with pytest.raises(SettingError):
            exact_zoom(wrong)
