"""What is measured of each cell, all cells at once.

Sums over pixels are taken band by band of rows, so that a slide needs little beside its
labels; no cell is looked at by itself.  Values are those of
``skimage.measure.regionprops`` where it has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anycell.errors import InputError
from anycell.image import Image, Pixels, Region
from anycell.labels import Labels, Plane, bands, boxes

__all__ = ["Cells", "measure"]

BAND = 2**21
"""Pixels that are worked on at once."""

PLAUSIBLE = 8.0
"""A size is out of range when the median size is more than this times larger or smaller."""

CORNER = np.sqrt(2.0)

MARGIN = 2
"""Rows beside a band from which it is known which of its pixels' neighbours are on a rim."""


@dataclass(frozen=True)
class Cells:
    """The cells of an image and what is known of each.

    Attributes
    ----------
    labels : rows x columns, in memory or in a file; 0 is background, numbers may have gaps.
    number : of each cell, rising; all further arrays have one element per cell.
    area : pixels.
    center : mean (y, x), pixels, the centre of the first pixel being (0, 0).
    box : (y0, x0, y1, x1), half open.
    perimeter : pixels, by steps of 1 and sqrt(2) between the pixels of the rim
        (Benkrid and Crookes 2000, as in scikit-image).
    orientation : degrees between the rows' direction and the longer axis, -90 .. 90,
        counted against the clock (as in scikit-image); nan where no axis is longer.
    confidence : 0 .. 1; nan where it is not known.
    touches_border : a pixel lies at the edge of the image.
    out_of_range_size : the area is more than 8 times the median area, or less than an
        eighth of it.
    crosses_tile_line : the bounding box lies in more than one tile's core, so that the
        cell may have been put together; None where the tiles are not known.
    intensity : by channel its mean, least and greatest value in each cell, cells x 3.
    pixel_size : micrometres; None when not known.
    name : of the image's file.
    """

    labels: Plane
    number: NDArray[np.int64]
    area: NDArray[np.int64]
    center: NDArray[np.float64]
    box: NDArray[np.int64]
    perimeter: NDArray[np.float64]
    orientation: NDArray[np.float64]
    confidence: NDArray[np.float64]
    touches_border: NDArray[np.bool_]
    out_of_range_size: NDArray[np.bool_]
    crosses_tile_line: NDArray[np.bool_] | None
    intensity: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    pixel_size: float | None = None
    name: str = "image"

    @property
    def diameter(self) -> NDArray[np.float64]:
        """Diameter of a disk of the same area, pixels."""
        diameter: NDArray[np.float64] = np.sqrt(4 / np.pi * self.area)
        return diameter

    @property
    def circularity(self) -> NDArray[np.float64]:
        """4 pi area / perimeter squared; nan for a cell of a few pixels without perimeter.

        1 for a disk; above 1 for some cells of few pixels, whose perimeter is short.
        """
        around = np.where(self.perimeter > 0, self.perimeter, np.nan)
        circularity: NDArray[np.float64] = 4 * np.pi * self.area / around**2
        return circularity

    def index(self, number: int) -> int:
        """Where a cell stands in the arrays."""
        return int(np.searchsorted(self.number, number))

    def facts(self) -> dict[str, NDArray[np.float64]]:
        """What every export carries of each cell; flags as 1 and 0."""
        facts = {
            "confidence": self.confidence,
            "touches_border": self.touches_border.astype(float),
            "out_of_range_size": self.out_of_range_size.astype(float),
        }
        if self.crosses_tile_line is not None:
            facts["crosses_tile_line"] = self.crosses_tile_line.astype(float)
        return facts


