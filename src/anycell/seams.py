"""Seams: tiles claim cells, so that each cell is there once, whole, under one number.

The rule.  A tile keeps the cells whose centre lies in its core, widened by a margin,
unless at least half of the cell is already claimed.  Tiles claim in a fixed order, a
claimed pixel is never claimed again, and what is left of a cell keeps its largest
piece.  The centre is the middle of the cell's bounding box: a cell of a radius up to
the halo is then owned by a tile that sees it whole, whatever its shape, and a part of
it cut off by the edge of another tile's read is never taken for a cell.

         core of A      :     core of B
    +-------------------:-------------------+
    |     (a)          (b)           (c)    |     (b) lies in both widened cores: A claims
    +-------------------:-------------------+     it, B finds it claimed
                     << : >>  margin

Cells larger than the halo.  A tile may see only a part of a cell that it keeps, cut by
the edge of its read.  The cells of later tiles go on under that number if they are the
same cell where both tiles looked: at least half of what is theirs there is claimed
under the number, and they make up at least half of what is claimed under it.

What a tile neither keeps nor could go on with need not be looked at any further:
``claimable`` takes it away as soon as the tile is decoded.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from anycell.errors import InputError
from anycell.grid import Tile
from anycell.image import Region
from anycell.labels import Labels, boxes
from anycell.pieces import largest_pieces

__all__ = ["ArraySink", "Canvas", "Sink", "claimable"]

PART = 0.5
"""A cell at least so long, halos, may be a part of one that is larger than the halo."""
SLACK = 2
"""Network pixels by which the middle of a cell may move when its outline is enlarged."""


class Sink(Protocol):
    """Where labels are written: a plane of int32, zeros at first."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the plane."""

    def read(self, region: Region) -> Labels:
        """Give the labels of a region as they are now; the caller does not write to them."""

    def write(self, region: Region, labels: Labels) -> None:
        """Replace the labels of a region."""


class ArraySink:
    """A sink in memory."""

    def __init__(self, height: int, width: int) -> None:
        self.labels: Labels = np.zeros((height, width), dtype=np.int32)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the plane."""
        return (self.labels.shape[0], self.labels.shape[1])

    def read(self, region: Region) -> Labels:
        """Give a view of the labels of a region."""
        return self.labels[region.slices]

    def write(self, region: Region, labels: Labels) -> None:
        """Replace the labels of a region."""
        self.labels[region.slices] = labels


class Canvas:
    """The claims of all tiles on one plane.

    Parameters
    ----------
    sink : where the labels go.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._top = 0
        self._confidence: list[NDArray[np.float32]] = []
        self._cut: dict[int, list[Region]] = {}
        self.cells = 0

    @property
    def confidence(self) -> NDArray[np.float32]:
        """One value per cell 1..n; a cell put together keeps that of its first part."""
        return np.concatenate([np.zeros(0, dtype=np.float32), *self._confidence])

    def claim(self, tile: Tile, labels: Labels, confidence: NDArray[np.float32]) -> int:
        """Claim the cells of one tile; tiles come in the order of their reads' first rows.

        Parameters
        ----------
        labels : of the part of ``tile.read`` inside the plane; any whole numbers.
        confidence : element i - 1 belongs to cell i of ``labels``.

        Returns
        -------
        how many cells are new.

        Raises
        ------
        InputError : labels of another size, too few confidences, or a tile whose read
            begins above that of an earlier one.
        """
        region = tile.read.clip(*self._sink.shape)
        count = int(labels.max(initial=0))
        if tile.read.y0 < self._top:
            raise InputError(
                f"a tile from row {tile.read.y0} after one from row {self._top}",
                expected="tiles in the order of the first rows of their reads",
            )
        self._top = tile.read.y0
        if labels.shape != region.shape or len(confidence) < count:
            raise InputError(
                f"labels of {labels.shape} with {count} numbers, {len(confidence)} confidences",
                expected=f"labels of {region.shape}, one confidence for each number",
            )
        if not count:
            return 0
        box = boxes(labels) + np.array([region.y0, region.x0] * 2)
        cut = self._is_cut(box, region)
        seen = region
        if not self._cut:
            seen = _around(box[box[:, 2] > box[:, 0]])
            labels = labels[seen.shift(-region.y0, -region.x0).slices]
        held = self._sink.read(seen)
        go_on = self._continued(labels, count, held, region)
        owned = _is_owned(box, tile) & (go_on == 0) & _half_free(labels, held)
        owned[0] = False
        fresh = largest_pieces(np.where(owned[labels] & (held == 0), labels, 0))
        numbers = np.zeros(count + 1, dtype=np.int32)
        new = np.flatnonzero(np.bincount(fresh.ravel(), minlength=count + 1)[1:]) + 1
        numbers[new] = np.arange(self.cells + 1, self.cells + len(new) + 1)
        merged = held + numbers[fresh]
        if go_on.any():
            merged = _grown(merged, go_on[labels])
        self._sink.write(seen, merged)
        self._confidence.append(confidence[new - 1].astype(np.float32))
        self.cells += len(new)
        self._remember(np.concatenate([numbers[new[cut[new]]], np.unique(go_on)]), region)
        return len(new)

    def _is_cut(self, box: NDArray[np.int64], region: Region) -> NDArray[np.bool_]:
        """Whether each box touches an edge of the region that is not one of the plane."""
        height, width = self._sink.shape
        cut: NDArray[np.bool_] = (
            ((box[:, 0] == region.y0) & (region.y0 > 0))
            | ((box[:, 1] == region.x0) & (region.x0 > 0))
            | ((box[:, 2] == region.y1) & (region.y1 < height))
            | ((box[:, 3] == region.x1) & (region.x1 < width))
        )
        return cut

    def _continued(
        self, labels: Labels, count: int, held: Labels, region: Region
    ) -> NDArray[np.int32]:
        """For each cell the number under which it goes on; 0 for most."""
        go_on = np.zeros(count + 1, dtype=np.int32)
        if not self._cut:
            return go_on
        both = (labels > 0) & np.isin(held, list(self._cut))
        pairs, shared = np.unique(np.stack([labels[both], held[both]]), axis=1, return_counts=True)
        most = np.zeros(count + 1, dtype=np.int64)
        for (cell, number), pixels in zip(pairs.T.tolist(), shared.tolist(), strict=True):
            seen = np.zeros(labels.shape, dtype=bool)
            for other in self._cut[number]:
                seen[_common(region, other).shift(-region.y0, -region.x0).slices] = True
            agreed = 2 * pixels >= np.count_nonzero(seen & (labels == cell))
            if agreed and pixels > most[cell]:
                go_on[cell], most[cell] = number, pixels
        for number in np.unique(go_on[go_on > 0]).tolist():
            if 2 * most[go_on == number].sum() < np.count_nonzero(held == number):
                go_on[go_on == number] = 0
        return go_on

    def _remember(self, numbers: NDArray[np.int32], region: Region) -> None:
        """Note which tiles have seen the cut cells; forget what no later tile can meet."""
        for number in numbers[numbers > 0].tolist():
            self._cut.setdefault(number, []).append(region)
        for number, seen in list(self._cut.items()):
            self._cut[number] = [other for other in seen if other.y1 > region.y0]
            if not self._cut[number]:
                del self._cut[number]


