"""Segment: an image of any size becomes labels, by one road.

    image -> overview -> normalization, once          (never per tile)
                      -> predictor.look, once
                      -> zoom, once, if none is given  (``scale``)
          -> tiles -> read, outputs, decode           (three stages side by side)
                   -> canvas: claim                   (in the order of the tiles)

A thumbnail has one tile, a slide thousands; nothing else differs.  Each tile carries its
own zoom; usually they are one grid of one zoom.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from time import perf_counter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from anycell.errors import SettingError
from anycell.grid import Grid, Tile, Tiles, exact_zoom
from anycell.image import Image, Pixels
from anycell.labels import Labels
from anycell.normalize import OVERVIEW_SIDE, Normalization, fit_overview, to_model_channels
from anycell.predictor import Predictor
from anycell.scale import ZoomPlan, find_zoom
from anycell.seams import ArraySink, Canvas

__all__ = ["Segmentation", "enlarged", "segment"]

T = TypeVar("T")
R = TypeVar("R")

STAGES = ("read", "scale", "network", "decode", "seams", "total")


@dataclass(frozen=True)
class Segmentation:
    """The cells of an image, and how they were found.

    Attributes
    ----------
    labels : rows x columns of the image; 0 is background, 1..n are cells.
    confidence : 0 .. 1, element i - 1 belongs to cell i.
    tiles : how many tiles there were.
    seconds : spent on ``read`` (overview and tiles), ``scale`` (finding the zoom),
        ``network``, ``decode`` and ``seams``; they run side by side, so ``total`` may be
        less than their sum.
    zoom : network pixels per pixel of the image, as used for most of it.
    plan : how the zoom was found; None when it was given.
    normalization : what was 0 and what was 1 to the network.
    model, hash : the predictor's name and digits.
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


