"""Images of bright disks, in files, with their truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Picture

from anycell.labels import Labels

CENTRES = ((24, 24), (24, 90), (64, 56), (100, 30), (98, 98))


def disks(radius: int = 10) -> Labels:
    """Five disks on 128 x 128."""
    y, x = np.mgrid[:128, :128]
    labels = np.zeros((128, 128), np.int32)
    for number, (cy, cx) in enumerate(CENTRES, start=1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = number
    return labels


def draw(path: Path, labels: Labels | None = None) -> Path:
    """Write an image of bright disks on a dark ground."""
    labels = disks() if labels is None else labels
    noise = np.random.default_rng(0).normal(0, 4, labels.shape)
    pixels = np.clip(np.where(labels > 0, 180, 30) + noise, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(pixels).save(path)
    return path


def grouped(folder: Path) -> Path:
    """Two groups of images with their truth beside them."""
    for group in ("blood", "liver"):
        draw(folder / group / "images" / "one.png")
        (folder / group / "labels").mkdir()
        Picture.fromarray(disks().astype(np.uint16)).save(folder / group / "labels" / "one.png")
    return folder
