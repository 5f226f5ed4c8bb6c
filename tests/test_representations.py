"""Contract of every representation in the table: shapes, round trip, turns, edges."""

from __future__ import annotations

import numpy as np
import pytest

from anycell.errors import SettingError
from anycell.labels import Labels, relabel
from anycell.matching import Rules
from anycell.representations import REPRESENTATIONS, Representation, representation
from anycell.road import around_cells
from anycell.scores import score_pair
from anycell.turns import TURNS, Turn
from cells import CELLS, enlarge

TRAINED = sorted(set(REPRESENTATIONS) - {"classical"})
STRICT = Rules(iou=(0.9,), ignore_border=0, empty=1.0)
# A spiral one pixel wide has no room for a depth; its arms touch once enlarged.
PICTURES = sorted(set(CELLS) - {"empty"})
# What a representation cannot hold, and what comes back of it: true, extra, missed cells.
CANNOT = {
    # 200 steps, as published, end halfway along the arm; a corner lets no flow through.
    ("flows", "spiral"): (0, 1, 1),
    ("flows", "thin"): (2, 1, 1),
    # A cell that hangs together by corners only falls apart into its pieces.
    ("omni", "thin"): (2, 4, 1),
    ("threeclass", "thin"): (2, 4, 1),
    # A star sees its outline from one point, in 32 directions: no rings, no bars of 1 : 10.
    ("stars", "C-shape"): (0, 4, 1),
    ("stars", "cut by the edge"): (3, 2, 2),
    ("stars", "nested"): (1, 4, 1),
    ("stars", "spiral"): (0, 10, 1),
    ("stars", "thin"): (0, 8, 3),
}
# Where a second round trip moves pixels again, and how many of the cells it leaves as good
# as they were.
MOVES = {
    # A corner that pokes into another cell is nearer to that cell's interior.
    ("threeclass", "nested"): 2,
    ("watershed", "nested"): 2,
    # A polygon's pixels have a polygon that is not quite the same.
    ("stars", "C-shape"): 3,
    ("stars", "cut by the edge"): 5,
    ("stars", "full"): 4,
    ("stars", "nested"): 5,
    ("stars", "one"): 1,
    ("stars", "spiral"): 5,
    ("stars", "thin"): 3,
    ("stars", "two"): 2,
}


@pytest.fixture(params=TRAINED)
def rep(request: pytest.FixtureRequest) -> Representation:
    return representation(request.param)


def round_trip(rep: Representation, labels: Labels) -> Labels:
    return rep.decode(rep.encode(labels)[: rep.channels], labels.shape)


@pytest.mark.parametrize("picture", PICTURES)
def test_a_round_trip_gives_the_cells_back(rep: Representation, picture: str) -> None:
    labels = enlarge(CELLS[picture], 8)
    (score,) = score_pair(round_trip(rep, labels), labels, STRICT)
    expected = CANNOT.get((rep.name, picture), (labels.max(), 0, 0))
    assert (score.tp, score.fp, score.fn) == expected


@pytest.mark.parametrize("picture", PICTURES)
def test_a_second_round_trip_changes_nothing(rep: Representation, picture: str) -> None:
    once = round_trip(rep, enlarge(CELLS[picture], 7))
    twice = round_trip(rep, once)
    assert np.array_equal(twice, once) == ((rep.name, picture) not in MOVES)
    (score,) = score_pair(twice, once, STRICT)
    assert score.tp == MOVES.get((rep.name, picture), once.max())
    assert score.fp == 0 or (rep.name, picture) in MOVES


