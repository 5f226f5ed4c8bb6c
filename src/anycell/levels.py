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

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import partial

import numpy as np
from numpy.typing import NDArray

from anycell.grid import Tile
from anycell.image import Region
from anycell.looks import Look, Looks
from anycell.representations import Fields, Levelled
from anycell.scale import FAIR, WHOLE, score_of
from anycell.styles import windows_of

__all__ = ["levels_of", "told"]

FEW = 50
"""Whole cells from which sure ones are believed to be so everywhere."""
ENOUGH = 400
"""Whole cells from which no further window is looked at."""
BEYOND = 0.4
"""What a cell's confidence must exceed to count for a level."""
DEARER = 0.05
"""Share of the sure cells that each level further from the usual one has to bring more."""


def told(levels: Mapping[Fraction, float]) -> tuple[tuple[float, float], ...]:
    """Zooms and levels as pairs of numbers, for what a run says of itself."""
    return tuple((float(zoom), level) for zoom, level in levels.items())


def levels_of(
    looks: Looks, tiles: Sequence[Tile], styles: Mapping[Fraction, NDArray[np.float32]]
) -> Mapping[Fraction, float]:
    """Find the foreground level of an image for each zoom that its tiles have.

    Parameters
    ----------
    looks : at the image.
    styles : of the image (``anycell.styles``), as its tiles will have them.

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
        style, windows = styles.get(zoom), _windows(looks, tiles, zoom)
        views = map(partial(_View, looks, zoom, style), windows)
        level = _level(method, views, float(looks.predictor.diameter))
        if level != method.levels[0]:
            found[zoom] = level
    return found


class _View:
    """A window as its image's tiles see it, computed no more than needed."""

    def __init__(
        self, looks: Looks, zoom: Fraction, style: NDArray[np.float32] | None, window: Region
    ) -> None:
        planes = looks.planes(window, zoom)
        self._predictor, self._style = looks.predictor, style
        self._tile = looks.tile(planes)[None]
        self._outputs: Fields | None = None
        if style is None:
            self.look = looks.look(planes)
        else:
            self.look = looks.decoded(self.outputs, self._tile.shape[2:], planes.shape[1:])

    @property
    def outputs(self) -> Fields:
        """Of the network, for the window mirrored to the sides of a tile."""
        if self._outputs is None:
            self._outputs = self._predictor.outputs(self._tile, self._style)[0]
        return self._outputs


def _windows(looks: Looks, tiles: Sequence[Tile], zoom: Fraction) -> list[Region]:
    """What to look at: all of a small image, which often has been seen already, or windows."""
    _, height, width = looks.image.shape
    if height * width * zoom**2 <= WHOLE:
        return [Region(0, 0, height, width)]
    return windows_of((height, width), zoom, [tile.core for tile in tiles if tile.zoom == zoom])


def _level(method: Levelled, views: Iterable[_View], diameter: float) -> float:
    """The level that gives most sure cells in windows; the usual one where cells are sure."""
    seen: list[_View] = []
    score = 0.0
    for view in views:
        seen.append(view)
        score = score_of([one.look for one in seen], diameter)
        cells = sum(len(one.look.cells[0]) for one in seen)
        if cells >= ENOUGH or (cells >= FEW and score >= FAIR):
            break
    if not 0.0 < score < FAIR:
        return method.levels[0]
    worth = [sum(_worth(view, method.at_level(level)) for view in seen) for level in method.levels]
    return method.levels[int(np.argmax(worth * (1.0 - DEARER) ** np.arange(len(worth))))]


def _worth(view: _View, method: Levelled) -> float:
    """What the sure cells of a window count together."""
    labels = method.decode(view.outputs, view.look.shape)
    sure = Look.of(labels, method.confidence(view.outputs, labels), view.look.inside).cells[0]
    return float(np.maximum(sure - BEYOND, 0.0).sum())
