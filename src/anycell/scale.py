"""Scale: how many network pixels a pixel of the image should become.

A network knows cells of about one size.  Which zoom brings an image's cells to that
size is asked of the network itself, from coarse to fine:

    a glance at the whole image, small  ->  about how large the cells are, and where
    the zoom that this asks for         ->  is it clear? then it is taken
    half octaves up or down from it     ->  as long as that is better, or until it is clear
    (where none is even fair, or the    ->  all half octaves; which cells are many, and
     glance shows nothing                   found again at the next one?)

A zoom is judged by how well the cells found there agree with the outputs that they were
found in (their confidence), with a small preference for the network's typical diameter.
A small image is looked at as a whole, and that look is then its result (``looks``); of a
larger one windows are looked at until there are enough cells.

No diameter has to be typed, and a wrong scale is seen as such: cells fall to pieces or
melt together, and their confidence with them.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.bare import Squares
from anycell.grid import exact_zoom
from anycell.image import Region, resample
from anycell.looks import Look, Looks

__all__ = [
    "Glance",
    "Trial",
    "Zone",
    "ZoomPlan",
    "best_zoom",
    "find_zoom",
    "half_octave",
    "score_of",
    "steadiest",
]

STEPS = (-6, 2)
"""Half octaves: zooms are 1/8 .. 2."""
WINDOW = 256
WINDOWS = 4
ENOUGH = 25
"""Whole cells from which no further window is looked at."""
WHOLE = 512 * 512
"""Images of up to this many network pixels are looked at as a whole."""
FIRST_GLANCE, LAST_GLANCE = (192, 512), 1024
"""Longest side of the whole image, network pixels, at the first glance, least and most, and
at the last."""
VISIBLE = 5.0
"""Cells of a smaller diameter, network pixels, are not to be trusted."""
WANTED = 0.8
"""The diameter first tried, in typical ones: smaller zooms cost less."""
CLEAR = 1.2
"""A score, at most 2, from which a better one hardly gives more cells."""
FAIR = 1.05
"""A score below which the best zoom nearby may not be the best of all."""
UNSURE = 0.15
"""A glance of a lower confidence says nothing about the size of the cells."""
SMALL = 0.85
"""Cells of a diameter below this, in typical ones, may be found better at a larger zoom."""
SURE = 0.2
"""What a confidence counts beyond, where cells that are right are to be counted."""
STEADINESS = 0.75
"""What it is worth that all cells are found again at the next zooms, where none is clear."""
MANY = 0.5
"""What it is worth there that cells are right and as many as at another zoom (expected F1)."""
RARE = 0.4
"""Score lost there per octave above 1: few images are taken so coarsely.  Cells are steady
above 1 whether right or wrong, for no new pixels are seen."""
COARSE = 0.2
"""Score lost there per octave below 1/2: few cells are so large."""
STEADY = "unsure; the cells found are about the surest and steadiest at this zoom"
BEST = "the cells found are about the surest at this zoom"
SLACK = 0.05
"""Share of the best score that is given up for a smaller zoom."""
SIZE_PREFERENCE = 0.1
"""Score lost per octave between the median diameter found and the typical one."""


@dataclass(frozen=True)
class Zone:
    """A region of an image that is looked at in one way.

    Attributes
    ----------
    region : in pixels of the image.
    zoom : network pixels per pixel of the image; None where nothing is looked at.
    reason : why, in words.
    """

    region: Region
    zoom: float | None
    reason: str


@dataclass(frozen=True)
class ZoomPlan:
    """The zoom chosen, and what was tried.

    Attributes
    ----------
    zoom : network pixels per pixel of the image, for all that no zone says otherwise of.
    tried : pairs of zoom and score, in order of zoom, where the image has the most cells;
        empty when nothing was tried.
    reason : why this zoom, in words.
    zones : regions that tile the image; empty when all of it has the one zoom.
    squares : finer than zones, where something stands out; None when it does everywhere,
        or nobody knows.
    skipped : share of the image that no tile answers for.
    levels : pairs of zoom and foreground probability, where another than the usual one
        is better (``anycell.levels``).
    """

    zoom: float
    tried: tuple[tuple[float, float], ...]
    reason: str
    zones: tuple[Zone, ...] = ()
    squares: Squares | None = field(default=None, compare=False, repr=False)
    skipped: float = 0.0
    levels: tuple[tuple[float, float], ...] = ()

    def entry(self) -> dict[str, Any]:
        """The plan as plain values for JSON: regions are y0, x0, y1, x1."""
        zones = [
            {"region": astuple(v.region), "zoom": _short(v.zoom), "reason": v.reason}
            for v in self.zones
        ]
        tried = [[_short(zoom), score] for zoom, score in self.tried]
        skipped = round(self.skipped, 4)
        entry = {"reason": self.reason, "tried": tried, "skipped": skipped, "zones": zones}
        levels = [[_short(zoom), level] for zoom, level in self.levels]
        return entry | ({"levels": levels} if levels else {})

    @property
    def unsure(self) -> bool:
        """Whether no zoom showed cells that are sure and of a good size."""
        return self.reason.startswith(STEADY)


@dataclass(frozen=True)
class Glance:
    """The whole image, small, as the network sees it.

    Attributes
    ----------
    look : at the whole image.
    zoom : network pixels per pixel of the image, rows and columns.
    diameter : of the median cell, network pixels; 0 when there are none.
    sure : mean confidence of those cells.
    """

    look: Look
    zoom: tuple[float, float]
    diameter: float
    sure: float

    @property
    def visible(self) -> bool:
        """Whether there are cells, and large enough."""
        return self.diameter >= VISIBLE


def find_zoom(looks: Looks, overview: NDArray[np.float32]) -> tuple[ZoomPlan, Glance | None]:
    """Find the zoom at which a predictor does best on an image.

    Parameters
    ----------
    looks : at the image; the predictor must have a diameter.
    overview : of the image, normalized, 3 x h x w.

    Returns
    -------
    the plan, and the last glance at the whole image; None where none was needed.
    """
    if looks.predictor.diameter is None:
        return ZoomPlan(1.0, (), "the method has no scale of its own"), None
    glance = _glance_at(looks, overview)
    _, height, width = looks.image.shape
    trial = Trial(looks, _places(glance), Region(0, 0, height, width))
    found = _followed(trial, glance) or _searched(trial)
    return ZoomPlan(found[0], trial.tried, found[1]), glance


def _glance_at(looks: Looks, overview: NDArray[np.float32]) -> Glance:
    """Look at the whole image, small, and less small until cells are visible."""
    typical = float(looks.predictor.diameter or 1.0)
    _, height, width = looks.image.shape
    longest = max(height, width)
    side = min(max(FIRST_GLANCE[0], longest // 4), FIRST_GLANCE[1], -(-longest // 2))
    while True:
        shrink = min(1.0, side / max(overview.shape[1:]))
        rows, columns = (max(1, round(v * shrink)) for v in overview.shape[1:])
        small = overview if shrink == 1.0 else resample(overview, (rows, columns))
        look = looks.look(small)
        sure, area = look.cells
        good = sure >= 0.5 * sure.max(initial=0.0)
        diameter = float(np.median(_diameters(area[good]))) if good.any() else 0.0
        mean = float(sure[good].mean()) if good.any() else 0.0
        glance = Glance(look, (rows / height, columns / width), diameter, mean)
        done = shrink == 1.0 or 2 * side > LAST_GLANCE
        if done or VISIBLE * typical / 24.0 <= diameter:
            return glance
        side *= 2


def _short(zoom: float | None) -> float | None:
    return None if zoom is None else round(zoom, 4)


def half_octave(zoom: float) -> float:
    """The nearest of the zooms 1/8 .. 2 in half octaves, as tiles can share it."""
    step = int(np.clip(np.rint(2.0 * np.log2(zoom)), *STEPS))
    return float(exact_zoom(2.0 ** (step / 2)))


def _followed(trial: Trial, glance: Glance) -> tuple[float, str] | None:
    """Go from the zoom that a glance asks for to the nearest that is clear, or the best."""
    typical = float(trial.looks.predictor.diameter or 1.0)
    if not glance.visible or glance.sure < UNSURE:
        return None
    zoom = half_octave(WANTED * typical * glance.zoom[0] / glance.diameter)
    scores = {zoom: trial.score(zoom, whole=True)}
    while max(scores.values()) < CLEAR and (len(scores) < 2 or max(scores.values()) >= FAIR):
        lowest, highest = min(scores), max(scores)
        best = max(scores, key=lambda zoom: scores[zoom])
        lower, upper = half_octave(lowest / 2**0.5), half_octave(highest * 2**0.5)
        if best == highest and upper > highest and trial.sizes[highest] < SMALL * typical:
            scores[upper] = trial.score(upper)
        elif best_zoom(scores) == lowest and lower < lowest:
            scores[lower] = trial.score(lower)
        else:
            break
    clear = [zoom for zoom, score in scores.items() if score >= CLEAR]
    if clear:
        return min(clear), "the cells found are sure and of a good size"
    return (best_zoom(scores), BEST) if max(scores.values()) >= FAIR else None


def _searched(trial: Trial) -> tuple[float, str]:
    """The best of all zooms."""
    zoom = steadiest([trial])
    if trial.scores[zoom] == 0.0:
        return 1.0, "no cells were found at any zoom"
    return zoom, BEST if trial.scores[zoom] >= FAIR else STEADY


def steadiest(trials: list[Trial], *, rare: float = RARE, few: float = 0.0) -> float:
    """The zoom whose cells are sure and many, and found again half an octave up and down.

    At the smallest zoom, below which nothing is looked at, cells count as not found again there.

    Parameters
    ----------
    trials : of parts of one image, which count alike.
    rare : score lost per octave above 1.
    few : scores count as in :meth:`Trial.discounted`.
    """
    zooms = [half_octave(2.0 ** (step / 2)) for step in range(STEPS[0], STEPS[1] + 1)]
    scores = np.mean([[trial.discounted(zoom, few) for zoom in zooms] for trial in trials], axis=0)
    pairs = list(pairwise(zooms))
    again = np.mean([[trial.alike(*pair) for pair in pairs] for trial in trials], axis=0)
    beside = (np.append(0.0, again) + np.append(again, again[-1])) / 2.0
    right, kept = np.mean([[trial.density(zoom) for zoom in zooms] for trial in trials], axis=0).T
    there = np.sort(right)[-2]  # at one zoom alone many may be sure by chance
    expected = np.minimum(2.0 * right / np.maximum(kept + there, 1e-12), 1.0)
    octaves = np.log2(zooms)
    total = scores + STEADINESS * beside + MANY * expected
    total -= rare * np.maximum(0.0, octaves) + COARSE * np.maximum(0.0, -1.0 - octaves)
    return zooms[int(np.argmax(np.where(scores > 0.0, total, -np.inf)))]


def best_zoom(scores: dict[float, float]) -> float:
    """The smallest zoom, which costs least, among those nearly as good as the best."""
    enough = (1.0 - SLACK) * max(scores.values())
    return min(zoom for zoom, score in scores.items() if score >= enough)


def score_of(found: list[Look], typical: float) -> float:
    """Mean confidence of the cells, by cell and by area, less the size preference; 0 .. 2."""
    cells = [look.cells for look in found]
    sure = np.concatenate([confidence for confidence, _ in cells])
    area = np.concatenate([size for _, size in cells])
    if not len(area):
        return 0.0
    off = abs(np.log2(float(np.median(_diameters(area))) / typical))
    by_area = float((sure * area).sum() / area.sum())
    return float(max(1e-6, float(sure.mean()) + by_area - SIZE_PREFERENCE * off))


@dataclass(frozen=True)
class Trial:
    """Windows of an image that are looked at in one zoom after the other.

    Attributes
    ----------
    places : (y, x) of the windows' middles in the image, in the order in which they are tried.
    bounds : the part of the image that windows stay in; all of it is looked at where it is small.
    scores, sizes : of each zoom tried; sizes are median diameters, network pixels.
    seen : windows and looks of each zoom tried.
    """

    looks: Looks
    places: tuple[tuple[int, int], ...]
    bounds: Region
    scores: dict[float, float] = field(default_factory=dict)
    sizes: dict[float, float] = field(default_factory=dict)
    seen: dict[float, list[tuple[Region, Look]]] = field(default_factory=dict)

    @property
    def tried(self) -> tuple[tuple[float, float], ...]:
        """Pairs of zoom and score, in order of zoom."""
        return tuple(sorted((zoom, round(score, 4)) for zoom, score in self.scores.items()))

    def score(self, zoom: float, *, whole: bool = False) -> float:
        """The score of the image at a zoom; the whole of it when it is small enough."""
        if zoom not in self.scores:
            self.seen[zoom] = self._seen(zoom, whole)
            found = list(dict(self.seen[zoom]).values())
            area = np.concatenate([look.cells[1] for look in found])
            self.sizes[zoom] = float(np.median(_diameters(area))) if len(area) else 0.0
            self.scores[zoom] = score_of(found, float(self.looks.predictor.diameter or 1.0))
        return self.scores[zoom]

    def discounted(self, zoom: float, few: float) -> float:
        """The score at a zoom, of which n cells give n / (n + few): one may be sure by chance."""
        score = self.score(zoom)
        count = sum(len(look.cells[0]) for look in dict(self.seen[zoom]).values())
        return score * count / (count + few) if count else 0.0

    def density(self, zoom: float) -> tuple[float, float]:
        """How many cells are likely right, and how many are not quite doubtful, per image pixel."""
        self.score(zoom)
        found = dict(self.seen[zoom])
        sure = np.concatenate([look.cells[0] for look in found.values()])
        seen = sum(region.shape[0] * region.shape[1] for region in found)
        right = np.maximum(sure - SURE, 0.0).sum()
        return float(right / seen), float(np.count_nonzero(sure >= SURE) / seen)

    def alike(self, zoom: float, other: float) -> float:
        """Mean F1 of the cells at a zoom and those at another, in windows on the same places."""
        pairs = zip(self.seen[zoom], self.seen[other], strict=False)
        found = [self.looks.alike(one, two) for one, two in pairs]
        return float(np.mean([f1 for f1 in found if f1 is not None] or [0.0]))

    def _seen(self, zoom: float, whole: bool) -> list[tuple[Region, Look]]:
        height, width = self.bounds.shape
        share = exact_zoom(zoom)
        if whole and height * width * zoom**2 <= WHOLE:
            return [(self.bounds, self.looks.at(self.bounds, share))]
        found: list[tuple[Region, Look]] = []  # one per place; two places may share a window
        cells = 0
        for region in (self._window(place, zoom) for place in self.places):
            look = self.looks.at(region, share)
            cells += 0 if region in dict(found) else len(look.cells[0])
            found.append((region, look))
            if cells >= ENOUGH:
                break
        return found

    def _window(self, place: tuple[int, int], zoom: float) -> Region:
        """The window around a place, shifted into the bounds; these if they are smaller."""
        bounds = self.bounds
        side = round(WINDOW / zoom)
        y0 = int(np.clip(place[0] - side // 2, bounds.y0, max(bounds.y0, bounds.y1 - side)))
        x0 = int(np.clip(place[1] - side // 2, bounds.x0, max(bounds.x0, bounds.x1 - side)))
        return Region(y0, x0, min(y0 + side, bounds.y1), min(x0 + side, bounds.x1))


def _places(glance: Glance) -> tuple[tuple[int, int], ...]:
    """Where the glance shows the most cells: (y, x) of up to four places in the image."""
    from scipy.ndimage import uniform_filter

    shown = glance.look.shown
    share = (shown > 0).astype(np.float32)
    side = max(3, min(round(WINDOW * glance.zoom[0]), *shown.shape))
    crowd = uniform_filter(share, side, mode="constant") + 1e-6
    places = []
    for _ in range(WINDOWS):
        y, x = np.unravel_index(int(crowd.argmax()), crowd.shape)
        places.append((int((y + 0.5) / glance.zoom[0]), int((x + 0.5) / glance.zoom[1])))
        half = max(1, side // 2)
        crowd[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1] = 0.0
        if not crowd.any():
            break
    return tuple(places)


def _diameters(area: NDArray[np.float64]) -> NDArray[np.float64]:
    """Diameters of the disks of these areas."""
    return np.sqrt(area * (4.0 / np.pi))
