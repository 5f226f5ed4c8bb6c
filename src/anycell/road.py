"""The road: what all tiles of one image share, and what becomes of each of them.

    image -> overview -> normalization, once          (never per tile)
                      -> predictor.look, once
                      -> zooms, once, if none is given (``scale``, ``zones``)
          -> tiles -> read, outputs, decode            (``Road.result``)

Each worker, a thread, takes a tile through the whole of ``result``; while one waits for
the file or decodes in Python, the network of another computes.  Workers that each see to
one tile need less of the processor than one network on several cores: nobody waits for
the slowest part of a layer.  Results come in the order of the tiles, whatever the number
of workers.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from queue import SimpleQueue
from threading import Lock
from time import perf_counter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from anycell.errors import SettingError
from anycell.grid import Tile, Tiles
from anycell.image import Image
from anycell.labels import Labels
from anycell.levels import levels_of, told
from anycell.looks import Looks
from anycell.normalize import OVERVIEW_SIDE, Normalization, fit_overview, to_model_channels
from anycell.predictor import Predictor
from anycell.representations import Fields, Levelled, Representation
from anycell.runs import cores
from anycell.scale import ZoomPlan
from anycell.seams import claimable
from anycell.styles import styles_of
from anycell.zones import find_plan, tiles_of

__all__ = [
    "STAGES",
    "Asked",
    "Road",
    "Stopwatch",
    "around_cells",
    "core_at",
    "cores_for",
    "enlarged",
    "first_look",
    "prepare",
]

R = TypeVar("R")

STAGES = ("read", "scale", "network", "decode", "seams", "total")
TILE = 1152
"""Network pixels on each side of a tile, its halo on both sides included: memory goes by it.
With a halo of 64 the network sees 1.27 times a slide, with one of 128 1.65 times."""
WIDE_TILE = 1280
"""The same for images of up to ``LARGE`` pixels, of which less is in memory: a field of 2,048
pixels is four tiles for nine, and a sixth cheaper."""
LARGE = 10_000_000
CORE_PIXELS = 1536
"""Pixels of the image on each side of a core, about, at most: labels have as many, and at a
small zoom it is they that take memory, not the network."""
LEAST_CORE = 256
AROUND = 32
"""Network pixels around the cells of a tile that their confidence may depend on: polygons and
masks reach beyond the cell that they end in."""
AHEAD = 2
"""Tiles per worker that are under way or done and not asked for yet."""


class Stopwatch:
    """Seconds by stage; several threads may measure at once."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._lock = Lock()

    def move(self, name: str, to: Mapping[str, float]) -> None:
        """Count seconds of one stage as those of others."""
        with self._lock:
            for other, seconds in to.items():
                self.seconds[name] -= seconds
                self.seconds[other] += seconds

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time until the end of the block."""
        start = perf_counter()
        try:
            yield
        finally:
            passed = perf_counter() - start
            with self._lock:
                self.seconds[name] += passed


@dataclass(frozen=True)
class Asked:
    """What the caller decides; see ``anycell.segment.segment``."""

    core: int | None = None
    zoom: float | None = None
    tiles: Tiles | None = None
    min_confidence: float | None = None


@dataclass(frozen=True)
class Road:
    """What all tiles of one image share.

    Attributes
    ----------
    predictor : has looked at the image.
    tiles : in the order of the first rows of their reads.
    plan : how the zoom was found; None when it was given.
    digest : of the overview's pixels; changes when the image does.
    looks : at the image, in search of the zoom; what they saw is not computed again.
    styles : of the image, by zoom (``anycell.styles``); empty where each tile has its own.
    levels : foreground probabilities, by zoom (``anycell.levels``); the usual one elsewhere.
    """

    image: Image
    predictor: Predictor
    tiles: Sequence[Tile]
    normalization: Normalization
    min_confidence: float
    plan: ZoomPlan | None = None
    digest: str = ""
    watch: Stopwatch = field(default_factory=Stopwatch)
    looks: Looks | None = None
    styles: Mapping[Fraction, NDArray[np.float32]] = field(default_factory=dict)
    levels: Mapping[Fraction, float] = field(default_factory=dict)

    @property
    def zoom(self) -> float:
        """The zoom of most of the area; 1 where there are no tiles."""
        area: dict[Fraction, int] = {}
        for tile in self.tiles:
            rows, columns = tile.core.shape
            area[tile.zoom] = area.get(tile.zoom, 0) + rows * columns
        return float(max(area, key=lambda zoom: (area[zoom], zoom), default=Fraction(1)))

    def each(
        self, numbers: Sequence[int], workers: int | None = None
    ) -> Generator[tuple[int, Labels, NDArray[np.float32]]]:
        """Give the number, labels and confidence of tiles, in order; see :meth:`done`."""
        return self.done(numbers, _as_it_is, workers)

    def done(
        self,
        numbers: Sequence[int],
        function: Callable[[int, Labels, NDArray[np.float32]], R],
        workers: int | None = None,
    ) -> Generator[R]:
        """Call a function, in the workers, with number, labels and confidence of tiles.

        What it gives comes in order.  When the caller stops early, tiles under way are
        finished first.

        Parameters
        ----------
        numbers : of the tiles wanted.
        workers : threads; by default one per core.
        """
        count = max(1, min(workers or cores(), len(numbers)))
        free: SimpleQueue[Predictor] = SimpleQueue()
        for predictor in (self.predictor,) if count == 1 else self.predictor.split(count):
            free.put(predictor)

        def work(number: int) -> R:
            return function(number, *self.result(self.tiles[number], free))

        waiting: deque[Future[R]] = deque()
        pool = ThreadPoolExecutor(count)
        try:
            for number in numbers:
                waiting.append(pool.submit(work, number))
                if len(waiting) > AHEAD * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def result(
        self, tile: Tile, free: SimpleQueue[Predictor]
    ) -> tuple[Labels, NDArray[np.float32]]:
        """Take a tile through read, outputs and decode.

        Parameters
        ----------
        free : predictors to be used by one thread at a time; one is taken and put back.

        Returns
        -------
        labels of the part of ``tile.read`` inside the image, and one confidence per cell.
        """
        _, height, width = self.image.shape
        with self.watch.stage("read"):
            planes, inside = self._seen(tile)
        otherwise = bool(self.styles) or tile.zoom in self.levels
        known = None if self.looks is None or otherwise else self.looks.known(planes)
        if known is not None:
            self.watch.move("scale", {"network": known.seconds[0], "decode": known.seconds[1]})
            small, sure = known.labels, known.sure
        else:
            small, sure = self._computed(planes, tile, inside, free)
        with self.watch.stage("decode"):
            confidence = self.predictor.confidence_map(sure)
            unsure = np.append(False, confidence < self.min_confidence)
            small = np.where(unsure[small], 0, small) if unsure.any() else small
            small = small[: inside[0], : inside[1]]
            shape = tile.read.clip(height, width).shape
            return enlarged(small, shape, tile.zoom), confidence

    def _computed(
        self,
        planes: NDArray[np.float32],
        tile: Tile,
        inside: tuple[int, int],
        free: SimpleQueue[Predictor],
    ) -> tuple[Labels, NDArray[np.float32]]:
        """Labels of the tile's own cells and the raw confidence of each."""
        predictor = free.get()
        try:
            with self.watch.stage("network"):
                outputs = predictor.outputs(planes[None], self.styles.get(tile.zoom))[0]
        finally:
            free.put(predictor)
        with self.watch.stage("decode"):
            method = self._method(tile.zoom)
            small = claimable(method.decode(outputs, tile.shape), tile, inside)
            return small, method.confidence(*around_cells(outputs, small, method.stride))

    def _method(self, zoom: Fraction) -> Representation:
        """The predictor's representation, at the level that the image has at this zoom."""
        method = self.predictor.representation
        if zoom in self.levels and isinstance(method, Levelled):
            return method.at_level(self.levels[zoom])
        return method

    def _seen(self, tile: Tile) -> tuple[NDArray[np.float32], tuple[int, int]]:
        """Read a tile, normalize it, and mirror it where the image is smaller.

        Returns
        -------
        what the network sees, and how many rows and columns of it are image.
        """
        _, height, width = self.image.shape
        pixels = self.image.read(tile.read.clip(height, width), float(tile.zoom))
        planes = to_model_channels(self.normalization.apply(pixels))
        rows, columns = tile.shape
        inside = (min(rows, planes.shape[1]), min(columns, planes.shape[2]))
        planes = planes[:, : inside[0], : inside[1]]
        beyond = ((0, 0), (0, rows - inside[0]), (0, columns - inside[1]))
        return np.pad(planes, beyond, mode="symmetric"), inside


