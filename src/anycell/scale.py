"""Scale: how many network pixels a pixel of the image should become.

A network knows cells of about one size.  Which zoom brings an image's cells to that
size is asked of the network itself: some windows of the image are segmented at zooms
an octave apart, then half an octave around the best, and the zoom wins at which the
cells found agree best with the outputs they were found in (their confidence), with a
small preference for the network's typical diameter.

    overview -> where cells seem to be -> up to four windows of 256 x 256 network pixels
    zooms 1/4 1/2 1 2  ->  best, best / sqrt 2, best * sqrt 2  ->  the zoom

No diameter has to be typed, and a wrong scale is seen as such: cells fall to pieces or
melt together, and their confidence with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anycell.image import Image, Region, resample
from anycell.labels import Labels, areas, edge_labels
from anycell.normalize import Normalization, to_model_channels
from anycell.predictor import Predictor

__all__ = ["OCTAVES", "ZoomPlan", "find_zoom"]

OCTAVES = (-2, -1, 0, 1)
WINDOW = 256
WINDOWS = 4
GLANCE = 512
SLACK = 0.05
"""Share of the best score that is given up for a smaller zoom."""
SIZE_PREFERENCE = 0.1
"""Score lost per octave between the median diameter found and the typical one."""


@dataclass(frozen=True)
class ZoomPlan:
    """The zoom chosen, and what was tried.

    Attributes
    ----------
    zoom : network pixels per pixel of the image.
    tried : pairs of zoom and score, in order of zoom; empty when nothing was tried.
    reason : why this zoom, in words.
    """

    zoom: float
    tried: tuple[tuple[float, float], ...]
    reason: str


def find_zoom(
    image: Image,
    overview: NDArray[np.float32],
    normalization: Normalization,
    predictor: Predictor,
) -> ZoomPlan:
    """Find the zoom at which a predictor does best on an image.

    Parameters
    ----------
    overview : of the image, normalized, 3 x h x w.
    normalization : of the image, for the windows.
    predictor : one whose ``diameter`` is None gets a zoom of 1 without any trial.
    """
    if predictor.diameter is None:
        return ZoomPlan(1.0, (), "the method has no scale of its own")
    trial = _Trial(image, normalization, predictor, _places(image, overview, predictor))
    scores = {2.0**k: trial.score(2.0**k) for k in OCTAVES}
    best = _best(scores)
    for near in (best / np.sqrt(2.0), best * np.sqrt(2.0)):
        scores[float(near)] = trial.score(float(near))
    tried = tuple(sorted((zoom, round(score, 4)) for zoom, score in scores.items()))
    if max(scores.values()) == 0.0:
        return ZoomPlan(1.0, tried, "no cells were found at any zoom")
    return ZoomPlan(_best(scores), tried, "the cells found are about the surest at this zoom")


def _best(scores: dict[float, float]) -> float:
    """The smallest zoom, which costs least, among those nearly as good as the best."""
    enough = (1.0 - SLACK) * max(scores.values())
    return min(zoom for zoom, score in scores.items() if score >= enough)


@dataclass(frozen=True)
class _Trial:
    """Windows of an image that are segmented at one zoom after the other."""

    image: Image
    normalization: Normalization
    predictor: Predictor
    places: tuple[tuple[int, int], ...]

    def score(self, zoom: float) -> float:
        """Mean confidence of the cells, by cell and by area, less the size preference."""
        regions = sorted({self._window(place, zoom) for place in self.places})
        tiles = np.stack([self._tile(region, zoom) for region in regions])
        representation = self.predictor.representation
        sure: list[NDArray[np.float32]] = []
        size: list[NDArray[np.int64]] = []
        for outputs in self.predictor.outputs(tiles):
            labels = representation.decode(outputs, (tiles.shape[2], tiles.shape[3]))
            whole = _whole(labels)
            sure.append(representation.confidence(outputs, labels)[whole])
            size.append(areas(labels)[1:][whole])
        confidence, area = np.concatenate(sure), np.concatenate(size)
        if not len(area):
            return 0.0
        typical = float(self.predictor.diameter or 1.0)
        diameter = float(np.median(np.sqrt(area * (4.0 / np.pi))))
        by_area = float((confidence * area).sum() / area.sum())
        off = abs(np.log2(diameter / typical))
        return float(max(1e-6, float(confidence.mean()) + by_area - SIZE_PREFERENCE * off))

    def _window(self, place: tuple[int, int], zoom: float) -> Region:
        """The window around a place, shifted into the image; the image if that is smaller."""
        _, height, width = self.image.shape
        side = round(WINDOW / zoom)
        y0 = int(np.clip(place[0] - side // 2, 0, max(0, height - side)))
        x0 = int(np.clip(place[1] - side // 2, 0, max(0, width - side)))
        return Region(y0, x0, y0 + side, x0 + side).clip(height, width)

    def _tile(self, region: Region, zoom: float) -> NDArray[np.float32]:
        pixels = self.image.read(region, zoom)
        planes = to_model_channels(self.normalization.apply(pixels))
        return _padded(planes, self.predictor.multiple)


def _whole(labels: Labels) -> NDArray[np.bool_]:
    """Which cells 1..n do not touch the window's edge; all of them if every one does."""
    whole = np.ones(int(labels.max(initial=0)), dtype=bool)
    whole[edge_labels(labels) - 1] = False
    return whole if whole.any() else np.ones_like(whole)


def _padded(planes: NDArray[np.float32], multiple: int) -> NDArray[np.float32]:
    """Mirror the lower and right edge until the sides are multiples."""
    down, right = (-side % multiple for side in planes.shape[1:])
    return np.pad(planes, ((0, 0), (0, down), (0, right)), mode="symmetric")


def _places(
    image: Image, overview: NDArray[np.float32], predictor: Predictor
) -> tuple[tuple[int, int], ...]:
    """Where a glance at the whole image finds the most cells: (y, x) of up to four places."""
    from scipy.ndimage import uniform_filter

    _, height, width = image.shape
    shrink = min(1.0, GLANCE / max(overview.shape[1:]))
    small = tuple(max(1, round(side * shrink)) for side in overview.shape[1:])
    planes = resample(overview, (small[0], small[1]))
    padded = _padded(planes, predictor.multiple)
    outputs = predictor.outputs(padded[None])[0]
    found = predictor.representation.decode(outputs, (padded.shape[1], padded.shape[2]))
    share = (found[: small[0], : small[1]] > 0).astype(np.float32)
    step = height / small[0]
    side = max(3, min(round(WINDOW / step), *small))
    crowd = uniform_filter(share, side, mode="constant") + 1e-6
    places = []
    for _ in range(WINDOWS):
        y, x = np.unravel_index(int(crowd.argmax()), crowd.shape)
        places.append((int((y + 0.5) * step), int((x + 0.5) * width / small[1])))
        half = max(1, side // 2)
        crowd[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1] = 0.0
        if not crowd.any():
            break
    return tuple(places)
