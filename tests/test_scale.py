"""The zoom that is found: right for the cells, deterministic, honest when there are none."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from anycell.confidence import RAW
from anycell.image import Image, Region
from anycell.labels import Labels, areas, relabel
from anycell.looks import Look, Looks
from anycell.normalize import fit_normalization, to_model_channels
from anycell.representations import Fields
from anycell.representations.classical import Classical
from anycell.scale import ZoomPlan, find_zoom, half_octave
from anycell.segment import segment


class Blobs(Classical):
    """Bright blobs are cells; the surer, the nearer their diameter is to 24 pixels."""

    def decode(self, outputs: Fields, shape: tuple[int, int]) -> Labels:
        from scipy.ndimage import label

        found: Labels = label(outputs[0] > 0.5)[0].astype(np.int32)
        return found

    def confidence(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        del outputs
        diameter = np.sqrt(areas(labels)[1:] * 4 / np.pi)
        return np.exp(-np.abs(np.log2(diameter / 24.0))).astype(np.float32)


@dataclass
class Seer:
    """A predictor that sees what is bright, and remembers how large its tiles were."""

    diameter: float | None = 24.0
    seen: list[tuple[int, ...]] = field(default_factory=list)
    pixels: list[bytes] = field(default_factory=list)
    representation = Blobs()
    name = "seer"
    hash = "0" * 16
    halo = 32
    multiple = 32
    style_size = 0
    min_confidence = 0.0
    confidence_map = RAW

    def look(self, overview: NDArray[np.float32]) -> Seer:
        del overview
        return self

    def split(self, count: int) -> tuple[Seer, ...]:
        del count
        return (self,)

    def style(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.zeros((len(tiles), 0), dtype=np.float32)

    def outputs(
        self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None = None
    ) -> Fields:
        self.seen.append(tiles.shape)
        self.pixels.append(tiles.tobytes())
        return tiles[:, :1]


def disks(shape: tuple[int, int], diameter: float, centres: list[tuple[float, float]]) -> Image:
    pixels = np.zeros(shape, np.uint8)
    reach = int(diameter)
    for cy, cx in centres:
        y0, x0 = max(0, int(cy) - reach), max(0, int(cx) - reach)
        part = pixels[y0 : int(cy) + reach, x0 : int(cx) + reach]
        y, x = np.indices(part.shape)
        part[(y + y0 - cy) ** 2 + (x + x0 - cx) ** 2 <= diameter**2 / 4] = 200
    return Image.from_array(pixels)


def plan(image: Image, predictor: Seer) -> ZoomPlan:
    lines = fit_normalization(image)
    overview = to_model_channels(lines.apply(image.overview(1024)))
    return find_zoom(Looks(image, lines, predictor), overview)[0]


def lattice(diameter: float, side: int) -> list[tuple[float, float]]:
    steps = np.arange(diameter, side - diameter, 1.6 * diameter)
    return [(y, x) for y in steps for x in steps]


@pytest.mark.parametrize(("diameter", "zoom"), [(12, 2.0), (17, 2**0.5), (24, 1.0), (48, 0.5)])
def test_cells_are_brought_to_the_size_that_the_predictor_knows(
    diameter: float, zoom: float
) -> None:
    found = plan(disks((400, 420), diameter, lattice(diameter, 400)), Seer())
    assert found.zoom == pytest.approx(zoom, rel=0.01)
    assert dict(found.tried)[found.zoom] >= 1.4
    assert len(found.tried) <= (9 if diameter < 17 else 2)
    assert "sure" in found.reason


def test_cells_larger_than_a_window_at_full_size_are_seen_whole_at_a_smaller_zoom() -> None:
    found = plan(disks((1500, 1500), 120, lattice(120, 1500)), Seer())
    assert found.zoom == pytest.approx(0.25 / 2**0.5, rel=0.01)


def test_a_few_cells_in_a_corner_of_a_large_image_are_enough() -> None:
    corner = [(1900.0 + 30 * k, 1940.0 - 35 * k) for k in range(3)]
    found = plan(disks((2000, 2000), 24, corner), Seer())
    assert found.zoom == pytest.approx(1.0)


def test_without_cells_the_zoom_is_one_and_the_plan_says_why() -> None:
    found = plan(disks((300, 300), 24, []), Seer())
    assert found.zoom == 1.0
    assert "no cells" in found.reason


def test_a_predictor_without_a_scale_is_not_asked() -> None:
    predictor = Seer(diameter=None)
    found = plan(disks((300, 300), 48, lattice(48, 300)), predictor)
    assert (found.zoom, found.tried, predictor.seen) == (1.0, (), [])


def test_the_same_image_gets_the_same_plan_and_trials_stay_small() -> None:
    image = disks((3000, 2500), 30, lattice(30, 2500))
    predictor = Seer()
    assert plan(image, predictor) == plan(image, Seer())
    assert max(np.prod(shape) for shape in predictor.seen) <= 3 * 640 * 640
    at_most = 4 * 256 * 256 * 9 + 512 * 512  # windows at each zoom, and the glance
    assert sum(np.prod(shape[2:]) for shape in predictor.seen) < at_most / 2


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (40, 9)])
def test_odd_shapes_get_a_plan(shape: tuple[int, int]) -> None:
    assert plan(disks(shape, 6, [(0.0, 0.0)]), Seer()).zoom > 0


def test_cells_too_small_for_the_first_glance_are_seen_at_a_later_one() -> None:
    predictor = Seer()
    found = plan(disks((1000, 1000), 14, lattice(14, 1000)), predictor)
    assert found.zoom == pytest.approx(2**0.5, rel=0.01)
    assert [shape[2:] for shape in predictor.seen[:2]] == [(256, 256), (512, 512)]


class Unsure(Blobs):
    """The same blobs, half as sure."""

    def confidence(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        return 0.5 * super().confidence(outputs, labels)


@pytest.mark.parametrize(
    ("diameter", "zooms"), [(12, (2.0,)), (24, (1.0,)), (34, (0.71,)), (90, (0.25, 0.36))]
)
def test_where_no_zoom_is_clear_the_best_is_taken(
    diameter: float, zooms: tuple[float, ...]
) -> None:
    predictor = Seer()
    predictor.representation = Unsure()
    found = plan(disks((700, 720), diameter, lattice(diameter, 700)), predictor)
    assert round(found.zoom, 2) in zooms
    assert "surest" in found.reason


class Breaking(Blobs):
    """Unsure; what is too large for it falls to pieces, of which it is a little surer."""

    def decode(self, outputs: Fields, shape: tuple[int, int]) -> Labels:
        found = super().decode(outputs, shape)
        large = areas(found) > 34**2
        y, x = np.indices(shape) // 17
        pieces = 1 + y * (shape[1] // 17 + 1) + x
        broken = np.where(large[found] & (found > 0), found.max() + pieces, found)
        return relabel(broken.astype(np.int32))

    def confidence(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        size = areas(labels)[1:]
        return np.where(size <= 17**2, 0.4, 0.3).astype(np.float32)


@pytest.mark.parametrize("diameter", [40, 60, 80])
def test_pieces_that_change_with_the_zoom_are_no_cells(diameter: float) -> None:
    predictor = Seer()
    predictor.representation = Breaking()
    found = plan(disks((700, 720), diameter, lattice(diameter, 700)), predictor)
    assert found.zoom * diameter <= 40
    assert "steadiest" in found.reason


def test_two_looks_are_compared_where_both_look() -> None:
    image = disks((400, 400), 24, lattice(24, 400))
    looks = Looks(image, fit_normalization(image), Seer())
    all_of_it, part = Region(0, 0, 400, 400), Region(90, 70, 300, 290)
    whole, half = looks.at(all_of_it, Fraction(1)), looks.at(all_of_it, Fraction(1, 2))
    inside = looks.at(part, Fraction(2))
    assert looks.alike((all_of_it, whole), (all_of_it, whole)) == 1.0
    assert looks.alike((all_of_it, whole), (all_of_it, half)) > 0.95
    assert looks.alike((all_of_it, half), (part, inside)) > 0.9
    assert looks.alike((part, inside), (all_of_it, half)) > 0.9
    moved = Look.of(np.roll(whole.labels, 12, axis=0), whole.sure, whole.inside)
    assert looks.alike((all_of_it, whole), (all_of_it, moved)) < 0.2
    empty = Look.of(np.zeros_like(whole.labels), whole.sure, whole.inside)
    assert looks.alike((all_of_it, whole), (all_of_it, empty)) == 0.0
    assert looks.alike((all_of_it, empty), (all_of_it, empty)) is None
    assert looks.alike((part, inside), (Region(300, 0, 400, 50), whole)) is None


def test_a_look_keeps_its_labels_exactly_and_in_little_memory() -> None:
    labels = np.zeros((256, 256), np.int32)
    for number, (y, x) in enumerate(lattice(24, 256), start=1):
        labels[int(y) - 9 : int(y) + 9, int(x) - 9 : int(x) + 9] = number
    labels[100:140, 230:256] = 500  # cut by what is mirrored
    labels = relabel(labels)
    count = int(labels.max())
    look = Look.of(labels, np.linspace(0, 1, count, dtype=np.float32), (250, 240))
    assert np.array_equal(look.labels, labels)
    assert look.labels.dtype == np.int32
    assert np.array_equal(look.shown, labels[:250, :240])
    assert len(look.packed) < labels.nbytes / 10
    shown = labels[:250, :240]
    cut = set(np.unique(np.concatenate([*shown[[0, -1]], *shown[:, [0, -1]].T])))
    whole = sorted(set(np.unique(shown)) - cut - {0})
    sure, area = look.cells
    assert np.allclose(sure, (np.array(whole) - 1) / (count - 1))
    assert area.tolist() == [np.count_nonzero(shown == number) for number in whole]


def test_nothing_is_looked_at_twice_and_what_was_looked_at_is_the_result() -> None:
    for diameter in (12, 24, 40):
        image = disks((300, 260), diameter, lattice(diameter, 260))
        predictor = Seer()
        found = segment(image, predictor)
        assert len(predictor.pixels) == len(set(predictor.pixels))
        given = segment(image, Seer(), zoom=found.zoom)
        assert np.array_equal(found.labels, given.labels)
        assert np.array_equal(found.confidence, given.confidence)
        assert found.seconds["scale"] > 0
        assert (found.plan is None, given.plan is None) == (False, True)


def test_zooms_are_half_octaves_within_what_is_sensible() -> None:
    assert [half_octave(z) for z in (1e-9, 0.11, 1.0, 1.1, 2.2, 50.0)] == [
        0.125, 0.125, 1.0, 1.0, 2.0, 2.0,
    ]  # fmt: skip
    assert half_octave(1.3) == 64 / 45