def segment(
    image: Image | Pixels,
    model: Predictor | None = None,
    *,
    core: int = 512,
    zoom: float | None = None,
    tiles: Tiles | None = None,
    min_confidence: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Segmentation:
    """Find every cell of an image.

    Parameters
    ----------
    image : an image, or an array of rows x columns or channels x rows x columns.
    model : the predictor; the default model of the package if none is given.
    core : side of the part that a tile answers for, network pixels.  Larger tiles take
        more memory and waste less time on halos; the cells are the same.
    zoom : network pixels per pixel of the image, 1/64 .. 8; below 1 for cells larger
        than the model knows.  Rounded to a fraction (``anycell.grid.exact_zoom``).
        None has it found (``anycell.scale``).
    tiles : what to look at, and each tile's zoom, instead of ``core`` and ``zoom``; in
        the order of the first rows of their reads.  What no core holds stays background.
    min_confidence : cells below it are left out, 0 .. 1; None for the model's own limit.
    progress : called with (tiles done, tiles in all) after each tile.

    Raises
    ------
    InputError : an array that is no image, or more than three channels.
    SettingError : core or zoom out of range, or both a zoom and tiles.
    """
    if not isinstance(image, Image):
        image = Image.from_array(image)
    if model is None:
        from anycell.model import default_model

        model = default_model()
    seconds = dict.fromkeys(STAGES, 0.0)
    with _timed(seconds, "total"):
        _, height, width = image.shape
        road, plan = _road(image, model, (core, zoom, tiles, min_confidence), seconds)
        sink = ArraySink(height, width)
        canvas = Canvas(sink)
        for done, (tile, labels, confidence) in enumerate(road.run(), 1):
            with _timed(seconds, "seams"):
                canvas.claim(tile, labels, confidence)
            if progress is not None:
                progress(done, len(road.tiles))
    return Segmentation(
        labels=sink.labels,
        confidence=canvas.confidence,
        tiles=len(road.tiles),
        seconds=seconds,
        zoom=_main_zoom(road.tiles),
        plan=plan,
        normalization=road.normalization,
        model=model.name,
        hash=model.hash,
    )


@dataclass(frozen=True)
class _Seen:
    """A tile on its way: what the network gets or has given, and how much of it is image."""

    tile: Tile
    inside: tuple[int, int]
    planes: NDArray[np.float32]


@dataclass(frozen=True)
class _Road:
    """What all tiles of one image share."""

    image: Image
    predictor: Predictor
    tiles: Tiles
    normalization: Normalization
    min_confidence: float
    seconds: dict[str, float]

    def run(self) -> Iterator[tuple[Tile, Labels, NDArray[np.float32]]]:
        """Take all tiles through read, outputs and decode, in order.

        Each stage has one thread, so that a network may reuse its buffers and a file
        need not be read in two places at once.
        """
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as decoder:
            seen = _ahead(reader, self.read, self.tiles)
            yield from _ahead(decoder, self.decode, map(self.outputs, seen))

    def read(self, tile: Tile) -> _Seen:
        """Read a tile, normalize it, and mirror it where the image is smaller."""
        with _timed(self.seconds, "read"):
            _, height, width = self.image.shape
            pixels = self.image.read(tile.read.clip(height, width), float(tile.zoom))
            planes = to_model_channels(self.normalization.apply(pixels))
            rows, columns = tile.shape
            inside = (min(rows, planes.shape[1]), min(columns, planes.shape[2]))
            planes = planes[:, : inside[0], : inside[1]]
            beyond = ((0, 0), (0, rows - inside[0]), (0, columns - inside[1]))
            return _Seen(tile, inside, np.pad(planes, beyond, mode="symmetric"))

    def outputs(self, seen: _Seen) -> _Seen:
        """Let the network see a tile."""
        with _timed(self.seconds, "network"):
            found = self.predictor.outputs(seen.planes[None])[0]
            return _Seen(seen.tile, seen.inside, found)

    def decode(self, seen: _Seen) -> tuple[Tile, Labels, NDArray[np.float32]]:
        """Decode a tile and bring its labels to the pixels of the image."""
        with _timed(self.seconds, "decode"):
            _, height, width = self.image.shape
            tile, outputs = seen.tile, seen.planes
            small = self.predictor.representation.decode(outputs, tile.shape)
            sure = self.predictor.representation.confidence(outputs, small)
            confidence = self.predictor.confidence_map(sure)
            unsure = np.append(False, confidence < self.min_confidence)
            small = np.where(unsure[small], 0, small) if unsure.any() else small
            small = small[: seen.inside[0], : seen.inside[1]]
            shape = tile.read.clip(height, width).shape
            return tile, enlarged(small, shape, tile.zoom), confidence


def _road(
    image: Image,
    model: Predictor,
    asked: tuple[int, float | None, Tiles | None, float | None],
    seconds: dict[str, float],
) -> tuple[_Road, ZoomPlan | None]:
    """Look at the whole image once: normalization, fitted predictor, zoom and tiles."""
    core, zoom, tiles, min_confidence = asked
    if tiles is not None and zoom is not None:
        raise SettingError("both a zoom and tiles", expected="one of them: tiles have zooms")
    with _timed(seconds, "read"):
        overview = image.overview(OVERVIEW_SIDE)
        normalization = fit_overview(overview)
        planes = to_model_channels(normalization.apply(overview))
    plan = None
    with _timed(seconds, "scale"):
        predictor = model.look(planes)
        if tiles is None:
            if zoom is None:
                plan = find_zoom(image, planes, normalization, predictor)
                zoom = plan.zoom
            _, height, width = image.shape
            tiles = Grid(height, width, core, model.halo, model.multiple, exact_zoom(zoom))
    limit = predictor.min_confidence if min_confidence is None else min_confidence
    if not 0.0 <= limit <= 1.0:
        raise SettingError(f"min_confidence {limit:g}", expected="0 .. 1")
    return _Road(image, predictor, tiles, normalization, limit, seconds), plan


def _main_zoom(tiles: Tiles) -> float:
    """The zoom of most of the area; 1 where there are no tiles."""
    area: dict[Fraction, int] = {}
    for tile in tiles:
        rows, columns = tile.core.shape
        area[tile.zoom] = area.get(tile.zoom, 0) + rows * columns
    return float(max(area, key=lambda zoom: (area[zoom], zoom), default=Fraction(1)))


def enlarged(labels: Labels, shape: tuple[int, int], zoom: Fraction) -> Labels:
    """Bring labels of a zoomed tile to the pixels of the image, with smooth outlines.

    The four network pixels around the centre of an image pixel vote, with the weights
    of linear interpolation; a cell wins a tie against the background.

    Parameters
    ----------
    labels : rows x columns of network pixels, from the upper left corner of the tile.
    shape : rows and columns of image pixels from the same corner.
    zoom : network pixels per image pixel.
    """
    if zoom == 1 and labels.shape == shape:
        return labels
    y0, y1, wy = _neighbours(labels.shape[0], shape[0], float(zoom))
    x0, x1, wx = _neighbours(labels.shape[1], shape[1], float(zoom))
    out = labels[np.ix_(y0, x0)]
    after = np.pad(labels, ((0, 1), (0, 1)), mode="edge")
    mixed = (labels != after[:-1, 1:]) | (labels != after[1:, :-1]) | (labels != after[1:, 1:])
    y, x = np.nonzero(mixed[np.ix_(y0, x0)])
    corners = np.stack([labels[a[y], b[x]] for a in (y0, y1) for b in (x0, x1)])
    weights = np.stack([a[y] * b[x] for a in (1 - wy, wy) for b in (1 - wx, wx)])
    votes = np.stack([np.where(corners == own, weights, 0.0).sum(axis=0) for own in corners])
    votes += np.where(corners > 0, 1e-6, 0.0)
    out[y, x] = np.take_along_axis(corners, votes.argmax(axis=0)[None], axis=0)[0]
    return out


def _neighbours(
    size: int, wanted: int, zoom: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The network pixels before and after each image pixel's centre, and the second's weight."""
    place = np.clip((np.arange(wanted) + 0.5) * zoom - 0.5, 0.0, size - 1.0)
    before = place.astype(np.int64)
    return before, np.minimum(before + 1, size - 1), place - before


def _ahead(
    pool: Executor, function: Callable[[T], R], items: Iterable[T], depth: int = 2
) -> Iterator[R]:
    """Map in order, with up to ``depth`` items under way ahead of the one asked for."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = perf_counter()
    try:
        yield
    finally:
        seconds[stage] += perf_counter() - start
