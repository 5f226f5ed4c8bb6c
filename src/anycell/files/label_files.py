"""Labels in files: read from what tools write, written so that every tool reads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.errors import FormatError, InputError
from anycell.files.damage import reading, replacing
from anycell.files.opening import file_kind, open_image, open_source
from anycell.files.raster import palette_numbers
from anycell.files.source import whole_plane
from anycell.image import Pixels, Region
from anycell.labels import Labels, as_labels

__all__ = ["read_labels", "sampled_labels", "write_labels"]

_BLOCK = 1024
_KINDS = "PNG, TIFF, .npy or OME-Zarr with one whole number per pixel"


def read_labels(path: str | os.PathLike[str]) -> Labels:
    """Read labels from PNG, TIFF, .npy (without pickle) or single-channel OME-Zarr.

    The numbers are those stored; the palette of a PNG or TIFF is for display only.

    Raises
    ------
    InputError : no such file; colors or several channels; not whole numbers from 0 up.
    FormatError : damaged, or a kind that does not keep numbers, such as JPEG.
    AxesError : a stack.
    """
    place = Path(path)
    kind = file_kind(place)
    if kind in ("jpeg", "webp", "bmp"):
        raise FormatError(
            f"{place} is {kind}, which does not keep label numbers",
            expected=_KINDS,
            hint="the label file that your program saves as PNG or TIFF",
        )
    planes = _read_npy(place) if kind == "npy" else _read_planes(place, kind)
    if len(planes) != 1:
        raise InputError(
            f"{place} holds {len(planes)} values per pixel: a picture of labels or an image",
            expected=_KINDS,
            hint="the label file itself; the colors of a picture do not tell touching cells apart",
        )
    try:
        return as_labels(planes[0])
    except InputError as error:
        raise InputError(
            f"{place}: {error.found}", expected=error.expected, hint=error.hint
        ) from error


def sampled_labels(path: Path, shape: tuple[int, int]) -> Labels:
    """Read evenly spaced rows and columns of labels of any size, block by block.

    Parameters
    ----------
    path : of labels that anycell wrote.
    shape : rows and columns wanted, no more than there are.
    """
    image = open_image(path)
    _, height, width = image.shape
    rows, columns = (
        ((np.arange(size) + 0.5) * full / size).astype(int)
        for size, full in zip(shape, (height, width), strict=True)
    )
    out = np.empty(shape, dtype=np.int32)
    for y in range(0, height, _BLOCK):
        for x in range(0, width, _BLOCK):
            block = Region(y, x, y + _BLOCK, x + _BLOCK).clip(height, width)
            down = np.flatnonzero((rows >= block.y0) & (rows < block.y1))
            across = np.flatnonzero((columns >= block.x0) & (columns < block.x1))
            pixels = image.read(block)[0]
            out[np.ix_(down, across)] = pixels[np.ix_(rows[down] - y, columns[across] - x)]
    return out


def write_labels(labels: NDArray[Any], path: str | os.PathLike[str]) -> None:
    """Write labels as TIFF: uint16, or uint32 above 65,535 cells; zlib, nothing lost.

    The file appears whole or not at all.

    Raises
    ------
    InputError : not labels, see :func:`anycell.labels.as_labels`.
    OutputError : the folder is missing or closed, or the disk is full.
    """
    checked = as_labels(labels)
    from tifffile import imwrite

    wide = int(checked.max(initial=0)) > np.iinfo(np.uint16).max
    stored = checked.astype(np.uint32 if wide else np.uint16)
    with replacing(Path(path)) as draft:
        imwrite(
            draft,
            stored,
            photometric="minisblack",
            compression="zlib",
            predictor=True,
            metadata=None,
            software="anycell",
        )


def _read_planes(path: Path, kind: str) -> Pixels:
    if kind == "png":
        with reading(path):
            numbers = palette_numbers(path.read_bytes())
        if numbers is not None:
            return numbers[None]
    return whole_plane(open_source(path, as_numbers=True), path)


def _read_npy(path: Path) -> Pixels:
    try:
        array: Pixels = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise FormatError(
            f"{path} cannot be read: {error}",
            expected="one array of numbers, saved without pickle",
            hint="numpy.save(path, labels) with the label array alone",
        ) from error
    squeezed = array.reshape([n for n in array.shape[:-2] if n > 1] + list(array.shape[-2:]))
    if squeezed.ndim != 2:
        raise InputError(
            f"{path} holds an array of shape {array.shape}",
            expected="rows x columns",
            hint="save one plane as a file of its own",
        )
    return squeezed[None]
