"""The gallery: small crops with the outlines of truth and prediction.

Truth is green, prediction magenta, and yellow where they agree.  Only crops are shown,
never whole images: what a comparison is made on need not be free to give away.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anycell.compare import HeldOut, Standing
from anycell.errors import AnycellError
from anycell.files import display, open_image, read_labels
from anycell.image import Region
from anycell.labels import Labels, areas
from anycell.pairing import Truth, pair_files
from anycell.report.findings import Findings

__all__ = ["Crop", "crops"]

SIDE = 256
"""Pixels of a crop as it is shown."""
CELLS_ACROSS = 9
LARGEST_IMAGE = 30.0
"""Megapixels; larger images are left out of the gallery."""
TRUTH, PREDICTION, BOTH = (40, 220, 90), (255, 60, 220), (255, 225, 30)


@dataclass(frozen=True)
class Crop:
    """A crop of one image as one contender sees it.

    Attributes
    ----------
    role : best, median or worst.
    image : which one.
    f1 : of the whole image, at the lowest IoU.
    jpeg : the picture.
    """

    role: str
    image: HeldOut
    f1: float
    jpeg: bytes

    @property
    def uri(self) -> str:
        """The picture as part of a page."""
        return "data:image/jpeg;base64," + b64encode(self.jpeg).decode()


def crops(found: Findings, one: Standing, quality: int) -> tuple[list[Crop], str]:
    """Crop the best, the median and the worst image of a contender.

    Its first seed is shown.  Images without true cells are passed over.

    Returns
    -------
    the crops, and why there are none; files may have been moved since.
    """
    shown = [
        (float(one.levels[0, k, 0]), k)
        for k, image in enumerate(found.comparison.images)
        if image.diameter > 0 and image.megapixels <= LARGEST_IMAGE
    ]
    if not shown:
        return [], "no image with cells is small enough to be shown"
    shown.sort(reverse=True)
    picks = {"best": 0, "median": len(shown) // 2, "worst": len(shown) - 1}
    made = []
    try:
        for role, place in picks.items():
            f1, index = shown[place]
            image = found.comparison.images[index]
            jpeg = _crop(image, _prediction(found, one, image), quality)
            made.append(Crop(role, image, f1, jpeg))
    except AnycellError as error:
        return [], str(error)
    return made, ""


def _prediction(found: Findings, one: Standing, image: HeldOut) -> Path | None:
    """The file of labels, None when there is none for this image."""
    folder = found.folder / one.results[0].predictions
    truths = [Truth(v.group, v.name, Path(v.labels)) for v in found.comparison.images]
    files = {(v.group, v.name): file for v, file in pair_files(folder, truths)}
    return files[image.group, image.name]


def _crop(image: HeldOut, prediction: Path | None, quality: int) -> bytes:
    """Cut, enlarge and draw."""
    from imagecodecs import jpeg8_encode

    truth = read_labels(image.labels)
    found = np.zeros_like(truth) if prediction is None else read_labels(prediction)
    region = _region(truth, image.diameter)
    picture = _picture(image.image)[region.slices]
    rows, columns = _enlarged(region.shape)
    places = np.ix_(_places(region.shape[0], rows), _places(region.shape[1], columns))
    large = picture[places].copy()
    true, predicted = _outline(truth[region.slices][places]), _outline(found[region.slices][places])
    large[true], large[predicted], large[true & predicted] = TRUTH, PREDICTION, BOTH
    return bytes(jpeg8_encode(np.ascontiguousarray(large), level=quality))


@lru_cache(maxsize=8)
def _picture(path: str) -> NDArray[np.uint8]:
    return display(open_image(path))


def _region(truth: Labels, diameter: float) -> Region:
    """A square of some cells across, around the cell of middling size nearest the middle."""
    height, width = truth.shape
    side = int(min(max(64, diameter * CELLS_ACROSS), 512, max(height, width)))
    sizes = areas(truth)
    middling = np.abs(np.log(np.maximum(sizes[1:], 1) / max(1.0, np.median(sizes[1:])))) < np.log(2)
    numbers = np.flatnonzero(middling) + 1
    y, x = np.nonzero(np.isin(truth, numbers))
    if not len(y):
        y, x = np.nonzero(truth)
    nearest = np.argmin((y - height / 2) ** 2 + (x - width / 2) ** 2)
    y0 = int(np.clip(y[nearest] - side // 2, 0, max(0, height - side)))
    x0 = int(np.clip(x[nearest] - side // 2, 0, max(0, width - side)))
    return Region(y0, x0, y0 + side, x0 + side).clip(height, width)


def _enlarged(shape: tuple[int, int]) -> tuple[int, int]:
    scale = SIDE / max(shape)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _places(size: int, wanted: int) -> NDArray[np.int64]:
    """The pixel of the crop that each pixel of the picture shows."""
    return ((np.arange(wanted) + 0.5) * size / wanted).astype(np.int64)


def _outline(labels: Labels) -> NDArray[np.bool_]:
    """The pixels of cells beside another label, above, below, left or right."""
    padded = np.pad(labels, 1, mode="edge")
    middle = padded[1:-1, 1:-1]
    beside = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    other: NDArray[np.bool_] = np.any([side != middle for side in beside], axis=0)
    return other & (middle > 0)