def measure(
    labels: Plane,
    image: Image | None = None,
    *,
    confidence: NDArray[np.float32] | None = None,
    cores: Sequence[Region] | None = None,
    name: str = "",
) -> Cells:
    """Measure all cells.

    Parameters
    ----------
    image : of the labels; without it there are no intensities and no pixel size.
    confidence : element i - 1 belongs to cell i.
    cores : of the tiles in which the cells were found.
    name : of the image's file; the image's own name by default.

    Raises
    ------
    InputError : an image of another size, or too few confidences.
    """
    if image is not None and image.shape[1:] != labels.shape:
        raise InputError(
            f"an image of {image.shape[1]} x {image.shape[2]} pixels, labels of"
            f" {labels.shape[0]} x {labels.shape[1]}",
            expected="the image in which the cells were found",
        )
    box = boxes(labels)
    number = np.flatnonzero(box[:, 3])
    if confidence is not None and len(confidence) < len(box) - 1:
        raise InputError(
            f"{len(confidence)} confidences for cells up to {len(box) - 1}",
            expected="one for each number",
        )
    sums = _Sums.over(labels, len(box), image)
    area = sums.area[number]
    touches = (box[:, :2] == 0).any(axis=1) | (box[:, 2:] == labels.shape).any(axis=1)
    middle = float(np.median(area)) if len(area) else 0.0
    known = np.full(len(number), np.nan) if confidence is None else confidence[number - 1]
    return Cells(
        labels=labels,
        number=number,
        area=area,
        center=sums.center()[number],
        box=box[number],
        perimeter=sums.perimeter[number],
        orientation=sums.orientation()[number],
        confidence=known.astype(np.float64),
        touches_border=touches[number],
        out_of_range_size=(area * PLAUSIBLE < middle) | (area > middle * PLAUSIBLE),
        crosses_tile_line=None if cores is None else _crossing(box[number], cores),
        intensity=sums.intensities(number, image),
        pixel_size=None if image is None else image.pixel_size,
        name=name or ("image" if image is None else image.name),
    )


