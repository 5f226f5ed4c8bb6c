"""Pictures for people: a stretched rendition of an image, and outlines drawn on it."""

from __future__ import annotations

import colorsys
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.errors import InputError
from anycell.files.damage import replacing
from anycell.image import Image, Pixels, Region
from anycell.labels import Labels, as_labels, relabel

__all__ = ["display", "overlay", "write_overlay"]

_LOW, _HIGH = 0.5, 99.8  # percentiles shown as black and as full brightness
_BAND = 1024  # rows at a time: a slide is never held as float
_HUES = 12
_LUMA = 0.4  # of 1; the least brightness of an outline
_NEAR = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))
"""Steps (y, x) between pixels of cells that count as neighbors: one background pixel
may lie between them."""


def display(image: Image, side: int | None = None) -> NDArray[np.uint8]:
    """Render an image for the screen: rows x columns x 3.

    An 8-bit color image is shown as it is.  Any other is stretched from its percentiles
    0.5 to 99.8, taken over the overview: color over all three channels alike, so that
    hues stay; one channel as grey; more of them added up in evenly spaced hues (two:
    green and magenta; three: red, green and blue).

    Parameters
    ----------
    side : the longer side wanted, in pixels; full resolution by default.
    """
    low, high = _limits(image)
    inks = _inks(image)
    if side is not None:
        return _paint(image.overview(side), low, high, inks)
    _, height, width = image.shape
    out = np.empty((height, width, 3), np.uint8)
    for y in range(0, height, _BAND):
        band = Region(y, 0, min(y + _BAND, height), width)
        out[band.y0 : band.y1] = _paint(image.read(band), low, high, inks)
    return out


