"""Batches: crops of one size, at one scale of cells, from groups in fixed shares.

A batch is a pure function of (seed, step), so a run that is stopped and resumed sees
the same crops in the same order, whatever the number of worker processes.

Where a crop reaches beyond its image, image and labels are mirrored together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any

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
from anycell.mixing import Crop, Mixing, mixed
from anycell.normalize import fit_normalization, to_model_channels
from anycell.points import labels_from_points, read_points
from anycell.representations import Representation
from anycell.runs import cores
from anycell.samples import Sample, group_shares

__all__ = ["Batch", "Batches", "Cropping", "Loaded", "load", "stream"]

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
    free : share of the crops that come from unlabeled images, if there are any.
    """

    side: int = 256
    count: int = 16
    typical: float = 24.0
    spread: float = 0.5
    zooms: tuple[float, float] = (0.2, 3.0)
    free: float = 0.0


@dataclass(frozen=True)
class Loaded:
    """A sample in memory: normalized pixels at falling resolutions, and its labels."""

    pyramid: tuple[NDArray[np.float16], ...]
    labels: NDArray[np.int32]
    diameter: float
    group: str
    partial: bool
    known: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Batch:
    """images: n x 3 x side x side; targets: n x planes x h x w; weight: n x 1 x side x side.

    ``plain`` holds the unlabeled images, the last ones of ``images``, as they were before
    their look was changed: m x 3 x side x side.  Their weight is 0.
    """

    step: int
    images: Tensor
    targets: Tensor
    weight: Tensor
    labels: Tensor
    plain: Tensor

    def light(self) -> Batch:
        """The same in half as many bytes, for the way between processes."""
        small = {"labels": torch.int16}
        return self._changed(lambda name, value: value.to(small.get(name, torch.float16)))

    def to(self, device: torch.device) -> Batch:
        """The same on a device, numbers of 32 bits."""
        full = {"labels": torch.int32}
        return self._changed(
            lambda name, value: value.to(device, non_blocking=True).to(
                full.get(name, torch.float32)
            )
        )

    def pin_memory(self) -> Batch:
        """The same in memory that a GPU reads by itself; torch's loader calls this."""
        return self._changed(lambda _, value: value.pin_memory())

    def _changed(self, how: Callable[[str, Tensor], Tensor]) -> Batch:
        names = [f.name for f in fields(self) if f.name != "step"]
        changed: dict[str, Any] = {name: how(name, getattr(self, name)) for name in names}
        return replace(self, **changed)


def load(sample: Sample) -> Loaded:
    """Read a sample, normalize it as ``segment`` would, and build its pyramid.

    Without labels they are grown from its points; without points nothing is known.

    Raises
    ------
    InputError : a file cannot be read, or labels are of another size than the image.
    """
    image = open_image(sample.image)
    shape = image.shape[1:]
    pixels = fit_normalization(image).apply(image.read(Region(0, 0, *shape)))
    labels, known = _truth(sample, pixels)
    if len(pixels) > 1:
        pixels = to_model_channels(pixels)
    levels = [pixels.astype(np.float16)]
    while min(levels[-1].shape[1:]) >= 128 and len(levels) < 4:
        levels.append(_halved(levels[-1]))
    size = areas(labels)[1:]
    diameter = float(np.sqrt(np.median(size) * 4 / np.pi)) if len(size) else TYPICAL_DIAMETER
    return Loaded(tuple(levels), labels, diameter, sample.group, sample.partial, known)


def _truth(
    sample: Sample, pixels: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.bool_] | None]:
    """The labels of a sample, and where they are known; None is everywhere."""
    shape = pixels.shape[1:]
    if sample.labels is None:
        if sample.points is None:
            return np.zeros(shape, np.int32), np.zeros(shape, np.bool_)
        return labels_from_points(pixels, read_points(sample.points)[sample.image.stem])
    labels = relabel(read_labels(sample.labels, shape=shape))
    ignore = None if sample.ignore is None else read_labels(sample.ignore)
    for path, found in ((sample.labels, labels), (sample.ignore, ignore)):
        if found is not None and found.shape != shape:
            raise InputError(
                f"{sample.image} is {shape}, {path} is {found.shape}",
                expected="an image and labels of the same rows and columns",
            )
    return labels, None if ignore is None else ignore == 0


