"""A source: what a file holds, before channels and axes are settled.

raster, tiff or ome_zarr -> Source -> (axes, channels and level settled) -> Image
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anycell.errors import FormatError, SettingError
from anycell.files.axes import Layout, resolve
from anycell.files.channels import channel_names, choose
from anycell.files.damage import reading
from anycell.image import Image, Level, Pixels, Region

__all__ = ["Block", "Conversion", "Pick", "Source", "as_image", "file_stem", "whole_plane"]

Pick = slice | list[int]
Block = Callable[[tuple[Pick, ...]], Pixels]
"""Reads part of an array: one pick per axis, at most one of them a list; all axes stay."""


@dataclass(frozen=True)
class Conversion:
    """A change of what samples mean, such as a palette looked up.

    ``apply`` takes and gives channels x rows x columns; ``names`` are those it gives,
    None when it leaves the channels as they are.
    """

    apply: Callable[[Pixels], Pixels]
    dtype: np.dtype[Any]
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Source:
    """What a file holds.

    Attributes
    ----------
    axes : a letter per axis, see :mod:`anycell.files.axes`.
    shapes, blocks : of each level, full resolution first.
    names : of the channels; empty when the file has none.
    pixel_size : micrometres per pixel of level 0.
    alpha : samples at the end of the channels that say how opaque a pixel is.
    conversion : what to do with the samples once read.
    """

    axes: str
    shapes: tuple[tuple[int, ...], ...]
    blocks: tuple[Block, ...]
    dtype: np.dtype[Any]
    names: tuple[str, ...] = ()
    pixel_size: float | None = None
    alpha: int = 0
    conversion: Conversion | None = None


def file_stem(path: Path) -> str:
    """Give the file's name up to its first dot."""
    return path.name.lstrip(".").split(".")[0]


def as_image(
    source: Source, path: Path, channels: str | None, axes: str | None, level: int
) -> Image:
    """Settle axes, channels and level, and give the image.

    Raises
    ------
    AxesError : the axes cannot be told, see :func:`anycell.files.axes.resolve`.
    SettingError : an unknown channel or level, or axes that cannot be.
    FormatError : samples that are not numbers of one kind.
    """
    if source.dtype.kind not in "buif":
        raise FormatError(
            f"{path} holds samples of type {source.dtype}",
            expected="whole or floating point numbers",
            hint="save the magnitude as 32-bit float",
        )
    if not 0 <= level < len(source.shapes):
        raise SettingError(
            f"{path.name} has no level {level}",
            expected=f"0 to {len(source.shapes) - 1}, 0 being full resolution",
            hint="level 0",
        )
    shapes = source.shapes
    layout = resolve(shapes[0], source.axes, axes, path.name)
    names, alpha = _names(source, layout)
    picks = choose(names[: len(names) - alpha], channels, path)
    levels = tuple(
        _level(source, layout, picks, number, path) for number in range(level, len(shapes))
    )
    size = source.pixel_size
    if size is not None:
        size *= shapes[0][layout.x] / shapes[level][layout.x]
    dtype = source.conversion.dtype if source.conversion else source.dtype
    return Image(levels, tuple(names[i] for i in picks), dtype, size, file_stem(path))


def whole_plane(source: Source, path: Path) -> Pixels:
    """Read full resolution at once: channels x rows x columns, alpha dropped."""
    image = as_image(source, path, None, None, 0)
    _, height, width = image.shape
    return image.read(Region(0, 0, height, width))


def _names(source: Source, layout: Layout) -> tuple[tuple[str, ...], int]:
    if source.conversion is not None and source.conversion.names is not None:
        return source.conversion.names, 0
    count = 1 if layout.channel is None else source.shapes[0][layout.channel]
    alpha = 0 if layout.channel is None else source.alpha
    if layout.color and count in (2, 4):
        alpha = 1
    names = channel_names(count - alpha, source.names, color=layout.color)
    return names + ("alpha",) * alpha, alpha


def _level(source: Source, layout: Layout, picks: list[int], number: int, path: Path) -> Level:
    shape, block, conversion = source.shapes[number], source.blocks[number], source.conversion
    first = [i for i in (layout.channel, layout.y, layout.x) if i is not None]
    order = [*first, *(i for i in range(len(shape)) if i not in first)]
    pick = _as_slice(picks)
    # A conversion that mixes samples needs them all; so the choice comes after it.
    late = layout.channel is None or (conversion is not None and conversion.names is not None)

    def read(region: Region) -> Pixels:
        index: list[Pick] = [slice(0, 1)] * len(shape)
        index[layout.y], index[layout.x] = region.slices
        if layout.channel is not None:
            index[layout.channel] = slice(0, shape[layout.channel]) if late else pick
        with reading(path):
            pixels = block(tuple(index))
        pixels = pixels.transpose(order).reshape(-1, *region.shape)
        if conversion is not None:
            pixels = conversion.apply(pixels)
        return np.ascontiguousarray(pixels[pick] if late else pixels)

    return Level(shape[layout.y], shape[layout.x], read)


def _as_slice(picks: list[int]) -> Pick:
    """Neighbors in order are read as one slice, which is quicker."""
    if picks == list(range(picks[0], picks[0] + len(picks))):
        return slice(picks[0], picks[0] + len(picks))
    return picks
