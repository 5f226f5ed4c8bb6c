"""Tiles of one image share a style, wherever they are cut."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from anycell.errors import SettingError
from anycell.grid import Grid
from anycell.image import Image, Region
from anycell.model import load_model
from anycell.road import Asked, prepare
from anycell.runtimes import installed
from anycell.seam_check import check_seams
from anycell.simulate import simulate
from anycell.styles import MOST, WINDOW
from test_scale import Seer
from truth import disks


def field(side: int) -> NDArray[np.uint8] | NDArray[np.float32]:
    return simulate("histology", (side, side), diameter=24.0, seed=3).image


class Stylish(Seer):
    """Sums tiles up in their mean, and remembers them."""

    style_size = 1

    def __init__(self) -> None:
        super().__init__(diameter=None)
        self.given: list[NDArray[np.float32] | None] = []
        self.windows: list[tuple[int, ...]] = []

    def style(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        self.windows += [tile.shape for tile in tiles]
        return tiles.mean(axis=(1, 2, 3))[:, None]

    def outputs(
        self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        self.given.append(style)
        return super().outputs(tiles)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("runtime", installed())
def test_a_tile_has_its_own_style_unless_one_is_given(precision: str, runtime: str) -> None:
    model = load_model("general", precision=precision, runtime=runtime, threads=1)
    tiles = np.random.default_rng(0).uniform(0, 1, (2, 3, 64, 96)).astype(np.float32)
    tiles[1] *= 0.3
    own = model.style(tiles)
    assert own.shape == (2, model.style_size)
    alone = model.outputs(tiles)
    near = 1e-4 if precision == "fp32" else 0.5
    for k in (0, 1):
        same, other = (model.outputs(tiles[[k]], own[row])[0] for row in (k, 1 - k))
        assert np.abs(same - alone[k]).max() < near
        assert np.abs(other - alone[k]).max() > 2 * near
    with pytest.raises(SettingError, match="style"):
        model.outputs(tiles, np.zeros(3, dtype=np.float32))


def test_tiles_show_what_the_image_seen_at_once_would() -> None:
    """With a real network: a lattice or a style of each tile's own would change cells."""
    model = load_model("general", threads=1)
    found = check_seams(Image.from_array(field(700)), model, Asked(core=192, zoom=1.0))
    assert found.tiles >= 9
    assert found.cells > 100
    assert min(f1 for _, f1 in (*found.agreement, *found.shift)) >= 0.999


def test_the_style_does_not_depend_on_the_tiles() -> None:
    labels = disks((2600, 1900), 500, (8, 14), 1)
    image = Image.from_array((labels > 0).astype(np.float32) + np.linspace(0, 1, 1900)[None])
    for zoom in (1.0, 2**-0.5):
        roads = [prepare(image, Stylish(), Asked(core, zoom)) for core in (300, 700)]
        first, second = (road.styles for road in roads)
        assert first == second
        assert list(first) == [roads[0].tiles[0].zoom]
        planes = roads[0].looks.planes(Region(0, 0, 2600, 1900), Fraction(1))  # type: ignore[union-attr]
        assert first[roads[0].tiles[0].zoom][0] == pytest.approx(planes.mean(), rel=0.1)


def test_every_tile_is_given_the_style_of_its_zoom() -> None:
    image = Image.from_array(np.hstack([np.zeros((900, 700)), np.ones((900, 700))]))
    left, right = Region(0, 0, 900, 700), Region(0, 700, 900, 1400)
    tiles = [
        tile
        for region, zoom in ((left, Fraction(1)), (right, Fraction(1, 2)))
        for tile in Grid(900, 1400, 200, 16, 32, zoom, region)
    ]
    seer = Stylish()
    road = prepare(image, seer, Asked(tiles=sorted(tiles, key=lambda tile: tile.read)))
    assert road.styles[Fraction(1)][0] < 0.4 < 0.6 < road.styles[Fraction(1, 2)][0]
    list(road.each(range(len(road.tiles))))
    wanted = [road.styles[tile.zoom] for tile in road.tiles]
    assert sorted(float(style[0]) for style in seer.given if style is not None) == sorted(
        float(style[0]) for style in wanted
    )


def test_few_small_windows_are_looked_at() -> None:
    seer = Stylish()
    prepare(Image.from_array(np.random.default_rng(0).random((3000, 3000))), seer, Asked(zoom=1.0))
    assert seer.windows == [(3, WINDOW, WINDOW)] * MOST
    seer = Stylish()
    prepare(Image.from_array(np.random.default_rng(0).random((100, 1600))), seer, Asked(zoom=1.0))
    assert len(seer.windows) == 1


def test_what_fits_in_one_tile_keeps_its_own_style() -> None:
    image = Image.from_array(field(400))
    model = load_model("general", precision="fp32", threads=1)
    assert not prepare(image, model, Asked(zoom=1.0)).styles
    road = prepare(image, model, Asked(core=160, zoom=1.0))
    assert len(road.tiles) > 1
    seen = prepare(image, model, Asked(zoom=1.0))
    own = model.style(seen.looks.tile(seen.looks.planes(Region(0, 0, 400, 400), Fraction(1)))[None])  # type: ignore[union-attr]
    assert np.allclose(road.styles[Fraction(1)], own[0], atol=1e-5)
