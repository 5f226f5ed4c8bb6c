"""Measurements are those of scikit-image; flags follow their rules."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import regionprops

from anycell.errors import InputError
from anycell.image import Image, Region
from anycell.labels import Labels
from anycell.measure import measure
from cells import CELLS
from measured import labelings, with_image


@labelings
def test_measurements_are_those_of_scikit_image(
    labels: Labels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anycell.measure.BAND", 4 * labels.shape[1])  # several bands
    cells, image = with_image(labels)
    pixels = image.read(Region(0, 0, *labels.shape))
    known = regionprops(labels, np.moveaxis(pixels, 0, -1))
    assert cells.number.tolist() == [one.label for one in known]
    for k, one in enumerate(known):
        assert cells.area[k] == one.area
        assert cells.center[k] == pytest.approx(one.centroid)
        assert tuple(cells.box[k]) == one.bbox
        assert cells.perimeter[k] == pytest.approx(one.perimeter)
        assert cells.diameter[k] == pytest.approx(one.equivalent_diameter_area)
        if not np.isnan(cells.orientation[k]):
            turn = cells.orientation[k] - np.degrees(one.orientation)
            assert min(abs(turn), abs(180 - abs(turn))) < 1e-6
        else:
            long, short = one.inertia_tensor_eigvals
            assert long - short < 1e-5 * (1 + long)
        for c, name in enumerate(image.channels):
            values = (one.intensity_mean[c], one.intensity_min[c], one.intensity_max[c])
            assert cells.intensity[name][k] == pytest.approx(values)


def test_flags_say_what_their_rules_say() -> None:
    labels = np.zeros((60, 60), np.int32)
    for number, (y, x, side) in enumerate(
        [(0, 4, 4), (10, 4, 4), (10, 14, 4), (18, 30, 4), (30, 30, 12), (50, 50, 1)], 1
    ):
        labels[y : y + side, x : x + side] = number
    cores = [Region(0, 0, 20, 60), Region(20, 0, 60, 60)]
    cells = measure(labels, cores=cores)
    assert cells.touches_border.tolist() == [True, False, False, False, False, False]
    # The median is 16: 12 x 12 = 144 is more than 128, 1 is less than 2.
    assert cells.out_of_range_size.tolist() == [False, False, False, False, True, True]
    assert cells.crosses_tile_line is not None
    assert cells.crosses_tile_line.tolist() == [False, False, False, True, False, False]
    assert np.isnan(cells.confidence).all()
    assert measure(labels).crosses_tile_line is None


def test_what_no_core_holds_counts_as_crossing() -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[2:5, 2:5], labels[8:12, 2:5], labels[14:16, 14:16] = 1, 2, 3
    cells = measure(labels, cores=[Region(0, 0, 10, 10)])
    assert cells.crosses_tile_line is not None
    assert cells.crosses_tile_line.tolist() == [False, True, True]


def test_what_does_not_belong_together_is_refused() -> None:
    labels = CELLS["two"]
    with pytest.raises(InputError, match=r"5 x 5 pixels, labels of 6 x 9"):
        measure(labels, Image.from_array(np.zeros((5, 5), np.uint8)))
    with pytest.raises(InputError, match="1 confidences for cells up to 2"):
        measure(labels, confidence=np.ones(1, np.float32))
