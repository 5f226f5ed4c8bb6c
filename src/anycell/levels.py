"""Levels: from which foreground probability on a pixel of an image belongs to a cell.

A network that knows the cells of an image says so, and 0.5 is right.  An image unlike all
that it has learned from, hazier for instance, gets middling probabilities nearly
everywhere; at 0.5 its cells run into one another, or into what lies between them.  Where
the cells found are not sure (``scale``), windows are decoded at several levels:

    windows of the image  ->  outputs  ->  decoded at 0.5, 0.65, 0.8
                                           the level that gives most sure cells is kept

as styles are, one for each zoom of the image and the same for all of its tiles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from anycell.grid import Tile
from anycell.image import Region
from anycell.looks import Look, Looks
from anycell.representations import Fields, Levelled
from anycell.scale import FAIR, WHOLE, score_of
from anycell.styles import windows_of

__all__ = ["levels_of"]

ENOUGH = 400
"""Whole cells from which no further window is looked at."""
SURE = 0.4
"""What a cell's confidence counts beyond: about half of the cells of this one are right."""
DEARER = 0.05
"""Share of the sure cells that each level further from the usual one has to bring more."""


def levels_of(looks: Looks, tiles: Sequence[Tile]) -> Mapping[Fraction, float]:
    """Find the foreground level of an image for each zoom that its tiles have.

    Parameters
    ----------
    looks : at the image.

    Returns
    -------
    zoom -> probability, of the zooms for which another level than the usual one is better;
    empty for representations that have no levels (:class:`~.representations.Levelled`).
    """
    method = looks.predictor.representation
    if not tiles or looks.predictor.diameter is None or not isinstance(method, Levelled):
        return {}
    found = {}
    for zoom in sorted({tile.zoom for tile in tiles}):
        level = _level(looks, method, zoom, _windows(looks, tiles, zoom))
        if level != method.levels[0]:
            found[zoom] = level
    return found


def _windows(looks: Looks, tiles: Sequence[Tile], zoom: Fraction) -> list[Region]:
    """What to look at: all of a small image, which has been seen already, or windows."""
    _, height, width = looks.image.shape
    if height * width * zoom**2 <= WHOLE:
        return [Region(0, 0, height, width)]
    return windows_of((height, width), zoom, [tile.core for tile in tiles if tile.zoom == zoom])


def _level(looks: Looks, method: Levelled, zoom: Fraction, windows: Sequence[Region]) -> float:
    """The level that gives most sure cells in windows; the usual one where cells are sure."""
    seen: list[tuple[Region, Look]] = []
    for window in windows:
        seen.append((window, looks.at(window, zoom)))
        if sum(len(look.cells[0]) for _, look in seen) >= ENOUGH:
            break
    score = score_of([look for _, look in seen], float(looks.predictor.diameter or 1.0))
    if not 0.0 < score < FAIR:
        return method.levels[0]
    worth = np.zeros(len(method.levels))
    for window, look in seen:
        outputs = looks.predictor.outputs(looks.tile(looks.planes(window, zoom))[None])[0]
        worth += [_worth(outputs, method.at_level(level), look) for level in method.levels]
    worth *= (1.0 - DEARER) ** np.arange(len(method.levels))
    return method.levels[int(np.argmax(worth))]


def _worth(outputs: Fields, method: Levelled, look: Look) -> float:
    """What the sure cells of a window count together."""
    labels = method.decode(outputs, look.shape)
    sure = Look.of(labels, method.confidence(outputs, labels), look.inside).cells[0]
    return float(np.maximum(sure - SURE, 0.0).sum())
