"""Survey: windows spread over a large image say which of its parts want which zoom.

The zoom of the whole image comes from where its cells are densest (``scale``).  Elsewhere
its cells may be larger or smaller, so a large image is cut into blocks, and in each of them
a window is looked at, where the most stands out:

    +----------+----------+     a block whose window shows cells as sure as elsewhere, and
    |  +--+    |    +--+  |     of a good size, has the zoom of the whole image
    |  +--+    |    +--+  |
    +----------+----------+     in others all octaves are tried, then half an octave around
    |          |  +--+    |     the best of them
    | (bare)   |  +--+    |
    +----------+----------+     a block in which no zoom is even fair follows the others

Blocks then share as few zooms as do well in all of them: the one that most ask for is
taken wherever it is nearly the best.  Those that follow take the best of these zooms.  Where
hardly any block is sure, all have the zoom whose cells are many and found again at the next ones
(``scale.steadiest``).  Bare blocks have the common zoom.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anycell.bare import Squares
from anycell.image import Region
from anycell.looks import Looks
from anycell.scale import (
    CLEAR,
    FAIR,
    STEADY,
    WINDOW,
    Trial,
    ZoomPlan,
    best_zoom,
    half_octave,
    steadiest,
)

__all__ = ["Survey", "depth_for", "quarters", "survey"]

WINDOWS_PER_CORE = 1.25
"""Windows for each of a tile's cores that the image would be cut into: an eighth of the cost
where the zoom of the whole image is at least 1/2 and does everywhere; half of it at 1/4."""
MOST = 16
"""Blocks along a side, at most."""
FEWEST_UNSURE = 4
"""Blocks along a side when the zoom of the whole image is unsure, if it has room for them."""
COARSE = 0.5
"""Images whose cells are large are cut as often as if they had this zoom, at least."""
AS_ELSEWHERE = 0.85
"""Share of the score of the whole image from which a block does as well."""
ASIDE = 0.75
"""Octaves from the typical diameter, from which another zoom is looked for; and between the
zooms of blocks, from which they do not share one."""
NEARLY = 0.9
"""Share of the best score of a block at which it may share a zoom with others."""
ENOUGH_SURE = 0.25
"""Share of the blocks with cells that must be sure for the others to follow them."""
OCTAVES = (-2, -1, 0, 1)
"""Zooms that a block is looked at first, and then half an octave around the best of them."""
FEW = 0.5
"""A score of n cells counts n / (n + FEW) in a block."""
MANY = 10.0
"""The same where hardly any block is sure: a large image has many cells, which may all be small."""


@dataclass(frozen=True)
class Survey:
    """What the blocks of an image ask for.

    Attributes
    ----------
    zooms : of each block; the blocks are all of one depth of a quadtree.
    zoom : that most blocks have, of those that are not bare.
    reason : why, in words.
    """

    zooms: dict[Region, float]
    zoom: float
    reason: str


def depth_for(plan: ZoomPlan, shape: tuple[int, int], core: int) -> int:
    """How many times an image is halved into blocks.

    Parameters
    ----------
    plan : of the whole image.
    shape : rows and columns of the image.
    core : side of a tile's core, network pixels.
    """
    zoom = COARSE if plan.unsure else max(plan.zoom, COARSE)
    wanted = (WINDOWS_PER_CORE * shape[0] * shape[1] * zoom**2) ** 0.5 / max(1, core)
    if plan.unsure and min(shape) * COARSE >= FEWEST_UNSURE * WINDOW:
        wanted = max(wanted, FEWEST_UNSURE)
    room = min(shape) * max(zoom, 1.0) / WINDOW
    return int(np.log2(np.clip(min(wanted, room), 1, MOST)))


def survey(looks: Looks, plan: ZoomPlan, squares: Squares, depth: int) -> Survey:
    """Find the zoom of each block of an image.

    Parameters
    ----------
    plan : of the whole image.
    squares : where something stands out.
    depth : the image is cut into 2^depth x 2^depth blocks; one block has the plan's zoom.
    """
    _, height, width = looks.image.shape
    blocks = [Region(0, 0, height, width)]
    if depth == 0:
        return Survey({blocks[0]: plan.zoom}, plan.zoom, plan.reason)
    for _ in range(depth):
        blocks = [quarter for block in blocks for quarter in quarters(block)]
    side = round(WINDOW / max(plan.zoom, COARSE))
    trials = {
        block: Trial(looks, (_fullest(squares, block, side),), block)
        for block in blocks
        if squares.any(block)
    }
    sure, unsure = _sorted(trials, plan)
    zooms = _gathered(sure)
    seen = [trial for trial in unsure.values() if max(trial.scores.values()) > 0.0]
    lost = plan.unsure and (not sure or len(sure) < ENOUGH_SURE * (len(sure) + len(seen)))
    if lost:
        common = steadiest(seen, rare=0.0, few=MANY) if seen else plan.zoom
        known = {common}
    else:
        common = _most(zooms) if plan.unsure else plan.zoom
        known = {common, *zooms.values()}
    zooms |= {block: _following(trial, common, known) for block, trial in unsure.items()}
    zoom = _most(zooms) if zooms else plan.zoom
    share = sum(value == zoom for value in zooms.values())
    reason = f"it suits {share} of {len(zooms)} windows spread over the image"
    if lost:
        reason = STEADY
    elif zoom == plan.zoom and not plan.unsure:
        reason = plan.reason
    return Survey({block: zooms.get(block, zoom) for block in blocks}, zoom, reason)


def quarters(region: Region) -> tuple[Region, ...]:
    """Cut a region in four, in row-major order."""
    y, x = (region.y0 + region.y1) // 2, (region.x0 + region.x1) // 2
    return (
        Region(region.y0, region.x0, y, x),
        Region(region.y0, x, y, region.x1),
        Region(y, region.x0, region.y1, x),
        Region(y, x, region.y1, region.x1),
    )


def _sorted(
    trials: dict[Region, Trial], plan: ZoomPlan
) -> tuple[dict[Region, dict[float, float]], dict[Region, Trial]]:
    """Part blocks that are sure, with the scores of zooms, from those that are not."""
    whole = dict(plan.tried).get(plan.zoom, CLEAR)
    sure: dict[Region, dict[float, float]] = {}
    unsure: dict[Region, Trial] = {}
    for block, trial in trials.items():
        if not plan.unsure and _fits(trial, plan.zoom, AS_ELSEWHERE * min(CLEAR, whole)):
            sure[block] = {plan.zoom: trial.discounted(plan.zoom, FEW)}
        elif max((scores := _scan(trial, plan.zoom)).values()) >= FAIR:
            sure[block] = scores
        else:
            unsure[block] = trial
    return sure, unsure


def _following(trial: Trial, common: float, known: set[float]) -> float:
    """The zoom of a block that is not sure: the common one, or another that is known."""
    found = {zoom: trial.discounted(zoom, FEW) for zoom in sorted(known)}
    near = found[common] >= NEARLY * max(found.values())
    return common if near else best_zoom(found)


def _fits(trial: Trial, zoom: float, wanted: float) -> bool:
    """Whether a block does as well as elsewhere, and its cells have about the size known."""
    if trial.discounted(zoom, FEW) < wanted:
        return False
    typical = float(trial.looks.predictor.diameter or 1.0)
    return bool(abs(np.log2(trial.sizes[zoom] / typical)) < ASIDE)


def _scan(trial: Trial, zoom: float) -> dict[float, float]:
    """The scores of a block at all octaves, and around the best of them."""
    scores = {
        value: trial.discounted(value, FEW)
        for value in {*(half_octave(2.0**octave) for octave in OCTAVES), zoom}
    }
    best = max(scores, key=lambda value: (scores[value], -value))
    for step in (-0.5, 0.5):
        near = half_octave(best * 2.0**step)
        scores[near] = trial.discounted(near, FEW)
    return scores


def _gathered(scores: dict[Region, dict[float, float]]) -> dict[Region, float]:
    """Give blocks that are sure as few zooms as are nearly the best for all of them."""
    own = {block: best_zoom(found) for block, found in scores.items()}
    zooms: dict[Region, float] = {}
    while left := {block: zoom for block, zoom in own.items() if block not in zooms}:
        common = _most(left)
        for block, zoom in left.items():
            found = scores[block]
            nearly = found.get(common, 0.0) >= NEARLY * max(found.values())
            if zoom == common or (nearly and abs(np.log2(common / zoom)) < ASIDE):
                zooms[block] = common
    return zooms


def _most(zooms: dict[Region, float]) -> float:
    """The zoom that most blocks have; the smallest of several."""
    counts = Counter(zooms.values())
    return min(counts, key=lambda zoom: (-counts[zoom], zoom))


def _fullest(squares: Squares, block: Region, side: int) -> tuple[int, int]:
    """Middle of the window of a block in which the most squares hold something.

    Of several, the one nearest to the middle of the block.
    """
    from scipy.ndimage import uniform_filter

    step = squares.side
    y0, x0 = block.y0 // step, block.x0 // step
    held = squares.held[y0 : -(-block.y1 // step), x0 : -(-block.x1 // step)]
    size = max(1, min(round(side / step), *held.shape))
    share: NDArray[np.float32] = uniform_filter(held.astype(np.float32), size, mode="constant")
    middle = np.array([(block.y0 + block.y1) / 2, (block.x0 + block.x1) / 2])
    corner = np.array([y0 + 0.5, x0 + 0.5])
    places = (np.argwhere(share >= share.max() - 1e-6) + corner) * step
    y, x = places[np.hypot(*(places - middle).T).argmin()]
    return int(y), int(x)
