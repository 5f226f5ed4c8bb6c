"""Sections through glands: nuclei stand side by side across their basement membranes."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import regionprops

from anycell.simulate import simulate
from anycell.simulate.histology import _depth, _palisade


def test_nuclei_of_an_epithelium_stand_across_its_membrane_and_not_in_the_lumen() -> None:
    off, depths = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        depth, away = _depth(rng, (320, 320), 24.0)
        layout = _palisade(rng, depth, away, 24.0)
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
    assert max(depths) < 6.0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pale_nuclei_are_hardly_darker_than_the_tissue(seed: int) -> None:
    made = simulate("glands", (256, 256), diameter=24.0, seed=seed)
    inside = made.image[:, made.labels > 0].mean()
    outside = made.image[:, made.labels == 0].mean()
    assert inside < outside < inside + 150
    assert made.labels.max() >= 10
