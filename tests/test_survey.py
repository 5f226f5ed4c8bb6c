"""A large image is surveyed: each block gets the zoom of its own cells, at little cost."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from anycell.image import Image, Region
from anycell.looks import Look
from anycell.matching import Rules
from anycell.scale import Trial, ZoomPlan
from anycell.scores import score_pair
from anycell.segment import plan_zoom, segment
from anycell.survey import depth_for, survey
from test_scale import Seer, disks, lattice
from test_zones import truth_of

SIDE = 2048
CORE = 256
RULES = Rules(iou=(0.7,), ignore_border=0)


def _shifted(diameter: float, side: int, y0: float, x0: float) -> list[tuple[float, float]]:
    return [(y + y0, x + x0) for y, x in lattice(diameter, side)]


def three_sizes() -> Image:
    """Cells of 12, 24 and 80 pixels, and an empty quarter, apart at rows 900 and columns 1100."""
    quarters = [(12, 900, 0, 0), (80, 900, 0, 1148), (24, 1000, 1000, 0)]
    planes = [
        disks((SIDE, SIDE), diameter, _shifted(diameter, side, y0, x0))
        for diameter, side, y0, x0 in quarters
    ]
    whole = Region(0, 0, SIDE, SIDE)
    return Image.from_array(np.maximum.reduce([v.levels[0].read(whole) for v in planes]))


def test_cells_of_three_sizes_get_three_zooms_and_all_are_found() -> None:
    image = three_sizes()
    found = segment(image, Seer(), core=CORE)
    assert found.plan is not None
    zooms = {zone.zoom for zone in found.plan.zones}
    assert len(zooms - {None}) >= 3
    for zone in found.plan.zones:
        if zone.zoom is None:
            continue
        y, x = (zone.region.y0 + zone.region.y1) / 2, (zone.region.x0 + zone.region.x1) / 2
        if y < 900 and x < 900:
            assert zone.zoom >= 1.4
        if y > 1000 and x < 900:
            assert zone.zoom == pytest.approx(1.0, rel=0.5)
        if y < 800 and x > 1148:
            assert zone.zoom <= 0.5
    assert score_pair(found.labels, truth_of(image), RULES)[0].values.f1 > 0.99


def test_an_image_of_one_size_costs_one_small_look_for_each_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = disks((SIDE, SIDE), 24, lattice(24, SIDE))
    with_, without = Seer(), Seer()
    plan = plan_zoom(image, with_, core=768)
    monkeypatch.setattr("anycell.zones.depth_for", lambda *given: 0)
    assert plan_zoom(image, without, core=768).zoom == plan.zoom
    assert {zone.zoom for zone in plan.zones} <= {plan.zoom, None}
    more = with_.seen[len(without.seen) :]
    assert 0 < len(more) <= 4
    assert {shape[-2:] for shape in more} == {(256, 256)}


@pytest.mark.parametrize(
    ("zoom", "side", "reason", "depth"),
    [
        (1.0, 512, "", 0),
        (1.0, 2048, "", 1),
        (1.0, 4096, "", 2),
        (1.0, 10_000, "", 3),
        (0.125, 4096, "", 1),
        (1.0, 100_000, "", 4),
        (0.25, 1024, "unsure; the cells found are about the surest and steadiest at this zoom", 0),
        (0.25, 2048, "unsure; the cells found are about the surest and steadiest at this zoom", 2),
    ],
)
def test_the_larger_an_image_the_more_blocks(
    zoom: float, side: int, reason: str, depth: int
) -> None:
    assert depth_for(ZoomPlan(zoom, (), reason), (side, side), 768) == depth


class _Told(Trial):
    """A trial whose scores are told, not looked for."""

    def score(self, zoom: float, *, whole: bool = False) -> float:
        del whole
        self.seen[zoom] = [(self.bounds, _look(self.counts(zoom)))]
        self.sizes[zoom] = SIZES.get((self.bounds.y0 > 0, self.bounds.x0 > 0), 24.0)
        self.scores[zoom] = self.told().get(round(zoom, 2), 0.0)
        return self.scores[zoom]

    def alike(self, zoom: float, other: float) -> float:
        return float({round(zoom, 2), round(other, 2)} == {1.0, 1.42})

    def told(self) -> dict[float, float]:
        return TOLD[self.bounds.y0 > 0, self.bounds.x0 > 0][0]

    def counts(self, zoom: float) -> int:
        return TOLD[self.bounds.y0 > 0, self.bounds.x0 > 0][1].get(round(zoom, 2), 50)


def _look(count: int) -> Look:
    labels: NDArray[np.int32] = np.zeros((80, 80), np.int32)
    places = [(y, x) for y in range(2, 78, 4) for x in range(2, 78, 4)][:count]
    for number, (y, x) in enumerate(places, 1):
        labels[y : y + 2, x : x + 2] = number
    return Look.of(labels, np.ones(count, np.float32), (80, 80))


SIZES: dict[tuple[bool, bool], float] = {}
TOLD: dict[tuple[bool, bool], tuple[dict[float, float], dict[float, int]]] = {}


def _surveyed(
    monkeypatch: pytest.MonkeyPatch,
    plan: ZoomPlan,
    told: list[tuple[dict[float, float], dict[float, int]]],
    sizes: tuple[float, ...] = (),
    held: tuple[bool, ...] = (True, True, True, True),
) -> tuple[list[float], str]:
    from anycell.bare import Squares
    from anycell.looks import Looks
    from anycell.normalize import fit_normalization

    corners = [(False, False), (False, True), (True, False), (True, True)]
    TOLD.clear()
    SIZES.clear()
    SIZES.update(zip(corners, sizes, strict=False))
    TOLD.update(zip(corners, told, strict=True))
    monkeypatch.setattr("anycell.survey.Trial", _Told)
    image = Image.from_array(np.zeros((1024, 1024), np.uint8))
    looks = Looks(image, fit_normalization(image), Seer())  # type: ignore[arg-type]
    quarters = np.array(held).reshape(2, 2).repeat(8, axis=0).repeat(8, axis=1)
    found = survey(looks, plan, Squares(64, quarters), 1)
    return [found.zooms[block] for block in sorted(found.zooms)], found.reason


def test_a_zoom_that_is_nearly_the_best_is_shared_and_one_cell_alone_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = ZoomPlan(1.0, ((1.0, 1.5),), "sure")
    told = [
        ({1.0: 1.4}, {}),  # as the whole image
        ({1.0: 1.0, 0.5: 1.3, 0.71: 1.5}, {}),  # larger cells
        ({1.0: 1.0, 0.5: 1.5, 0.71: 1.45}, {}),  # these, too: they share a zoom
        ({1.0: 1.0, 0.5: 1.3, 0.71: 1.4, 2.0: 1.6}, {2.0: 1}),  # the one at 2 is by chance
    ]
    zooms, reason = _surveyed(monkeypatch, plan, told)
    assert [round(zoom, 2) for zoom in zooms] == [1.0, 0.71, 0.71, 0.71]
    assert reason == "it suits 3 of 4 windows spread over the image"


def test_blocks_that_are_sure_of_nothing_follow_what_is_sure_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = ZoomPlan(1.0, ((1.0, 1.5),), "sure")
    told = [
        ({1.0: 1.4}, {}),
        ({1.0: 0.5, 0.5: 1.4}, {}),
        ({1.0: 0.4, 0.5: 0.6, 0.25: 0.9}, {}),  # 0.25 is the best here, and fair nowhere
        ({1.0: 0.6, 0.5: 0.61, 2.0: 0.9}, {}),  # nearly as good as the whole image's
    ]
    zooms, reason = _surveyed(monkeypatch, plan, told)
    assert zooms == [1.0, 0.5, 0.5, 1.0]
    assert reason == "it suits 2 of 4 windows spread over the image"


def test_an_image_that_is_unsure_everywhere_has_the_steadiest_zoom_of_all_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unsure = "unsure; the cells found are about the surest and steadiest at this zoom"
    plan = ZoomPlan(0.25, ((0.25, 0.7),), unsure)
    one = ({0.25: 0.6, 1.0: 0.5, 1.42: 0.4}, {})
    zooms, reason = _surveyed(monkeypatch, plan, [one] * 4)
    assert zooms == [1.0] * 4
    assert reason == unsure


def test_hardly_any_sure_block_does_not_decide_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    unsure = "unsure; the cells found are about the surest and steadiest at this zoom"
    plan = ZoomPlan(0.25, ((0.25, 0.7),), unsure)
    one = ({0.25: 0.6, 1.0: 0.5, 1.42: 0.4}, {})
    two = [({0.5: 1.4}, {}), ({0.5: 1.4}, {}), one, one]
    zooms, reason = _surveyed(monkeypatch, plan, two)
    assert zooms == [0.5] * 4
    assert reason == "it suits 4 of 4 windows spread over the image"


def test_cells_that_are_sure_but_of_another_size_are_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = ZoomPlan(1.0, ((1.0, 1.3),), "sure")
    told = [({1.0: 1.3, 0.5: 1.5}, {})] * 4
    zooms, _ = _surveyed(monkeypatch, plan, told, sizes=(24.0, 24.0, 24.0, 60.0))
    assert zooms == [1.0, 1.0, 1.0, 0.5]


def test_every_block_has_a_zoom_bare_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = ZoomPlan(1.0, ((1.0, 1.5),), "sure")
    told = [({1.0: 1.0, 0.5: 1.5}, {})] * 4
    held = (True, False, True, False)
    zooms, reason = _surveyed(monkeypatch, plan, told, held=held)
    assert zooms == [0.5] * 4
    assert reason == "it suits 2 of 2 windows spread over the image"


@pytest.mark.parametrize("held", [(True,) * 4, (False,) * 4])
def test_an_image_whose_windows_show_nothing_keeps_its_zoom(
    monkeypatch: pytest.MonkeyPatch, held: tuple[bool, ...]
) -> None:
    unsure = "unsure; the cells found are about the surest and steadiest at this zoom"
    plan = ZoomPlan(0.25, ((0.25, 0.7),), unsure)
    zooms, reason = _surveyed(monkeypatch, plan, [({}, {})] * 4, held=held)
    assert zooms == [0.25] * 4
    assert reason == unsure


def test_small_cells_found_late_do_not_end_in_endless_cuts_and_both_squares_are_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from anycell.bare import Squares

    large = [(y, x) for y in range(300, 1800, 330) for x in range(300, 3900, 330)]
    small = [(y + 2400.0, x) for y, x in lattice(12, 900)]
    planes = [disks((4096, 4096), 192, large), disks((4096, 4096), 12, small)]
    whole = Region(0, 0, 4096, 4096)
    pixels = np.maximum(*(v.levels[0].read(whole) for v in planes))[0]
    for y, x in np.random.default_rng(3).integers(2500, 4000, (40, 2)):
        pixels[y : y + 5, x : x + 5] += 22  # specks, which only the finer squares hold
    found = plan_zoom(Image.from_array(pixels), Seer(), core=256)
    assert len({zone.zoom for zone in found.zones} - {None}) > 1
    assert found.squares is not None
    assert found.squares.side <= 5 * 24 / max(zone.zoom or 0.0 for zone in found.zones)
    monkeypatch.setattr(Squares, "joined", lambda fine, coarse: pytest.fail("joined"))
    with pytest.raises(pytest.fail.Exception):
        plan_zoom(Image.from_array(pixels), Seer(), core=256)


def test_finer_squares_hold_what_coarser_ones_do() -> None:
    from anycell.bare import Squares

    coarse = Squares(10, np.array([[False, True], [False, False]]))
    fine = Squares(4, np.zeros((5, 5), np.bool_))
    fine.held[4, 0] = True
    joined = fine.joined(coarse)
    assert joined.side == 4
    expected = np.zeros((5, 5), np.bool_)
    expected[0:3, 2:5] = True
    expected[4, 0] = True
    assert np.array_equal(joined.held, expected)
