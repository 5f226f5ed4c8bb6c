"""The seam check: perfect seams score perfectly, and each kind of damage is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from anycell.grid import Tile
from anycell.labels import Labels
from anycell.road import Asked
from anycell.seam_check import SeamScores, check_seams, edge_excess
from anycell.seams import Canvas
from truth import Truth, disks, truth

LABELS = disks((420, 430), 160, (5, 11), 4)


def checked(predictor: Truth | None = None, **asked: object) -> SeamScores:
    image, perfect = truth(LABELS, halo=14)
    return check_seams(image, predictor or perfect, Asked(core=70, **asked))  # type: ignore[arg-type]


@pytest.mark.parametrize("zoom", [1.0, 1.5])
def test_perfect_seams(zoom: float) -> None:
    scores = checked(zoom=zoom)
    assert scores.tiles > 20
    assert scores.cells > 100
    assert 20 < scores.crossing_cells < scores.cells
    assert all(f1 >= 0.999 for _, f1 in scores.agreement + scores.shift)
    assert [iou for iou, _ in scores.agreement] == [0.5, 0.6, 0.7, 0.8, 0.9]
    assert scores.crossing == 0.0
    assert scores.edges == pytest.approx(1.0, abs=0.02)
    assert scores.whole


def test_the_middle_of_a_large_image_is_looked_at() -> None:
    image, predictor = truth(LABELS, halo=14)
    scores = check_seams(image, predictor, Asked(core=70, zoom=2.0), side=300)
    assert scores.region.shape == (150, 150)
    assert scores.region.y0 == (420 - 150) // 2
    assert all(f1 == 1.0 for _, f1 in scores.agreement)


def test_cells_cut_at_the_lines_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tile keeps what lies in its core, and nothing beyond: what the seam rule prevents."""

    def crop(self: Canvas, tile: Tile, labels: Labels, confidence: NDArray[np.float32]) -> int:
        core, read = tile.core, tile.read.clip(*self._sink.shape)
        inner = core.shift(-read.y0, -read.x0).slices
        part = labels[inner]
        number = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
        here = np.unique(part[part > 0])
        number[here] = np.arange(self.cells + 1, self.cells + len(here) + 1)
        self._sink.write(core, number[part])
        self._confidence.append(confidence[here - 1])
        self.cells += len(here)
        return len(here)

    monkeypatch.setattr(Canvas, "claim", crop)
    scores = checked()
    assert scores.agreement[-1][1] < 0.9
    assert scores.crossing is not None
    assert scores.crossing < -0.2
    assert scores.edges > 3.0
    assert scores.shift[-1][1] < 0.9


def test_repeated_numbers_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = Canvas.claim

    def repeated(self: Canvas, tile: Tile, labels: Labels, confidence: NDArray[np.float32]) -> int:
        self.cells = 0
        return claim(self, tile, labels, confidence)

    monkeypatch.setattr(Canvas, "claim", repeated)
    assert not checked().whole


def test_tiles_that_see_different_cells_are_told_from_those_that_agree() -> None:
    def lost(labels: Labels, place: tuple[int, int]) -> Labels:
        return np.where((labels + sum(place)) % 7 == 0, 0, labels)

    image, predictor = truth(LABELS, halo=14)
    scores = checked(replace(predictor, noise=lost))
    assert scores.shift[0][1] < 0.99
    assert scores.whole
    del image


@pytest.mark.parametrize(
    ("lines", "wanted"), [(([5], []), 2.0), (([], [5]), 1.0), (([2, 8], [2]), 1.0)]
)
def test_edges_on_lines(lines: tuple[Sequence[int], Sequence[int]], wanted: float) -> None:
    """A second edge on row 5 doubles the edges there; elsewhere nothing changes."""
    whole = np.zeros((10, 10), np.int32)
    whole[:, 3:7] = 1
    labels = whole.copy()
    whole[5:, 3:5], labels[5:, 3:7] = 2, 2
    share = np.count_nonzero(np.diff(labels, axis=0)) / np.count_nonzero(np.diff(whole, axis=0))
    assert share == 2.0
    total = [sum(np.count_nonzero(np.diff(v, axis=k)) for k in (0, 1)) for v in (labels, whole)]
    found = edge_excess(labels, whole, lines)
    assert found == pytest.approx(wanted * total[1] / total[0] if lines[0] == [5] else found)
