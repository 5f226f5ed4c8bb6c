"""Images by region and zoom; the small functions of labels; turns as a group."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anycell.errors import InputError
from anycell.image import Image, Level, Region, resample
from anycell.labels import areas, as_labels, boxes, centroids, edge_labels, relabel
from anycell.turns import TURNS, Turn

ZOOMS = {0.5: 2, 0.125: 8, 12 / 17: 17, 17 / 12: 12, 1.5: 2, 2.0: 1}


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(3).random(shape).astype(np.float32)


def test_a_region_is_that_part_of_the_pixels_in_the_type_of_the_file() -> None:
    pixels = (noise(2, 30, 40) * 60_000).astype(np.uint16)
    found = Image.from_array(pixels).read(Region(3, 5, 20, 40))
    assert found.dtype == np.uint16
    assert np.array_equal(found, pixels[:, 3:20, 5:40])


@pytest.mark.parametrize(
    "region",
    [Region(-1, 0, 5, 5), Region(0, 0, 5, 41), Region(4, 4, 4, 9), Region(0, 0, 31, 5)],
)
def test_a_region_outside_the_image_is_refused(region: Region) -> None:
    with pytest.raises(InputError, match="inside the image") as caught:
        Image.from_array(noise(1, 30, 40)).read(region)
    told = f"region {region.y0},{region.x0},{region.y1},{region.x1} of an image of 30 x 40"
    assert caught.value.found.startswith(told), "as it is typed"
    assert "0,0,30,40" in caught.value.hint


def test_arrays_become_images() -> None:
    assert Image.from_array(noise(30, 40)).shape == (1, 30, 40)
    image = Image.from_array(noise(3, 3, 4), channels=("R", "G", "B"))
    assert image.is_color
    assert not Image.from_array(noise(3, 3, 4)).is_color
    for wrong in (noise(3), noise(1, 2, 3, 4), noise(0, 4)):
        with pytest.raises(InputError, match="an array of shape"):
            Image.from_array(wrong)
    with pytest.raises(InputError, match="2 channel names for 3"):
        Image.from_array(noise(3, 3, 4), channels=("a", "b"))


@pytest.mark.parametrize("zoom", ZOOMS)
def test_a_tile_resampled_alone_equals_the_same_part_of_the_whole(zoom: float) -> None:
    """Up to the last pixel, at every edge, whatever the image's sides are."""
    image = Image.from_array(noise(2, 243, 245))
    step = ZOOMS[zoom]
    whole = image.read(Region(0, 0, 243, 245), zoom)
    for y1, x1 in ((9 * step, 10 * step), (243, 10 * step), (243, 245)):
        tile = Region(2 * step, 3 * step, y1, x1)
        alone = image.read(tile, zoom)
        y, x = round(tile.y0 * zoom), round(tile.x0 * zoom)
        part = whole[:, y : y + alone.shape[1], x : x + alone.shape[2]]
        # Where a side is no whole number of output pixels, rounding may add one.
        alone = alone[:, : part.shape[1], : part.shape[2]]
        assert np.abs(alone - part).max() < 1e-5


@pytest.mark.parametrize("zoom", ZOOMS)
def test_places_and_brightness_survive_a_zoom(zoom: float) -> None:
    """A ramp of coordinates stays one: output pixel i shows place (i + 0.5) / zoom."""
    y, x = np.mgrid[:160, :170].astype(np.float32) + 0.5
    found = Image.from_array(np.stack([y, x])).read(Region(0, 0, 160, 170), zoom)
    assert found.shape == (2, int(160 * zoom + 0.5), int(170 * zoom + 0.5))
    inner = found[:, 3:-3, 3:-3]
    rows, columns = ((np.arange(n) + 0.5) / zoom for n in found.shape[1:])
    assert np.abs(inner[0] - rows[3:-3, None]).max() < 0.05
    assert np.abs(inner[1] - columns[3:-3]).max() < 0.05


def test_shrinking_averages() -> None:
    board = (np.indices((64, 64)).sum(axis=0) % 2).astype(np.uint8)[None] * 200
    found = resample(board, (16, 16))
    assert found.dtype == np.float32
    assert found == pytest.approx(np.full((1, 16, 16), 100.0), abs=4.0)


