"""Votes: what makes them fast changes nothing, shown by slow references in plain loops."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from math import hypot

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter

from anycell.geodesic import ancestors, find_cells
from anycell.labels import Labels
from anycell.pieces import tidy
from anycell.representations import Fields
from anycell.representations.votes import NEAR, REACH, Votes
from cells import CELLS, enlarge
from truth import disks

Place = tuple[int, int]
AROUND = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x]


def slow_sinks(outputs: Fields, inside: set[Place]) -> dict[Place, Place]:
    """Follow each pixel's votes by themselves."""
    height, width = outputs.shape[1:]
    after: dict[Place, Place] = {}
    for y, x in inside:
        after[y, x] = y, x
        for part in (1.0, 0.5, 0.25):
            to_y = int(np.clip(np.rint(y + np.float64(part * outputs[4, y, x] * 8)), 0, height - 1))
            to_x = int(np.clip(np.rint(x + np.float64(part * outputs[5, y, x] * 8)), 0, width - 1))
            if (to_y, to_x) in inside:
                after[y, x] = to_y, to_x
                break
    for _ in range(2):
        after = {p: after[q] for p, q in after.items()}
    for _ in range(5):
        far = {p for p, q in after.items() if hypot(after[q][0] - q[0], after[q][1] - q[1]) > 3}
        after = {p: after[q] if p in far else q for p, q in after.items()}
    return after


