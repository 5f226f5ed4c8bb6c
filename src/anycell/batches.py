"""Batches: crops of one size, at one scale of cells, from groups in fixed shares.

A batch is a pure function of (seed, step), so a run that is stopped and resumed sees
the same crops in the same order, whatever the number of worker processes.

Where a crop reaches beyond its image, image and labels are mirrored together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's own docs use
from numpy.typing import NDArray
from torch import Tensor

from anycell.augment import Photometry, photometric
from anycell.errors import InputError
from anycell.files import open_image, read_labels
from anycell.image import Region
from anycell.labels import areas, relabel
from anycell.normalize import fit_normalization, to_model_channels
from anycell.representations import Representation
from anycell.samples import Sample, group_shares

__all__ = ["Batch", "Batches", "Cropping", "Loaded", "load"]

TYPICAL_DIAMETER = 24.0


@dataclass(frozen=True)
class Cropping:
    """How crops are cut.

    Attributes
    ----------
    side : rows and columns of a crop, a multiple of the network's ``multiple``.
    count : crops in a batch.
    typical, spread : cells are scaled so that the logarithm of their median diameter,
        in pixels, is normal around that of ``typical`` with this standard deviation.
    zooms : the range of scale changes that is allowed for it.
    """

    side: int = 256
    count: int = 16
    typical: float = 24.0
    spread: float = 0.5
    zooms: tuple[float, float] = (0.2, 3.0)


@dataclass(frozen=True)
class Loaded:
    """A sample in memory: normalized pixels at falling resolutions, and its labels."""

    pyramid: tuple[NDArray[np.float16], ...]
    labels: NDArray[np.int32]
    diameter: float
    group: str
    partial: bool


@dataclass(frozen=True)
class Batch:
    """images: n x 3 x side x side; targets: n x planes x h x w; weight: n x 1 x side x side."""

    step: int
    images: Tensor
    targets: Tensor
    weight: Tensor
    labels: Tensor


def load(sample: Sample) -> Loaded:
    """Read a labeled sample, normalize it as ``segment`` would, and build its pyramid."""
    if sample.labels is None:
        raise InputError(f"{sample.image} has no labels", expected="a labeled image")
    image = open_image(sample.image)
    labels = relabel(read_labels(sample.labels))
    if labels.shape != image.shape[1:]:
        raise InputError(
            f"{sample.image} is {image.shape[1:]}, {sample.labels} is {labels.shape}",
            expected="an image and labels of the same rows and columns",
        )
    pixels = fit_normalization(image).apply(image.read(Region(0, 0, *labels.shape)))
    if len(pixels) > 1:
        pixels = to_model_channels(pixels)
    levels = [pixels.astype(np.float16)]
    while min(levels[-1].shape[1:]) >= 128 and len(levels) < 4:
        levels.append(_halved(levels[-1]))
    size = areas(labels)[1:]
    diameter = float(np.sqrt(np.median(size) * 4 / np.pi)) if len(size) else TYPICAL_DIAMETER
    return Loaded(tuple(levels), labels, diameter, sample.group, sample.partial)


def _halved(pixels: NDArray[np.float16]) -> NDArray[np.float16]:
    height, width = (s // 2 * 2 for s in pixels.shape[1:])
    even = pixels[:, :height, :width].astype(np.float32)
    quarters = [even[:, a::2, b::2] for a in (0, 1) for b in (0, 1)]
    mean: NDArray[np.float32] = np.mean(quarters, axis=0)
    return mean.astype(np.float16)


class Batches(torch.utils.data.Dataset[Batch]):
    """Batches by step: ``batches[step]``."""

    def __init__(
        self,
        samples: tuple[Sample, ...],
        representation: Representation,
        cropping: Cropping,
        photometry: Photometry,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.representation = representation
        self.cropping = cropping
        self.photometry = photometry
        self.seed = seed
        self.by_group: defaultdict[str, list[Loaded]] = defaultdict(list)
        for done, sample in enumerate(samples):
            self.by_group[sample.group].append(load(sample))
            if progress is not None:
                progress(done + 1, len(samples))
        shares = group_shares(samples)
        self.groups = sorted(shares)
        self.shares = np.array([shares[g] for g in self.groups])

    def __getitem__(self, step: int) -> Batch:
        random = np.random.default_rng((self.seed, step))
        groups = random.choice(len(self.groups), self.cropping.count, p=self.shares)
        images, labels, weights = [], [], []
        for group in groups:
            members = self.by_group[self.groups[group]]
            member = members[random.integers(len(members))]
            image, label = _crop(member, self.cropping, random)
            images.append(image)
            labels.append(label)
            weights.append(_weight(label, member.partial))
        fields = [self.representation.encode(label) for label in labels]
        stacked = torch.from_numpy(np.stack(labels))
        noise = torch.Generator().manual_seed(int(random.integers(2**62)))
        return Batch(
            step,
            photometric(torch.stack(images), stacked, self.photometry, noise),
            torch.from_numpy(np.stack(fields)),
            torch.from_numpy(np.stack(weights))[:, None],
            stacked,
        )


def _crop(
    member: Loaded, cropping: Cropping, random: np.random.Generator
) -> tuple[Tensor, NDArray[np.int32]]:
    """Cut a turned, scaled, slightly stretched crop, mostly around a cell."""
    zoom = cropping.typical * float(np.exp(random.normal(0.0, cropping.spread))) / member.diameter
    height, width = member.labels.shape
    # A small image may be mirrored once on each side, not into a wallpaper.
    least = max(cropping.zooms[0], cropping.side / (2 * min(height, width)))
    zoom = float(np.clip(zoom, least, max(least, cropping.zooms[1])))
    stretch = np.exp(random.normal(0.0, 0.08))
    angle = (
        random.uniform(0, 2 * np.pi) if random.random() < 0.5 else random.integers(4) * np.pi / 2
    )
    flip = random.choice((-1.0, 1.0))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag([stretch, flip / stretch]) / zoom
    centre = _centre(member.labels, cropping.side / zoom, random)
    steps = np.arange(cropping.side) - (cropping.side - 1) / 2
    offsets = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1) @ matrix.T
    # grid_sample wants (x, y) in -1..1, with -1 and 1 on the outer edges of the image.
    where = (offsets + centre + 0.5) / (height, width) * 2 - 1
    grid = torch.from_numpy(where[None, ..., ::-1].astype(np.float32).copy())
    level = int(np.clip(np.floor(np.log2(max(1.0, 1.0 / zoom)) + 0.4), 0, len(member.pyramid) - 1))
    pixels = torch.from_numpy(member.pyramid[level]).float()[None]
    image = F.grid_sample(pixels, grid, "bilinear", "reflection", align_corners=False)[0]
    numbers = torch.from_numpy(member.labels)[None, None].float()
    label = F.grid_sample(numbers, grid, "nearest", "reflection", align_corners=False)[0, 0]
    found = relabel(label.numpy().astype(np.int32))
    return image.expand(3, -1, -1) if len(image) == 1 else image, found


def _centre(
    labels: NDArray[np.int32], extent: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """A place for a crop: near some cell mostly, anywhere one time in five."""
    height, width = labels.shape
    anywhere = np.array([random.uniform(0, height), random.uniform(0, width)])
    if random.random() >= 0.2:
        for _ in range(20):
            y, x = random.integers(height), random.integers(width)
            if labels[y, x]:
                anywhere = np.array([y, x]) + random.uniform(-0.4, 0.4, 2) * extent
                break
    half = np.minimum(extent / 2, np.array([height, width]) / 2)
    inside: NDArray[np.float64] = np.clip(anywhere, half, np.array([height, width]) - half)
    return inside


def _weight(label: NDArray[np.int32], partial: bool) -> NDArray[np.float32]:
    """1 where the truth is known: everywhere, or around the labeled cells only."""
    if not partial:
        return np.ones(label.shape, dtype=np.float32)
    from scipy.ndimage import distance_transform_edt

    size = areas(label)[1:]
    ring = 0.2 * np.sqrt(size.max(initial=1) * 4 / np.pi)
    distance: NDArray[np.float64] = distance_transform_edt(label == 0)
    known: NDArray[np.float32] = (distance <= max(3.0, ring)).astype(np.float32)
    return known
