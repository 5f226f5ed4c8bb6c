"""Looks of training images: what is changed, and what stays."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from anycell.methods import LOOKS as NAMES

torch = pytest.importorskip("torch")
from anycell.augment import LOOKS, Photometry, photometric  # noqa: E402


def test_augmentation_keeps_shape_and_range_and_leaves_its_input_alone() -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(12, 3, 64, 64, generator=random)
    images[:6] = images[:6, :1]
    images[6:] = images[6:].sqrt()  # bright ones, which may be stained
    labels = torch.randint(0, 9, (12, 64, 64), generator=random)
    before = images.clone()
    always = Photometry(**dict.fromkeys(Photometry.__dataclass_fields__, 1.0))
    out = photometric(images, labels, always, random)
    assert torch.equal(images, before)
    assert out.shape == images.shape
    assert torch.isfinite(out).all()
    assert out.min() >= -0.5
    assert out.max() <= 1.5
    never = Photometry(**dict.fromkeys(Photometry.__dataclass_fields__, 0.0))
    assert torch.equal(photometric(images, labels, never, random), images)
    for name in Photometry.__dataclass_fields__:
        one = photometric(images, labels, Photometry(**{**vars(never), name: 1.0}), random)
        assert not torch.equal(one, images), name


def test_looks_that_are_known_by_name() -> None:
    assert tuple(LOOKS) == NAMES
    assert LOOKS["near"] == Photometry()


def test_stains_change_colored_bright_images_alone() -> None:
    plain = Photometry(**dict.fromkeys(Photometry.__dataclass_fields__, 0.0))
    stain = dataclasses.replace(plain, stain=1.0)
    random = torch.Generator().manual_seed(0)
    images = 0.1 + 0.2 * torch.rand(4, 3, 64, 64, generator=random)
    images[1:3] += 0.6
    images[2:] = images[2:, :1]
    out = photometric(images, torch.zeros(4, 64, 64, dtype=torch.int32), stain, random)
    changed = [not torch.equal(a, b) for a, b in zip(images, out, strict=True)]
    assert changed == [False, True, False, False]
    # Where there is no stain at all there is none afterwards either.
    white = torch.ones(1, 3, 64, 64)
    white[:, 0, 0, 0] = 0.99
    out = photometric(white, torch.zeros(1, 64, 64, dtype=torch.int32), stain, random)
    assert torch.allclose(out[..., 1:], white[..., 1:], atol=1e-5)


def test_haze_lowers_what_is_fine_and_keeps_the_span() -> None:
    plain = Photometry(**dict.fromkeys(Photometry.__dataclass_fields__, 0.0))
    random = torch.Generator().manual_seed(0)
    y, x = np.mgrid[:128, :128]
    cells = np.isin(x // 16 % 2 + 2 * (y // 16 % 2), (3,)) & (y < 64)
    images = torch.from_numpy(cells.astype(np.float32)).expand(24, 3, -1, -1).clone()
    hazy = photometric(
        images,
        torch.zeros(24, 128, 128, dtype=torch.int32),
        dataclasses.replace(plain, haze=1.0),
        random,
    )
    coarse = torch.nn.functional.avg_pool2d(hazy, 4)
    assert torch.allclose(coarse.amin((2, 3)), torch.zeros(24, 3), atol=1e-4)
    assert torch.allclose(coarse.amax((2, 3)), torch.ones(24, 3), atol=1e-4)
    between = (torch.from_numpy(~cells) & (torch.arange(128)[:, None] < 48)).expand(24, 3, -1, -1)
    far = hazy[..., 112:, :].mean((1, 2, 3))
    lit = torch.where(between, hazy, 0).sum((1, 2, 3)) / between.sum((1, 2, 3))
    assert ((lit > far + 0.02).sum()) >= 12, "light spreads around the cells, mostly"


def test_random_filters_keep_the_mean_and_the_spread_and_grey_stays_grey() -> None:
    plain = Photometry(**dict.fromkeys(Photometry.__dataclass_fields__, 0.0))
    random = torch.Generator().manual_seed(3)
    images = 0.3 + 0.2 * torch.rand(16, 3, 64, 64, generator=random)
    images[8:] = images[8:, :1]
    labels = torch.zeros(16, 64, 64, dtype=torch.int32)
    out = photometric(images, labels, dataclasses.replace(plain, filter=1.0), random)
    assert torch.allclose(out.mean(dim=(2, 3)), images.mean(dim=(2, 3)), atol=0.02)
    assert (out.std(dim=(2, 3)) < 1.05 * images.std(dim=(2, 3))).all()
    assert torch.equal(out[8:, :1].expand(-1, 3, -1, -1), out[8:])
    assert not torch.allclose(out[:8, 0], out[:8, 1], atol=0.02)
    # An edge stays where it is: only within a filter's reach does anything else change.
    step = torch.full((4, 3, 64, 64), 0.3)
    step[..., 32:] = 0.6
    flat = photometric(step, labels[:4], dataclasses.replace(plain, filter=1.0), random)
    slope = (flat[..., 1:] - flat[..., :-1]).abs().amax(dim=(1, 2))
    assert (slope[:, :27] < 1e-4).all()
    assert (slope[:, 37:] < 1e-4).all()
    assert (slope[:, 28:36].amax(dim=1) > 0.01).all()
