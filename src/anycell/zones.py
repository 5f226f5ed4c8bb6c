"""Zones: a large image is cut where its cells change size, and skipped where there are none.

An image of more than a few tiles is cut like a quadtree, from below: four quarters that
are to be looked at in the same way become one, from about half a tile up to the whole image.

    +-------------------+---------+---------+
    |                   |    1    | skipped |     cells of 24 pixels above, none in a
    |         1         +---------+----+----+     corner, cells of 48 pixels below
    |                   |    1    |  1 | 1/2|
    +-------------------+---------+----+----+
    |                   |                   |
    |        1/2        |        1/2        |
    |                   |                   |
    +-------------------+-------------------+

Zoom.  Windows spread over the image say which of its blocks want another zoom than that
of the whole image (``survey``).

Skipped.  A quarter is skipped when nothing in it stands out (``bare``), or when the glance
shows no cell in it, nor does a look at half the zoom.  What is bare is known more finely
than quarters are cut: tiles shrink to what stands out in them, and those with nothing go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from anycell.bare import Squares, find_squares
from anycell.grid import Grid, Tile, Tiles, exact_zoom
from anycell.image import Image, Region
from anycell.looks import Looks
from anycell.predictor import Predictor
from anycell.scale import VISIBLE, Glance, Zone, ZoomPlan, find_zoom
from anycell.survey import Survey, depth_for, quarters, survey

__all__ = ["find_plan", "tiles_of"]

LARGE = 4.0
"""Cores from which what is empty is skipped, in images that have no room for a survey, too."""
AS_WHOLE = "as the whole image"
FINER = 1.5
"""Squares are found anew for cells that are smaller than expected by more than this."""
SQUARE = 5.0
"""Side of the squares that are bare or not, typical cells."""


def find_plan(
    looks: Looks, overview: NDArray[np.float32], cores: Callable[[Fraction], int]
) -> ZoomPlan:
    """Find the zoom of an image, and of its zones if it is large.

    Parameters
    ----------
    overview : of the image, normalized, 3 x h x w.
    cores : from a zoom to the side of a tile's core, network pixels.
    """
    plan = _with_zones(looks, overview, cores)
    _, height, width = looks.image.shape
    if plan.squares is None and not plan.zones:
        return plan
    tiles = tiles_of(plan, looks.image, looks.predictor, cores)
    seen = sum(tile.core.shape[0] * tile.core.shape[1] for tile in tiles)
    return replace(plan, skipped=1.0 - seen / (height * width))


def _with_zones(
    looks: Looks, overview: NDArray[np.float32], cores: Callable[[Fraction], int]
) -> ZoomPlan:
    plan, glance = find_zoom(looks, overview)
    _, height, width = looks.image.shape
    found = any(score > 0 for _, score in plan.tried)
    core = cores(exact_zoom(plan.zoom))
    depth = depth_for(plan, (height, width), core)
    small = height * width * plan.zoom**2 <= LARGE * core**2
    if glance is None or not found or (small and depth == 0):
        return plan
    squares = _squares(looks, overview, plan.zoom, cores)
    asked = survey(looks, plan, squares, depth)
    finest = max((asked.zoom, *asked.zooms.values()))
    if finest > plan.zoom * FINER:
        squares = _squares(looks, overview, finest, cores).joined(squares)
    plan = replace(plan, zoom=asked.zoom, reason=asked.reason)
    cutter = _Cutter(looks, glance, asked, squares, cores)
    zones = cutter.zones()
    looks.forget()
    skipped = [zone.region for zone in zones if zone.zoom is None]
    squares = squares.without(skipped, height, width)
    plan = replace(plan, squares=None if squares.held.all() else squares)
    if len(zones) == 1 and zones[0].zoom == plan.zoom:
        return plan
    return replace(plan, zones=zones)


def _squares(
    looks: Looks,
    overview: NDArray[np.float32],
    zoom: float,
    cores: Callable[[Fraction], int],
) -> Squares:
    """The squares of an image whose typical cells want a zoom."""
    cell = float(looks.predictor.diameter or 1.0) / zoom
    least = cores(exact_zoom(zoom)) / 2.0 / zoom
    return find_squares(looks, overview, cell, max(1, round(min(SQUARE * cell, least))))


def tiles_of(
    plan: ZoomPlan, image: Image, predictor: Predictor, cores: Callable[[Fraction], int]
) -> Tiles:
    """Cut the zones of a plan into tiles, in the order of the first rows of their reads."""
    _, height, width = image.shape
    whole = Region(0, 0, height, width)
    zones = [v for v in plan.zones or (Zone(whole, plan.zoom, plan.reason),) if v.zoom is not None]
    if plan.squares is not None and len({zone.zoom for zone in zones}) == 1:
        zones = [replace(zones[0], region=whole)]  # what is skipped is bare, too
    halo, multiple = predictor.halo, predictor.multiple
    grids = [
        Grid(height, width, cores(zoom), halo, multiple, zoom, zone.region)
        for zone in zones
        for zoom in [exact_zoom(zone.zoom or 1.0)]
    ]
    if len(grids) == 1 and plan.squares is None:
        return grids[0]
    tiles = [tile for grid in grids for tile in _shrunk(grid, plan.squares)]
    return sorted(tiles, key=lambda tile: (tile.read.y0, tile.read.x0, tile.core))


def _shrunk(grid: Grid, squares: Squares | None) -> Iterator[Tile]:
    """The tiles of a grid, as large as needed for what is not bare."""
    for tile in grid:
        core = tile.core if squares is None else squares.shrunk(tile.core)
        if core is not None:
            yield tile if core == tile.core else grid.shrunk(tile, core)


class _Cutter:
    """Cuts one image into zones.

    Parameters
    ----------
    glance : at the whole image.
    asked : what its blocks ask for.
    squares : where something stands out.
    cores : from a zoom to the side of a tile's core, network pixels.
    """

    def __init__(
        self,
        looks: Looks,
        glance: Glance,
        asked: Survey,
        squares: Squares,
        cores: Callable[[Fraction], int],
    ) -> None:
        self.looks = looks
        self.glance = glance
        self.asked = asked
        self.squares = squares
        self.cores = cores
        self.typical = float(looks.predictor.diameter or 1.0)

    def zones(self) -> tuple[Zone, ...]:
        """Cut the whole image, in row-major order of the zones' corners."""
        _, height, width = self.looks.image.shape
        whole = Region(0, 0, height, width)
        zones = self._cut(whole, None)
        if len({zone.zoom for zone in zones}) == 1:
            return (replace(zones[0], region=whole),)
        return tuple(sorted(zones, key=lambda zone: zone.region))

    def _cut(self, region: Region, zoom: float | None) -> list[Zone]:
        """Cut a node into quarters, and join them again if they are alike.

        Parameters
        ----------
        zoom : of the block that the node lies in; None when blocks are smaller.
        """
        if not self.squares.any(region):
            return [Zone(region, None, "nothing stands out")]
        zoom = self.asked.zooms.get(region, zoom)
        if zoom is not None and self._smallest(region, zoom):
            return [self._leaf(region, zoom)]
        parts = [self._cut(quarter, zoom) for quarter in quarters(region)]
        alike = {part[0].zoom for part in parts if len(part) == 1}
        if all(len(part) == 1 for part in parts) and len(alike) == 1:
            return [replace(parts[0][0], region=region)]
        return [zone for part in parts for zone in part]

    def _smallest(self, region: Region, zoom: float) -> bool:
        """Whether quarters of a node would be smaller than half a core, or than a pixel."""
        return min(region.shape) < max(2.0, self.cores(exact_zoom(zoom)) / zoom)

    def _leaf(self, region: Region, zoom: float) -> Zone:
        """What the smallest node asks for."""
        if self._empty(region, zoom):
            return Zone(region, None, "no cells at half the zoom")
        other = "the cells there are of another size"
        return Zone(region, zoom, AS_WHOLE if zoom == self.asked.zoom else other)

    def _empty(self, region: Region, zoom: float) -> bool:
        """Whether neither the glance nor a look at half the zoom shows a cell."""
        glance, cell = self.glance, self.typical / zoom
        # What it shows where the cells themselves are too small for it is something else.
        if not glance.visible or cell * glance.zoom[0] < VISIBLE:
            return False
        _, height, width = self.looks.image.shape
        around = _grown(region, round(cell)).clip(height, width)
        if glance.look.shown[_scaled(around, glance.zoom)].any():
            return False
        look = self.looks.at(around, exact_zoom(max(zoom / 2.0, 1 / 64)))
        return not look.shown.any()


def _grown(region: Region, by: int) -> Region:
    return Region(region.y0 - by, region.x0 - by, region.y1 + by, region.x1 + by)


def _scaled(region: Region, scale: tuple[float, float]) -> tuple[slice, slice]:
    """The pixels of a smaller picture of the whole image that touch a region."""
    rows = slice(int(region.y0 * scale[0]), int(np.ceil(region.y1 * scale[0])))
    columns = slice(int(region.x0 * scale[1]), int(np.ceil(region.x1 * scale[1])))
    return rows, columns
