"""A predictor that knows the truth, so that every journey can be tested without training.

The image of a truth is its own coordinates: channel y holds row numbers, channel x
column numbers.  Whatever region is read at whatever zoom, each pixel then says where
it is, and the predictor looks up there what it should put out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anycell.confidence import RAW
from anycell.image import Image
from anycell.labels import Labels, relabel
from anycell.normalize import Normalization, fit_normalization
from anycell.representations import Fields, Representation
from anycell.turns import Turn

Noise = Callable[[Labels, tuple[int, int]], Labels]


@dataclass(frozen=True)
class Plain:
    """The cells' numbers as one plane: loses nothing, decides nothing."""

    name = "plain"
    channels = 1
    stride = 1

    def encode(self, labels: Labels) -> Fields:
        return labels.astype(np.float32)[None]

    def loss(self, outputs: object, targets: object, weight: object) -> object:
        raise NotImplementedError

    def decode(self, outputs: Fields, shape: tuple[int, int]) -> Labels:
        return relabel(outputs[0, : shape[0], : shape[1]].astype(np.int32))

    def turn(self, fields: Fields, turn: Turn) -> Fields:
        return turn.plane(fields)

    def confidence(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        """The true number's last digits, so that a test can see whose value it is."""
        out = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.float32)
        out[labels.ravel()] = outputs[0, : labels.shape[0], : labels.shape[1]].ravel() % 997
        return out[1:]


@dataclass(frozen=True)
class Truth:
    """A predictor whose outputs are the encoded truth of each tile.

    ``noise`` gets the true labels of a tile and the place of its upper left pixel, and
    gives what the network is to see instead.
    """

    labels: Labels
    normalization: Normalization
    representation: Representation = field(default_factory=Plain)
    halo: int = 16
    multiple: int = 1
    diameter: float | None = None
    min_confidence: float = 0.0
    noise: Noise | None = None

    name = "truth"
    hash = "0" * 16
    style_size = 0
    confidence_map = RAW

    def look(self, overview: NDArray[np.float32]) -> Truth:
        assert overview.shape[0] == 3
        return self

    def split(self, count: int) -> tuple[Truth, ...]:
        return (self,) * count

    def style(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.zeros((len(tiles), 0), dtype=np.float32)

    def outputs(
        self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None = None
    ) -> Fields:
        return np.stack([self._encoded(tile) for tile in tiles])

    def _encoded(self, tile: NDArray[np.float32]) -> Fields:
        low, high = self.normalization.low, self.normalization.high
        span = (high - low)[:, None, None]
        # A pixel that ends on a border of two belongs to the second, rounding or not.
        places = np.floor(tile[:2] * span + low[:, None, None] + 0.01).astype(int)
        y, x = (np.clip(p, 0, s - 1) for p, s in zip(places, self.labels.shape, strict=True))
        labels = self.labels[y, x]
        if self.noise is not None:
            labels = self.noise(labels, (int(y[0, 0]), int(x[0, 0])))
        fields = self.representation.encode(labels)
        return fields[: self.representation.channels]


def truth(labels: Labels, **settings: object) -> tuple[Image, Truth]:
    """An image and the predictor that finds ``labels`` in it."""
    height, width = labels.shape
    y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
    image = Image.from_array(np.stack([y, x]), name="truth")
    return image, Truth(labels, fit_normalization(image), **settings)  # type: ignore[arg-type]


def disks(
    shape: tuple[int, int], count: int, radius: tuple[float, float], seed: int, gap: float = 0.0
) -> Labels:
    """Ellipses of random size and direction that may touch but do not overlap.

    Each lies within the larger radius of its centre and is one piece, those cut by the
    edge of the plane as well.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, dtype=np.int32)
    number = 0
    for _ in range(count):
        long, short = sorted(rng.uniform(*radius, size=2), reverse=True)
        angle, cy, cx = rng.uniform(0, np.pi), rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        y0, x0 = (max(0, int(c - long - 2)) for c in (cy, cx))
        y1, x1 = (min(s, int(c + long + 3)) for c, s in zip((cy, cx), shape, strict=True))
        y, x = np.mgrid[y0:y1, x0:x1] + 0.5
        along = (y - cy) * np.sin(angle) + (x - cx) * np.cos(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        inside = (along / long) ** 2 + (across / short) ** 2 <= 1.0
        around = ((along / (long + gap)) ** 2 + (across / (short + gap)) ** 2 <= 1.0) & (
            labels[y0:y1, x0:x1] > 0
        )
        if inside.any() and not around.any():
            number += 1
            labels[y0:y1, x0:x1][inside] = number
    return labels


def same_cells(a: Labels, b: Labels) -> bool:
    """Whether two labelings hold the same cells, whatever their numbers."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == pairs.shape[1] == len(np.unique(pairs[1])) and bool(
        np.all((pairs[0] == 0) == (pairs[1] == 0))
    )


def pieces(labels: Labels) -> int:
    """How many connected pieces there are in all; corners connect."""
    from skimage.measure import label

    return int(label(labels, background=0, connectivity=2).max(initial=0))
