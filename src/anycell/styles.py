"""Styles: what the tiles of one image have in common for a network.

Some networks sum up what they are shown and see all of it in the light of that (FiLM,
Perez et al. 2018).  Left to each tile, two neighbours would be seen differently, and a
cell on the line between them would change its outline or go.  So the style is taken
once, from windows all over the image, for each zoom that tiles have:

    +---------------------------+
    |  []            []         |     up to 16 windows of 256 network pixels, spread
    |        []           []    |     evenly (Roberts 2018, the R2 sequence), where
    |    []         []          |     tiles have that zoom; the mean of their styles
    +---------------------------+

What is no larger than 1312 network pixels is seen at once and keeps its own style, in
however many tiles it is computed.  Where the windows lie does not depend on the tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import islice
from math import ceil

import numpy as np
from numpy.typing import NDArray

from anycell.grid import Tile
from anycell.image import Region
from anycell.looks import Looks

__all__ = ["styles_of", "windows_of"]

WHOLE = 1312
"""Network pixels on each side of what is seen at once: the largest tile, if none is asked for."""
WINDOW = 256
MOST = 16
TRIED = 4096
"""Places that are tried for those windows: where zones are small, most lie elsewhere."""
R2 = (0.7548776662466927, 0.5698402909980532)
"""1 / g and 1 / g^2 for the real root g of g^3 = g + 1."""


def styles_of(looks: Looks, tiles: Sequence[Tile]) -> Mapping[Fraction, NDArray[np.float32]]:
    """Take the style of an image for each zoom that its tiles have.

    Parameters
    ----------
    looks : at the image.

    Returns
    -------
    zoom -> style; empty when the only tile has it already, or the predictor has no styles.
    """
    if not tiles or not looks.predictor.style_size:
        return {}
    _, height, width = looks.image.shape
    zooms = sorted({tile.zoom for tile in tiles})
    if len(zooms) == 1 and max(height, width) * zooms[0] <= WHOLE:
        whole = Region(0, 0, height, width)
        if [tile.read.clip(height, width) for tile in tiles] == [whole]:
            return {}
        return {zooms[0]: _mean(looks, zooms[0], [whole])}
    cores = {zoom: [tile.core for tile in tiles if tile.zoom == zoom] for zoom in zooms}
    return {
        zoom: _mean(looks, zoom, windows_of((height, width), zoom, cores[zoom])) for zoom in zooms
    }


def _mean(looks: Looks, zoom: Fraction, windows: Sequence[Region]) -> NDArray[np.float32]:
    """The mean style of windows."""
    total = np.zeros(looks.predictor.style_size)
    for window in windows:
        total += looks.predictor.style(looks.tile(looks.planes(window, zoom))[None])[0]
    return np.asarray(total / len(windows), dtype=np.float32)


def windows_of(shape: tuple[int, int], zoom: Fraction, cores: Sequence[Region]) -> list[Region]:
    """Windows around places that lie in one of the cores, shifted into the image.

    Parameters
    ----------
    shape : rows and columns of the image.
    cores : of the tiles of that zoom.

    Returns
    -------
    up to 16 regions of the image, of 256 network pixels, spread evenly.
    """
    height, width = shape
    most = min(MOST, ceil(height * width * float(zoom) ** 2 / (2 * WINDOW) ** 2))
    tops, lefts, bottoms, rights = np.array([(c.y0, c.x0, c.y1, c.x1) for c in cores]).T

    def inside(y: int, x: int) -> bool:
        return bool(((tops <= y) & (y < bottoms) & (lefts <= x) & (x < rights)).any())

    spread = (place for place in islice(_places(shape), TRIED) if inside(*place))
    places = list(islice(spread, most)) or [
        ((cores[0].y0 + cores[0].y1) // 2, (cores[0].x0 + cores[0].x1) // 2)
    ]
    side = ceil(WINDOW / zoom)
    corners = [
        tuple(
            max(0, min(at - side // 2, size - side)) for at, size in zip(place, shape, strict=True)
        )
        for place in places
    ]
    return [Region(y, x, y + side, x + side).clip(height, width) for y, x in corners]


def _places(shape: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Places that fill an image ever more densely and evenly, from its middle on."""
    k = 0
    while True:
        y, x = (0.5 + k * step for step in R2)
        yield int(y % 1.0 * shape[0]), int(x % 1.0 * shape[1])
        k += 1