def overlay(display_rgb: NDArray[np.uint8], labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Draw the outline of each cell, 1 pixel wide and inside the cell.

    The colors are bright, the same on each run, and differ between neighbors.

    Parameters
    ----------
    display_rgb : rows x columns x 3; it is not changed.
    labels : rows x columns.

    Raises
    ------
    InputError : a picture and labels of different sizes.
    """
    cells = relabel(as_labels(labels))
    if display_rgb.ndim != 3 or display_rgb.shape != (*cells.shape, 3):
        raise InputError(
            f"a picture of shape {display_rgb.shape} and labels of shape {cells.shape}",
            expected="rows x columns x 3, and the same rows x columns",
        )
    out = display_rgb.copy()
    where = np.nonzero(_outlines(cells))
    hues = _hues(cells)
    out[where] = _palette(int(hues.max()) + 1)[hues[cells[where]]]
    return out


def write_overlay(
    display_rgb: NDArray[np.uint8], labels: NDArray[Any], path: str | os.PathLike[str]
) -> None:
    """Write :func:`overlay` as PNG; the file appears whole or not at all.

    Raises
    ------
    InputError : a picture and labels of different sizes.
    OutputError : the folder is missing or closed, or the disk is full.
    """
    import imagecodecs

    picture = imagecodecs.png_encode(overlay(display_rgb, labels), level=1)
    with replacing(Path(path)) as draft:
        draft.write_bytes(picture)


def _limits(image: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give the values shown as black and as full brightness, one per channel."""
    count = len(image.channels)
    if image.is_color and image.dtype == np.uint8:
        return np.zeros(count, np.float32), np.full(count, 255, np.float32)
    view = image.overview(1024).astype(np.float32, copy=False).reshape(count, -1)
    groups = [view.ravel()] * count if image.is_color else list(view)
    low, high = np.zeros(count, np.float32), np.zeros(count, np.float32)
    for i, values in enumerate(groups):
        real = values[np.isfinite(values)]
        if real.size:
            low[i], high[i] = np.percentile(real, (_LOW, _HIGH))
            if low[i] == high[i]:  # a few bright pixels on an even background
                low[i], high[i] = real.min(), real.max()
    return low, high


def _inks(image: Image) -> NDArray[np.float32]:
    """Give the color of each channel at full brightness: channels x 3."""
    count = len(image.channels)
    if image.is_color:
        return np.eye(3, dtype=np.float32)
    if count == 1:
        return np.ones((1, 3), np.float32)
    start = 1 / 3 if count == 2 else 0.0
    hues = [colorsys.hsv_to_rgb((start + i / count) % 1, 1, 1) for i in range(count)]
    return np.array(hues, np.float32)


def _paint(
    pixels: Pixels,
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    inks: NDArray[np.float32],
) -> NDArray[np.uint8]:
    if len(inks) == 3 and pixels.dtype == np.uint8 and not low.any() and (high == 255).all():
        return np.ascontiguousarray(pixels.transpose(1, 2, 0))
    light = np.zeros((*pixels.shape[1:], 3), np.float32)
    for plane, dark, bright, ink in zip(pixels, low, high, inks, strict=True):
        span = float(bright - dark) or 1.0
        real = np.nan_to_num(plane.astype(np.float32), nan=dark, posinf=bright, neginf=dark)
        light += np.clip((real - dark) / span, 0, 1)[..., None] * ink
    shades: NDArray[np.uint8] = np.rint(np.minimum(light, 1) * 255).astype(np.uint8)
    return shades


def _outlines(cells: Labels) -> NDArray[np.bool_]:
    """Mark the pixels of cells beside another cell or background."""
    edge = np.zeros(cells.shape, bool)
    down = cells[1:] != cells[:-1]
    across = cells[:, 1:] != cells[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    marked: NDArray[np.bool_] = edge & (cells > 0)
    return marked


def _neighbors(cells: Labels) -> NDArray[np.int64]:
    """Give the pairs of neighboring cells, once each: the higher numbers, then the lower."""
    height, width = cells.shape
    count = int(cells.max(initial=0)) + 1
    keys = [np.empty(0, np.int64)]
    for dy, dx in _NEAR:
        here = cells[: max(height - dy, 0), max(-dx, 0) : width - max(dx, 0)]
        there = cells[dy:, max(dx, 0) : width - max(-dx, 0)]
        both = (here != there) & (here > 0) & (there > 0)
        one, other = here[both], there[both]
        key = np.maximum(one, other).astype(np.int64) * count + np.minimum(one, other)
        keys.append(key[np.diff(key, prepend=-1) != 0])  # runs go before the costly sort
    return np.stack(np.divmod(np.unique(np.concatenate(keys)), count))


def _hues(cells: Labels) -> NDArray[np.int64]:
    """Color the map: for each number 0..max the hue that comes next and no neighbor has."""
    higher, lower = _neighbors(cells)
    count = int(cells.max(initial=0)) + 1
    hues = np.arange(count) * 5 % _HUES
    starts = np.searchsorted(higher, np.arange(count + 1))
    for i in np.flatnonzero(np.diff(starts)):
        taken = set(hues[lower[starts[i] : starts[i + 1]]].tolist())
        turns = ((int(hues[i]) + step) % _HUES for step in range(_HUES))
        finer = range(_HUES, _HUES + len(taken) + 1)
        hues[i] = next(hue for hue in (*turns, *finer) if hue not in taken)
    return hues


def _palette(count: int) -> NDArray[np.uint8]:
    """Give bright colors: twelve hues around the circle, then ever finer ones."""
    golden = 0.6180339887
    hues = [i / _HUES if i < _HUES else i * golden % 1 for i in range(count)]
    bright = np.array([colorsys.hsv_to_rgb(hue, 1, 1) for hue in hues])
    luma = bright @ np.array([[0.299], [0.587], [0.114]])
    lift = np.clip((_LUMA - luma) / (1 - luma), 0, 1)  # pure blue is lost on black
    colors: NDArray[np.uint8] = np.rint((bright + (1 - bright) * lift) * 255).astype(np.uint8)
    return colors
