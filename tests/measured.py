"""Label images to measure and to export, with an image to go with each."""

from __future__ import annotations

import numpy as np
import pytest

from anycell.image import Image
from anycell.labels import Labels
from anycell.measure import Cells, measure
from cells import CELLS, ODD, draw
from truth import disks


def speckled(share: float, count: int, seed: int, shape: tuple[int, int] = (23, 31)) -> Labels:
    """Cells in many pieces, with holes, touching at corners."""
    rng = np.random.default_rng(seed)
    there = rng.random(shape) < share
    return np.where(there, rng.integers(1, count + 1, shape), 0).astype(np.int32)


CASES: dict[str, Labels] = {
    **CELLS,
    **ODD,
    "disks": disks((210, 190), 60, (4, 12), 1),
    "pieces and holes": speckled(0.6, 3, 1),
    "crumbs": speckled(0.3, 200, 2),
    "holes and pieces that meet at corners": speckled(0.75, 1, 3),
    "hole open at a corner": draw("""
        aa.
        a.a
        aaa
    """),
    "a cell of two rings": draw("""
        aaa.aaa
        a.a.a.a
        aaa.aaa
    """),
    "one row": np.array([[0, 1, 1, 0, 2, 3]], np.int32),
    "one pixel": np.ones((1, 1), np.int32),
    "wide numbers": np.where(CELLS["two"] == 2, 70_000, CELLS["two"]).astype(np.int32),
}
labelings = pytest.mark.parametrize("labels", CASES.values(), ids=CASES)


def with_image(labels: Labels, pixel_size: float | None = 0.5) -> tuple[Cells, Image]:
    planes = np.random.default_rng(3).integers(0, 60_000, (2, *labels.shape)).astype(np.uint16)
    image = Image.from_array(planes, channels=("DAPI", "actin"), pixel_size=pixel_size)
    known = np.linspace(0, 1, int(labels.max(initial=0)) + 1).astype(np.float32)[1:]
    return measure(labels, image, confidence=known, name="cells.tif"), image