def slow_decode(outputs: Fields, shape: Place) -> Labels:
    """Gather the sinks one by one, and paint pixel by pixel."""
    fine = outputs[:4] > 0
    inside = {(int(y), int(x)) for y, x in np.argwhere(fine.any(axis=0))}
    sink = slow_sinks(outputs, inside)
    count = np.zeros(outputs.shape[1:], dtype=np.int64)
    for y, x in sink.values():
        count[y, x] += 1
    density = uniform_filter(count.astype(np.float32), 3, mode="constant")
    rank = {p: (float(np.round(density[p], 3)), int(count[p]), p) for p in set(sink.values())}
    up: dict[Place, Place] = {}
    for y, x in rank:
        diameter = 12.0 * np.exp2(np.clip(outputs[7, y, x], -4.0, 6.0))
        least = min(max(NEAR[0] * diameter, NEAR[1]), NEAR[2])
        reach = int(np.rint(min(max(REACH[0] * diameter, least), REACH[1])))
        side = range(-reach, reach + 1)
        near = [(y + b, x + a) for b in side for a in side if a * a + b * b <= reach * reach]
        up[y, x] = max((p for p in near if p in rank), key=lambda p: rank[p])
    while any(up[q] != q for q in up.values()):
        up = {p: up[q] for p, q in up.items()}
    numbers = {p: k for k, p in enumerate(sorted(set(up.values()), key=lambda p: rank[p]), 1)}
    labels = np.zeros(shape, dtype=np.int32)
    for y, x in np.ndindex(shape):
        if fine[2 * (y % 2) + x % 2, y // 2, x // 2]:
            labels[y, x] = numbers[up[sink[y // 2, x // 2]]]
    return tidy(labels, 9)


def realistic(seed: int) -> tuple[Fields, Place]:
    """Outputs of a network that is unsure, about cells of some shape."""
    rng = np.random.default_rng(seed)
    names = ["touching", "C-shape", "thin", "cut by the edge", "spiral", "big and small"]
    labels = enlarge(CELLS[names[seed % len(names)]], 5 + seed % 4)
    outputs = Votes().encode(labels)[:9]
    noise = gaussian_filter(rng.standard_normal(outputs.shape), (0, 1, 1)).astype(np.float32)
    return gaussian_filter(outputs, (0, 0.7, 0.7)) + (seed % 5) * noise, labels.shape


def noise(seed: int) -> tuple[Fields, Place]:
    """Outputs that mean nothing, smooth or not."""
    random = np.random.default_rng(seed).normal(0, 1.5, (9, 25, 31))
    if seed % 2:
        random = 5 * gaussian_filter(random, (0, 2, 2))
    return random.astype(np.float32), (50 - seed % 2, 62)


@pytest.mark.parametrize("made", [realistic, noise])
@pytest.mark.parametrize("seed", range(12))
def test_decoding_is_the_slow_reference(
    made: Callable[[int], tuple[Fields, Place]], seed: int
) -> None:
    outputs, shape = made(seed)
    found = Votes().decode(outputs, shape)
    expected = slow_decode(outputs, shape)
    assert found.any()
    assert np.array_equal(found, expected)


def slow_distances(labels: Labels, centre: Place) -> dict[Place, int]:
    """Chamfer distances inside the cell of ``centre``, by a heap (Dijkstra 1959)."""
    own = labels[centre]
    best = {centre: 0}
    heap = [(0, centre)]
    while heap:
        way, (y, x) = heapq.heappop(heap)
        if way > best[y, x]:
            continue
        for dy, dx in AROUND:
            p = y + dy, x + dx
            within = 0 <= p[0] < labels.shape[0] and 0 <= p[1] < labels.shape[1]
            onward = way + (7 if dy and dx else 5)
            if within and labels[p] == own and onward < best.get(p, onward + 1):
                best[p] = onward
                heapq.heappush(heap, (onward, p))
    return best


def slow_ancestor(distance: dict[Place, int], centre: Place, place: Place, reach: float) -> Place:
    """Go up the tree step by step; among equals to the pixel nearest the straight line."""
    floor = distance.get(place, 0) - reach
    while place != centre and place in distance:
        y, x = place
        steps = [(dy, dx) for dy, dx in AROUND if distance.get((y + dy, x + dx), 1 << 30)
                 == distance[place] - (7 if dy and dx else 5)]  # fmt: skip
        dy, dx = min(steps, key=lambda s: abs((centre[0] - y) * s[1] - (centre[1] - x) * s[0]))
        if distance[y + dy, x + dx] < floor:
            break
        place = y + dy, x + dx
    return place


def sees(labels: Labels, place: Place, arrow: tuple[float, float]) -> int:
    """Of eight samples on the way, how many lie outside the cell."""
    at = [[round(c + a * k / 9) for c, a in zip(place, arrow, strict=True)] for k in range(1, 9)]
    return sum(labels[y, x] != labels[place] for y, x in at)


PICTURES = {
    **{name: enlarge(drawn, 6) for name, drawn in CELLS.items() if name != "empty"},
    "as drawn": CELLS["spiral"],
    "disks": disks((90, 80), 40, (3, 9), 5),
    "two pieces": enlarge(np.array([[1, 0, 2, 0], [0, 0, 2, 2], [1, 1, 1, 2]], np.int32), 5),
}


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("hop", [4.0, 16.0])
def test_arrows_are_those_of_the_slow_reference(picture: str, hop: float) -> None:
    labels = PICTURES[picture]
    cells = find_cells(labels)
    (alone,) = ancestors(labels, cells, hop, hops=1)
    one, two = ancestors(labels, cells, hop)
    assert np.array_equal(alone, one)
    for number in range(1, labels.max() + 1):
        cy, cx = divmod(int(cells.centre[number]), labels.shape[1])
        assert labels[cy, cx] == number
        own = np.flatnonzero(cells.owner == number)
        places = [divmod(int(p), labels.shape[1]) for p in cells.pixels[own]]
        failures = sum(sees(labels, p, (cy - p[0], cx - p[1])) for p in places)
        if failures > 0.005 * 8 * len(places):
            way = slow_distances(labels, (cy, cx))
            first = [slow_ancestor(way, (cy, cx), p, 5 * hop) for p in places]
            second = [slow_ancestor(way, (cy, cx), p, 5 * hop) for p in first]
            assert np.array_equal(one[:, own].T, np.subtract(first, places))
            assert np.array_equal(two[:, own].T, np.subtract(second, places))
        else:
            arrow = np.subtract((cy, cx), places)
            length = np.maximum(np.hypot(*arrow.T), 1e-6)[:, None]
            assert np.allclose(one[:, own].T, arrow * np.minimum(1, hop / length), atol=1e-5)
            assert np.allclose(two[:, own].T, arrow * np.minimum(1, 2 * hop / length), atol=1e-5)
