"""What each representation promises beyond the contract, against slow references."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from anycell.cutouts import depths, rims, stacks
from anycell.geodesic import find_cells
from anycell.labels import Labels
from anycell.representations import flows, omni, stars, threeclass, watershed
from cells import CELLS, enlarge
from truth import disks


def disk(radius: float, side: int = 64) -> Labels:
    y, x = np.mgrid[:side, :side] - (side // 2)
    return (np.hypot(y, x) <= radius).astype(np.int32)


@pytest.fixture(scope="module")
def crowd() -> Labels:
    return disks((160, 200), 120, (3, 14), seed=4)


def test_each_cell_is_cut_out_once_with_nothing_of_its_neighbours(crowd: Labels) -> None:
    seen = np.zeros(crowd.size, np.int32)
    for stack in stacks(crowd):
        assert not stack.inside[:, [0, -1]].any()
        assert not stack.inside[:, :, [0, -1]].any()
        cell, y, x = np.nonzero(stack.inside)
        at_y, at_x = stack.corner[cell, 0] + y, stack.corner[cell, 1] + x
        assert np.array_equal(at_y * crowd.shape[1] + at_x, stack.place)
        assert (seen[stack.place] == 0).all()
        seen[stack.place] = stack.numbers[cell]
        boxes = [np.ptp(np.nonzero(crowd == k), axis=1).sum() + 2 for k in stack.numbers]
        assert np.array_equal(stack.extent, boxes)
    assert np.array_equal(seen.reshape(crowd.shape), crowd)


def test_depth_is_the_distance_to_other_cells_too() -> None:
    labels = np.array([[1, 1, 1, 2, 2, 2, 2, 0]] * 5, np.int32)
    assert np.array_equal(depths(labels)[2], [3, 2, 1, 1, 2, 2, 1, 0])
    assert np.array_equal(rims(labels)[2], [0, 0, 1, 1, 0, 0, 1, 0])
    corner = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 2]], np.int32)
    assert np.array_equal(rims(corner)[1], [0, 0, 1])
    assert np.array_equal(rims(corner, corners=True)[1], [0, 1, 1])


# -- flows ---------------------------------------------------------------------------------


def slow_flow(mask: NDArray[np.bool_], centre: tuple[int, int], steps: int) -> NDArray[np.float64]:
    """Heat as the paper spreads it, over one cell in the whole image."""
    heat = np.zeros(np.add(mask.shape, 2))
    inside = np.pad(mask, 1)
    for _ in range(steps):
        heat[centre[0] + 1, centre[1] + 1] += 1
        mean = sum(np.roll(heat, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)) / 9
        heat = np.where(inside, mean, 0.0)
    flow = np.stack([np.roll(heat, -1, a) - np.roll(heat, 1, a) for a in (0, 1)])[:, 1:-1, 1:-1]
    return np.where(mask, flow / np.maximum(np.hypot(*flow), 1e-300), 0.0)


def test_flows_are_those_of_heat_spread_in_each_cell_alone(crowd: Labels) -> None:
    found = flows.Flows().encode(crowd)[1:] / 5
    centre = find_cells(crowd).centre
    for number in (1, 2, crowd.max() // 2, crowd.max()):
        mask = crowd == number
        place = tuple(int(v) for v in np.divmod(centre[number], crowd.shape[1]))
        extent = np.ptp(np.nonzero(mask), axis=1).sum() + 2
        wanted = slow_flow(mask, place, 2 * extent)
        # Directions keep changing a little as heat spreads on; stacks share the longest.
        cosine = (wanted * found).sum(axis=0)[mask]
        assert np.quantile(cosine, 0.05) > 0.99


def test_walks_end_where_two_hundred_plain_steps_end() -> None:
    random = np.random.default_rng(2)
    from scipy.ndimage import gaussian_filter, map_coordinates

    field = np.stack([gaussian_filter(random.normal(size=(40, 50)), 4) for _ in range(2)])
    field = (field / np.hypot(*field)).astype(np.float32)
    at = np.mgrid[:40, :50].reshape(2, -1).astype(float)
    for _ in range(200):
        at += np.stack([map_coordinates(v, at, order=1, mode="nearest") for v in field])
        at = np.clip(at, 0, [[39], [49]])
    ends = np.stack(np.divmod(flows._follow(field, np.arange(2000), 200), 50))
    assert (np.abs(ends + 0.5 - at).max(axis=0) < 0.6).mean() > 0.97


def test_more_steps_follow_a_spiral_to_its_end() -> None:
    labels = enlarge(CELLS["spiral"], 8)
    made = flows.Flows(steps=400)
    assert np.array_equal(made.decode(made.encode(labels), labels.shape), labels)


def test_cells_whose_flows_do_not_fit_are_dropped() -> None:
    labels = np.pad(disk(10), ((0, 0), (0, 64)))
    labels[:, 64:] = 2 * disk(10)
    fields = flows.Flows().encode(labels)
    fields[1:, :, 64:] *= 0.2
    assert flows.Flows().decode(fields, labels.shape)[:, 64:].max() == 0
    assert flows.Flows(error=0.0).decode(fields, labels.shape)[:, 64:].max() == 2
    confident = flows.Flows().confidence(fields, labels)
    assert confident[0] > 0.99
    assert confident[1] < 0.6


# -- three classes -------------------------------------------------------------------------


def test_interiors_of_touching_cells_are_four_pixels_apart() -> None:
    labels = enlarge(CELLS["full"], 6)
    classes = threeclass.ThreeClass().encode(labels).argmax(axis=0)
    assert np.array_equal(classes[6, 16:32], [1] * 6 + [2] * 4 + [1] * 6)
    assert (classes[0, :22] == 1).all()  # a cell goes on beyond the frame
    assert (threeclass.ThreeClass(boundary=1).encode(labels).argmax(axis=0)[6, 23:25] == 2).all()


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5])
def test_the_smallest_cells_keep_an_interior(side: int) -> None:
    labels = np.pad(np.ones((side, side), np.int32), 3)
    made = threeclass.ThreeClass(smallest=1)
    assert np.array_equal(made.decode(made.encode(labels), labels.shape), labels)


def test_small_holes_of_an_interior_are_filled_and_large_ones_are_not() -> None:
    labels = disk(24)
    fields = threeclass.ThreeClass().encode(labels)
    fields[:, 30:34, 30:34] = [[[8.0]], [[0.0]], [[0.0]]]
    open_one = fields.copy()
    open_one[:, 22:42, 22:42] = [[[8.0]], [[0.0]], [[0.0]]]
    made = threeclass.ThreeClass()
    assert np.array_equal(made.decode(fields, labels.shape), labels)
    pieces = made._filled(open_one[1] > 0)
    assert not pieces[32, 32]


# -- watershed -----------------------------------------------------------------------------


def test_inner_distance_falls_from_the_centre_by_the_cells_own_measure() -> None:
    labels = disk(12)
    plane = watershed.Watershed().encode(labels)[0]
    assert plane[32, 32] == 1.0
    assert plane[32, 42] == pytest.approx(1 / (1 + 10 / np.sqrt(labels.sum())))
    assert plane[0, 0] == 0.0


@pytest.mark.parametrize(("dent", "cells"), [(0.08, 1), (0.2, 2)])
def test_only_peaks_that_stand_out_are_cells(dent: float, cells: int) -> None:
    labels = np.pad(np.ones((16, 40), np.int32), 8)
    fields = watershed.Watershed().encode(labels)
    x = np.abs(np.arange(56) - 27.5)
    fields[0] = np.where(labels > 0, 0.9 - dent * np.clip(1 - x / 10, 0, 1), 0.0)
    assert watershed.Watershed().decode(fields, labels.shape).max() == cells


def test_the_published_mask_loses_the_smallest_cells() -> None:
    labels = np.pad(np.ones((5, 5), np.int32), 6)
    fields = watershed.Watershed().encode(labels)
    assert np.array_equal(watershed.Watershed().decode(fields, labels.shape), labels)
    assert watershed.Watershed(mask=0.2).decode(fields, labels.shape).sum() < 22


# -- omni ----------------------------------------------------------------------------------


def test_smooth_distance_grows_by_one_a_pixel_towards_the_middle() -> None:
    labels = disk(20)
    distance, flow = omni._distance_and_flow(labels)
    y, x = np.mgrid[:64, :64] - 32
    inside = labels > 0
    assert np.abs(distance - (20.5 - np.hypot(y, x)))[inside].max() < 1.2
    away = inside & (np.hypot(y, x) > 3) & (np.hypot(y, x) < 18)
    cosine = -(flow[0] * y + flow[1] * x)[away] / np.hypot(y, x)[away]
    assert cosine.min() > 0.85
    assert cosine.max() < 1.15


def slow_clusters(points: NDArray[np.floating], crowd: int, reach: float) -> list[frozenset[int]]:
    """DBSCAN of the cores alone."""
    near = np.hypot(*(points[:, None] - points[:, :, None])) <= reach
    core = near.sum(axis=0) >= crowd
    near &= core[:, None] & core[None]
    left, found = set(np.flatnonzero(core)), []
    while left:
        group, front = set(), {left.pop()}
        while front:
            group |= front
            front = {int(k) for j in front for k in np.flatnonzero(near[j])} - group
        left -= group
        found.append(frozenset(int(k) for k in group))
    return found


def test_ends_are_clustered_as_by_dbscan() -> None:
    random = np.random.default_rng(5)
    middles = random.uniform(5, 55, (2, 12))
    spread = random.normal(0, 0.7, (2, 12, 40))
    points = (middles[:, :, None] + spread).reshape(2, -1).astype(np.float32)
    number = omni._clusters(points, (60, 60), 5)
    slow = slow_clusters(points, 5, 2**0.5)
    # A raster of half pixels may count an end more or less: a few cores differ.
    pure = [len(set(number[list(group)])) == 1 for group in slow]
    assert np.mean(pure) > 0.9
    assert abs(len(set(number[number > 0])) - len(slow)) <= 2
    assert (number > 0).all()


def test_late_steps_add_up_to_the_published_ones() -> None:
    lengths = omni._lengths(200)
    assert lengths.sum() == pytest.approx((1 / np.arange(1, 201)).sum(), rel=1e-5)
    assert np.allclose(lengths[:4], [1, 1 / 2, 1 / 3, 1 / 4])
    assert len(lengths) < 30


# -- stars ---------------------------------------------------------------------------------


def test_rays_reach_the_outline_in_every_direction() -> None:
    labels = np.pad(np.ones((20, 30), np.int32), 6)
    rays = stars.Stars().encode(labels)[1:, (6 + 10) // 2, (6 + 10) // 2] * 8
    # From (16.5, 16.5) to edges at 5.5 and 25.5, 5.5 and 35.5; +x is ray 0, +y ray 8.
    assert rays[[0, 8, 16, 24]] == pytest.approx([19, 9, 11, 11])
    assert rays[4] == pytest.approx(9 * 2**0.5, abs=0.01)
    assert rays[20] == pytest.approx(11 * 2**0.5, abs=0.01)
    around = stars.Stars().encode(disk(20))[1:, 15:17, 15:17] * 8
    assert np.abs(around - 20.5).max() < 3


def test_rays_end_at_the_frame_and_at_other_cells(crowd: Labels) -> None:
    labels = crowd[:120, :144]
    rays = stars.Stars().encode(labels)[1:] * 8
    owner, _ = stars._coarse(labels, np.ones(labels.shape, np.float32))
    off = []
    for i, j in np.argwhere(owner)[::17]:
        for ray in range(0, 32, 3):
            way = np.arange(0.01, 60, 0.02)[:, None]
            y, x = np.rint([2 * i + 0.5, 2 * j + 0.5] + way * stars.DIRECTIONS[ray]).astype(int).T
            within = (y >= 0) & (y < 120) & (x >= 0) & (x < 144)
            own = within & (labels[y.clip(0, 119), x.clip(0, 143)] == owner[i, j])
            off.append(abs(rays[ray, i, j] - way[np.argmin(own), 0]))
    # A corner of another cell may lie between two half steps.
    assert np.median(off) < 0.1
    assert np.mean(np.array(off) < 0.75) > 0.97


def test_polygons_are_filled_as_scikit_image_fills_them() -> None:
    from skimage.draw import polygon

    random = np.random.default_rng(6)
    rays = (random.uniform(6, 14) + np.cumsum(random.normal(0, 0.7, (5, 32)), axis=1)).clip(3)
    for ray in rays.astype(np.float32):
        found = np.zeros((60, 60), bool)
        for _, y, x, _ in stars._covered(np.array([[30, 28]]), ray[None], 0.5, (60, 60)):
            found[y, x] = True
        wanted = np.zeros_like(found)
        corner = np.array([[30.5, 28.5]]) + ray[:, None] * stars.DIRECTIONS
        wanted[polygon(*corner.T, wanted.shape)] = True
        assert (found ^ wanted).sum() <= 2


def test_rounds_choose_what_one_after_the_other_would() -> None:
    random = np.random.default_rng(7)
    shape = (40, 50)
    place = np.sort(random.choice(2000, 300, replace=False))[random.permutation(300)]
    rays = np.repeat(random.uniform(4, 16, (300, 1)), 32, axis=1).astype(np.float32)
    kept = stars._chosen(place, rays, shape, 0.4)
    masks = []
    for k in range(300):
        one = slice(k, k + 1)
        centre = np.stack(np.divmod(place[one], 50), axis=1)
        masks.append(stars._painted(centre, rays[one] / 2, 0.0, shape)[0] > 0)
    slow: list[int] = []
    for k in range(299, -1, -1):
        over = [j for j in slow if masks[j].flat[place[k]]]
        shares = [(masks[j] & masks[k]).sum() / (masks[j] | masks[k]).sum() for j in over]
        if max(shares, default=0) <= 0.4:
            slow.append(k)
    assert sorted(slow) == kept.tolist()


def kept_at(made: stars.Stars, fields: NDArray[np.float32]) -> NDArray[np.int64]:
    place = np.flatnonzero(fields[0] > 0)
    shape = (fields.shape[1], fields.shape[2])
    return stars._chosen(place, stars._lengths(fields, place), shape, made.overlap)


def test_equal_neighbours_do_not_merge_and_doubles_are_suppressed() -> None:
    labels = enlarge(CELLS["touching"], 8)
    fields = stars.Stars().encode(labels)
    assert (stars.Stars().decode(fields, labels.shape) > 0).sum() > 0.97 * (labels > 0).sum()
    assert len(kept_at(stars.Stars(overlap=1.0), fields)) > 20
    assert len(kept_at(stars.Stars(), fields)) == 4
    assert stars.Stars(threshold=0.9999).decode(fields, labels.shape).max() == 0


# -- networks ------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [(128, 192), (256, 128)])
def test_swinunetr_computes_what_monai_does(sides: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    from monai.networks.nets import SwinUNETR

    from anycell.networks import network

    torch.manual_seed(3)
    ours = network("swinunetr").build(3, 2, 1).eval()
    torch.manual_seed(3)
    theirs = SwinUNETR(in_channels=3, out_channels=2, feature_size=24, spatial_dims=2).eval()
    image = torch.rand(2, 3, *sides)
    with torch.inference_mode():
        assert torch.allclose(ours(image), theirs(image), atol=1e-5)


def test_unetr_computes_what_monai_does_and_larger_tiles_in_windows() -> None:
    torch = pytest.importorskip("torch")
    from monai.networks.nets import UNETR

    from anycell.networks import network

    small = {"hidden": 48, "inner": 96, "heads": 4, "side": 64}
    torch.manual_seed(3)
    ours = network("unetr", small).build(3, 2, 1).eval()
    torch.manual_seed(3)
    theirs = UNETR(3, 2, 64, 16, 48, 96, 4, conv_block=False, spatial_dims=2).eval()
    image = torch.rand(1, 3, 128, 64)
    with torch.inference_mode():
        upper = image[:, :, :64]
        assert torch.allclose(ours(upper), theirs(upper), atol=1e-5)
        windows = ours._windows(image)
        assert torch.equal(windows, torch.cat([upper, image[:, :, 64:]]))
        tokens = theirs.vit(windows)[0]
        whole = ours._map(tokens, image)
        assert torch.equal(whole[:, :, :4], theirs.proj_feat(tokens[:1]))
        assert torch.equal(whole[:, :, 4:], theirs.proj_feat(tokens[1:]))
        assert ours(image[..., :48]).shape == (1, 2, 128, 48)
