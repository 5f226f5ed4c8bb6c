"""Survey: windows spread over a large image say which of its parts want which zoom.

The zoom of the whole image comes from where its cells are densest (``scale``).  Elsewhere
its cells may be larger or smaller, so a large image is cut into blocks, and in each of them
a window is looked at, where the most stands out:

    +----------+----------+
    |  +--+    |    +--+  |     a block whose window shows cells as sure as elsewhere, and
    |  +--+    |    +--+  |     of a good size, has the zoom of the whole image
    +----------+----------+     in others all octaves are tried, then half an octave around
    |          |  +--+    |     the best of them
    | (bare)   |  +--+    |     where no zoom is even fair, the one which does best in all
    +----------+----------+     such blocks together, out of those that are sure elsewhere

Blocks then share as few zooms as do well in all of them: the one that most ask for is
taken wherever it is nearly the best.
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
"""Windows for each of a tile's cores that the image would be cut into: an eighth of the cost."""
MOST = 16
"""Blocks along a side, at most."""
FEWEST_UNSURE = 4
"""Blocks along a side when the zoom of the whole image is unsure, if it has room for them."""
COARSE = 0.5
"""Images whose cells are large are cut as often as if they had this zoom, at least."""
AS_ELSEWHERE = 0.85
"""Share of the score of the whole image from which a block does as well."""
ASIDE = 0.75
"""Octaves from the typical diameter, from which another zoom is looked for."""
NEARLY = 0.9
"""Share of the best score of a block at which it may share a zoom with others."""
ENOUGH_SURE = 0.25
"""Share of the blocks with cells that must be sure for the others to follow them."""
FEW = 0.5
"""A score of n cells counts n / (n + FEW) in a block: one cell may be sure by chance."""
TRIED = (0.25, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Survey:
    """What the blocks of an image ask for.

    Attributes
    ----------
    zooms : of each block that is not bare; the blocks are all of one depth of a quadtree.
    zoom : that most blocks have.
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
    lost = plan.unsure and len(sure) < ENOUGH_SURE * (len(sure) + len(seen))
    if lost:
        common = steadiest(seen) if seen else plan.zoom
        known = {common}
    else:
        common = _most(zooms) if plan.unsure else plan.zoom
        known = {common, *zooms.values()}
    zooms |= {block: _followed(trial, common, known) for block, trial in unsure.items()}
    zoom = _most(zooms) if zooms else plan.zoom
    if lost:
        return Survey(zooms, zoom, STEADY)
    if zoom == plan.zoom and not plan.unsure:
        return Survey(zooms, zoom, plan.reason)
    share = sum(value == zoom for value in zooms.values())
    reason = f"the cells in {share} of {len(zooms)} windows are about the surest at this zoom"
    return Survey(zooms, zoom, reason)


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
            sure[block] = {plan.zoom: _discounted(trial, plan.zoom)}
        elif max((scores := _scan(trial, plan.zoom)).values()) >= FAIR:
            sure[block] = scores
        else:
            unsure[block] = trial
    return sure, unsure


def _followed(trial: Trial, common: float, known: set[float]) -> float:
    """The zoom of a block that is not sure: the common one, or another that is known."""
    found = {zoom: _discounted(trial, zoom) for zoom in sorted(known)}
    near = found[common] >= NEARLY * max(found.values())
    return common if near else best_zoom(found)


def _fits(trial: Trial, zoom: float, wanted: float) -> bool:
    """Whether a block does as well as elsewhere, and its cells have about the size known."""
    if _discounted(trial, zoom) < wanted:
        return False
    typical = float(trial.looks.predictor.diameter or 1.0)
    return bool(abs(np.log2(trial.sizes[zoom] / typical)) < ASIDE)


def _discounted(trial: Trial, zoom: float) -> float:
    """A score that counts less when it is that of few cells."""
    score = trial.score(zoom)
    count = sum(len(look.cells()[0]) for _, look in trial.seen[zoom])
    return score * count / (count + FEW)


def _scan(trial: Trial, zoom: float) -> dict[float, float]:
    """The scores of a block at all octaves, and around the best of them."""
    scores = {value: _discounted(trial, value) for value in {*TRIED, zoom}}
    best = max(scores, key=lambda value: (scores[value], -value))
    for step in (-0.5, 0.5):
        near = half_octave(best * 2.0**step)
        scores[near] = _discounted(trial, near)
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
