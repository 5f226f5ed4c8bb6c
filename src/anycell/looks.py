"""Looks: windows of an image as a predictor sees them, none of them twice.

Finding the zoom looks at windows of the image at several zooms.  A small image is one
window, and the zoom that is chosen has then been looked at already: its tile is
recognized by its pixels, so that the result is the one that it would have been.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from fractions import Fraction
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from anycell.image import Image, Region
from anycell.labels import Labels, areas, edge_labels
from anycell.normalize import Normalization, to_model_channels
from anycell.predictor import Predictor
from anycell.representations import Fields
from anycell.views import agreement

__all__ = ["Look", "Looks"]

LARGEST = 640 * 640
"""Tiles of more network pixels than this are not recognized."""


@dataclass(frozen=True)
class Look:
    """What a predictor makes of one tile; made by :meth:`of`.

    A plan may keep thousands of them, so that their labels are kept small.

    Attributes
    ----------
    packed : the labels, int32, compressed.
    shape : rows and columns of the tile.
    sure : the representation's confidence, one value per cell 1..n.
    inside : rows and columns that are image; the rest is mirrored.
    cells : confidence and area, network pixels, of each cell that no edge cuts; of all
        where every one is cut.
    seconds : that the network and the decoder took.
    """

    packed: bytes = field(repr=False)
    shape: tuple[int, int]
    sure: NDArray[np.float32]
    inside: tuple[int, int]
    cells: tuple[NDArray[np.float32], NDArray[np.float64]]
    seconds: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of(cls, labels: Labels, sure: NDArray[np.float32], inside: tuple[int, int]) -> Look:
        """Keep the labels of a tile, rows x columns; for the rest see the attributes."""
        from imagecodecs import zstd_encode

        shown = labels[: inside[0], : inside[1]]
        size = np.zeros(len(sure))
        found = areas(shown)[1:]
        size[: len(found)] = found
        whole = size > 0
        whole[edge_labels(shown) - 1] = False
        kept = whole if whole.any() else size > 0
        packed = bytes(zstd_encode(np.ascontiguousarray(labels, dtype=np.int32).tobytes(), level=1))
        rows, columns = labels.shape
        return cls(packed, (rows, columns), sure, inside, (sure[kept], size[kept]))

    @property
    def labels(self) -> Labels:
        """Rows x columns of the tile, unpacked anew each time; not to be written to."""
        from imagecodecs import zstd_decode

        labels: Labels = np.frombuffer(zstd_decode(self.packed), dtype=np.int32)
        return labels.reshape(self.shape)

    @property
    def shown(self) -> Labels:
        """The labels without what is mirrored."""
        return self.labels[: self.inside[0], : self.inside[1]]


class Looks:
    """The looks at one image.

    Parameters
    ----------
    normalization : of the image.
    predictor : it has looked at the image already.
    """

    def __init__(self, image: Image, normalization: Normalization, predictor: Predictor) -> None:
        self.image = image
        self.normalization = normalization
        self.predictor = predictor
        self._seen: dict[bytes, Look] = {}

    def at(self, region: Region, zoom: Fraction) -> Look:
        """Look at a region of the image at a zoom."""
        return self.look(self.planes(region, zoom))

    def planes(self, region: Region, zoom: Fraction) -> NDArray[np.float32]:
        """Read a region at a zoom and normalize it: 3 x h x w."""
        pixels = self.image.read(region, float(zoom))
        return to_model_channels(self.normalization.apply(pixels))

    def look(self, planes: NDArray[np.float32]) -> Look:
        """Look at normalized planes, 3 x h x w, mirrored to the sides of a tile."""
        _, height, width = planes.shape
        tile = self.tile(planes)
        key = _key(tile)
        if key not in self._seen:
            began = perf_counter()
            outputs = self.predictor.outputs(tile[None])[0]
            given = perf_counter()
            look = self.decoded(outputs, tile.shape[1:], (height, width))
            seconds = (given - began, perf_counter() - given)
            self._seen[key] = replace(look, seconds=seconds)
        return self._seen[key]

    def tile(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mirror planes, 3 x h x w, to the sides of a tile."""
        down, right = (-side % self.predictor.multiple for side in planes.shape[1:])
        return np.pad(planes, ((0, 0), (0, down), (0, right)), mode="symmetric")

    def decoded(self, outputs: Fields, shape: tuple[int, ...], inside: tuple[int, int]) -> Look:
        """Decode the outputs of a tile of ``shape``."""
        representation = self.predictor.representation
        labels = representation.decode(outputs, (shape[0], shape[1]))
        return Look.of(labels, representation.confidence(outputs, labels), inside)

    def alike(self, one: tuple[Region, Look], other: tuple[Region, Look]) -> float | None:
        """F1 at IoU 0.5 between the cells that two looks show where both look.

        Parameters
        ----------
        one, other : a region, at whatever zoom, and the look at it.

        Returns
        -------
        None where they see nothing in common, or neither shows a cell.
        """
        (region, _), (second, _) = one, other
        y0, x0 = max(region.y0, second.y0), max(region.x0, second.x0)
        y1, x1 = min(region.y1, second.y1), min(region.x1, second.x1)
        if y0 >= y1 or x0 >= x1:
            return None
        common = Region(y0, x0, y1, x1)
        step = max(_pixel(*one), _pixel(*other))
        mine, theirs = (self._sampled(*seen, common, step) for seen in (one, other))
        best = agreement(mine, theirs)
        counts = [np.count_nonzero(areas(labels)[1:]) for labels in (mine, theirs)]
        return 2.0 * np.count_nonzero(best > 0.5) / sum(counts) if any(counts) else None

    def _sampled(self, region: Region, look: Look, common: Region, step: float) -> Labels:
        """Labels of the cells that would be kept, at points so many image pixels apart."""
        confidence = self.predictor.confidence_map(look.sure)
        kept = np.append(False, confidence >= self.predictor.min_confidence)
        pixel = _pixel(region, look)
        place = []
        for begin, end, origin, size in zip(
            (common.y0, common.x0),
            (common.y1, common.x1),
            (region.y0, region.x0),
            look.inside,
            strict=True,
        ):
            points = np.arange(begin + step / 2.0, end, step)
            place.append(np.minimum(((points - origin) / pixel).astype(int), size - 1))
        shown = look.shown[np.ix_(*place)]
        return np.where(kept[shown], shown, 0)

    def forget(self) -> None:
        """Let go of what was seen, where no tile will ask for it again."""
        self._seen.clear()

    def known(self, tile: NDArray[np.float32]) -> Look | None:
        """The look at a tile, 3 x H x W, if there has been one."""
        if not self._seen or tile.shape[1] * tile.shape[2] > LARGEST:
            return None
        return self._seen.get(_key(tile))


def _pixel(region: Region, look: Look) -> float:
    """Image pixels per pixel of a look."""
    return float(region.shape[0] / look.inside[0])


def _key(tile: NDArray[np.float32]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(tile).data, digest_size=16).digest()
