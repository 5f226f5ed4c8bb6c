"""Parts of TIFF pages: only the tiles or strips under a region are read and decoded.

           x0      x1
       +-------+-------+-------+     a page cut into tiles; a region touches
       |   ....|.......|..     |     six of them, and no others are read.
    y0 |   ....|.......|..     |     Strips are tiles as wide as the page.
       +-------+-------+-------+
    y1 |   ....|.......|..     |
       +-------+-------+-------+

Decoded segments stay in a cache of bounded size, since neighboring tiles of a slide
overlap, and strips reach across many of them.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.files.source import Pick
from anycell.image import Pixels

__all__ = [
    "STRIPS_BYTES",
    "TILES_BYTES",
    "Plane",
    "Planes",
    "SegmentCache",
    "Tiling",
    "read_flat",
]

_ROWS, _COLUMNS = 1, 2  # places in Tiling.shape
STRIPS_BYTES = 256 * 2**20
"""A row of 640-pixel tiles over 100,000 pixels of 8-bit color is 190 MB of strips."""
TILES_BYTES = 48 * 2**20
"""Tiles are needed again by the next tile of the slide, and by the next row of those."""

DECODERS = 4
"""Threads that decode segments: a few, so that a slide's overview does not wait for one core."""


@dataclass(frozen=True)
class Plane:
    """Where one TIFF page keeps its segments: byte offsets and counts in a file."""

    path: Path
    offsets: Sequence[int]
    counts: Sequence[int]
    tables: bytes | None = None


@dataclass(frozen=True)
class Tiling:
    """How the pages of one level are cut, and how a segment is decoded.

    ``shape`` is planar samples x rows x columns x interleaved samples; ``decode`` and
    ``header`` are those of :class:`tifffile.TiffPage`.
    """

    shape: tuple[int, int, int, int]
    tile: tuple[int, int]
    dtype: np.dtype[Any]
    fill: float
    decode: Callable[..., Any]
    header: bytes | None = None


