"""The grid: how a plane of any size is cut into tiles of one size.

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
core ends in the middle of an overlap, or at the edge of the plane.  No read reaches
outside the plane unless the whole plane is smaller than one read, so no time goes
into halos of nothing, and no sliver of a tile is left over at the end.

Zoom.  ``core``, ``halo`` and ``multiple`` count network pixels; regions count the
plane's own pixels (level 0).  A zoom is a fraction p / q: reads begin at multiples of
q pixels, where a network pixel begins, so that tiles resampled one by one show the
same network pixels.  Plane coordinate y is network coordinate y * p / q, both
counted from the upper left corner of a pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from anycell.errors import SettingError
from anycell.image import Region

__all__ = ["MARGIN", "Grid", "Tile", "exact_zoom"]

MARGIN = 4
"""Network pixels by which a core is widened when tiles claim cells."""

FINEST = 12
ZOOMS = (Fraction(1, 64), Fraction(8))


@dataclass(frozen=True)
class Tile:
    """One tile, in pixels of the plane.

    Attributes
    ----------
    core : the part that the tile answers for.
    read : the part that the network sees; it reaches outside a plane that is smaller.
    """

    core: Region
    read: Region


@dataclass(frozen=True)
class Grid:
    """The tiles of a plane, in row-major order.

    Attributes
    ----------
    height, width : rows and columns of the plane.
    core : about the side of a core, network pixels; at an edge it is one halo longer.
    halo : network pixels around a core that a tile must see.
    multiple : the sides of a tile are a multiple of this, network pixels.
    zoom : network pixels per pixel of the plane.
    """

    height: int
    width: int
    core: int = 512
    halo: int = 64
    multiple: int = 1
    zoom: Fraction = Fraction(1)

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

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of every tile, network pixels."""
        return (self._axis(self.height)[2], self._axis(self.width)[2])

    @property
    def margin(self) -> int:
        """Pixels of the plane by which cores are widened when cells are claimed."""
        return int(MARGIN / self.zoom)

    def __len__(self) -> int:
        return self._axis(self.height)[0] * self._axis(self.width)[0]

    def __getitem__(self, index: int) -> Tile:
        columns = self._axis(self.width)[0]
        if not 0 <= index < len(self):
            raise IndexError(index)
        y0, y1, top, bottom = self._span(self.height, index // columns)
        x0, x1, left, right = self._span(self.width, index % columns)
        return Tile(Region(y0, x0, y1, x1), Region(top, left, bottom, right))

    def __iter__(self) -> Iterator[Tile]:
        return (self[index] for index in range(len(self)))

    def _axis(self, size: int) -> tuple[int, int, int]:
        """Number of tiles along an axis, units in each, and its length in network pixels.

        A unit is the smallest piece with whole sides on both scales: q pixels of the
        plane are p network pixels.
        """
        p, q = self.zoom.numerator, self.zoom.denominator
        total = -(-size // q)
        halos = 2 * -(-(self.halo + MARGIN) // p)
        most = self._whole(max(1, self.core // p) + halos)
        count = 1 if total <= most else 1 - (total - most) // (halos - most)
        units = self._whole(-(-(total + (count - 1) * halos) // count))
        return count, units, -(-units * p // self.multiple) * self.multiple

    def _whole(self, units: int) -> int:
        """The units that fit in the next length that is a multiple of ``multiple``."""
        p = self.zoom.numerator
        return -(-units * p // self.multiple) * self.multiple // p

    def _span(self, size: int, index: int) -> tuple[int, int, int, int]:
        """Begin and end of the core, begin and end of the read of one tile on an axis."""
        q = self.zoom.denominator
        count, units, _ = self._axis(size)
        free = max(0, -(-size // q) - units)

        def begin(k: int) -> int:
            return k * free // max(1, count - 1) * q

        def border(k: int) -> int:
            """Where tile k - 1 ends and tile k begins: the middle of their overlap."""
            if k == 0 or k == count:
                return size if k else 0
            return (begin(k - 1) + units * q + begin(k)) // 2

        read = begin(index)
        return border(index), border(index + 1), read, read + units * q


def exact_zoom(zoom: float) -> Fraction:
    """The nearest zoom that tiles can share: p / q with the smaller of them up to 12.

    Half-octave steps are met to 0.2 %, tenths exactly.

    Raises
    ------
    SettingError : not within 1/64 .. 8.
    """
    if not float(ZOOMS[0]) <= zoom <= float(ZOOMS[1]):
        raise SettingError(f"zoom {zoom}", expected=f"{ZOOMS[0]} .. {ZOOMS[1]}")
    if zoom < 1:
        return 1 / Fraction(1 / zoom).limit_denominator(FINEST)
    return Fraction(zoom).limit_denominator(FINEST)
