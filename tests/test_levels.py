"""The foreground level: the usual one where cells are sure, else that of most sure cells."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from anycell.folders import FileResult
from anycell.image import Image
from anycell.labels import Labels
from anycell.representations import Fields, Levelled, representation
from anycell.representations.votes import Votes
from anycell.road import Asked, prepare
from anycell.segment import segment
from test_scale import Blobs, Seer


@dataclass(frozen=True)
class Bridged(Blobs):
    """Blobs above a level are cells, the surer the rounder; how sure at most is set."""

    level: float = 0.5
    most: float = 0.5
    levels = (0.5, 0.65, 0.8)

    def at_level(self, level: float) -> Bridged:
        return replace(self, level=level)

    def decode(self, outputs: Fields, shape: tuple[int, int]) -> Labels:
        return super().decode(outputs - self.level + 0.5, shape)

    def confidence(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        sides = [[cut.stop - cut.start for cut in box] for box in find_objects(labels)]
        return np.array([self.most * (min(v) / max(v)) ** 0.5 for v in sides], np.float32)


@dataclass
class Sight(Seer):
    """Sees grey values as they are."""

    representation: Bridged = field(default_factory=Bridged)  # type: ignore[assignment]


def pairs(side: int, bridge: float, size: float = 24.0) -> Image:
    """Bright disks in pairs, with something greyer between the two of a pair; 0 .. 1."""
    y, x = np.indices((side, side), dtype=np.float32)
    pixels = np.zeros((side, side), np.float32)
    for cy in range(24, side - 20, 48):
        for cx in range(24, side - 52, 80):
            between = (np.abs(y - cy) <= 6) & (x >= cx) & (x <= cx + 28)
            pixels[between] = np.maximum(pixels[between], bridge)
            for middle in (cx, cx + 28):
                pixels[(y - cy) ** 2 + (x - middle) ** 2 <= size**2 / 4] = 1.0
    pixels[0, 0] = 1.0
    return Image.from_array(pixels)


def cells_of(found: Labels) -> int:
    """Cells of more than a few pixels."""
    return int(np.count_nonzero(np.bincount(found.ravel())[1:] > 20))


@pytest.mark.parametrize(("bridge", "level"), [(0.0, None), (0.58, 0.65), (0.7, 0.8)])
def test_the_level_that_gives_most_sure_cells(bridge: float, level: float | None) -> None:
    image = pairs(400, bridge)
    road = prepare(image, Sight(), Asked(zoom=1.0))
    assert dict(road.levels) == ({} if level is None else {1: level})
    found = segment(image, Sight(), zoom=1.0)
    assert found.levels == (() if level is None else ((1.0, level),))
    assert min(found.seconds.values()) >= 0.0
    assert cells_of(found.labels) == 8 * 5 * 2
    plain = segment(image, Sight(representation=Bridged(most=1.0)), zoom=1.0)
    assert cells_of(plain.labels) == 8 * 5 * (2 if level is None else 1)


def test_an_image_whose_cells_are_sure_keeps_the_usual_level() -> None:
    for most, levels in ((0.5, {1: 0.65}), (1.0, {})):
        sight = Sight(representation=Bridged(most=most))
        assert dict(prepare(pairs(400, 0.58), sight, Asked(zoom=1.0)).levels) == levels


def test_tiles_have_the_level_of_their_image() -> None:
    """Also those that hold a single pair, or none; and whether the image is small or not."""
    for side in (400, 700):
        image = pairs(side, 0.58)
        whole = segment(image, Sight(), zoom=1.0, core=side)
        tiled = segment(image, Sight(), zoom=1.0, core=64)
        assert tiled.tiles >= 25
        assert cells_of(whole.labels) == cells_of(tiled.labels) > 50
        assert np.array_equal(whole.labels > 0, tiled.labels > 0)


def test_the_plan_tells_the_level() -> None:
    found = segment(pairs(400, 0.58), Sight())
    assert found.plan is not None
    assert found.plan.unsure
    assert found.plan.levels == ((found.zoom, 0.65),)
    assert found.plan.entry()["levels"] == [[pytest.approx(found.zoom, abs=1e-4), 0.65]]
    clear = segment(pairs(400, 0.0), Sight(representation=Bridged(most=1.0)))
    assert clear.plan is not None
    assert "levels" not in clear.plan.entry()


def test_a_run_tells_the_level_where_the_zoom_was_given() -> None:
    plain = FileResult(Path("a.png"), Path("a_label.tiff"), "done", cells=3, zoom=0.5)
    assert "levels" not in plain.entry()
    told = replace(plain, levels=((0.35355339, 0.65),)).entry()
    assert told["levels"] == [[0.3536, 0.65]]


def test_votes_can_be_cut_at_several_levels() -> None:
    votes = Votes()
    assert isinstance(votes, Levelled)
    assert votes.levels[0] == votes.threshold
    assert list(votes.levels) == sorted(set(votes.levels))
    labels = np.zeros((64, 64), np.int32)
    labels[12:44, 16:48] = 1
    outputs = votes.encode(labels)[: votes.channels]
    outputs[:4, 8:12] = 0.5  # a strip of the cell is doubtful: a probability of 0.62
    shown = [votes.at_level(level).decode(outputs, labels.shape) for level in votes.levels]
    assert (shown[0] > 0).sum() > (shown[1] > 0).sum() > 0
    one, other = (votes.at_level(v).confidence(outputs, shown[1]) for v in votes.levels[:2])
    assert np.array_equal(one, other)
    assert not isinstance(representation("flows"), Levelled)


def test_a_piece_of_a_cell_is_less_sure_than_its_size_says() -> None:
    """Nothing but the plane that tells the size differs."""
    votes = Votes()
    y, x = np.indices((80, 80))
    labels = ((y - 40) ** 2 + (x - 40) ** 2 <= 18**2).astype(np.int32)
    outputs = votes.encode(labels)[: votes.channels]
    outputs[:4] = np.minimum(outputs[:4], 2.5)

    def sure(octaves: float) -> float:
        told = outputs.copy()
        told[7] += np.float32(octaves)
        return float(votes.confidence(told, labels)[0])

    assert sure(0.0) > 0.9
    assert sure(0.1) > 0.8 * sure(0.0)
    assert sure(0.7) < 0.8 * sure(0.0)
    assert sure(1.0) < 0.5 * sure(0.0)
    assert sure(2.0) < 0.05
    assert sure(-0.5) >= sure(0.0)  # larger than told: no piece