def test_no_cells_stay_no_cells(rep: Representation) -> None:
    assert round_trip(rep, np.zeros((33, 18), np.int32)).max() == 0
    assert (
        rep.confidence(rep.encode(np.zeros((8, 8), np.int32)), np.zeros((8, 8), np.int32)).size == 0
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 2), (31, 64)])
def test_fields_have_the_stated_shape_at_any_size(
    rep: Representation, shape: tuple[int, int]
) -> None:
    labels = np.ones(shape, np.int32)
    fields = rep.encode(labels)
    assert fields.dtype == np.float32
    assert len(fields) >= rep.channels
    assert fields.shape[1:] == tuple(-(-side // rep.stride) for side in shape)
    assert np.isfinite(fields).all()
    assert rep.decode(fields[: rep.channels], shape).shape == shape


@pytest.mark.parametrize(
    "labels",
    [CELLS["single pixel"], np.ones((1, 1), np.int32), np.zeros((1, 1), np.int32)],
    ids=["a cell of one pixel", "an image of one pixel", "an empty image of one pixel"],
)
def test_single_pixels_are_handled(rep: Representation, labels: Labels) -> None:
    fields = rep.encode(labels)
    outputs = fields[: rep.channels]
    assert np.isfinite(fields).all()
    # Too small to be kept, or kept as it is: nothing else may come out.
    decoded = rep.decode(outputs, labels.shape)
    assert not decoded.any() or np.array_equal(decoded, labels)
    sure = rep.confidence(outputs, labels)
    assert sure.shape == (labels.max(),)
    assert ((sure >= 0) & (sure <= 1)).all()
    for turn in TURNS:
        there_and_back = rep.turn(rep.turn(fields, turn), turn.inverse)
        assert np.allclose(there_and_back, fields, atol=1e-5)
    torch = pytest.importorskip("torch")
    targets = torch.from_numpy(fields)[None]
    guess = torch.zeros_like(targets[:, : rep.channels], requires_grad=True)
    loss = rep.loss(guess, targets, torch.ones(1, 1, *labels.shape))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(guess.grad).all()


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_turning_fields_is_encoding_turned_labels(rep: Representation, turn: Turn) -> None:
    labels = enlarge(CELLS["big and small"], 6)
    turned = np.ascontiguousarray(turn.plane(labels))
    decoded = rep.decode(rep.turn(rep.encode(labels)[: rep.channels], turn), turned.shape)
    (score,) = score_pair(decoded, turned, STRICT)
    assert (score.fp, score.fn) == (0, 0)
    back = rep.turn(rep.turn(rep.encode(labels), turn), turn.inverse)
    assert np.allclose(back, rep.encode(labels), atol=1e-5)


def test_confidence_is_high_for_true_cells_and_low_for_merged_ones(rep: Representation) -> None:
    labels = enlarge(CELLS["touching"], 8)
    outputs = rep.encode(labels)[: rep.channels]
    true = rep.confidence(outputs, labels)
    assert true.shape == (4,)
    assert true.min() > 0.9
    merged = relabel(np.where(labels > 0, (labels + 1) // 2, 0))
    assert rep.confidence(outputs, merged).max() < true.min() - 0.2


def test_more_cells_than_16_bits_hold(rep: Representation) -> None:
    rows, columns = 260, 260
    labels = np.zeros((rows * 6, columns * 6), np.int32)
    numbers = np.arange(1, rows * columns + 1, dtype=np.int32).reshape(rows, columns)
    for y in range(4):
        for x in range(4):
            labels[y::6, x::6] = numbers
    (score,) = score_pair(round_trip(rep, labels), labels, STRICT)
    assert (score.tp, score.fp, score.fn) == (67_600, 0, 0)


def test_decoding_noise_gives_valid_labels(rep: Representation) -> None:
    random = np.random.default_rng(3)
    shape = (64 // rep.stride, 96 // rep.stride)
    outputs = random.normal(0, 2, (rep.channels, *shape)).astype(np.float32)
    labels = rep.decode(outputs, (64, 96))
    assert labels.dtype == np.int32
    assert np.array_equal(np.unique(labels[labels > 0]), np.arange(1, labels.max() + 1))
    again = rep.decode(outputs.copy(), (64, 96))
    assert np.array_equal(labels, again)
    sure = rep.confidence(outputs, labels)
    assert len(sure) == labels.max()
    assert ((sure >= 0) & (sure <= 1)).all()


def test_the_loss_is_least_at_the_truth(rep: Representation) -> None:
    torch = pytest.importorskip("torch")
    fields = rep.encode(enlarge(CELLS["touching"], 8))
    height, width = (side * rep.stride for side in fields.shape[1:])
    targets = torch.from_numpy(fields)[None]
    weight = torch.ones(1, 1, height, width)
    ideal = targets[:, : rep.channels]
    best = rep.loss(ideal, targets, weight)
    random = torch.Generator().manual_seed(0)
    for strength in (0.3, 1.0):
        noise = strength * torch.randn(ideal.shape, generator=random)
        assert rep.loss(ideal + 2 * noise, targets, weight) > best


def test_ignored_pixels_do_not_count_in_the_loss(rep: Representation) -> None:
    torch = pytest.importorskip("torch")
    fields = rep.encode(enlarge(CELLS["two"], 8))
    height, width = (side * rep.stride for side in fields.shape[1:])
    targets = torch.from_numpy(fields)[None]
    weight = torch.ones(1, 1, height, width)
    weight[..., : height // 2, :] = 0
    plain = targets[:, : rep.channels].clone()
    spoiled = plain.clone()
    spoiled[..., : fields.shape[1] // 2 - 20 // rep.stride, :] *= -1
    assert torch.isclose(rep.loss(spoiled, targets, weight), rep.loss(plain, targets, weight))
    assert not torch.isclose(
        rep.loss(spoiled, targets, torch.ones_like(weight)), rep.loss(plain, targets, weight)
    )


def test_an_unknown_name_is_an_error_with_the_nearest_one() -> None:
    with pytest.raises(SettingError, match="votes"):
        representation("vots")


def test_confidence_needs_no_more_than_the_part_with_cells(rep: Representation) -> None:
    labels = np.zeros((260, 292), dtype=np.int32)
    labels[102:123, 140:170], labels[120:151, 111:130] = 1, 2
    outputs = rep.encode(labels)[: rep.channels]
    outputs = outputs + np.random.default_rng(2).normal(0, 0.5, outputs.shape).astype(np.float32)
    fields, part = around_cells(outputs, labels, rep.stride)
    assert part.size < labels.size / 2
    assert (part > 0).sum() == (labels > 0).sum()
    assert fields.shape[1:] == tuple(-(-side // rep.stride) for side in part.shape)
    found = rep.confidence(fields, part)
    np.testing.assert_allclose(found, rep.confidence(outputs, labels), atol=1e-5)


def test_the_part_with_cells_of_odd_labels_ends_with_them(rep: Representation) -> None:
    labels = np.zeros((51, 37), dtype=np.int32)
    labels[44:, 30:] = 1
    fields, part = around_cells(rep.encode(labels)[: rep.channels], labels, rep.stride)
    assert (part[-1, -1], np.count_nonzero(part)) == (1, 49)
    assert fields.shape[1:] == tuple(-(-side // rep.stride) for side in part.shape)
    empty, none = around_cells(fields, np.zeros_like(part), rep.stride)
    assert (empty.shape, none.shape) == (fields.shape, part.shape)
