"""A plane of labels of any size: chunks on disk, of which those used last are in memory.

    write, read                      finished once
        |                                 |
    chunks in memory  <-- least used -->  zarr array on disk --> OME-Zarr, or tiles of a TIFF

The chunks lie in a zarr array.  Finished as OME-Zarr, that array is level 0 and smaller
levels are put beside it; a TIFF is written from it tile by tile.  Neither is ever whole
in memory.
"""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anycell.files.damage import replacing, writing
from anycell.image import Region
from anycell.labels import Labels, Plane, bands

if TYPE_CHECKING:
    import zarr

__all__ = ["LabelStore", "tiles_of", "write_tiled"]

CHUNK = 1024
"""Side of a chunk, pixels: 4 MiB in memory, some 50 KiB on disk."""
CACHE_BYTES = 96 * 2**20
TIFF_TILE = 512
ENCODERS = 4
"""Threads that compress tiles: the last thing that is done to a slide waits for them."""
SMALLEST_LEVEL = 1024
"""Levels are added until the longer side is no more than this, pixels."""


class LabelStore:
    """Labels on disk, rows x columns, zeros at first; a sink for ``anycell.seams``.

    Parameters
    ----------
    folder : where the chunks go; it must not exist yet.
    height, width : of the plane.
    limit : bytes of chunks that stay in memory.

    Raises
    ------
    OutputError : the folder cannot be written to, here and in every method.
    """

    def __init__(self, folder: Path, height: int, width: int, limit: int = CACHE_BYTES) -> None:
        import zarr

        self.folder = folder
        self.shape = (height, width)
        self._most = max(1, limit // (4 * CHUNK * CHUNK))
        self._kept: OrderedDict[tuple[int, int], Labels] = OrderedDict()
        self._changed: set[tuple[int, int]] = set()
        with writing(folder):
            self._group = zarr.open_group(str(folder), mode="w-", zarr_format=3)
            self._array = _new_level(self._group, 0, self.shape)

    def read(self, region: Region) -> Labels:
        """Give a copy of the labels of a region inside the plane."""
        out = np.empty(region.shape, dtype=np.int32)
        for key, inner, outer in _parts(region):
            out[outer] = self._chunk(key)[inner]
        return out

    def write(self, region: Region, labels: Labels) -> None:
        """Replace the labels of a region inside the plane."""
        for key, inner, outer in _parts(region):
            self._chunk(key)[inner] = labels[outer]
            self._changed.add(key)

    def flush(self) -> None:
        """Bring everything to disk."""
        for key in sorted(self._changed):
            self._save(key, self._kept[key])
        self._changed.clear()

    def to_tiff(self, path: Path, cells: int) -> None:
        """Write a tiled BigTIFF of 16 bits, or 32 above 65,535 cells; zlib, nothing lost.

        The file appears whole or not at all.
        """
        write_tiled(self._tiles(), self.shape, path, cells)

    def to_ome_zarr(self, path: Path, name: str, pixel_size: float | None) -> None:
        """Add smaller levels and metadata (OME-Zarr 0.5), and move the folder to ``path``.

        The store is gone afterwards; what stood at ``path`` is replaced.

        Parameters
        ----------
        pixel_size : micrometres per pixel; None when it is not known.
        """
        self.flush()
        self._kept.clear()
        with writing(path):
            count = 1
            while max(self._level(count - 1).shape) > SMALLEST_LEVEL:
                _halve(self._level(count - 1), _new_level(self._group, count, self._half(count)))
                count += 1
            self._group.attrs["ome"] = _metadata(name, count, pixel_size)
            _replace_folder(self.folder, path)

    def _level(self, number: int) -> zarr.Array[Any]:
        import zarr

        array = self._group[str(number)]
        assert isinstance(array, zarr.Array)
        return array

    def _half(self, count: int) -> tuple[int, int]:
        height, width = self._level(count - 1).shape
        return (-(-height // 2), -(-width // 2))

    def _tiles(self) -> Iterator[Labels]:
        height, width = self.shape
        for y in range(0, height, TIFF_TILE):
            for x in range(0, width, TIFF_TILE):
                yield self.read(Region(y, x, y + TIFF_TILE, x + TIFF_TILE).clip(height, width))

    def _chunk(self, key: tuple[int, int]) -> Labels:
        """Give a chunk that may be written to, and let go of the one unused for longest."""
        chunk = self._kept.get(key)
        if chunk is not None:
            self._kept.move_to_end(key)
            return chunk
        while len(self._kept) >= self._most:
            old, gone = next(iter(self._kept.items()))
            if old in self._changed:
                self._save(old, gone)
                self._changed.discard(old)
            del self._kept[old]
        chunk = np.zeros((CHUNK, CHUNK), dtype=np.int32)
        place = self._place(key)
        with writing(self.folder):
            stored = np.asarray(self._array[place])
        chunk[: stored.shape[0], : stored.shape[1]] = stored
        self._kept[key] = chunk
        return chunk

    def _save(self, key: tuple[int, int], chunk: Labels) -> None:
        place = self._place(key)
        rows, columns = (s.stop - s.start for s in place)
        with writing(self.folder):
            self._array[place] = chunk[:rows, :columns].astype(np.uint32)

    def _place(self, key: tuple[int, int]) -> tuple[slice, slice]:
        y, x = (k * CHUNK for k in key)
        return Region(y, x, y + CHUNK, x + CHUNK).clip(*self.shape).slices


def write_tiled(tiles: Iterable[Labels], shape: tuple[int, ...], path: Path, largest: int) -> None:
    """Write a tiled BigTIFF of 16 bits, or 32 for numbers above 65,535; zlib, nothing lost.

    The file appears whole or not at all.

    Parameters
    ----------
    tiles : of ``TIFF_TILE`` rows and columns, those at the far edges less, row by row.
    shape : of the plane.
    largest : of the numbers.
    """
    from tifffile import TiffWriter

    dtype = np.dtype(np.uint32 if largest > np.iinfo(np.uint16).max else np.uint16)

    def filled() -> Iterator[NDArray[Any]]:
        for part in tiles:
            tile = np.zeros((TIFF_TILE, TIFF_TILE), dtype=dtype)
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile

    with replacing(path) as draft, TiffWriter(draft, bigtiff=True) as file:
        file.write(
            filled(),
            shape=shape,
            dtype=dtype,
            tile=(TIFF_TILE, TIFF_TILE),
            photometric="minisblack",
            compression="zlib",
            predictor=True,
            metadata=None,
            software="anycell",
            maxworkers=ENCODERS,
            buffersize=32 * 2**20,
        )


def tiles_of(plane: Plane) -> Iterator[Labels]:
    """Cut a plane into the tiles that :func:`write_tiled` takes."""
    for _, rows in bands(plane, TIFF_TILE):
        for x in range(0, plane.shape[1], TIFF_TILE):
            yield rows[:, x : x + TIFF_TILE]


def _parts(
    region: Region,
) -> Iterator[tuple[tuple[int, int], tuple[slice, slice], tuple[slice, slice]]]:
    """The chunks under a region: which, what part of the chunk, what part of the region."""
    for j in range(region.y0 // CHUNK, -(-region.y1 // CHUNK)):
        for i in range(region.x0 // CHUNK, -(-region.x1 // CHUNK)):
            y, x = j * CHUNK, i * CHUNK
            part = Region(
                max(region.y0, y),
                max(region.x0, x),
                min(region.y1, y + CHUNK),
                min(region.x1, x + CHUNK),
            )
            inner = part.shift(-y, -x).slices
            yield (j, i), inner, part.shift(-region.y0, -region.x0).slices


def _new_level(group: zarr.Group, number: int, shape: tuple[int, int]) -> zarr.Array[Any]:
    from zarr.codecs import BloscCodec

    return group.create_array(
        str(number),
        shape=shape,
        chunks=(CHUNK, CHUNK),
        dtype=np.uint32,
        fill_value=0,
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),
        dimension_names=("y", "x"),
    )


def _halve(large: zarr.Array[Any], small: zarr.Array[Any]) -> None:
    """Every other row and column: labels have no mean."""
    height, width = small.shape
    for y in range(0, height, CHUNK):
        for x in range(0, width, CHUNK):
            place = Region(y, x, y + CHUNK, x + CHUNK).clip(height, width)
            above = Region(2 * place.y0, 2 * place.x0, 2 * place.y1, 2 * place.x1)
            pixels = np.asarray(large[above.clip(*large.shape).slices])
            small[place.slices] = pixels[::2, ::2]


def _metadata(name: str, levels: int, pixel_size: float | None) -> dict[str, Any]:
    """OME-Zarr 0.5: multiscales, and that the pixels are labels."""
    axes: list[dict[str, str]] = [{"name": k, "type": "space"} for k in "yx"]
    if pixel_size is not None:
        axes = [{**axis, "unit": "micrometer"} for axis in axes]
    side = 1.0 if pixel_size is None else pixel_size
    datasets = []
    for level in range(levels):
        # Pixel k of a level is pixel 2 k of the one before, so nothing is moved.
        changes: list[dict[str, Any]] = [{"type": "scale", "scale": [side * 2**level] * 2}]
        datasets.append({"path": str(level), "coordinateTransformations": changes})
    return {
        "version": "0.5",
        "multiscales": [{"name": name, "axes": axes, "datasets": datasets, "type": "nearest"}],
        "image-label": {},
    }


def _replace_folder(folder: Path, path: Path) -> None:
    """Move a folder to where another one, or a file, may stand."""
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    if path.exists():
        path.replace(old)
    folder.replace(path)
    if old.is_dir():
        shutil.rmtree(old)
    elif old.exists():
        old.unlink()
