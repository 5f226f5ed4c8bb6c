"""Whole images through the one road, against a truth that is known exactly."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anycell.errors import InputError, SettingError
from anycell.image import Image, Level, Region
from anycell.labels import Labels, boxes, relabel
from anycell.matching import Rules
from anycell.representations import REPRESENTATIONS, Fields, representation
from anycell.road import core_at, cores_for, enlarged
from anycell.scores import score_pair
from anycell.segment import Segmentation, segment
from truth import Truth, disks, pieces, same_cells, truth

RULES = Rules(iou=(0.5, 0.8), ignore_border=0)


def in_order(found: Segmentation) -> bool:
    """Numbers 1..n in use, each one piece with one confidence."""
    numbers = np.unique(found.labels)
    cells = numbers[numbers > 0]
    return (
        found.labels.dtype == np.int32
        and cells.tolist() == list(range(1, len(cells) + 1))
        and pieces(found.labels) == len(cells) == len(found.confidence)
    )


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    height=st.integers(1, 220),
    width=st.integers(1, 220),
    core=st.integers(8, 120),
    radius=st.integers(3, 16),
    multiple=st.sampled_from([1, 8, 32]),
)
def test_tiled_equals_untiled_if_the_halo_holds_the_largest_cell(
    seed: int, height: int, width: int, core: int, radius: int, multiple: int
) -> None:
    labels = disks((height, width), 60, (2, radius), seed)
    image, predictor = truth(labels, halo=radius + 1, multiple=multiple)
    found = segment(image, predictor, core=core)
    assert same_cells(found.labels, labels)
    assert in_order(found)
    cells = np.unique(found.labels, return_index=True)
    numbers = labels.ravel()[cells[1][cells[0] > 0]]
    assert found.confidence == pytest.approx(numbers)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    side=st.integers(60, 200),
    core=st.integers(20, 60),
    radius=st.integers(10, 40),
)
def test_a_cell_larger_than_the_halo_is_whole_as_well(
    seed: int, side: int, core: int, radius: int
) -> None:
    labels = disks((side, side + 31), 12, (radius / 2, radius), seed)
    image, predictor = truth(labels, halo=max(6, radius // 4))
    found = segment(image, predictor, core=core)
    assert in_order(found)
    assert same_cells(found.labels, labels)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    core=st.integers(12, 60),
    halo=st.integers(0, 20),
    zoom=st.sampled_from([1.0, 0.5, 1.4]),
)
def test_whatever_the_cells_and_the_grid_numbers_are_in_order(
    seed: int, core: int, halo: int, zoom: float
) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 5, rng.integers(1, 12, 2)).astype(np.int32)
    labels = np.kron(coarse, np.ones((9, 9), dtype=np.int32))
    image, predictor = truth(labels, halo=halo, noise=shaken)
    found = segment(image, predictor, core=core, zoom=zoom)
    assert in_order(found)
    again = segment(image, predictor, core=core, zoom=zoom)
    assert np.array_equal(found.labels, again.labels)
    assert np.array_equal(found.confidence, again.confidence)


def shaken(labels: Labels, place: tuple[int, int]) -> Labels:
    """What a network may do: each tile moves cells a little, and loses or splits cut ones."""
    labels = relabel(labels)
    rng = np.random.default_rng([*place, 7])
    out = np.zeros_like(labels)
    height, width = labels.shape
    count = int(labels.max(initial=0))
    moves = np.rint(rng.normal(0, 1.0, (count + 1, 2))).astype(int)
    fate = rng.random(count + 1)
    for number, (y0, x0, y1, x1) in enumerate(boxes(labels).tolist()[1:], 1):
        y, x = np.nonzero(labels[y0:y1, x0:x1] == number)
        cut = y0 == 0 or x0 == 0 or y1 == height or x1 == width
        if cut and fate[number] < 0.2:
            continue
        values = np.where(cut & (fate[number] > 0.5) & (y > y.mean()), number + count, number)
        move = (0, 0) if cut else moves[number]
        y = np.clip(y + y0 + move[0], 0, height - 1)
        x = np.clip(x + x0 + move[1], 0, width - 1)
        out[y, x] = values
    return out


def test_tiles_that_disagree_leave_no_seams() -> None:
    labels = disks((700, 700), 700, (5, 12), 1)
    image, predictor = truth(labels, halo=18, noise=shaken)
    tiled = segment(image, predictor, core=100)
    whole = segment(image, predictor, core=2000)
    assert (tiled.tiles, whole.tiles) == (49, 1)
    f1 = [score_pair(found.labels, labels, RULES)[0].values.f1 for found in (tiled, whole)]
    assert f1[0] > f1[1] - 0.005
    assert in_order(tiled)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_every_representation_travels_the_same_road(name: str) -> None:
    labels = disks((230, 310), 60, (6, 10), 3, gap=3)
    image, predictor = truth(labels, representation=representation(name), halo=30, multiple=4)
    tiled = segment(image, predictor, core=60)
    assert tiled.tiles > 6
    assert score_pair(tiled.labels, labels, RULES)[1].values.f1 == 1.0
    assert in_order(tiled)
    assert (tiled.confidence > 0.5).all()


@pytest.mark.parametrize(
    ("zoom", "radius"),
    [(2.0, 7), (2**0.5, 8), (0.75, 12), (2**-0.5, 12), (0.5, 16), (2**-2.5, 36), (0.125, 44)],
)
def test_zoomed_tiles_agree_with_the_whole_and_with_the_truth(zoom: float, radius: int) -> None:
    labels = disks((431, 377), 60, (radius * 0.7, radius), 5, gap=2)
    image, predictor = truth(labels, halo=int(radius * zoom) + 2)
    tiled = segment(image, predictor, core=int(140 * zoom), zoom=zoom)
    whole = segment(image, predictor, core=3000, zoom=zoom)
    assert tiled.tiles > whole.tiles == 1
    assert tiled.zoom == pytest.approx(zoom, rel=0.01)
    assert same_cells(tiled.labels, whole.labels)
    assert in_order(tiled)
    assert score_pair(tiled.labels, labels, RULES)[1].values.f1 > 0.97


@pytest.mark.parametrize("zoom", [Fraction(1, 8), Fraction(32, 45), Fraction(2)])
def test_enlarged_outlines_are_smooth(zoom: Fraction) -> None:
    """A disk stays a disk: no blocks of 1 / zoom pixels along its edge."""
    native, radius = 400, 120
    y, x = (np.indices((native, native)) + 0.5) - native / 2
    disk = np.hypot(y, x) <= radius
    side = int(native * zoom)
    y, x = ((np.indices((side, side)) + 0.5) / float(zoom)) - native / 2
    small = 7 * (np.hypot(y, x) <= radius).astype(np.int32)
    large = enlarged(small, (native, native), zoom)
    blocks = np.kron(small, np.ones((int(1 / zoom),) * 2, dtype=np.int32)) if zoom < 0.5 else large
    assert set(np.unique(large)) == {0, 7}
    wrong = [np.count_nonzero((v > 0) != disk) / disk.sum() for v in (large, blocks)]
    assert wrong[0] < 0.05
    assert zoom > 0.5 or wrong[0] < 0.8 * wrong[1]


def test_enlarging_keeps_single_pixels_and_borders() -> None:
    small = np.zeros((6, 6), dtype=np.int32)
    small[2, 2], small[4:, 4], small[4:, 5] = 1, 2, 3
    large = enlarged(small, (24, 24), Fraction(1, 4))
    assert large[9:11, 9:11].tolist() == [[1, 1], [1, 1]]
    assert large[23, 18:22].tolist() == [2, 2, 3, 3]
    assert np.array_equal(enlarged(small, (6, 6), Fraction(1)), small)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 3), (31, 33)])
@pytest.mark.parametrize("zoom", [1.0, 0.25, 2.0])
def test_small_images(shape: tuple[int, int], zoom: float) -> None:
    for fill in (0, 1):
        labels = np.full(shape, fill, dtype=np.int32)
        image, predictor = truth(labels, halo=4, multiple=32)
        found = segment(image, predictor, core=64, zoom=zoom)
        assert np.array_equal(found.labels, labels)


def test_more_cells_than_16_bits_can_count() -> None:
    rows, columns = 258, 256
    cell = np.zeros((4, 4), dtype=np.int32)
    cell[:3, :3] = 1
    numbers = np.arange(1, rows * columns + 1, dtype=np.int32).reshape(rows, columns)
    labels = np.kron(numbers, cell)
    image, predictor = truth(labels, halo=4)
    found = segment(image, predictor, core=300)
    assert found.labels.max() == rows * columns > 65_535
    assert same_cells(found.labels, labels)


def test_what_is_known_about_a_segmentation() -> None:
    labels = disks((200, 300), 40, (4, 9), 2)
    image, predictor = truth(labels)
    calls: list[tuple[int, int]] = []
    found = segment(image, predictor, core=50, progress=lambda *args: calls.append(args))
    assert calls == [(done, found.tiles) for done in range(1, found.tiles + 1)]
    assert set(found.seconds) == {"read", "scale", "network", "decode", "seams", "total"}
    assert all(value > 0 for value in found.seconds.values())
    assert (found.model, found.hash, found.zoom) == ("truth", "0" * 16, 1.0)
    assert np.array_equal(found.normalization.low, predictor.normalization.low)
    with pytest.raises(AttributeError):
        found.tiles = 3  # type: ignore[misc]


def test_the_image_is_looked_at_once_and_each_tile_read_once() -> None:
    labels = disks((200, 300), 40, (4, 9), 2)
    image, predictor = truth(labels)
    regions: list[Region] = []

    def read(region: Region) -> NDArray[np.float32]:
        regions.append(region)
        return image.levels[0].read(region)

    watched = Image((Level(200, 300, read),), image.channels, image.dtype)
    found = segment(watched, predictor, core=50)
    assert len(regions) == len(set(regions)) == found.tiles + 1


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_the_number_of_workers_decides_nothing(workers: int) -> None:
    labels = disks((260, 260), 90, (4, 12), 2)
    image, predictor = truth(labels, halo=16, noise=shaken)
    busy: list[int] = []

    class Counting(Truth):
        def outputs(
            self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None = None
        ) -> NDArray[np.float32]:
            busy.append(threading.get_ident())
            return super().outputs(tiles, style)

    counting = Counting(labels, predictor.normalization, halo=16, noise=shaken)
    found = segment(image, counting, core=40, workers=workers)
    alone = segment(image, predictor, core=40, workers=1)
    assert np.array_equal(found.labels, alone.labels)
    assert np.array_equal(found.confidence, alone.confidence)
    assert len(set(busy)) <= workers < len(busy)


def test_cores_are_smaller_at_a_small_zoom() -> None:
    """Labels have the pixels of the image: a core never holds many more than 1536 x 1536."""
    cores = [core_at(Fraction(k, 8), 64) for k in (1, 2, 3, 4, 8, 16)]
    assert cores == [256, 384, 576, 768, 1024, 1024]
    assert core_at(Fraction(1), 128) == 896  # a tile has the same size
    assert core_at(Fraction(1), 500) == 256


def test_tiles_are_wider_where_the_image_takes_little_memory() -> None:
    field, slide = (Image.from_array(np.zeros((side, side), np.uint8)) for side in (2048, 3200))
    assert cores_for(None, 128, field)(Fraction(1)) == 1280 - 2 * 128
    assert cores_for(None, 128, slide)(Fraction(1)) == 1152 - 2 * 128
    assert cores_for(512, 128, slide)(Fraction(1)) == cores_for(512, 128, field)(Fraction(1)) == 512


def test_normalization_comes_from_the_whole_image_never_from_a_tile() -> None:
    """One bright cell far away changes what every tile's network sees, and alike."""
    seen: list[float] = []

    class Watching(Truth):
        def outputs(
            self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None = None
        ) -> NDArray[np.float32]:
            seen.append(float(tiles.max()))
            return np.zeros((1, 1, *tiles.shape[2:]), dtype=np.float32)

    pixels = np.random.default_rng(0).integers(0, 20, (200, 200)).astype(np.uint8)
    pixels[:30, :30] = 250
    _, predictor = truth(pixels.astype(np.int32))
    found = segment(pixels, Watching(predictor.labels, predictor.normalization), core=60)
    assert found.tiles == len(seen) > 4
    seen.sort(reverse=True)  # workers may take the tiles in any order
    assert seen[0] == pytest.approx(1.0, abs=0.01)
    assert max(seen[len(seen) // 2 :]) < 0.1


def test_an_error_in_a_tile_is_the_callers() -> None:
    class Broken(Truth):
        def outputs(
            self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None = None
        ) -> NDArray[np.float32]:
            raise RuntimeError("no network")

    image, predictor = truth(np.ones((50, 50), dtype=np.int32))
    with pytest.raises(RuntimeError, match="no network"):
        segment(image, Broken(predictor.labels, predictor.normalization), core=10)


def test_settings_and_inputs_out_of_range_are_refused() -> None:
    image, predictor = truth(np.ones((50, 50), dtype=np.int32))
    with pytest.raises(SettingError, match="core 0"):
        segment(image, predictor, core=0)
    with pytest.raises(SettingError, match="both a zoom and tiles"):
        segment(image, predictor, zoom=1.0, tiles=[])
    with pytest.raises(SettingError, match="zoom 100"):
        segment(image, predictor, zoom=100)
    with pytest.raises(InputError, match="--channels"):
        segment(np.zeros((5, 40, 40)), predictor)
    with pytest.raises(InputError, match="an array of shape"):
        segment(np.zeros(5), predictor)


def test_the_default_model_is_loaded_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    image, predictor = truth(np.ones((9, 9), dtype=np.int32))
    monkeypatch.setattr("anycell.model.default_model", lambda: predictor)
    assert segment(image).model == "truth"


def test_importing_segment_brings_nothing_heavy() -> None:
    code = "import anycell.segment, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    ).stdout.split()
    heavy = {"torch", "skimage", "scipy", "onnxruntime", "tifffile", "zarr", "anycell.model"}
    assert not heavy & set(loaded)


def test_unsure_cells_are_left_out() -> None:
    labels = disks((160, 160), 12, (4, 9), 5)
    image, predictor = truth(labels)
    plain = type(predictor.representation)

    class Tenths(plain):  # type: ignore[misc, valid-type]
        def confidence(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
            return plain.confidence(self, outputs, labels) / 100

    predictor = replace(predictor, representation=Tenths())
    assert segment(image, predictor).labels.max() == labels.max()
    some = segment(image, predictor, min_confidence=0.035)
    kept = np.unique(labels[some.labels > 0])
    assert kept.tolist() == list(range(4, labels.max() + 1))
    assert (some.confidence >= 0.035).all()
    with pytest.raises(SettingError, match="min_confidence"):
        segment(image, predictor, min_confidence=1.5)