@dataclass
class _Sums:
    """Sums over the pixels of each number 0..max, grown band by band.

    ``moments`` has rows y, x, yy, xx, xy, counted from the middle of the plane; ``light``
    by channel the sum, least and greatest value.
    """

    shape: tuple[int, int]
    area: NDArray[np.int64]
    moments: NDArray[np.float64]
    perimeter: NDArray[np.float64]
    light: NDArray[np.float64]

    @classmethod
    def over(cls, labels: Plane, count: int, image: Image | None) -> _Sums:
        """Go over a plane once."""
        height, width = labels.shape
        channels = 0 if image is None else image.shape[0]
        light = np.zeros((channels, 3, count))
        light[:, 1], light[:, 2] = np.inf, -np.inf
        sums = cls(
            (height, width),
            np.zeros(count, dtype=np.int64),
            np.zeros((5, count)),
            np.zeros(count),
            light,
        )
        for rows, near in bands(labels, max(1, BAND // max(1, width)), MARGIN):
            pixels = None
            if image is not None:
                pixels = image.read(Region(rows.start, 0, rows.stop, width))
            sums._add(near, rows, pixels)
        return sums

    def _add(self, near: Labels, rows: slice, pixels: Pixels | None) -> None:
        above = min(MARGIN, rows.start)
        within = slice(above, above + rows.stop - rows.start)
        band = near[within]
        inside = np.flatnonzero(band)
        if not len(inside):
            return
        cell = band.ravel()[inside]
        y, x = np.divmod(inside, self.shape[1])
        dy, dx = y + (rows.start - self.shape[0] // 2), x - self.shape[1] // 2
        # A band holds few of a slide's cells: sums are taken over its own numbers.
        low = int(cell.min())
        own = slice(low, int(cell.max()) + 1)
        cell -= low
        size = own.stop - own.start
        self.area[own] += np.bincount(cell, minlength=size)
        for row, weight in zip(self.moments, (dy, dx, dy * dy, dx * dx, dy * dx), strict=True):
            row[own] += np.bincount(cell, weight, size)
        steps = _rim_steps(near, within)
        on = np.flatnonzero(steps)
        rim = band.ravel()[on] - low
        self.perimeter[own] += np.bincount(rim, steps.ravel()[on], size)
        for light, plane in zip(self.light, () if pixels is None else pixels, strict=False):
            values = plane.ravel()[inside].astype(np.float64)
            light[0, own] += np.bincount(cell, values, size)
            np.minimum.at(light[1, own], cell, values)
            np.maximum.at(light[2, own], cell, values)

    def center(self) -> NDArray[np.float64]:
        """Mean (y, x) of each number."""
        count = np.maximum(self.area, 1)
        middle = [side // 2 for side in self.shape]
        center: NDArray[np.float64] = (self.moments[:2] / count).T + middle
        return center

    def orientation(self) -> NDArray[np.float64]:
        """The angle of the longer axis, from the second moments; nan where none is longer."""
        y, x, yy, xx, xy = self.moments / np.maximum(self.area, 1)
        tall, both = yy - y * y - (xx - x * x), xy - x * y
        degrees: NDArray[np.float64] = np.degrees(0.5 * np.arctan2(2 * both, tall))
        round_ = np.hypot(tall, both) < 1e-6 * (1 + yy - y * y + xx - x * x)
        return np.where(round_, np.nan, degrees)

    def intensities(
        self, number: NDArray[np.int64], image: Image | None
    ) -> dict[str, NDArray[np.float64]]:
        """Mean, least and greatest value of each cell, by the channel's name."""
        if image is None:
            return {}
        found = {}
        for name, (total, least, most) in zip(image.channels, self.light, strict=True):
            mean = total[number] / self.area[number]
            found[name] = np.stack([mean, least[number], most[number]], axis=1)
        return found


def _rim_steps(labels: Labels, rows: slice) -> NDArray[np.float64]:
    """What each pixel of a rim adds to the perimeter of its cell, for some rows.

    A pixel is on the rim when one of its four neighbours is not of the cell; what it
    adds follows from how many neighbours on the rim it has, beside and across.

    Parameters
    ----------
    labels : of the rows and ``MARGIN`` more on either side, fewer at the plane's edges.
    """
    width = labels.shape[1]
    near = np.pad(labels, 1)
    here = near[1:-1, 1:-1]
    rim = np.zeros_like(near)
    edge = np.zeros(here.shape, dtype=np.bool_)
    for dy, dx in ((0, 1), (1, 0), (1, 2), (2, 1)):
        edge |= near[dy : dy + here.shape[0], dx : dx + width] != here
    # Outside rows that were not read the rim is wrong, two rows further in it is not.
    rim[1:-1, 1:-1] = np.where(edge, here, 0)
    code = np.zeros(here.shape, dtype=np.int8)
    for dy in range(3):
        for dx in range(3):
            weight = (10, 2, 0)[(dy == 1) + (dx == 1)]
            same = rim[dy : dy + here.shape[0], dx : dx + width] == here
            code += same * np.int8(weight if (dy, dx) != (1, 1) else 1)
    length = np.zeros(64)
    length[[5, 7, 15, 17, 25, 27]] = 1
    length[[21, 33]] = CORNER
    length[[13, 23]] = (1 + CORNER) / 2
    steps: NDArray[np.float64] = np.where(rim[1:-1, 1:-1] > 0, length[code], 0.0)
    return steps[rows]


def _crossing(box: NDArray[np.int64], cores: Sequence[Region]) -> NDArray[np.bool_]:
    """Whether each box lies in more than one core, or reaches beyond all of them."""
    edges = np.array([(c.y0, c.x0, c.y1, c.x1) for c in cores], dtype=np.int64).reshape(-1, 4)
    ys, xs = (np.unique(edges[:, k::2]) for k in (0, 1))
    owner = np.full((len(ys) + 1, len(xs) + 1), -1, dtype=np.int64)
    for k, (y0, x0, y1, x1) in enumerate(edges.tolist()):
        y = slice(*(np.searchsorted(ys, (y0, y1)) + 1))
        owner[y, slice(*(np.searchsorted(xs, (x0, x1)) + 1))] = k
    first, last = (
        owner[np.searchsorted(ys, y, side="right"), np.searchsorted(xs, x, side="right")]
        for y, x in ((box[:, 0], box[:, 1]), (box[:, 2] - 1, box[:, 3] - 1))
    )
    crossing: NDArray[np.bool_] = (first != last) | (first < 0)
    return crossing