def claimable(labels: Labels, tile: Tile, inside: tuple[int, int]) -> Labels:
    """What of a decoded tile may be claimed; the rest is taken away.

    Parameters
    ----------
    labels : rows x columns of the tile, network pixels.
    inside : rows and columns of it that lie in the plane; the rest only mirrors them.

    Returns
    -------
    labels of the same shape, numbered 1..n without gaps.
    """
    box = boxes(labels[: inside[0], : inside[1]])
    zoom = float(tile.zoom)
    box, sides = box / zoom + np.array([tile.read.y0, tile.read.x0] * 2), box[:, 2:] - box[:, :2]
    core, read = tile.core, tile.read
    around = max(core.y0 - read.y0, core.x0 - read.x0, read.y1 - core.y1, read.x1 - core.x1)
    kept = _is_owned(box, tile, 1.0 + SLACK / zoom) | (sides.max(axis=1) >= PART * around * zoom)
    kept[sides[:, 0] == 0] = False
    top = int(labels.max(initial=0))
    kept = np.append(kept, np.zeros(top + 1 - len(kept), dtype=bool))
    if kept[1:].all():
        return labels
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    claimed: Labels = numbers[labels]
    return claimed


def _is_owned(box: NDArray[Any], tile: Tile, slack: float = 0.0) -> NDArray[np.bool_]:
    """Whether the middle of each box lies in the widened core, or so many pixels beside it."""
    y, x = (box[:, :2] + box[:, 2:]).T / 2.0
    core, near = tile.core, tile.margin + slack
    owned: NDArray[np.bool_] = (
        (y >= core.y0 - near) & (y < core.y1 + near) & (x >= core.x0 - near) & (x < core.x1 + near)
    )
    return owned


def _half_free(labels: Labels, held: Labels) -> NDArray[np.bool_]:
    """Whether less than half of each cell is claimed."""
    area = np.bincount(labels.ravel())
    claimed = np.bincount(labels[held > 0], minlength=len(area))
    free: NDArray[np.bool_] = 2 * claimed < area
    return free


def _grown(held: Labels, more: Labels) -> Labels:
    """Add the free pixels of ``more`` to the cells of the same number that they touch."""
    from skimage.measure import label

    both = np.where(held == 0, more, np.where(np.isin(held, np.unique(more)), held, 0))
    pieces = label(both, background=0, connectivity=2)
    touching = np.zeros(int(pieces.max(initial=0)) + 1, dtype=bool)
    touching[pieces[held > 0]] = True
    touching[0] = False
    return np.where((held == 0) & touching[pieces], more, held)


def _around(box: NDArray[np.int64]) -> Region:
    """The region that holds some boxes, one at least."""
    y0, x0 = box[:, :2].min(axis=0).tolist()
    y1, x1 = box[:, 2:].max(axis=0).tolist()
    return Region(y0, x0, y1, x1)


def _common(a: Region, b: Region) -> Region:
    """The overlap of two regions; empty where they have none."""
    y0, x0 = max(a.y0, b.y0), max(a.x0, b.x0)
    return Region(y0, x0, max(y0, min(a.y1, b.y1)), max(x0, min(a.x1, b.x1)))
