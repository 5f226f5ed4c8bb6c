"""Pseudo-labels: what a model finds in unlabeled images, and how much of it to believe.

    model, averaged over turns     -> cells, their parity and foreground margin
    the image turned and scaled    -> does the cell come out again?

A cell is believed when its parity is low, its margin wide, and every view has it too.
Background is believed where no view sees anything.  All else is ignored, pixel by pixel,
so one good cell in a hopeless image still teaches.  A group in which too few cells pass
gives its best ones up to a quota, so that the rare and the hard are not starved.

    OUT/manifest.csv                 a data set like any other, which ``train`` takes
    OUT/pseudo_GROUP/images, labels, ignore/NAME.*
    OUT/pseudo_GROUP/overlays/NAME.png     believed cells outlined, ignored pixels dark
    OUT/cells.csv                    image, cell, what spoke for it, whether it is believed
"""

from __future__ import annotations

import csv
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.errors import SettingError
from anycell.files import display, open_image, write_labels, write_overlay
from anycell.image import Image, Region
from anycell.labels import Labels, relabel
from anycell.points import read_points
from anycell.predictor import Predictor
from anycell.runs import make_folder
from anycell.samples import Sample
from anycell.segment import segment
from anycell.turns import Turn
from anycell.views import Averaged, agreement

__all__ = ["Belief", "Found", "find_cells_to_believe", "write_pseudo_labels"]

AVERAGED = (Turn(0), Turn(1, flip=True), Turn(2), Turn(3, flip=True))
OTHER_VIEWS = ((Turn(1), 2**0.25), (Turn(0, flip=True), 2**-0.25))
LARGEST = 2.2e6
"""Pixels above which an image is cut down to its middle: views of slides cost too much."""


@dataclass(frozen=True)
class Belief:
    """When a cell is believed.

    Attributes
    ----------
    strength : least distance from a bad parity or margin (``views.Believing``).
    overlap : least IoU with the same cell in every other view.
    quota : share of a group's cells that are believed at least, if they come to half of
        both limits.
    ring : pixels around what is not believed that are ignored too.
    per_group : images of a group that are looked at, spread evenly.
    """

    strength: float = 0.5
    overlap: float = 0.8
    quota: float = 0.3
    ring: int = 2
    per_group: int = 40

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        shares = (self.strength, self.overlap, self.quota)
        if not all(0.0 <= v <= 1.0 for v in shares) or self.ring < 0 or self.per_group < 1:
            raise SettingError(str(self), expected="shares 0 .. 1, a ring from 0, images from 1")


@dataclass(frozen=True)
class Found:
    """What was found in one image: labels, and strength and overlap of each cell 1..n."""

    sample: Sample
    pixels: NDArray[Any]
    channels: tuple[str, ...]
    labels: Labels
    strength: NDArray[np.float32]
    overlap: NDArray[np.float64]
    anything: NDArray[np.bool_]

    def merit(self, belief: Belief) -> NDArray[np.float64]:
        """How many times over the limits each cell is; believed from 1."""
        low = 1e-6
        merit: NDArray[np.float64] = np.minimum(
            self.strength / max(belief.strength, low), self.overlap / max(belief.overlap, low)
        )
        return merit


def find_cells_to_believe(sample: Sample, model: Predictor) -> Found:
    """Segment an image in several views and compare them."""
    image = open_image(sample.image)
    pixels = image.read(_middle(image))
    image = Image.from_array(pixels, channels=image.channels, name=image.name)
    plain = segment(image, model, min_confidence=0.0)
    zoom = plain.zoom
    strict = Averaged(model, AVERAGED, strict=True)
    main = segment(image, strict, zoom=zoom, min_confidence=0.0)
    overlap = agreement(main.labels, plain.labels)
    anything = (main.labels > 0) | (plain.labels > 0)
    for turn, factor in OTHER_VIEWS:
        turned = Image.from_array(
            np.ascontiguousarray(turn.plane(pixels)), channels=image.channels, name=image.name
        )
        seen = segment(turned, model, zoom=float(np.clip(zoom * factor, 1 / 64, 8)))
        back = np.ascontiguousarray(turn.inverse.plane(seen.labels))
        overlap = np.minimum(overlap, agreement(main.labels, back))
        anything |= back > 0
    overlap = np.where(_several_points(sample, main.labels), 0.0, overlap)
    return Found(sample, pixels, image.channels, main.labels, main.confidence, overlap, anything)


def _middle(image: Image) -> Region:
    """The whole image, or the middle of one that is too large."""
    _, height, width = image.shape
    side = int(np.sqrt(LARGEST))
    rows, columns = (
        (height, width) if height * width <= LARGEST else (min(height, side), min(width, side))
    )
    y, x = (height - rows) // 2, (width - columns) // 2
    return Region(y, x, y + rows, x + columns)


def _several_points(sample: Sample, labels: Labels) -> NDArray[np.bool_]:
    """Cells in which more than one known point lies: they are several in truth."""
    count = int(labels.max(initial=0)) + 1
    if sample.points is None:
        return np.zeros(count - 1, dtype=bool)
    places = np.rint(read_points(sample.points)[sample.image.stem]).astype(np.int64)
    places = places[((places >= 0) & (places < np.array(labels.shape))).all(axis=1)]
    hits = np.bincount(labels[places[:, 0], places[:, 1]], minlength=count)
    several: NDArray[np.bool_] = hits[1:] > 1
    return several


