"""Dynamic kernels: the same in numpy and torch, wherever in a cell, however turned."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from anycell.kernels import DIRECTIONS, best_masks, half_windows, mask_logits, offsets
from anycell.matching import Rules
from anycell.representations import LOGIT
from anycell.representations.masks import FINE, KERNEL, SEED, Masks
from anycell.scores import score_pair
from anycell.turns import TURNS, Turn
from cells import CELLS, enlarge
from truth import disks, same_cells

STRICT = Rules(iou=(0.9,), ignore_border=0)


def parts(seeds: int, half: int) -> tuple[NDArray[np.float32], ...]:
    """Random kernels, codes, extents and shared features of some seeds, and the places."""
    random = np.random.default_rng(4)
    places = offsets(half).astype(np.float32)
    made = (
        random.normal(0, 1, (seeds, 31)),
        random.normal(0, 0.3, (seeds, 2)),
        random.uniform(2, 9, seeds),
        random.normal(0, 0.3, (seeds, len(places), 4)),
    )
    return (*(m.astype(np.float32) for m in made), places)


def test_what_is_learned_is_what_is_drawn() -> None:
    torch = pytest.importorskip("torch")
    drawn = mask_logits(*parts(6, 7), DIRECTIONS)
    learned = mask_logits(*map(torch.from_numpy, parts(6, 7)), torch.from_numpy(DIRECTIONS))
    assert drawn.shape == (6, 225)
    assert np.allclose(drawn, learned.numpy(), atol=1e-4)


def test_a_kernel_follows_its_formula() -> None:
    kernel, code, extent, shared, places = (p.astype(float) for p in parts(3, 2))
    found = mask_logits(kernel, code, extent, shared, places, DIRECTIONS)
    for s in range(3):
        for p in range(len(places)):
            c, g = shared[s, p, :2], shared[s, p, 2:]
            e = places[p] + 8 * c - 8 * code[s]
            logit = 3 + kernel[s, 0] + kernel[s, 1:3] @ g
            for bias, *weights in kernel[s, 3:].reshape(4, 7):
                a, b, w = np.split(np.array(weights), 3)
                n = DIRECTIONS[int(np.flatnonzero(kernel[s, 3:].reshape(4, 7)[:, 0] == bias)[0])]
                unit = bias + (a @ places[p] + (b + 4 * n) @ e) / extent[s] + w @ g
                logit -= max(0.0, unit)
            assert np.isclose(found[s, p], logit)


def test_a_kernel_of_zeros_takes_the_pixels_around_its_seed() -> None:
    places = offsets(8).astype(np.float32)
    kernel, code, extent = np.zeros((1, 31)), np.zeros((1, 2)), np.full(1, 6.0)
    shared = np.zeros((1, len(places), 4))
    logits = mask_logits(kernel, code, extent, shared, places, DIRECTIONS)[0]
    assert np.array_equal(logits > 0, np.abs(places).sum(axis=1) < 6 * 3 / 4)
    shared[0, :, :2] = -places / 8  # all of them point to the seed
    assert (mask_logits(kernel, code, extent, shared, places, DIRECTIONS) == 3).all()


def test_windows_hold_the_cell() -> None:
    extent = np.array([1.0, 2.0, 7.5, 40.0, 333.0])
    half = half_windows(extent)
    assert (half >= extent).all()
    assert (half < 1.75 * extent + 5).all()
    assert offsets(5, 2).tolist()[:2] == [[-4, -4], [-4, -2]]
    assert [0, 0] in offsets(9, 4).tolist()


@pytest.mark.parametrize("picture", ["C-shape", "nested", "touching", "big and small"])
def test_a_seed_anywhere_in_a_cell_draws_the_whole_cell(picture: str) -> None:
    labels = enlarge(CELLS[picture], 6)
    fields = Masks().encode(labels)[: Masks.channels]
    random = np.random.default_rng(0)
    fields[SEED] = -LOGIT
    number = labels[::2, ::2]
    for k in range(1, labels.max() + 1):
        fields[SEED].ravel()[random.choice(np.flatnonzero(number == k))] = LOGIT
    assert same_cells(Masks().decode(fields, labels.shape), labels)


def test_two_seeds_in_a_cell_make_one_cell_and_the_better_mask_wins() -> None:
    labels = enlarge(CELLS["one"], 8)
    fields = Masks().encode(labels)[: Masks.channels]
    fields[SEED] = -LOGIT
    first, second = (np.flatnonzero(labels[::2, ::2])[k] for k in (30, -30))
    fields[SEED].ravel()[[first, second]] = 3.0, 2.0
    assert same_cells(Masks().decode(fields, labels.shape), labels)
    # The first seed's kernel now draws nothing: the second one's mask is left.
    fields[KERNEL.start].ravel()[first] = -99.0
    assert same_cells(Masks().decode(fields, labels.shape), labels)
    fields[KERNEL.start].ravel()[second] = -99.0
    assert not Masks().decode(fields, labels.shape).any()


def slow_best(score: NDArray[np.float64], masks: list[set[int]], overlap: float) -> list[int]:
    """One mask after the other, from the best down."""
    kept: list[int] = []
    for k in sorted(range(len(masks)), key=lambda k: -score[k]):
        shares = [len(masks[k] & masks[j]) / max(1, len(masks[k] | masks[j])) for j in kept]
        if masks[k] and max(shares, default=0.0) <= overlap:
            kept.append(k)
    return sorted(kept)


@pytest.mark.parametrize("seed", range(20))
def test_suppression_in_rounds_is_that_of_one_after_the_other(seed: int) -> None:
    random = np.random.default_rng(seed)
    starts, lengths = random.integers(0, 60, 25), random.integers(0, 14, 25)
    masks = [set(range(a, a + n)) for a, n in zip(starts, lengths, strict=True)]
    score = random.permutation(25) / 25
    pairs = np.array([(k, p) for k, mask in enumerate(masks) for p in sorted(mask)])
    kept = best_masks(score, pairs[:, 0], pairs[:, 1], 0.4)
    assert np.flatnonzero(kept).tolist() == slow_best(score, masks, 0.4)
    assert 3 < kept.sum() < 25


def test_no_seeds_no_masks() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert best_masks(np.zeros(0), none, none, 0.4).shape == (0,)
    assert best_masks(np.ones(2), none, none, 0.4).tolist() == [False, False]


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_kernels_turn_whatever_their_weights(turn: Turn) -> None:
    labels = disks((96, 120), 22, (7, 11), 2, gap=1.0)
    random = np.random.default_rng(1)
    fields = Masks().encode(labels)[: Masks.channels]
    fields[FINE.start :] = 0.4 * random.normal(size=fields[FINE.start :].shape)
    fields[FINE] += np.where(fields[SEED] > -5, 3.0, -3.0)
    decoded = Masks().decode(fields, labels.shape)
    turned = turn.plane(labels).shape
    again = Masks().decode(Masks().turn(fields, turn), (turned[0], turned[1]))
    (score,) = score_pair(again, np.ascontiguousarray(turn.plane(decoded)), STRICT)
    assert decoded.max() > 10
    assert (score.fp, score.fn) == (0, 0)
    assert score.tp == decoded.max()


def test_outputs_of_zeros_descend_to_the_cells() -> None:
    torch = pytest.importorskip("torch")
    labels = enlarge(CELLS["touching"], 6)
    rep = Masks()
    targets = torch.from_numpy(rep.encode(labels))[None]
    weight = torch.ones(1, 1, *labels.shape)
    outputs = torch.zeros_like(targets[:, : rep.channels], requires_grad=True)
    step = torch.optim.Adam([outputs], lr=0.1)
    for _ in range(60):
        step.zero_grad()
        rep.loss(outputs, targets, weight).backward()
        step.step()
    found = outputs.detach().numpy()[0]
    (score,) = score_pair(rep.decode(found, labels.shape), labels, STRICT)
    assert (score.tp, score.fp, score.fn) == (4, 0, 0)
    # Nothing but the masks teaches the kernels, the codes and the free features.
    assert np.abs(found[KERNEL.start :]).max() > 0.3
    assert rep.confidence(found, labels).min() > 0.6
