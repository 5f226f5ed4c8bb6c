"""Outlines of cells along the edges of their pixels, and the pixels inside outlines.

      0 1 2 3            (y, x) counts corners of pixels: pixel (r, c) has the corners
    0 +-----+            (r, c), (r, c + 1), (r + 1, c + 1), (r + 1, c)
      |a a a|
    1 |   +-+            a: (0, 0) (0, 3) (1, 3) (1, 2) (2, 2) (2, 0)
      |a a|              with the cell on the right hand; only where it turns
    2 +---+

A polygon is a ring around a piece that hangs together by edges, then a ring around each
of its holes; a cell has one polygon for each such piece.  No ring meets itself, so that
the polygons are valid by the Simple Features standard (ISO 19125).  The pixels whose
centres lie inside are those of the cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anycell.labels import Labels, Plane, boxes, neighbours

__all__ = ["Polygon", "Ring", "Runs", "inside_runs", "to_xy", "trace"]

Ring = NDArray[np.int64]
"""Corners (y, x) of a closed line, n x 2; the first one is not repeated at the end."""

Polygon = list[Ring]
"""The outer ring of a piece, then the rings of its holes."""

BATCH = 2**18
"""Pixels of bounding boxes that are worked on at once."""

TOP, RIGHT, BOTTOM, LEFT = range(4)


@dataclass(frozen=True)
class Runs:
    """Pixels as pieces of rows: columns ``first`` .. ``last`` - 1 of ``row``, for a cell.

    ``cell`` is an index into what the runs were made of; all four have one length.
    """

    cell: NDArray[np.int64]
    row: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]


def to_xy(points: NDArray[np.int64] | NDArray[np.float64]) -> list[list[float]]:
    """Turn corners (y, x) into lists of (x, y), as GeoJSON and ImageJ want them."""
    swapped: list[list[float]] = points[:, ::-1].tolist()
    return swapped


def trace(
    labels: Plane, number: NDArray[np.int64] | None = None, box: NDArray[np.int64] | None = None
) -> Iterator[tuple[int, list[Polygon]]]:
    """Give the number and the polygons of each cell: of an array by number, else by place.

    Outer rings run clockwise as seen on a screen, holes the other way.

    Parameters
    ----------
    number, box : of each cell, if they are known already, see ``anycell.measure.Cells``.
    """
    if number is None or box is None:
        box = boxes(labels)
        number = np.flatnonzero(box[:, 3])
        box = box[number]
    for index, some, corner in neighbours(labels, box):
        near = box[index]
        size = np.cumsum(np.prod(near[:, 2:] - near[:, :2] + 2, axis=1))
        begin = 0
        while begin < len(index):
            room = BATCH + (size[begin - 1] if begin else 0)
            end = max(begin + 1, int(np.searchsorted(size, room, side="right")))
            part = index[begin:end]
            yield from _trace_some(some, corner, number[part], box[part])
            begin = end


def _trace_some(
    labels: Labels,
    corner: tuple[int, int],
    numbers: NDArray[np.int64],
    box: NDArray[np.int64],
) -> Iterator[tuple[int, list[Polygon]]]:
    """Trace cells cut out of their image, one after the other in one flat array.

    Parameters
    ----------
    labels : with all pixels of the cells, the first pixel being (y, x) ``corner``.
    """
    sides = box[:, 2:] - box[:, :2] + 2
    start = np.concatenate([[0], np.cumsum(sides[:, 0] * sides[:, 1])])
    inside = np.zeros(start[-1], dtype=np.bool_)
    places = (box - np.tile(corner, 2)).tolist()
    for k, (number, (y0, x0, y1, x1)) in enumerate(zip(numbers.tolist(), places, strict=True)):
        crop = inside[start[k] : start[k + 1]].reshape(y1 - y0 + 2, x1 - x0 + 2)
        np.equal(labels[y0:y1, x0:x1], number, out=crop[1:-1, 1:-1])
    edges = _Edges.of(inside, start, sides[:, 1])
    order, bounds = edges.rings()
    points = edges.corners(start, sides[:, 1])[order] + box[edges.cell[order], :2]
    kept = edges.turns()[order]
    ends = np.concatenate([[0], np.cumsum(kept)])[bounds]
    points = points[kept]
    first = order[bounds[:-1]]
    pinched = np.logical_or.reduceat(edges.pinched[order], bounds[:-1])
    hole = edges.side[first] != TOP
    of_cell = np.searchsorted(edges.cell[first], np.arange(len(numbers) + 1))
    for k, number in enumerate(numbers.tolist()):
        mine = range(of_cell[k], of_cell[k + 1])
        rings = [(points[ends[i] : ends[i + 1]], bool(hole[i])) for i in mine]
        if pinched[of_cell[k] : of_cell[k + 1]].any():
            loops = [loop for ring, _ in rings for loop in _loops(ring)]
            rings = [(loop, _area(loop) < 0) for loop in loops]
        y0, x0 = box[k, :2].tolist()
        crop = inside[start[k] : start[k + 1]].reshape(sides[k])
        yield number, _polygons(rings, crop, (y0 - 1, x0 - 1))


@dataclass(frozen=True)
class _Edges:
    """Sides of pixels that lie on an outline, each going clockwise around its pixel.

    ``after`` is the edge that goes on where this one ends; ``pinched`` that it turns
    around its own pixel where another pixel of the cell lies beyond the corner.
    """

    pixel: NDArray[np.int64]
    side: NDArray[np.int64]
    cell: NDArray[np.int64]
    after: NDArray[np.int64]
    pinched: NDArray[np.bool_]

    @classmethod
    def of(
        cls, inside: NDArray[np.bool_], start: NDArray[np.int64], width: NDArray[np.int64]
    ) -> _Edges:
        """Find the edges of cells in a flat array, each cell framed by background."""
        place = np.flatnonzero(inside)
        wide = width[np.searchsorted(start, place, side="right") - 1]
        outward = np.stack([-wide, np.ones_like(wide), wide, np.full_like(wide, -1)])
        where, side = np.nonzero(~inside[place + outward].T)
        pixel = place[where]
        turned = (side + 1) % 4
        ahead = pixel + outward[turned, where]
        across = ahead + outward[side, where]
        own, straight = ~inside[ahead], ~inside[across]
        slot = np.empty(4 * len(inside), dtype=np.int64)
        slot[4 * pixel + side] = np.arange(len(pixel))
        then = np.where(
            own,
            4 * pixel + turned,
            np.where(straight, 4 * ahead + side, 4 * across + (side - 1) % 4),
        )
        cell = np.searchsorted(start, pixel, side="right") - 1
        return cls(pixel, side, cell, slot[then], own & ~straight)

    def rings(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Order the edges ring by ring; ring i is ``order[bounds[i]:bounds[i + 1]]``.

        All rings are walked at once, a step at a time.
        """
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import connected_components

        count = len(self.after)
        graph = csr_array(
            (np.ones(count, dtype=np.int8), self.after, np.arange(count + 1)), (count, count)
        )
        rings, ring = connected_components(graph, connection="strong")
        first = np.empty(rings, dtype=np.int64)
        first[ring[::-1]] = np.arange(count)[::-1]
        length = np.bincount(ring, minlength=rings)
        by_place = np.argsort(first)
        bounds = np.concatenate([[0], np.cumsum(length[by_place])])
        longest = np.argsort(-length[by_place], kind="stable")
        here, to = first[by_place][longest], bounds[:-1][longest]
        left = np.bincount(length, minlength=int(length.max(initial=0)) + 1)
        left = rings - np.cumsum(left)
        order = np.empty(count, dtype=np.int64)
        for step, more in enumerate(left[:-1].tolist()):
            here, to = here[:more], to[:more]
            order[to + step] = here
            here = self.after[here]
        return order, bounds

    def turns(self) -> NDArray[np.bool_]:
        """Whether the outline turns where an edge begins."""
        turns = np.empty(len(self.side), dtype=np.bool_)
        turns[self.after] = self.side[self.after] != self.side
        return turns

    def corners(self, start: NDArray[np.int64], width: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where each edge begins, (y, x) from the corner of the cell's bounding box."""
        y, x = np.divmod(self.pixel - start[self.cell], width[self.cell])
        y += np.isin(self.side, (BOTTOM, LEFT)) - 1
        x += np.isin(self.side, (RIGHT, BOTTOM)) - 1
        return np.stack([y, x], axis=1)


def _loops(ring: Ring) -> list[Ring]:
    """Cut a ring where it comes back to a corner, so that no ring meets itself."""
    found: list[Ring] = []
    path: list[tuple[int, int]] = []
    place: dict[tuple[int, int], int] = {}
    for y, x in ring.tolist():
        back = place.get((y, x))
        if back is not None:
            found.append(np.array(path[back:], dtype=np.int64))
            for corner in path[back:]:
                del place[corner]
            del path[back:]
        place[y, x] = len(path)
        path.append((y, x))
    return [np.array(path, dtype=np.int64), *found]


def _area(ring: Ring) -> float:
    """Pixels in a ring; negative around a hole."""
    y, x = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


def _polygons(
    rings: Sequence[tuple[Ring, bool]], crop: NDArray[np.bool_], corner: tuple[int, int]
) -> list[Polygon]:
    """Put each hole to the piece in which it lies; ``corner`` is that of ``crop``."""
    outer = [ring for ring, hole in rings if not hole]
    holes = [ring for ring, hole in rings if hole]
    if len(outer) == 1 or not holes:
        polygons = [[ring] for ring in outer]
        polygons[0] += holes
        return polygons
    from scipy.ndimage import label

    pieces, _ = label(crop)
    owned = {int(pieces[_pixel(ring, corner)]): [ring] for ring in outer}
    for ring in holes:
        owned[int(pieces[_pixel(ring, corner)])].append(ring)
    return list(owned.values())


def _pixel(ring: Ring, corner: tuple[int, int]) -> tuple[int, int]:
    """The cell's pixel on the right hand of a ring's first step."""
    (y, x), (to_y, to_x) = (ring[:2] - corner).tolist()
    dy, dx = np.sign(to_y - y), np.sign(to_x - x)
    return (y - (dy < 0) - (dx < 0), x - (dx < 0) - (dy > 0))


def inside_runs(rings: Sequence[NDArray[np.float64]], cell: NDArray[np.int64]) -> Runs:
    """Find the pixels whose centres lie inside rings, by the even-odd rule.

    A centre on an outline belongs to the side of the larger y or x, so that two cells
    that share an outline share no pixel.

    Parameters
    ----------
    rings : corners (y, x), n x 2 each; holes and pieces are rings of the same cell.
    cell : for each ring the index of its cell, not falling.
    """
    length = np.array([len(ring) for ring in rings], dtype=np.int64)
    here = np.concatenate([np.zeros((0, 2)), *rings])
    there = np.concatenate([np.zeros((0, 2)), *(np.roll(ring, -1, axis=0) for ring in rings)])
    owner = np.repeat(cell, length)
    flip = here[:, 0] > there[:, 0]
    low, high = np.where(flip[:, None], there, here), np.where(flip[:, None], here, there)
    begin, end = (np.ceil(v[:, 0] - 0.5).astype(np.int64) for v in (low, high))
    rows = end - begin
    edge = np.repeat(np.arange(len(rows)), rows)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(rows) - rows, rows) + begin[edge]
    along = (row + 0.5 - low[edge, 0]) / (high[edge, 0] - low[edge, 0])
    x = low[edge, 1] + along * (high[edge, 1] - low[edge, 1])
    column = np.ceil(x - 0.5).astype(np.int64)
    order = np.lexsort((column, row, owner[edge]))
    first, last = column[order[::2]], column[order[1::2]]
    some = last > first
    return Runs(owner[edge][order[::2]][some], row[order[::2]][some], first[some], last[some])
