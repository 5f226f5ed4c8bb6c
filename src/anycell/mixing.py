"""Mixing: what one crop of a batch takes from the next, image and labels together.

    cutmix      a rectangle of the next crop (Yun et al. 2019, ICCV)
    transplant  whole cells of the next crop, where there is background (after copy-paste,
                Ghiasi et al. 2021, CVPR)
    amplitude   the look: the amplitudes of low frequencies are mixed, the phases, which hold
                the shapes, stay (Yang & Soatto 2020, CVPR)

Every chance is per crop.  What is known of the labels moves with the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import label
from torch import Tensor

from anycell.labels import edge_labels, relabel

__all__ = ["Crop", "Mixing", "mixed"]

SHARE = (0.25, 0.6)
FREE = 0.9
LOW = (0.02, 0.12)


@dataclass(frozen=True)
class Mixing:
    """Chance per crop of each way of mixing."""

    cutmix: float = 0.0
    transplant: float = 0.0
    amplitude: float = 0.0


@dataclass(frozen=True)
class Crop:
    """image: 3 x side x side; labels and weight, where the labels are known: side x side."""

    image: Tensor
    labels: NDArray[np.int32]
    weight: NDArray[np.float32]


def mixed(crops: list[Crop], how: Mixing, random: np.random.Generator) -> list[Crop]:
    """Let each crop take something from the one after it; the last from the first."""
    out = []
    for crop, other in zip(crops, crops[1:] + crops[:1], strict=True):
        chance = random.random(3)
        taken = _looking_like(crop, other, random) if chance[0] < how.amplitude else crop
        taken = _with_cells(taken, other) if chance[1] < how.transplant else taken
        taken = _with_rectangle(taken, other, random) if chance[2] < how.cutmix else taken
        out.append(taken)
    return out


def _pasted(crop: Crop, other: Crop, where: NDArray[np.bool_]) -> Crop:
    """Take image, labels and weight from another crop where ``where`` is True."""
    labels = np.where(where, np.where(other.labels > 0, other.labels + crop.labels.max(), 0), 0)
    return Crop(
        torch.where(torch.from_numpy(where), other.image, crop.image),
        relabel(np.where(where, labels, crop.labels).astype(np.int32)),
        np.where(where, other.weight, crop.weight).astype(np.float32),
    )


def _with_rectangle(crop: Crop, other: Crop, random: np.random.Generator) -> Crop:
    side = np.array(crop.labels.shape)
    size = np.rint(random.uniform(*SHARE, 2) * side).astype(int)
    y, x = (random.random(2) * (side - size)).astype(int)
    where = np.zeros(crop.labels.shape, dtype=bool)
    where[y : y + size[0], x : x + size[1]] = True
    taken = _pasted(crop, other, where)
    # A cell that the rectangle cuts in two is two cells to look at.
    return replace(taken, labels=label(taken.labels, connectivity=2).astype(np.int32))


def _with_cells(crop: Crop, other: Crop) -> Crop:
    """Take the whole, known cells of the other crop that lie on known background."""
    count = int(other.labels.max(initial=0)) + 1
    size = np.bincount(other.labels.ravel(), minlength=count)
    free = (crop.labels == 0) & (crop.weight > 0) & (other.weight > 0)
    on_free = np.bincount(other.labels[free], minlength=count)
    good = on_free >= FREE * size
    good[edge_labels(other.labels)] = False
    good[0] = False
    return _pasted(crop, other, good[other.labels])


def _looking_like(crop: Crop, other: Crop, random: np.random.Generator) -> Crop:
    """Mix the amplitudes of the lowest frequencies."""
    own, theirs = torch.fft.rfft2(crop.image), torch.fft.rfft2(other.image)
    rows = torch.fft.fftfreq(crop.image.shape[1]).abs()[:, None]
    columns = torch.fft.rfftfreq(crop.image.shape[2])[None]
    low = (torch.maximum(rows, columns) < 0.5 * random.uniform(*LOW)).float()
    low[0, 0] *= float(random.random() < 0.5)
    share = float(random.uniform(0.2, 0.8)) * low
    amplitude = own.abs() * (1.0 - share) + theirs.abs() * share
    image = torch.fft.irfft2(torch.polar(amplitude, own.angle()), s=crop.image.shape[1:])
    return Crop(image, crop.labels, crop.weight)