def test_the_smallest_level_that_is_fine_enough_is_read() -> None:
    def level(side: int, value: int) -> Level:
        def read(region: Region) -> NDArray[np.uint8]:
            return np.full((1, *region.shape), value, dtype=np.uint8)

        return Level(side, side, read)

    image = Image((level(64, 1), level(32, 2), level(16, 4)), ("0",), np.dtype(np.uint8))
    whole = Region(0, 0, 64, 64)
    for zoom, value in ((1.0, 1), (0.7, 1), (0.5, 2), (0.3, 2), (0.25, 4), (0.1, 4), (2.0, 1)):
        assert image.read(whole, zoom) == pytest.approx(value)
    assert image.read(Region(60, 60, 64, 64), 0.25) == pytest.approx(4)


def test_an_overview_is_the_whole_image_made_small() -> None:
    image = Image.from_array(noise(3, 300, 900))
    assert image.overview(100).shape == (3, 33, 100)
    assert image.overview(100).mean() == pytest.approx(0.5, abs=0.02)
    assert np.array_equal(image.overview(1024), image.read(Region(0, 0, 300, 900)))
    assert Image.from_array(noise(1, 1, 5000)).overview(100).shape == (1, 1, 100)


def test_samples_that_are_not_finite_do_not_spread() -> None:
    pixels = noise(1, 200, 200)
    clean = resample(pixels, (50, 50))
    pixels[0, 100, 100] = np.nan
    pixels[0, 0, 0] = np.inf
    found = resample(pixels, (50, 50))
    assert np.isfinite(found).all()
    assert np.abs(found - clean).max() < 0.2
    assert np.count_nonzero(np.abs(found - clean) > 1e-4) < 30
    assert np.isnan(resample(np.full((1, 8, 8), np.nan), (4, 4))).all()