class SegmentCache:
    """The decoded segments used last, up to ``limit`` bytes.

    ``least`` segments stay whatever their size: a page that is one segment would
    otherwise be decoded anew for each tile.
    """

    def __init__(self, limit: int = STRIPS_BYTES, least: int = 1) -> None:
        self._limit = limit
        self._least = least
        self._kept: OrderedDict[tuple[Path, int], Pixels] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self.turn = threading.Lock()
        """Held while segments are looked up and decoded: none is decoded twice at once."""

    def get(self, key: tuple[Path, int]) -> Pixels | None:
        """Give a segment by its file and byte offset, or None."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: tuple[Path, int], segment: Pixels) -> None:
        """Keep a segment, and let go of those not used for longest."""
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = segment
            self._bytes += segment.nbytes
            while self._bytes > self._limit and len(self._kept) > self._least:
                _, old = self._kept.popitem(last=False)
                self._bytes -= old.nbytes


@dataclass(frozen=True)
class Planes:
    """An array of any number of axes, spread over TIFF pages.

    Attributes
    ----------
    shape : of the whole array.
    outer : its first axes, whose positions are counted by pages.
    places : for each further axis, which axis of ``Tiling.shape`` it is; None for an
        axis of size 1 that the pages do not have.
    pages : one per position of the outer axes; None where a page is missing.
    """

    shape: tuple[int, ...]
    outer: int
    places: tuple[int | None, ...]
    pages: tuple[Plane | None, ...]
    tiling: Tiling
    cache: SegmentCache

    def __call__(self, index: tuple[Pick, ...]) -> Pixels:
        """Read one pick per axis; see :data:`anycell.files.source.Block`."""
        numbers = [np.arange(n)[pick] for n, pick in zip(self.shape, index, strict=True)]
        lengths = [len(v) for v in numbers]
        inner: list[NDArray[np.intp]] = [np.arange(1)] * 4
        chosen: list[slice | NDArray[np.intp]] = [slice(None)] * (len(self.shape) - self.outer)
        for axis, place in enumerate(self.places):
            wanted = numbers[self.outer + axis]
            if place in (_ROWS, _COLUMNS) and (np.diff(wanted) != 1).any():
                # Channels along the rows of a page: read all between, then choose.
                chosen[axis] = wanted - wanted.min()
                wanted = np.arange(wanted.min(), wanted.max() + 1)
            if place is not None:
                inner[place] = wanted
        across = [1 if place is None else len(inner[place]) for place in self.places]
        out = np.empty(lengths, self.tiling.dtype)
        pages = np.arange(len(self.pages)).reshape(self.shape[: self.outer])
        for at in itertools.product(*(range(n) for n in lengths[: self.outer])):
            page = int(pages[tuple(v[i] for v, i in zip(numbers, at, strict=False))])
            out[at] = self._read_page(page, inner).reshape(across)[tuple(chosen)]
        return out

    def _read_page(self, page: int, inner: list[NDArray[np.intp]]) -> Pixels:
        plane = self.pages[page]
        if plane is None:
            raise ValueError(f"plane {page} is missing; it may lie in another file of the set")
        planar, rows, columns, samples = inner
        out = np.full([len(v) for v in inner], self.tiling.fill, self.tiling.dtype)
        kept = slice(None) if len(samples) == self.tiling.shape[3] else samples
        top, left = int(rows[0]), int(columns[0])
        for k, sample in enumerate(planar):
            wanted = _segments_under(self.tiling, int(sample), rows, columns)
            with self.cache.turn:
                segments = self._fetch(plane, wanted)
            for (y, x), segment in segments:
                y0, x0 = max(y, top), max(x, left)
                y1 = min(y + segment.shape[0], int(rows[-1]) + 1)
                x1 = min(x + segment.shape[1], int(columns[-1]) + 1)
                part = segment[y0 - y : y1 - y, x0 - x : x1 - x, kept]
                out[k, y0 - top : y1 - top, x0 - left : x1 - left] = part
        return out

    def _fetch(
        self, plane: Plane, wanted: dict[int, tuple[int, int]]
    ) -> list[tuple[tuple[int, int], Pixels]]:
        """Give the segments by number, each with the (y, x) of its corner."""
        found, missing = [], []
        for number, corner in wanted.items():
            count = plane.counts[number] if number < len(plane.counts) else 0
            if count == 0:  # a tile left out because it is empty
                continue
            segment = self.cache.get((plane.path, plane.offsets[number]))
            if segment is None:
                missing.append((number, corner))
            else:
                found.append((corner, segment))
        if missing:
            corners = [corner for _, corner in missing]
            found += zip(corners, self._decoded(plane, missing), strict=True)
        return found

    def _decoded(
        self, plane: Plane, missing: list[tuple[int, tuple[int, int]]]
    ) -> Iterator[Pixels]:
        """Read segments from the file and decode them side by side."""
        with plane.path.open("rb") as file, ThreadPoolExecutor(DECODERS) as pool:
            coming = []
            for number, _ in missing:
                file.seek(plane.offsets[number])
                data = file.read(plane.counts[number])
                coming.append(pool.submit(self._decode, plane, number, data))
            yield from (segment.result() for segment in coming)

    def _decode(self, plane: Plane, number: int, data: bytes) -> Pixels:
        if len(data) < plane.counts[number]:
            raise ValueError(
                f"the file is cut off: {len(data)} of {plane.counts[number]} bytes of segment "
                f"{number} are there"
            )
        decoded = self.tiling.decode(
            data, number, jpegtables=plane.tables, jpegheader=self.tiling.header
        )
        segment: Pixels = decoded[0][0]
        self.cache.put((plane.path, plane.offsets[number]), segment)
        return segment


def _segments_under(
    tiling: Tiling, sample: int, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> dict[int, tuple[int, int]]:
    """Number the segments under a region, and give the corner (y, x) of each."""
    _, height, width, _ = tiling.shape
    tall, wide = tiling.tile
    down, across = -(-height // tall), -(-width // wide)
    first = sample * down * across
    return {
        first + j * across + i: (j * tall, i * wide)
        for j in range(int(rows[0]) // tall, int(rows[-1]) // tall + 1)
        for i in range(int(columns[0]) // wide, int(columns[-1]) // wide + 1)
    }


def read_flat(
    path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Callable[[tuple[Pick, ...]], Pixels]:
    """Give a block that reads an array stored in one piece, without compression.

    The file is mapped, so only the pages of memory under a region are touched.
    """

    def block(index: tuple[Pick, ...]) -> Pixels:
        stored = np.memmap(path, dtype, "r", offset, shape)
        return np.array(stored[index], dtype.newbyteorder("="))

    return block
