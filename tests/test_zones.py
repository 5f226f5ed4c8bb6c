"""Large images are cut into zones: each at its own zoom, and none where there are no cells."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import label

from anycell.image import Image, Region
from anycell.labels import Labels
from anycell.matching import Rules
from anycell.runs import plain
from anycell.scale import ZoomPlan
from anycell.scores import score_pair
from anycell.segment import Segmentation, plan_zoom, segment
from anycell.zones import tiles_of
from test_scale import Seer, disks, lattice
from truth import pieces

RULES = Rules(iou=(0.7,), ignore_border=0)
CORE = 96


def truth_of(image: Image) -> Labels:
    pixels: NDArray[np.uint8] = image.levels[0].read(_whole(image))
    found: Labels = label(pixels[0] > 100)[0].astype(np.int32)
    return found


def _whole(image: Image) -> Region:
    return Region(0, 0, *image.shape[1:])


def plan_of(found: Segmentation) -> ZoomPlan:
    assert found.plan is not None
    return found.plan


def tiled_exactly(plan: ZoomPlan, shape: tuple[int, int]) -> bool:
    times = np.zeros(shape, dtype=np.int8)
    for zone in plan.zones:
        times[zone.region.slices] += 1
    return bool((times == 1).all())


def two_sizes() -> Image:
    """Cells of 20 pixels on the left, of 80 on the right; the sizes part at column 640."""
    small = [(y, x) for y, x in lattice(20, 1000) if x < 620]
    large = [(y, x + 640.0) for y, x in lattice(80, 1000) if x < 620]
    both = disks((1000, 1280), 20, small), disks((1000, 1280), 80, large)
    planes = [v.levels[0].read(_whole(v)) for v in both]
    return Image.from_array(np.maximum(*planes))


def test_each_zone_has_the_zoom_of_its_own_cells() -> None:
    image = two_sizes()
    found = segment(image, Seer(), core=CORE)
    plan = plan_of(found)
    assert tiled_exactly(plan, (1000, 1280))
    for zone in plan.zones:
        if zone.region.x1 <= 640:
            assert zone.zoom is not None
            assert zone.zoom >= 1.0
        if zone.region.x0 >= 640:
            assert zone.zoom is not None
            assert zone.zoom * 80 <= 60  # as the whole image: too few cells in so small cores
    truth = truth_of(image)
    score = score_pair(found.labels, truth, RULES)[0].values
    assert score.f1 == 1.0
    assert pieces(found.labels) == found.labels.max() == truth.max()


def test_the_tiles_of_zones_come_in_the_order_of_their_first_rows() -> None:
    image = two_sizes()
    plan = plan_of(segment(image, Seer(), core=CORE))
    tiles = list(tiles_of(plan, image, Seer(), lambda zoom: CORE))
    rows = [tile.read.y0 for tile in tiles]
    assert rows == sorted(rows)
    assert len({tile.zoom for tile in tiles}) > 1
    times = np.zeros((1000, 1280), dtype=np.int8)
    for tile in tiles:
        times[tile.core.slices] += 1
    assert (times <= 1).all()
    assert (times[truth_of(image) > 0] == 1).all()


def test_the_same_image_gets_the_same_zones() -> None:
    image = two_sizes()
    one, other = (segment(image, Seer(), core=CORE) for _ in range(2))
    assert plan_of(one) == plan_of(other)
    assert np.array_equal(one.labels, other.labels)


def test_cells_of_one_size_everywhere_are_one_zone() -> None:
    image = disks((900, 1100), 24, lattice(24, 900) + [(y, x + 870) for y, x in lattice(24, 230)])
    found = segment(image, Seer(), core=CORE)
    given = segment(image, Seer(), core=CORE, zoom=found.zoom)
    assert all(zone.zoom in (None, found.zoom) for zone in plan_of(found).zones)
    assert np.array_equal(found.labels > 0, given.labels > 0)


@pytest.mark.parametrize("noise", [0, 40])
def test_what_is_empty_is_skipped_and_no_cell_is_lost(noise: int) -> None:
    rng = np.random.default_rng(5)
    corner = [(y, x) for y, x in lattice(24, 300)]
    strays = [(880.0, 100.0), (512.0, 512.0), (384.0, 900.0), (640.0, 1010.0), (12.0, 700.0)]
    clean = disks((1024, 1024), 24, corner + strays)
    pixels = clean.levels[0].read(_whole(clean))
    image = Image.from_array(np.maximum(pixels, rng.integers(0, noise + 1, pixels.shape)))
    found = segment(image, Seer(), core=CORE)
    plan = plan_of(found)
    assert tiled_exactly(plan, (1024, 1024))
    assert 0.3 < plan.skipped < 0.9
    reasons = {zone.reason for zone in plan.zones if zone.zoom is None}
    assert reasons >= ({"no cells at half the zoom"} if noise else {"nothing stands out"})
    assert len(reasons) == 1 or not noise
    whole = segment(image, Seer(), core=CORE, zoom=plan.zoom)
    assert score_pair(found.labels, whole.labels, RULES)[0].values.f1 == 1.0
    assert found.tiles < whole.tiles


def test_an_image_without_cells_is_not_skipped_but_looked_at_as_it_is() -> None:
    found = segment(disks((900, 900), 24, []), Seer(), core=CORE)
    assert plan_of(found).zones == ()
    assert "no cells" in plan_of(found).reason
    assert found.tiles > 1


def test_the_plan_is_noted_zone_by_zone() -> None:
    plan = plan_of(segment(two_sizes(), Seer(), core=CORE))
    entry = json.loads(json.dumps(plain(plan.entry())))
    assert len(entry["zones"]) == len(plan.zones) > 1
    for noted, zone in zip(entry["zones"], plan.zones, strict=True):
        assert Region(*noted["region"]) == zone.region
        assert noted["zoom"] == pytest.approx(zone.zoom, abs=1e-4)
        assert noted["reason"] == zone.reason
    assert entry["skipped"] == pytest.approx(plan.skipped, abs=1e-4)
    assert 0.0 <= plan.skipped < 0.1
    assert plan == plan_zoom(two_sizes(), Seer(), core=CORE)


def test_cells_too_small_for_a_glance_are_found_and_only_what_is_bare_is_skipped() -> None:
    image = disks((3000, 3000), 12, lattice(12, 1200))
    plan = plan_zoom(image, Seer(), core=256)
    assert plan.zoom >= 1.4
    reasons = {zone.reason for zone in plan.zones if zone.zoom is None}
    assert {zone.zoom for zone in plan.zones} == {plan.zoom, None}
    assert reasons == {"nothing stands out"}
