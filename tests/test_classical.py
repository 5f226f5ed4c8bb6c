"""The classical method: a threshold that looks at the image once, and a watershed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from anycell.errors import ModelError, SettingError
from anycell.image import Image
from anycell.matching import Rules
from anycell.predictor import Classic, Predictor
from anycell.representations import LOGIT, representation
from anycell.representations.classical import Classical
from anycell.scores import score_pair
from anycell.segment import segment
from anycell.turns import TURNS
from truth import disks, same_cells, truth

RULES = Rules(iou=(0.5,), ignore_border=0)


def picture(labels: NDArray[np.int32], cells: float, background: float) -> NDArray[np.float32]:
    """Cells of different brightness on an even background, with noise."""
    rng = np.random.default_rng(0)
    level = rng.uniform(0.7, 1.3, labels.max() + 1) * (cells - background) + background
    level[0] = background
    noise = rng.normal(0, 0.05 * abs(cells - background), labels.shape)
    return (level[labels] + noise).astype(np.float32)


def f1(found: NDArray[np.int32], labels: NDArray[np.int32]) -> float:
    return score_pair(found, labels, RULES)[0].values.f1


@pytest.mark.parametrize(("cells", "background"), [(200, 30), (60, 220)])
def test_bright_and_dark_cells_are_found_without_asking(cells: float, background: float) -> None:
    labels = disks((300, 320), 60, (8, 14), 3, gap=3)
    found = segment(picture(labels, cells, background), Classic())
    assert f1(found.labels, labels) > 0.95
    assert found.model == "classical"
    assert (found.confidence > 0.7).all()


def test_colors_and_two_channels() -> None:
    labels = disks((200, 200), 30, (8, 14), 3, gap=3)
    plane = picture(labels, 200, 30)
    for stack in (np.stack([plane] * 3), np.stack([plane, 0 * plane])):
        assert f1(segment(stack, Classic()).labels, labels) > 0.95


def test_tiles_make_no_difference_worth_naming() -> None:
    labels = disks((500, 500), 200, (7, 12), 4)
    image = Image.from_array(picture(labels, 200, 30))
    whole = segment(image, Classic(), core=1000)
    tiled = segment(image, Classic(), core=100)
    assert tiled.tiles > 9
    assert f1(tiled.labels, whole.labels) > 0.99


def test_touching_cells_are_split() -> None:
    y, x = np.indices((60, 80))
    pair = (np.hypot(y - 30, x - 28) < 14) | (np.hypot(y - 30, x - 52) < 14)
    found = Classical().decode(np.where(pair, LOGIT, -LOGIT)[None].astype(np.float32), (60, 80))
    assert found.max() == 2
    assert found[30, 28] != found[30, 52]
    assert np.array_equal(found > 0, pair)


@pytest.mark.parametrize("shape", [(1, 1), (14, 14), (60, 50)])
@pytest.mark.parametrize("value", [0.0, 5.0, float("nan")])
def test_an_even_image_holds_no_cells(shape: tuple[int, int], value: float) -> None:
    found = segment(np.full(shape, value, dtype=np.float32), Classic())
    assert not found.labels.any()
    assert len(found.confidence) == 0


def test_holes_are_filled_but_not_at_the_edge() -> None:
    ring = np.zeros((40, 40), dtype=bool)
    ring[10:24, 10:24] = True
    ring[15:19, 15:19] = False
    ring[:6, 30:] = True
    ring[:3, 36:] = False
    found = Classical().decode(np.where(ring, 1.0, -1.0)[None].astype(np.float32), (40, 40))
    assert found.max() == 2
    assert (found[15:19, 15:19] == found[12, 12]).all()
    assert not found[:3, 36:].any()


def test_specks_are_dropped() -> None:
    plane = np.full((1, 40, 40), -1.0, dtype=np.float32)
    plane[0, 5:9, 5:9] = plane[0, 20:25, 20:25] = 1.0
    found = Classical(smallest=20).decode(plane, (40, 40))
    assert found.max() == 1
    assert found[22, 22] == 1


def test_cells_apart_survive_the_round_trip() -> None:
    labels = disks((150, 140), 25, (6, 7), 6, gap=3)
    classical = Classical()
    fields = classical.encode(labels)
    assert fields.shape == (1, 150, 140)
    assert fields.dtype == np.float32
    assert same_cells(classical.decode(fields, labels.shape), labels)
    image, predictor = truth(labels, representation=classical)
    assert same_cells(segment(image, predictor, core=50).labels, labels)


def test_fields_turn_with_the_image() -> None:
    labels = disks((30, 40), 5, (4, 6), 1)
    classical = Classical()
    for turn in TURNS:
        turned = classical.turn(classical.encode(labels), turn)
        assert np.array_equal(turned, classical.encode(turn.plane(labels)))


def test_confidence_is_the_mean_probability() -> None:
    labels = np.array([[0, 1, 1, 2]], dtype=np.int32)
    outputs = np.array([[[-9.0, 0.0, 90.0, -90.0]]], dtype=np.float32)
    assert Classical().confidence(outputs, labels) == pytest.approx([0.75, 0.0], abs=1e-6)
    assert Classical().confidence(outputs, 0 * labels).shape == (0,)


def test_it_is_a_representation_that_is_not_trained() -> None:
    assert representation("classical") == Classical()
    with pytest.raises(SettingError, match="not trained"):
        Classical().loss(None, None, None)  # type: ignore[arg-type]


def test_looking_gives_a_fitted_copy() -> None:
    method: Predictor = Classic()
    overview = np.zeros((3, 40, 40), dtype=np.float32)
    overview[:, 10:20, 10:20] = 1.0
    fitted = method.look(overview)
    assert method == Classic()
    assert fitted != method
    assert fitted.hash == method.hash != Classic(sigma=2.0).hash
    assert len(method.hash) == 16
    outputs = fitted.outputs(overview[None])
    assert outputs.shape == (1, 1, 40, 40)
    foreground = outputs[0, 0] > 0
    assert foreground[11:19, 11:19].all()
    foreground[9:21, 9:21] = False
    assert not foreground.any()


def test_it_must_look_before_it_sees_tiles() -> None:
    with pytest.raises(ModelError, match="not looked"):
        Classic().outputs(np.zeros((1, 3, 8, 8), dtype=np.float32))
