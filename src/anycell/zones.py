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

Zoom.  The glance at the whole image says how large its cells are, here and there.  Where
it asks for another zoom than that of the whole image, a window decides between the two;
if neither is sure, the neighbours of the first are tried as well.  Of all places that ask
for the same zoom, the one with the most cells is tried, for all of them.  Where the cells
are too small for the glance, the zoom of the whole image holds for all of it, and the
plan says so.

Skipped.  A quarter is skipped when nothing in it stands out (``bare``), or when the glance
shows no cell in it, nor does a look at half the zoom.  What is bare is known more finely
than quarters are cut: tiles shrink to what stands out in them, and those with nothing go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from anycell.bare import Squares, find_squares
from anycell.grid import Grid, Tile, Tiles, exact_zoom
from anycell.image import Image, Region
from anycell.labels import areas, boxes
from anycell.looks import Looks
from anycell.predictor import Predictor
from anycell.scale import (
    VISIBLE,
    WINDOW,
    Glance,
    Zone,
    ZoomPlan,
    best_zoom,
    find_zoom,
    half_octave,
    score_of,
)

__all__ = ["find_plan", "tiles_of"]

LARGE = 4.0
"""Cores from which an image is cut into zones; a smaller one has one zoom."""
FEWEST = 5
"""Cells that a quarter must show to ask for a zoom of its own."""
ASIDE = 0.75
"""Octaves by which that zoom must differ from the one of the whole image."""
SURE = 1.2
"""A score, at most 2, below which the neighbouring zooms are tried."""
SQUARE = 5.0
"""Side of the squares that are bare or not, typical cells."""


