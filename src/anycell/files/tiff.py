"""TIFF of all kinds: plain, BigTIFF, ImageJ, OME-TIFF, SVS, NDPI and other slides.

tifffile reads the structure and decodes segments; :mod:`anycell.files.segments` reads
only those under a region.  The file is opened anew for each region and not kept open.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anycell.errors import AxesError, FormatError
from anycell.files.channels import RGB
from anycell.files.colors import invert, look_up, rgb_of_inks, rgb_of_ycbcr
from anycell.files.damage import reading
from anycell.files.segments import (
    STRIPS_BYTES,
    TILES_BYTES,
    Plane,
    Planes,
    SegmentCache,
    Tiling,
    read_flat,
)
from anycell.files.source import Block, Conversion, Source
from anycell.files.tiff_metadata import channel_words, micrometres

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

__all__ = ["tiff_source"]

_SLIDES = ("svs", "ndpi", "scn", "bif", "qpi", "avs", "philips")
_EXTRAS = ("label", "macro", "map", "overview", "thumbnail")
_WHITE_IS_ZERO, _RGB, _PALETTE, _MASK, _INKS, _YCBCR = 0, 2, 3, 4, 5, 6
_DECODED_TO_RGB = (6, 7, 33007, 34892, 50001)  # compressions: JPEG and WebP
_APERIO_YCBCR = 33003
_ALPHA = (1, 2)  # values of the tag ExtraSamples


def tiff_source(path: Path, *, as_numbers: bool = False) -> Source:
    """Open a TIFF; ``as_numbers`` leaves palettes and inverted greys as they are stored.

    Raises
    ------
    FormatError : damaged, or colors that are not supported.
    AxesError : several images in one file.
    """
    with reading(path):
        from tifffile import TiffFile

        with TiffFile(path) as file:
            number, series = _main_series(file, path)
            blocks = _blocks(series, path)
            page = series.keyframe
            shapes = tuple(tuple(level.get_shape(False)) for level in series.levels)
            axes = series.get_axes(False)
            words = channel_words(file, series, number)
            size = micrometres(file, series, number)
            conversion = None if as_numbers else _conversion(series, path)
    sample = _sample_axis(shapes[0], page)
    colored = page.photometric in (_RGB, _YCBCR) and page.samplesperpixel > 2
    alpha = 1 if page.extrasamples and page.extrasamples[-1] in _ALPHA else 0
    plain = colored and page.samplesperpixel - alpha == 3
    if sample is not None:
        axes = axes[:sample] + ("S" if plain else "C") + axes[sample + 1 :]
        if colored and not plain:
            words = (*RGB, *(str(i) for i in range(3, page.samplesperpixel - alpha)))
    return Source(axes, shapes, blocks, page_dtype(page), words, size, alpha, conversion)


def page_dtype(page: TiffPage) -> np.dtype[np.generic]:
    """Give the type of a page's samples, in this machine's byte order.

    Raises
    ------
    FormatError : a number of bits or a format of samples that cannot be decoded.
    """
    if page.dtype is None:
        raise FormatError(
            f"{page.parent.filename} has samples of {page.bitspersample} bits, "
            f"format {page.sampleformat}",
            expected="8, 16, 32 or 64 bits, whole or floating point",
            hint="save it as 16-bit TIFF",
        )
    return np.dtype(page.dtype).newbyteorder("=")


def _main_series(file: TiffFile, path: Path) -> tuple[int, TiffPageSeries]:
    series = [(i, one) for i, one in enumerate(file.series) if math.prod(one.get_shape(False))]
    if not series:
        raise FormatError(f"{path} holds no image", expected="a TIFF with at least one page")
    if series[0][1].kind in _SLIDES:
        return max(series, key=lambda pair: math.prod(pair[1].get_shape(False)))
    rest = [one for _, one in series[1:] if not _is_extra(one)]
    if rest:
        sizes = ", ".join("x".join(map(str, one.shape)) for one in (series[0][1], *rest))
        raise AxesError(
            f"{path} holds {len(rest) + 1} images ({sizes})",
            expected="one image per file, with or without its smaller levels",
            hint="save each image as a file of its own",
        )
    return series[0]


def _is_extra(series: TiffPageSeries) -> bool:
    page = series.keyframe
    small = page.is_reduced or page.is_subifd or page.is_mask
    return small or any(word in series.name.lower() for word in _EXTRAS)


def _blocks(series: TiffPageSeries, path: Path) -> tuple[Block, ...]:
    page = series.keyframe
    limit = TILES_BYTES if page.is_tiled else STRIPS_BYTES
    cache = SegmentCache(limit, least=max(1, len(series) * page.shaped[0]))
    return tuple(_block(level, path, cache) for level in series.levels)


def _block(series: TiffPageSeries, path: Path, cache: SegmentCache) -> Block:
    page, shape = series.keyframe, tuple(series.get_shape(False))
    dtype = page_dtype(page)
    if series.transform is not None:
        raise FormatError(
            f"{path} stores the roots of its values (MD Gel)",
            expected="the values themselves",
            hint="save it as plain TIFF from Fiji",
        )
    if series.dataoffset is not None:
        missing = series.dataoffset + math.prod(shape) * dtype.itemsize - path.stat().st_size
        if missing > 0:
            raise ValueError(f"the file is cut off: {missing} bytes are missing")
        stored = dtype.newbyteorder(page.parent.byteorder)
        return read_flat(path, series.dataoffset, shape, stored)
    outer = _outer_axes(shape, page)
    places = _places(shape[outer:], page)
    planes = tuple(
        None
        if one is None
        else Plane(
            Path(one.parent.filehandle.path), one.dataoffsets, one.databytecounts, one.jpegtables
        )
        for one in series
    )
    samples, _, height, width, mixed = page.shaped
    tile = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width)
    tiling = Tiling(
        (samples, height, width, mixed), tile, dtype, page.nodata, page.decode, page.jpegheader
    )
    return Planes(shape, outer, places, planes, tiling, cache)


def _outer_axes(shape: tuple[int, ...], page: TiffPage) -> int:
    """Count the axes that are spread over pages."""
    inside = math.prod(page.shaped)
    for outer in range(len(shape)):
        if math.prod(shape[outer:]) == inside:
            return outer
    raise ValueError(f"pages of shape {page.shape} do not make up an array of shape {shape}")


def _places(shape: tuple[int, ...], page: TiffPage) -> tuple[int | None, ...]:
    """Match the axes of an array with those of its pages, skipping those of size 1."""
    if page.shaped[1] > 1:
        raise AxesError(
            f"{page.parent.filename} is a stack of {page.shaped[1]} planes in depth",
            expected="one plane",
            hint="save one plane as a file of its own",
        )
    inside = (page.shaped[0], *page.shaped[2:])
    free = [i for i, size in enumerate(inside) if size > 1]
    places = [free.pop(0) if size > 1 and free else None for size in shape]
    fits = all(
        size == (1 if place is None else inside[place])
        for size, place in zip(shape, places, strict=True)
    )
    if free or not fits:
        raise ValueError(f"pages of shape {page.shape} do not fit an array of shape {shape}")
    return tuple(places)


def _sample_axis(shape: tuple[int, ...], page: TiffPage) -> int | None:
    """Find the axis of an array that counts the samples of a page, if it has several."""
    if page.samplesperpixel < 2:
        return None
    outer = _outer_axes(shape, page)
    places = _places(shape[outer:], page)
    samples = 0 if page.shaped[0] > 1 else 3
    return outer + places.index(samples) if samples in places else None


def _conversion(series: TiffPageSeries, path: Path) -> Conversion | None:
    page = series.keyframe
    kind, dtype = page.photometric, page_dtype(page)
    if kind == _WHITE_IS_ZERO and dtype.kind in "bu":
        # A mask of one bit per pixel keeps its meaning: tifffile marks all of them so.
        return Conversion(invert, dtype) if dtype.kind == "u" else None
    if kind == _PALETTE:
        # ImageJ and OME keep a table of display colors here; their numbers are intensities.
        if series.kind in ("imagej", "ome") or page.colormap is None:
            return None
        palette = page.colormap
        return Conversion(lambda pixels: look_up(pixels, palette), np.dtype(np.uint8), RGB)
    if kind == _INKS and page.samplesperpixel in (4, 5) and dtype.kind == "u":
        return Conversion(rgb_of_inks, dtype, RGB)
    stored_as_ycbcr = kind == _YCBCR and page.compression not in _DECODED_TO_RGB
    if stored_as_ycbcr or page.compression == _APERIO_YCBCR:
        if dtype == np.uint8 and page.samplesperpixel == 3:
            return Conversion(rgb_of_ycbcr, dtype, RGB)
    elif kind <= _YCBCR and kind != _WHITE_IS_ZERO:
        return None
    raise FormatError(
        f"{path} stores colors as {getattr(kind, 'name', kind)}, {dtype}",
        expected="grey, red-green-blue, a palette, CMYK or 8-bit YCbCr",
        hint="save it as RGB",
    )
