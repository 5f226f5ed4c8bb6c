"""Segment: an image of any size becomes labels in memory, by one road.

    image -> road -> tile: read, outputs, decode       (several side by side)
                 -> canvas: claim                      (in the order of the tiles)

A thumbnail has one tile, a slide thousands; nothing else differs.  Each tile carries its
own zoom; usually they are one grid of one zoom.  What is too large for memory takes the
same road in ``anycell.slides``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from anycell.errors import AnycellError
from anycell.files import Opening
from anycell.grid import Tiles
from anycell.image import Image, Pixels, Region
from anycell.labels import Labels
from anycell.levels import told
from anycell.normalize import Normalization
from anycell.predictor import Predictor
from anycell.road import Asked, Road, Stopwatch, cores_for, first_look, prepare
from anycell.scale import ZoomPlan, find_zoom
from anycell.seams import ArraySink, Canvas
from anycell.zones import find_plan

__all__ = ["Segmentation", "claimed", "common_plan", "plan_zoom", "segment"]

SAMPLED = 9
"""Images with cells on which the zoom of many is found; their median is one of them."""


@dataclass(frozen=True)
class Segmentation:
    """The cells of an image, and how they were found.

    Attributes
    ----------
    labels : rows x columns of the image; 0 is background, 1..n are cells.
    confidence : 0 .. 1, element i - 1 belongs to cell i.
    tiles : how many tiles there were.
    seconds : spent on ``read`` (overview and tiles), ``scale`` (finding the zoom),
        ``network``, ``decode`` and ``seams``; they run side by side, in each of several
        workers, so ``total`` is less than their sum.
    zoom : network pixels per pixel of the image, as used for most of it.
    plan : how the zoom was found; None when it was given.
    normalization : what was 0 and what was 1 to the network.
    model, hash : the predictor's name and digits.
    cores : the part of the image that each tile answered for.
    levels : pairs of zoom and foreground probability, where another than the usual one was
        taken (``anycell.levels``).
    """

    labels: Labels
    confidence: NDArray[np.float32]
    tiles: int
    seconds: dict[str, float]
    zoom: float
    plan: ZoomPlan | None
    normalization: Normalization
    model: str
    hash: str
    cores: tuple[Region, ...]
    levels: tuple[tuple[float, float], ...] = ()


def plan_zoom(
    image: Image | Pixels, model: Predictor | None = None, *, core: int | None = None
) -> ZoomPlan:
    """Find the zooms that :func:`segment` would use, and what it would skip.

    Raises
    ------
    InputError : an array that is no image, or more than three channels.
    """
    image, model = _given(image, model)
    looks, planes, _ = first_look(image, model, Stopwatch())
    return find_plan(looks, planes, cores_for(core, model.halo, image))


def common_plan(openings: Sequence[Opening], model: Predictor) -> ZoomPlan:
    """Find one zoom for images that were all taken alike.

    Some of them are looked at, spread evenly, until nine have shown cells; the zoom is
    the median of what is found for them.  One that cannot be read is passed over here: it
    fails when it is segmented.

    Returns
    -------
    a plan of one zoom; the reason says which images it comes from.
    """
    if model.diameter is None:
        return ZoomPlan(1.0, (), "the method has no scale of its own")
    alone = model.split(2)[0]
    spread = np.linspace(0, len(openings) - 1, min(SAMPLED, len(openings))).round()
    found: list[tuple[float, str]] = []
    for opening in dict.fromkeys((*(openings[int(k)] for k in spread), *openings)):
        try:
            looks, planes, _ = first_look(opening.open(), alone, Stopwatch())
        except AnycellError:
            continue
        plan, _ = find_zoom(looks, planes)
        if any(score > 0 for _, score in plan.tried):
            found.append((plan.zoom, f"{opening.path.parent.name}/{opening.path.name}"))
        if len(found) == SAMPLED:
            break
    if not found:
        return ZoomPlan(1.0, (), "no cells were found in any of the images")
    zoom = sorted(zoom for zoom, _ in found)[(len(found) - 1) // 2]
    names = ", ".join(name for _, name in found)
    return ZoomPlan(zoom, (), f"the same for all images, the median of {names}")


def segment(
    image: Image | Pixels,
    model: Predictor | None = None,
    *,
    core: int | None = None,
    zoom: float | None = None,
    tiles: Tiles | None = None,
    min_confidence: float | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Segmentation:
    """Find every cell of an image.

    Parameters
    ----------
    image : an image, or an array of rows x columns or channels x rows x columns.
    model : the predictor; the default model of the package if none is given.
    core : side of the part that a tile answers for, network pixels.  Larger tiles take
        more memory and waste less time on halos; the cells are as good as the same.  None for
        tiles of 1,280 network pixels, of 1,152 above 10 megapixels, less at a small zoom.
    zoom : network pixels per pixel of the image, 1/64 .. 8; below 1 for cells larger
        than the model knows.  Rounded to a fraction (``anycell.grid.exact_zoom``).
        None has it found (``anycell.scale``).
    tiles : what to look at, and each tile's zoom, instead of ``core`` and ``zoom``; in
        the order of the first rows of their reads.  What no core holds stays background.
    min_confidence : cells below it are left out, 0 .. 1; None for the model's own limit.
    workers : how many tiles are under way side by side; one per core by default.  The
        labels do not depend on it.
    progress : called with (tiles done, tiles in all) after each tile.

    Raises
    ------
    InputError : an array that is no image, or more than three channels.
    SettingError : core or zoom out of range, or both a zoom and tiles.
    """
    image, model = _given(image, model)
    began = perf_counter()
    road = prepare(image, model, Asked(core, zoom, tiles, min_confidence))
    labels, confidence = claimed(road, workers, progress)
    return Segmentation(
        labels=labels,
        confidence=confidence,
        tiles=len(road.tiles),
        seconds=road.watch.seconds | {"total": perf_counter() - began},
        zoom=road.zoom,
        plan=road.plan,
        normalization=road.normalization,
        model=model.name,
        hash=model.hash,
        cores=tuple(tile.core for tile in road.tiles),
        levels=told(road.levels),
    )


def _given(image: Image | Pixels, model: Predictor | None) -> tuple[Image, Predictor]:
    """Make an array an image, and load the default model where none is given."""
    if not isinstance(image, Image):
        image = Image.from_array(image)
    if model is None:
        from anycell.model import default_model

        model = default_model()
    return image, model


def claimed(
    road: Road,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Labels, NDArray[np.float32]]:
    """Take all tiles of a road to their labels and claim them.

    Returns
    -------
    rows x columns of labels, and the confidence of each cell.
    """
    _, height, width = road.image.shape
    sink = ArraySink(height, width)
    canvas = Canvas(sink)
    with closing(road.each(range(len(road.tiles)), workers)) as results:
        for number, labels, confidence in results:
            with road.watch.stage("seams"):
                canvas.claim(road.tiles[number], labels, confidence)
            if progress is not None:
                progress(number + 1, len(road.tiles))
    return sink.labels, canvas.confidence