def write_pseudo_labels(
    samples: tuple[Sample, ...],
    model: Predictor,
    out: Path,
    belief: Belief | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[int, int]:
    """Label the unlabeled samples as far as the model is to be believed.

    Parameters
    ----------
    samples : those with labels are passed over.
    progress : called with images done, images in all, and the last one's name.

    Returns
    -------
    cells believed and cells found.

    Raises
    ------
    SettingError : no sample is unlabeled.
    """
    belief = belief or Belief()
    groups: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.labels is None and sample.use != "validate":
            groups[sample.group].append(sample)
    if not groups:
        raise SettingError("no unlabeled images", expected="images without labels beside them")
    chosen = {group: _spread(members, belief.per_group) for group, members in groups.items()}
    total, done = sum(len(v) for v in chosen.values()), 0
    rows: list[dict[str, str]] = []
    cells: list[dict[str, str]] = []
    for _, members in sorted(chosen.items()):
        found = []
        for sample in members:
            found.append(find_cells_to_believe(sample, model))
            done += 1
            if progress is not None:
                progress(done, total, sample.image.name)
        limit = _limit(found, belief)
        for one in found:
            rows.append(_write(one, belief, limit, out))
            cells += _cell_rows(one, belief, limit)
    _write_table(out / "cells.csv", cells)
    _write_table(out / "manifest.csv", rows)
    return sum(c["believed"] == "1" for c in cells), len(cells)


def _spread(members: list[Sample], count: int) -> list[Sample]:
    picks = np.linspace(0, len(members) - 1, min(count, len(members))).round().astype(int)
    return [members[k] for k in picks]


def _limit(found: list[Found], belief: Belief) -> float:
    """The least merit in a group: 1, or less if too few cells reach that."""
    merit = np.concatenate([np.zeros(0), *(one.merit(belief) for one in found)])
    if not len(merit):
        return 1.0
    return float(np.clip(np.quantile(merit, 1.0 - belief.quota), 0.5, 1.0))


def _write(found: Found, belief: Belief, limit: float, out: Path) -> dict[str, str]:
    """Write one image, its labels, what is to be ignored, and a picture of it all."""
    from scipy.ndimage import binary_dilation

    believed = np.concatenate([[False], found.merit(belief) >= limit])
    labels = np.where(believed[found.labels], found.labels, 0)
    doubtful = found.anything & (labels == 0)
    around = np.ones((2 * belief.ring + 1,) * 2, dtype=bool)
    ignore = (binary_dilation(doubtful, around) if belief.ring else doubtful) & (labels == 0)
    root = out / f"pseudo_{found.sample.group}"
    stem = found.sample.image.name.split(".")[0]
    for kind in ("images", "labels", "ignore", "overlays"):
        make_folder(root / kind)
    image = _write_image(found, root / "images")
    write_labels(relabel(labels), root / "labels" / f"{stem}.tif")
    write_labels(ignore.astype(np.int32), root / "ignore" / f"{stem}.tif")
    picture = display(Image.from_array(found.pixels, channels=found.channels, name=stem))
    picture = np.where(ignore[..., None], picture // 3, picture)
    write_overlay(picture, labels, root / "overlays" / f"{stem}.png")
    below = root.name
    return {
        "use": "train",
        "group": root.name,
        "image": f"{below}/images/{image.name}",
        "labels": f"{below}/labels/{stem}.tif",
        "ignore": f"{below}/ignore/{stem}.tif",
        "modality": found.sample.modality,
        "labeled": "pseudo-labels",
        "cells": str(int(believed.sum())),
    }


def _write_image(found: Found, folder: Path) -> Path:
    """Copy the image, or write the part of it that was looked at."""
    import tifffile

    source = found.sample.image
    if source.is_file() and found.pixels.shape[1:] == open_image(source).shape[1:]:
        shutil.copyfile(source, folder / source.name)
        return folder / source.name
    path = folder / f"{source.name.split('.')[0]}.tif"
    color = len(found.pixels) == 3 and found.pixels.dtype == np.uint8
    tifffile.imwrite(
        path,
        found.pixels if len(found.pixels) > 1 else found.pixels[0],
        photometric="rgb" if color else "minisblack",
        metadata={"axes": "CYX" if len(found.pixels) > 1 else "YX"},
    )
    return path


def _cell_rows(found: Found, belief: Belief, limit: float) -> list[dict[str, str]]:
    merit = found.merit(belief)
    name = f"{found.sample.group}/{found.sample.image.name}"
    return [
        {
            "image": name,
            "cell": str(cell),
            "strength": f"{found.strength[cell - 1]:.3f}",
            "overlap": f"{found.overlap[cell - 1]:.3f}",
            "believed": str(int(merit[cell - 1] >= limit)),
        }
        for cell in range(1, len(merit) + 1)
    ]


def _write_table(path: Path, rows: list[dict[str, str]]) -> None:
    """Write a CSV, whole or not at all."""
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["image"])
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)