def _halved(pixels: NDArray[np.float16]) -> NDArray[np.float16]:
    height, width = (s // 2 * 2 for s in pixels.shape[1:])
    even = pixels[:, :height, :width].astype(np.float32)
    quarters = [even[:, a::2, b::2] for a in (0, 1) for b in (0, 1)]
    mean: NDArray[np.float32] = np.mean(quarters, axis=0)
    return mean.astype(np.float16)


class Batches(torch.utils.data.Dataset[Batch]):
    """Batches by step: ``batches[step]``.

    Without ``photometry`` the look of the images is left to be changed later, on a GPU, and
    the batches are light.  ``shares`` are factors on the shares of some groups.
    """

    def __init__(
        self,
        samples: tuple[Sample, ...],
        representation: Representation,
        cropping: Cropping,
        photometry: Photometry | None,
        seed: int,
        unlabeled: tuple[Sample, ...] = (),
        mixing: Mixing | None = None,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        self.representation = representation
        self.cropping = cropping
        self.photometry = photometry
        self.seed = seed
        self.mixing = mixing or Mixing()
        self.labeled = _Pool(samples, shares or {})
        self.unlabeled = _Pool(unlabeled, {})
        self.free = round(cropping.free * cropping.count) if unlabeled else 0

    def __getitem__(self, step: int) -> Batch:
        random = np.random.default_rng((self.seed, step))
        taught = self.cropping.count - self.free
        crops = [
            _crop(member, self.cropping, random)
            for pool, count in ((self.labeled, taught), (self.unlabeled, self.free))
            for member in pool.draw(count, random)
        ]
        crops[:taught] = mixed(crops[:taught], self.mixing, random)
        fields = [self.representation.encode(crop.labels) for crop in crops]
        labels = torch.from_numpy(np.stack([crop.labels for crop in crops]))
        images = torch.stack([crop.image for crop in crops])
        noise = torch.Generator().manual_seed(int(random.integers(2**62)))
        how = self.photometry
        batch = Batch(
            step,
            images if how is None else photometric(images, labels, how, noise),
            torch.from_numpy(np.stack(fields)),
            torch.from_numpy(np.stack([crop.weight for crop in crops]))[:, None],
            labels,
            images[taught:],
        )
        return batch.light() if how is None else batch


class _Pool:
    """Samples in memory, drawn by group."""

    def __init__(self, samples: tuple[Sample, ...], factors: Mapping[str, float]) -> None:
        self.by_group: defaultdict[str, list[Loaded]] = defaultdict(list)
        with ThreadPoolExecutor(cores()) as readers:
            for member in readers.map(load, samples):
                self.by_group[member.group].append(member)
        shares = group_shares(samples, factors)
        self.groups = sorted(shares)
        self.shares = np.array([shares[g] for g in self.groups])

    def draw(self, count: int, random: np.random.Generator) -> list[Loaded]:
        """Draw groups by their shares, then a member of each."""
        if not count:
            return []
        groups = random.choice(len(self.groups), count, p=self.shares)
        members = [self.by_group[self.groups[group]] for group in groups]
        return [member[random.integers(len(member))] for member in members]


def _crop(member: Loaded, cropping: Cropping, random: np.random.Generator) -> Crop:
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
    label = relabel(_nearest(member.labels, grid).astype(np.int32))
    weight = _weight(label, member.partial)
    if member.known is not None:
        weight *= _nearest(member.known, grid)
    return Crop(image.expand(3, -1, -1) if len(image) == 1 else image, label, weight)


def _nearest(plane: NDArray[Any], grid: Tensor) -> NDArray[np.float32]:
    """Sample a plane of numbers at the nearest pixels."""
    numbers = torch.from_numpy(plane)[None, None].float()
    found = F.grid_sample(numbers, grid, "nearest", "reflection", align_corners=False)[0, 0]
    sampled: NDArray[np.float32] = found.numpy()
    return sampled


def _centre(
    labels: NDArray[np.int32], extent: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """A place for a crop: near some cell mostly, anywhere three times in ten."""
    height, width = labels.shape
    anywhere = np.array([random.uniform(0, height), random.uniform(0, width)])
    if random.random() >= 0.3:
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


def stream(
    batches: Batches, which: tuple[int, int, int], workers: int, device: torch.device
) -> Iterator[Batch]:
    """The batch of each step, made ahead by worker processes, on the device.

    Parameters
    ----------
    which : first step, the step before which to stop, and for how many steps a batch is used.
    """
    start, stop, reuse = which
    steps = torch.utils.data.Subset(batches, range(start // reuse, -(-stop // reuse)))
    loader: Iterator[Batch] = iter(
        torch.utils.data.DataLoader(
            steps,
            batch_size=None,
            shuffle=False,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            worker_init_fn=_alone,
            pin_memory=device.type != "cpu",
        )
    )
    step = start
    for batch in loader:
        here = batch.to(device)
        for _ in range(min(stop, (step // reuse + 1) * reuse) - step):
            yield here
            step += 1


def _alone(worker: int) -> None:
    """Each worker process keeps to one thread."""
    del worker
    torch.set_num_threads(1)
