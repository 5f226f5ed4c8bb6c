"""Seam check: five scores that see what tiles do to labels.

The metric of the challenge looks at large images in windows of its own and sees neither
seams nor repeated numbers.  These do, on a part of the image that the network can also
see at once:

    agreement   F1 of the tiled labels against the untiled ones, at IoU 0.5 .. 0.9
    crossing    the same F1 at 0.5 of the cells that cross or touch a line between cores,
                less that of the other cells; 0 is best, below 0 the lines do harm
    shift       F1 of the tiled labels against those of a grid shifted by half a core
    edges       share of the label edges that lies on the lines, over that in the untiled
                labels; 1 is best, cut cells make it larger
    whole       every number is one connected piece, and no number is missing
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from anycell.errors import SettingError
from anycell.grid import Grid, Tile
from anycell.image import Image, Region
from anycell.labels import Labels, boxes
from anycell.matching import Rules, match
from anycell.predictor import Predictor
from anycell.road import Asked, Road, cores_for, prepare
from anycell.scores import score_pair
from anycell.segment import claimed

__all__ = ["SeamScores", "check_seams", "edge_excess"]

RULES = Rules(ignore_border=0, window_from=2**62, empty=1.0)
SIDE = 2048
"""Network pixels on each side of the part that is checked, at most."""


@dataclass(frozen=True)
class SeamScores:
    """The five scores, see the module's docstring.

    Attributes
    ----------
    region : the part of the image that was looked at.
    cells, crossing_cells : in the tiled labels, and how many of them cross or touch a line.
    tiles : how many tiles there were.
    agreement : pairs of IoU threshold and F1.
    crossing : None when no cell crosses a line, or none does not.
    """

    region: Region
    cells: int
    crossing_cells: int
    tiles: int
    agreement: tuple[tuple[float, float], ...]
    crossing: float | None
    shift: tuple[tuple[float, float], ...]
    edges: float
    whole: bool


def check_seams(image: Image, model: Predictor, asked: Asked, side: int = SIDE) -> SeamScores:
    """Segment the middle of an image in tiles, in other tiles and in one, and compare.

    Zoom and normalization are those of the whole image.

    Parameters
    ----------
    asked : as for ``anycell.road.prepare``; without tiles of its own.
    side : of the part, network pixels; the image's own if that is less.
    """
    road = prepare(image, model, asked)
    if not road.tiles:
        raise SettingError(
            "there is nothing to check: no part of the image is looked at, for nothing stands out",
            expected="an image with cells",
            hint="--zoom 1 looks at all of it",
        )
    zoom = road.tiles[0].zoom
    _, height, width = image.shape
    rows, columns = (min(size, ceil(side / zoom)) for size in (height, width))
    top, left = (height - rows) // 2, (width - columns) // 2
    region = Region(top, left, top + rows, left + columns)
    part = replace(road, image=image.crop(region))

    def tiles(core: int, shift: int = 0) -> list[Tile]:
        grid = Grid(rows + shift, columns + shift, core, model.halo, model.multiple, zoom)
        return [_moved(tile, shift, rows, columns) for tile in grid]

    core = cores_for(asked.core, model.halo, image)(zoom)
    own = tiles(core)
    unit = Grid(rows, columns, core, model.halo, model.multiple, zoom).unit
    step = max(unit, ceil(core / zoom) // 2 // unit * unit)
    tiled = _labels(part, own)
    whole = _labels(part, tiles(ceil(max(rows, columns) * zoom) + 1))
    shifted = _labels(part, [tile for tile in tiles(core, step) if 0 not in tile.core.shape])
    lines = (_lines([t.core.y0 for t in own]), _lines([t.core.x0 for t in own]))
    over = _over(tiled, lines)
    return SeamScores(
        region=region,
        cells=int(tiled.max(initial=0)),
        crossing_cells=int(over.sum()),
        tiles=len(own),
        agreement=_f1(tiled, whole),
        crossing=_crossing(tiled, whole, lines),
        shift=_f1(tiled, shifted),
        edges=edge_excess(tiled, whole, lines),
        whole=_is_whole(tiled),
    )


def edge_excess(labels: Labels, whole: Labels, lines: tuple[Sequence[int], Sequence[int]]) -> float:
    """Share of label edges on lines over that in other labels; 1 where both have none.

    Parameters
    ----------
    lines : rows that begin a core, and columns, those at the image's edge left out.
    """
    here, there = (_edge_share(v, lines) for v in (labels, whole))
    return 1.0 if here == there else here / max(there, np.finfo(float).tiny)


def _edge_share(labels: Labels, lines: tuple[Sequence[int], Sequence[int]]) -> float:
    on = in_all = 0
    for axis, places in enumerate(lines):
        edges = np.count_nonzero(np.diff(labels, axis=axis), axis=1 - axis)
        on += int(edges[[place - 1 for place in places]].sum())
        in_all += int(edges.sum())
    return on / max(1, in_all)


def _moved(tile: Tile, shift: int, rows: int, columns: int) -> Tile:
    """A tile of a larger plane, as seen from one that begins ``shift`` pixels later."""
    core = tile.core.shift(-shift, -shift).clip(rows, columns)
    read = tile.read.shift(-shift, -shift)
    return replace(tile, core=core, read=replace(read, y0=max(0, read.y0), x0=max(0, read.x0)))


def _labels(road: Road, tiles: Sequence[Tile]) -> Labels:
    return claimed(replace(road, tiles=tiles))[0]


def _lines(begins: Sequence[int]) -> list[int]:
    return sorted(set(begins) - {0})


def _f1(labels: Labels, other: Labels) -> tuple[tuple[float, float], ...]:
    return tuple((score.iou, score.values.f1) for score in score_pair(labels, other, RULES))


def _over(labels: Labels, lines: tuple[Sequence[int], Sequence[int]]) -> NDArray[np.bool_]:
    """Which of the cells 1..n reach over a line, or up to it: what was cut there counts too."""
    box = boxes(labels)[1:]
    over = np.zeros(len(box), dtype=bool)
    for axis, places in enumerate(lines):
        for place in places:
            over |= (box[:, axis] <= place) & (box[:, axis + 2] >= place)
    return over


def _crossing(
    labels: Labels, whole: Labels, lines: tuple[Sequence[int], Sequence[int]]
) -> float | None:
    """F1 at 0.5 of the cells at lines, less that of the others."""
    over = [_over(v, lines) for v in (labels, whole)]
    pairs = match(labels, whole, RULES)[0].pairs
    shares = []
    for wanted in (True, False):
        there = sum(int((v == wanted).sum()) for v in over)
        found = sum(int((v[pairs[:, k] - 1] == wanted).sum()) for k, v in enumerate(over))
        if not there:
            return None
        shares.append(found / there)
    return shares[0] - shares[1]


def _is_whole(labels: Labels) -> bool:
    from skimage.measure import label

    numbers = np.unique(labels[labels > 0])
    pieces = int(label(labels, background=0, connectivity=2).max(initial=0))
    return pieces == len(numbers) == int(labels.max(initial=0))
