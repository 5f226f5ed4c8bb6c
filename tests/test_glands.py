"""Sections through glands: nuclei stand side by side across their basement membranes."""

from __future__ import annotations

import numpy as np
from skimage.measure import regionprops

from anycell.simulate import simulate
from anycell.simulate.histology import _depth, _palisade, _spaced


def test_nuclei_of_an_epithelium_stand_across_its_membrane_and_not_in_the_lumen() -> None:
    off, depths = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        depth, away = _depth(rng, (320, 320), 24.0)
        layout = _palisade(rng, depth, away, 24.0, 2.0, 2.5)
        for cell in regionprops(layout.labels):
            y, x = (int(v) for v in cell.centroid)
            inner = 40 < y < 280 and 40 < x < 280
            if inner and depth[y, x] > 0.2 and cell.eccentricity > 0.8:
                # skimage's angle is that of the long axis against the rows.
                turn = (np.pi / 2 - cell.orientation) - away[y, x]
                off.append(abs((turn + np.pi / 2) % np.pi - np.pi / 2))
            if inner:
                depths.append(depth[y, x])
    assert len(off) > 20
    assert np.median(off) < np.radians(25)
    assert np.percentile(depths, 99) < 3.2


def test_pale_nuclei_are_nearer_to_the_tissue_than_those_of_other_sections() -> None:
    def contrast(modality: str, seed: int) -> float:
        made = simulate(modality, (256, 256), diameter=24.0, seed=seed)
        inside = made.image[:, made.labels > 0].mean()
        return float(made.image[:, made.labels == 0].mean() - inside)

    glands = [contrast("glands", seed) for seed in range(12)]
    others = [contrast("histology", seed) for seed in range(12)]
    assert min(glands) > 0
    assert np.median(glands) < 0.85 * np.median(others)


def test_places_are_spaced_by_ellipses_that_lie_in_their_direction() -> None:
    place = np.array([[0.0, 0.0], [0.0, 12.0], [12.0, 0.0], [30.0, 0.0]])
    upright = np.full(4, np.pi / 2)  # along y
    assert _spaced(place, upright, np.array([20.0, 10.0])) == [0, 1, 3]
    assert _spaced(place, upright - np.pi / 2, np.array([20.0, 10.0])) == [0, 2, 3]
    assert _spaced(place[:0], upright[:0], np.array([20.0, 10.0])) == []