def prepare(image: Image, model: Predictor, asked: Asked) -> Road:
    """Look at the whole image once: normalization, fitted predictor, zoom and tiles.

    Raises
    ------
    InputError : more than three channels.
    SettingError : core, zoom or confidence out of range, or both a zoom and tiles.
    """
    if asked.tiles is not None and asked.zoom is not None:
        raise SettingError("both a zoom and tiles", expected="one of them: tiles have zooms")
    watch = Stopwatch()
    looks, planes, digest = first_look(image, model, watch)
    plan, tiles = None, asked.tiles
    cores_at = cores_for(asked.core, model.halo, image)
    with watch.stage("scale"):
        if tiles is None:
            if asked.zoom is None:
                plan = used = find_plan(looks, planes, cores_at)
            else:
                used = ZoomPlan(asked.zoom, (), "as given")
            tiles = tiles_of(used, image, model, cores_at)
    predictor = looks.predictor
    limit = predictor.min_confidence if asked.min_confidence is None else asked.min_confidence
    if not 0.0 <= limit <= 1.0:
        raise SettingError(f"min_confidence {limit:g}", expected="0 .. 1")
    tiles = tuple(tiles)
    with watch.stage("network"):
        styles = styles_of(looks, tiles)
    with watch.stage("scale"):
        levels = levels_of(looks, tiles, styles) if plan is None or plan.unsure else {}
    if plan is not None and levels:
        plan = replace(plan, levels=told(levels))
    lines = looks.normalization
    return Road(image, predictor, tiles, lines, limit, plan, digest, watch, looks, styles, levels)