def test_a_large_overview_is_read_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an image without small levels never is in memory as a whole."""
    regions = []

    def read(region: Region) -> NDArray[np.uint8]:
        regions.append(region)
        rows = np.arange(region.y0, region.y1)[:, None]
        return np.broadcast_to(rows // 25, (1, *region.shape)).astype(np.uint8)

    monkeypatch.setattr("anycell.image.BAND", 100_000)
    image = Image((Level(5000, 90, read),), ("0",), np.dtype(np.uint8))
    found = image.overview(1000)
    assert found.shape == (1, 1000, 18)
    assert np.abs(found[0, 2::5] - np.arange(200)[:, None]).max() < 0.01
    assert len(regions) == 5
    assert max(region.shape[0] for region in regions) < 1200


@pytest.mark.parametrize("zoom", [1.0, 0.5, 12 / 17, 2.0, 0.125])
def test_a_cropped_image_shows_the_same_pixels(zoom: float) -> None:
    image = pyramid(640, 512)
    part = image.crop(Region(34, 68, 578, 476))
    assert part.shape == (1, 544, 408)
    inner = Region(68, 34, 272, 340)
    assert np.array_equal(part.read(inner, zoom), image.read(inner.shift(34, 68), zoom))
    again = part.crop(inner)
    assert again.shape == (1, 204, 306)
    whole = Region(0, 0, 204, 306)
    assert np.array_equal(again.read(whole, zoom), image.read(inner.shift(34, 68), zoom))


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("side", [10, 60, 200, 1000])
def test_the_overview_of_a_cropped_image_is_that_of_its_pixels(levels: int, side: int) -> None:
    smooth = np.add.outer(np.arange(640.0), 2 * np.arange(512.0)).astype(np.float32)
    image = pyramid(640, 512, levels, smooth)
    region = Region(33, 67, 579, 475)
    found = image.crop(region).overview(side)
    wanted = Image.from_array(smooth[region.slices]).overview(side)
    assert found.shape == wanted.shape
    inner = (slice(None), slice(1, -1), slice(1, -1))
    step = 3 * max(1.0, 546 / side)  # from one pixel of the overview to the next, down and across
    assert np.abs(found[inner] - wanted[inner]).max(initial=0) < step / 3


def test_a_crop_outside_the_image_is_refused() -> None:
    part = pyramid(64, 64).crop(Region(8, 8, 40, 40))
    for region in (Region(0, 0, 33, 9), Region(-1, 0, 9, 9), Region(4, 4, 4, 9)):
        with pytest.raises(InputError, match="an image of 32 x 32"):
            part.crop(region)


def pyramid(
    height: int, width: int, levels: int = 3, pixels: NDArray[np.float32] | None = None
) -> Image:
    """An image with smaller levels, means of 2 x 2 pixels of the one before."""
    planes = [noise(height, width) if pixels is None else pixels]
    for _ in range(levels - 1):
        last = planes[-1]
        halves = (last.shape[0] // 2, 2, last.shape[1] // 2, 2)
        planes.append(last.reshape(halves).mean(axis=(1, 3)))
    found = [Image.from_array(plane).levels[0] for plane in planes]
    return replace(Image.from_array(planes[0]), levels=tuple(found))


def test_regions() -> None:
    region = Region(2, 3, 12, 8)
    assert region.shape == (10, 5)
    assert region.clip(6, 100) == Region(2, 3, 6, 8)
    assert region.clip(1, 1).shape == (0, 0)
    assert Region(-4, -9, 2, 5).clip(10, 10) == Region(0, 0, 2, 5)
    assert region.shift(-2, 4) == Region(0, 7, 10, 12)
    assert np.arange(200).reshape(10, 20)[Region(1, 2, 3, 4).slices].tolist() == [
        [22, 23],
        [42, 43],
    ]


labelings = st.builds(
    lambda seed, height, width, top: np.random.default_rng(seed).integers(0, top, (height, width)),
    st.integers(0, 999),
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from([1, 2, 7, 1000, 2**31 - 1]),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(labelings)
def test_relabel_leaves_no_gaps_and_keeps_order(labels: NDArray[np.int64]) -> None:
    found = relabel(labels)
    assert found.dtype == np.int32
    values = np.unique(labels[labels > 0])
    expected = np.searchsorted(values, labels) + 1
    expected[labels == 0] = 0
    assert np.array_equal(found, expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(labelings.filter(lambda labels: labels.max() < 2000))
def test_areas_boxes_and_centres_are_those_of_the_pixels(labels: NDArray[np.int64]) -> None:
    area, box, centre = areas(labels), boxes(labels), centroids(labels)
    assert len(area) == len(box) == len(centre) == labels.max() + 1
    assert not box[0].any()
    assert np.isnan(centre[0]).all()
    for number in range(1, len(area)):
        y, x = np.nonzero(labels == number)
        assert area[number] == len(y)
        if not len(y):
            assert not box[number].any()
            assert np.isnan(centre[number]).all()
            continue
        assert box[number].tolist() == [y.min(), x.min(), y.max() + 1, x.max() + 1]
        assert centre[number] == pytest.approx([y.mean(), x.mean()])


def test_as_labels() -> None:
    assert as_labels(np.array([[True, False]])).tolist() == [[1, 0]]
    assert as_labels(np.array([[7, 0]], dtype=np.uint16)).dtype == np.int32
    wrong = [np.zeros((2, 2)), np.zeros((1, 2, 2), int), np.array([[-1]]), np.array([[2**31]])]
    for array in wrong:
        with pytest.raises(InputError):
            as_labels(array)


def test_edge_labels() -> None:
    labels = np.zeros((9, 9), dtype=np.int32)
    labels[0, 4], labels[1, 1], labels[2:7, 2:7] = 3, 5, 9
    assert edge_labels(labels).tolist() == [3]
    assert edge_labels(labels, 2).tolist() == [3, 5]
    assert edge_labels(labels, 5).tolist() == [3, 5, 9]


def test_turns_are_the_eight_symmetries() -> None:
    plane = np.arange(12).reshape(3, 4)
    assert len(TURNS) == len({turn.plane(plane).tobytes() for turn in TURNS}) == 8
    assert np.array_equal(Turn().plane(plane), plane)
    assert np.array_equal(Turn(1).plane(plane), np.rot90(plane))
    assert np.array_equal(Turn(0, True).plane(plane), np.fliplr(plane))


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_the_inverse_undoes_a_turn(turn: Turn) -> None:
    assert turn.inverse in TURNS
    field = noise(2, 3, 5)
    assert np.array_equal(turn.inverse.plane(turn.plane(field)), field)
    assert np.allclose(turn.inverse.vectors(turn.vectors(field)), field)


def test_turns_are_closed_under_composition() -> None:
    plane = np.arange(12).reshape(3, 4)
    all_planes = {turn.plane(plane).tobytes() for turn in TURNS}
    for first in TURNS:
        for second in TURNS:
            assert second.plane(first.plane(plane)).tobytes() in all_planes
            matrix = second.matrix @ first.matrix
            assert any(np.array_equal(matrix, turn.matrix) for turn in TURNS)


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_arrows_turn_with_their_places(turn: Turn) -> None:
    """Arrows that point at one pixel still do after the turn."""
    y, x = np.mgrid[:5, :7]
    target = np.zeros((5, 7))
    target[1, 5] = 1
    turned = turn.vectors(np.stack([1 - y, 5 - x]))
    goal = np.argwhere(turn.plane(target))[0]
    rows, columns = np.indices(turned.shape[1:])
    assert (rows + turned[0] == goal[0]).all()
    assert (columns + turned[1] == goal[1]).all()
