"""The grid: how a plane of any size, or a region of it, is cut into tiles of one size.

A tile is what a network sees at once.  Its core is the part that it answers for; the
read is the core with a halo around it, so that no cell of the core is cut.

      read of the first tile
    +---------------------------+           the cores tile the plane exactly
    |  core               :     |           | reads overlap by two halos and their margin
    |              +------:--------------------+
    |              | halo : halo               |
    |              |      :       core         |
    |              |      :                    |
    +--------------|------:-----+              |
                   +------:--------------------+
                   read of the second tile

Along each axis the reads have one length and are spread evenly from edge to edge; a
core ends in the middle of an overlap, or at the edge of the plane.  No read
reaches outside the plane by a whole step of the lattice (below) unless the whole plane is
smaller than one read, so hardly any time goes into halos of nothing, and no sliver of a
tile is left over at the end.

Zoom.  ``core``, ``halo`` and ``multiple`` count network pixels; regions count the
plane's own pixels (level 0).  Plane coordinate y is network coordinate y * p / q for a
zoom of p / q, both counted from the upper left corner of a pixel.

Lattice.  A network that goes down to one feature in 32 pixels answers differently when
its tile begins a pixel further.  So all reads begin on one lattice, counted from the
upper left corner of the plane: at multiples of ``multiple`` network pixels that are
whole pixels of the plane too (``Grid.unit``).  A tile then computes what the plane seen
at once would, as far as it sees.

Regions.  A grid may cut a region of the plane only: its cores tile that region, its
reads reach a halo further, into the plane around.  So regions side by side may have
zooms of their own, and each tile carries its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, lcm, log2
from typing import Any, Protocol

from anycell.errors import SettingError
from anycell.image import Region

__all__ = ["MARGIN", "Grid", "Tile", "Tiles", "exact_zoom", "place_of", "tile_of"]

MARGIN = 4
"""Network pixels by which a core is widened when tiles claim cells."""

FINEST = 32
ZOOMS = (Fraction(1, 64), Fraction(8))


@dataclass(frozen=True)
class Tile:
    """One tile, in pixels of the plane.

    Attributes
    ----------
    core : the part that the tile answers for.
    read : the part that the network sees; it reaches outside a plane that is smaller.
    zoom : network pixels per pixel of the plane.
    shape : rows and columns of the tile, network pixels.
    """

    core: Region
    read: Region
    zoom: Fraction
    shape: tuple[int, int]

    @property
    def margin(self) -> int:
        """Pixels of the plane by which the core is widened when cells are claimed."""
        return int(MARGIN / self.zoom)


class Tiles(Protocol):
    """Tiles in the order in which they are looked at: a grid, or a list from several."""

    def __len__(self) -> int:
        """How many there are."""

    def __iter__(self) -> Iterator[Tile]:
        """Give them in the order of the first rows of their reads."""


@dataclass(frozen=True)
class Grid:
    """The tiles of a plane, or of a region of it, in row-major order.

    Attributes
    ----------
    height, width : rows and columns of the plane.
    core : about the side of a core, network pixels; at an edge it is one halo longer.
    halo : network pixels around a core that a tile must see.
    multiple : the sides of a tile are a multiple of this, network pixels.
    zoom : network pixels per pixel of the plane.
    region : the part of the plane that the cores tile; None for all of it.
    """

    height: int
    width: int
    core: int = 512
    halo: int = 64
    multiple: int = 1
    zoom: Fraction = Fraction(1)
    region: Region | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be cut."""
        if min(self.height, self.width, self.core, self.multiple) < 1 or self.halo < 0:
            raise SettingError(
                f"a plane of {self.height} x {self.width}, core {self.core}, halo {self.halo},"
                f" multiple {self.multiple}",
                expected="a halo from 0, everything else from 1",
            )
        if not ZOOMS[0] <= self.zoom <= ZOOMS[1]:
            raise SettingError(f"zoom {self.zoom}", expected=f"{ZOOMS[0]} .. {ZOOMS[1]}")
        whole = self.whole
        if 0 in whole.shape or whole.clip(self.height, self.width) != whole:
            raise SettingError(
                f"{whole} of a plane of {self.height} x {self.width}",
                expected="a region of at least one pixel inside the plane",
            )

    @property
    def whole(self) -> Region:
        """What the cores tile."""
        return self.region or Region(0, 0, self.height, self.width)

    @property
    def unit(self) -> int:
        """Pixels of the plane between the lines of the lattice that reads begin on."""
        return self._inside // self.zoom.numerator * self.zoom.denominator

    @property
    def _inside(self) -> int:
        """Network pixels in a unit."""
        return lcm(self.multiple, self.zoom.numerator)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of every tile, network pixels."""
        return (self._rows.length, self._columns.length)

    def __len__(self) -> int:
        return self._rows.count * self._columns.count

    def __getitem__(self, index: int) -> Tile:
        rows, columns = self._rows, self._columns
        if not 0 <= index < rows.count * columns.count:
            raise IndexError(index)
        y0, y1, top, bottom = rows.span(index // columns.count)
        x0, x1, left, right = columns.span(index % columns.count)
        core, read = Region(y0, x0, y1, x1), Region(top, left, bottom, right)
        return Tile(core, read, self.zoom, (rows.length, columns.length))

    def __iter__(self) -> Iterator[Tile]:
        return (self[index] for index in range(len(self)))

    def shrunk(self, tile: Tile, core: Region) -> Tile:
        """One of the tiles, for a part of its core, with no more around it than that needs."""
        unit, around = self.unit, ceil((self.halo + MARGIN) / self.zoom)
        read = Region(
            max(tile.read.y0, (core.y0 - around) // unit * unit),
            max(tile.read.x0, (core.x0 - around) // unit * unit),
            min(tile.read.y1, ceil((core.y1 + around) / unit) * unit),
            min(tile.read.x1, ceil((core.x1 + around) / unit) * unit),
        )
        rows, columns = (side // unit * self._inside for side in read.shape)
        return Tile(core, read, self.zoom, (rows, columns))

    @cached_property
    def _rows(self) -> _Axis:
        return self._axis(self.height, self.whole.y0, self.whole.y1)

    @cached_property
    def _columns(self) -> _Axis:
        return self._axis(self.width, self.whole.x0, self.whole.x1)

    def _axis(self, size: int, begin: int, end: int) -> _Axis:
        """Cut ``begin`` .. ``end`` of a plane of ``size`` pixels; all in units."""
        unit, inside = self.unit, self._inside
        around = ceil((self.halo + MARGIN) / self.zoom)
        halos = ceil(2 * around / unit)
        first = max(0, (begin - around) // unit)
        total = ceil(min(size, end + around) / unit) - first
        most = max(1, self.core // inside) + halos
        count = 1 if total <= most else 1 - (total - most) // (halos - most)
        units = -(-(total + (count - 1) * halos) // count)
        return _Axis(begin, end, unit, first, total, count, units, units * inside)


@dataclass(frozen=True)
class _Axis:
    """How an axis of a region is cut.

    Attributes
    ----------
    begin, end : what the cores tile, pixels of the plane.
    unit : pixels of the plane per unit; ``first``, ``total`` and ``units`` count units.
    first, total : where the first read begins, and what the reads cover together.
    count : how many tiles there are.
    units : in each read.
    length : of a tile, network pixels.
    """

    begin: int
    end: int
    unit: int
    first: int
    total: int
    count: int
    units: int
    length: int

    def span(self, index: int) -> tuple[int, int, int, int]:
        """Begin and end of the core, begin and end of the read of one tile."""
        read = self._read(index)
        return self._border(index), self._border(index + 1), read, read + self.units * self.unit

    def _read(self, index: int) -> int:
        free = max(0, self.total - self.units)
        return (self.first + index * free // max(1, self.count - 1)) * self.unit

    def _border(self, index: int) -> int:
        """Where tile index - 1 ends and the next begins: the middle of their overlap."""
        if index == 0 or index == self.count:
            return self.end if index else self.begin
        return (self._read(index - 1) + self.units * self.unit + self._read(index)) // 2


def exact_zoom(zoom: float) -> Fraction:
    """The nearest zoom that tiles can share: p / q with p = 32, or the next powers of 2 above 1.

    The lines of the lattice lie q pixels apart then, and p network pixels, which is what
    networks ask for.  Powers of 2 are met exactly, half octaves to 0.6 %, all to 1.6 %.

    Raises
    ------
    SettingError : not within 1/64 .. 8.
    """
    if not float(ZOOMS[0]) <= zoom <= float(ZOOMS[1]):
        raise SettingError(f"zoom {zoom}", expected=f"{ZOOMS[0]} .. {ZOOMS[1]}")
    p = FINEST * 2 ** max(0, ceil(log2(zoom)))
    return Fraction(p, round(p / zoom))


def place_of(tile: Tile) -> dict[str, Any]:
    """Where a tile lies, in the types of JSON."""
    core, read = ((r.y0, r.x0, r.y1, r.x1) for r in (tile.core, tile.read))
    zoom = (tile.zoom.numerator, tile.zoom.denominator)
    return {"core": list(core), "read": list(read), "zoom": list(zoom), "shape": list(tile.shape)}


def tile_of(place: dict[str, Any]) -> Tile:
    """Undo :func:`place_of`."""
    rows, columns = place["shape"]
    zoom = Fraction(*place["zoom"])
    return Tile(Region(*place["core"]), Region(*place["read"]), zoom, (rows, columns))