def first_look(
    image: Image, model: Predictor, watch: Stopwatch
) -> tuple[Looks, NDArray[np.float32], str]:
    """Look at the whole image once, small.

    Returns
    -------
    what further looks need, the overview as the network gets it, and its digest.
    """
    with watch.stage("read"):
        overview = image.overview(OVERVIEW_SIDE)
        normalization = fit_overview(overview)
        planes = to_model_channels(normalization.apply(overview))
        digest = hashlib.sha256(overview.tobytes()).hexdigest()[:16]
    with watch.stage("scale"):
        return Looks(image, normalization, model.look(planes)), planes, digest


def core_at(zoom: Fraction, halo: int, tile: int = TILE) -> int:
    """The side of a core when none is asked for, in tiles of so many network pixels."""
    return max(LEAST_CORE, min(tile - 2 * halo, int(CORE_PIXELS * zoom)))


def cores_for(core: int | None, halo: int, image: Image) -> Callable[[Fraction], int]:
    """From a zoom to the side of a core: what is asked for at any, or :func:`core_at`."""
    if core is not None:
        return lambda zoom: core
    large = image.shape[1] * image.shape[2] > LARGE
    return partial(core_at, halo=halo, tile=TILE if large else WIDE_TILE)


def around_cells(outputs: Fields, labels: Labels, stride: int) -> tuple[Fields, Labels]:
    """The part of both in which there are cells, with some background around them.

    Parameters
    ----------
    outputs : channels x ceil(rows / stride) x ceil(columns / stride).
    labels : rows x columns; where there are no cells, all of both is given.
    stride : pixels per field pixel.
    """
    parts = []
    for axis, length in enumerate(labels.shape):
        held = np.flatnonzero(labels.any(axis=1 - axis))
        first, last = (int(held[0]), int(held[-1])) if len(held) else (0, length - 1)
        begin, end = (first - AROUND) // stride, -(-(last + 1 + AROUND) // stride)
        parts.append((max(0, begin), min(-(-length // stride), end)))
    fields, pixels = (tuple(slice(k * a, k * b) for a, b in parts) for k in (1, stride))
    return outputs[:, *fields], labels[pixels]


def _as_it_is(
    number: int, labels: Labels, confidence: NDArray[np.float32]
) -> tuple[int, Labels, NDArray[np.float32]]:
    return number, labels, confidence


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