@dataclass(frozen=True)
class _Shown:
    """The cells that a glance shows, sure or not.

    Attributes
    ----------
    places : (y, x) in pixels of the image.
    sizes : diameters in pixels of the image.
    anything : rows x columns of the glance, where it shows any cell, however unsure.
    scale : pixels of the glance per pixel of the image, rows and columns.
    visible : whether most are large enough to say anything.
    """

    places: NDArray[np.float64]
    sizes: NDArray[np.float64]
    anything: NDArray[np.bool_]
    scale: tuple[float, float]
    visible: bool


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
    core = cores(exact_zoom(plan.zoom))
    found = any(score > 0 for _, score in plan.tried)
    if glance is None or not found or height * width * plan.zoom**2 <= LARGE * core**2:
        return plan
    cutter = _Cutter(looks, overview, _shown(glance), plan.zoom, core)
    zones = cutter.zones()
    if not cutter.sees:
        plan = replace(plan, reason=f"{plan.reason}; a glance at all of it is too coarse for more")
    skipped = [zone.region for zone in zones if zone.zoom is None]
    squares = cutter.squares.without(skipped, height, width)
    plan = replace(plan, squares=None if squares.held.all() else squares)
    if len(zones) == 1 and zones[0].zoom == plan.zoom:
        return plan
    return replace(plan, zones=zones)


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
    overview : of the image, normalized, 3 x h x w.
    shown : what the glance shows.
    zoom : of the whole image.
    core : side of a tile's core, network pixels.
    """

    def __init__(
        self, looks: Looks, overview: NDArray[np.float32], shown: _Shown, zoom: float, core: int
    ) -> None:
        self.looks = looks
        self.shown = shown
        self.zoom = zoom
        self.typical = float(looks.predictor.diameter or 1.0)
        self.least = core / 2.0 / zoom
        self.cell = self.typical / zoom
        # What it shows where the cells themselves are too small for it is something else.
        self.sees = shown.visible and self.cell * shown.scale[0] >= VISIBLE
        side = max(1, round(min(SQUARE * self.cell, self.least)))
        self.squares = find_squares(looks, overview, self.cell, side)

    def zones(self) -> tuple[Zone, ...]:
        """Cut the whole image, in row-major order of the zones' corners."""
        _, height, width = self.looks.image.shape
        zones = self._settled(self._cut(Region(0, 0, height, width)))
        if len({zone.zoom for zone in zones}) == 1:
            return (replace(zones[0], region=Region(0, 0, height, width)),)
        return tuple(sorted(zones, key=lambda zone: zone.region))

    def _cut(self, region: Region) -> list[Zone]:
        """Cut a node into quarters, and join them again if they are alike."""
        if min(region.shape) < 2 * self.least:
            return [self._leaf(region)]
        parts = [self._cut(quarter) for quarter in _quarters(region)]
        alike = {part[0].zoom for part in parts if len(part) == 1}
        if all(len(part) == 1 for part in parts) and len(alike) == 1:
            return [replace(parts[0][0], region=region)]
        return [zone for part in parts for zone in part]

    def _leaf(self, region: Region) -> Zone:
        """What the smallest node asks for."""
        if not self.squares.any(region):
            return Zone(region, None, "nothing stands out")
        if not self.sees:
            return Zone(region, self.zoom, "as the whole image")
        inside = self._inside(region)
        if np.count_nonzero(inside) >= FEWEST:
            asked = half_octave(self.typical / float(np.median(self.shown.sizes[inside])))
            if abs(np.log2(asked / self.zoom)) >= ASIDE:
                return Zone(region, asked, "the cells there are of another size")
        elif self._empty(region):
            return Zone(region, None, "no cells at half the zoom")
        return Zone(region, self.zoom, "as the whole image")

    def _inside(self, region: Region) -> NDArray[np.bool_]:
        """Which of the cells shown have their middle in a region."""
        y, x = self.shown.places.T
        inside: NDArray[np.bool_] = (
            (y >= region.y0) & (y < region.y1) & (x >= region.x0) & (x < region.x1)
        )
        return inside

    def _empty(self, region: Region) -> bool:
        """Whether neither the glance nor a look at half the zoom shows a cell."""
        _, height, width = self.looks.image.shape
        around = _grown(region, round(self.cell)).clip(height, width)
        if self.shown.anything[_scaled(around, self.shown.scale)].any():
            return False
        look = self.looks.at(around, exact_zoom(max(self.zoom / 2.0, 1 / 64)))
        return not look.shown.any()

    def _settled(self, zones: list[Zone]) -> list[Zone]:
        """Let windows decide on the zooms that are not the one of the whole image."""
        asked = sorted({zone.zoom for zone in zones if zone.zoom not in (None, self.zoom)})
        found = {zoom: self._decided(zoom, zones) for zoom in asked}
        settled = []
        for zone in zones:
            zoom = zone.zoom if zone.zoom is None else found.get(zone.zoom, zone.zoom)
            back = zoom == self.zoom != zone.zoom
            reason = "as the whole image, which is surer here" if back else zone.reason
            settled.append(replace(zone, zoom=zoom, reason=reason))
        return settled

    def _decided(self, asked: float, zones: list[Zone]) -> float:
        """The zoom for all zones that ask for one; decided where most of their cells are."""
        alike = [zone for zone in zones if zone.zoom == asked]
        crowd = max(alike, key=lambda zone: np.count_nonzero(self._inside(zone.region)))
        scores = {zoom: self._score(crowd, zoom) for zoom in (asked, self.zoom)}
        if max(scores.values()) < SURE:
            for near in (asked / 2**0.5, asked * 2**0.5):
                zoom = half_octave(near)
                scores.setdefault(zoom, self._score(crowd, zoom))
        return best_zoom(scores)

    def _score(self, zone: Zone, zoom: float) -> float:
        """The score of a window on the cell of a zone that lies in the middle of them."""
        _, height, width = self.looks.image.shape
        places = self.shown.places[self._inside(zone.region)]
        middle = np.median(places, axis=0)
        y, x = places[np.hypot(*(places - middle).T).argmin()]
        side = round(WINDOW / zoom)
        y0 = int(np.clip(y - side // 2, 0, max(0, height - side)))
        x0 = int(np.clip(x - side // 2, 0, max(0, width - side)))
        window = Region(y0, x0, y0 + side, x0 + side).clip(height, width)
        return score_of([self.looks.at(window, exact_zoom(zoom))], self.typical)


def _shown(glance: Glance) -> _Shown:
    """Take from a glance what there is about zones."""
    labels, scale = glance.look.shown, np.array(glance.zoom)
    box, area = boxes(labels)[1:], areas(labels)[1:]
    box, area = box[area > 0], area[area > 0]  # some cells lie in what is mirrored only
    diameter = np.sqrt(area * (4.0 / np.pi))
    places = (box[:, :2] + box[:, 2:]) / 2.0 / scale
    return _Shown(places, diameter / scale[0], labels > 0, glance.zoom, glance.visible)


def _quarters(region: Region) -> tuple[Region, ...]:
    """Cut a region in four, in row-major order."""
    y, x = (region.y0 + region.y1) // 2, (region.x0 + region.x1) // 2
    return (
        Region(region.y0, region.x0, y, x),
        Region(region.y0, x, y, region.x1),
        Region(y, region.x0, region.y1, x),
        Region(y, x, region.y1, region.x1),
    )


def _grown(region: Region, by: int) -> Region:
    return Region(region.y0 - by, region.x0 - by, region.y1 + by, region.x1 + by)


def _scaled(region: Region, scale: tuple[float, float]) -> tuple[slice, slice]:
    """The pixels of a smaller picture of the whole image that touch a region."""
    rows = slice(int(region.y0 * scale[0]), int(np.ceil(region.y1 * scale[0])))
    columns = slice(int(region.x0 * scale[1]), int(np.ceil(region.x1 * scale[1])))
    return rows, columns
