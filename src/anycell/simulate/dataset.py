"""Folders of simulated images with exact labels, laid out as training data.

    OUT/manifest.csv
    OUT/simulated_KIND/images/MODALITY_NNN.png     OUT/simulated_KIND/labels/ likewise

Modalities of one kind make one group, so that training draws from a few groups only.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anycell.errors import SettingError, unknown_name
from anycell.runs import make_folder
from anycell.simulate import HELD_OUT, MODALITIES, simulate

__all__ = ["KINDS", "write_dataset"]

KINDS: dict[str, str] = {
    "phase": "phase",
    "bacteria_phase": "phase",
    "yeast_phase": "phase",
    "brightfield": "transmitted",
    "yeast_brightfield": "transmitted",
    "dic": "transmitted",
    "blood": "blood",
    "histology": "histology",
    "glands": "histology",
    "spread_phase": "spread",
    "spread_quantitative_phase": "spread",
    "spread_cells": "spread",
}
"""The group of a modality; what is not here is of the group fluorescence."""

DIAMETERS = (14.0, 60.0)
SIDES = (256, 512)
ACROSS = 14


def write_dataset(
    out: Path,
    count: int,
    *,
    modalities: Sequence[str] = tuple(MODALITIES),
    seed: int = HELD_OUT,
    progress: Callable[[int, int, str], None] | None = None,
) -> int:
    """Write ``count`` images of each modality, their labels, and a manifest.

    Median diameters are log-uniform from 14 to 60 pixels; an image is about 14 cells
    across, from 256 to 512 pixels.

    Parameters
    ----------
    seed : of the first image of each modality, the next ones count on; training data
        begin at ``HELD_OUT``.
    progress : called with images done, images in all, and the last one's name.

    Returns
    -------
    how many cells there are.

    Raises
    ------
    SettingError : an unknown modality, no images, or a negative seed.
    """
    for name in modalities:
        if name not in MODALITIES:
            raise unknown_name("modality", name, MODALITIES)
    if count < 1 or seed < 0:
        raise SettingError(f"{count} images from seed {seed}", expected="1 or more, from 0 or more")
    rows = []
    for modality in modalities:
        for k in range(count):
            rows.append(_write_one(out, modality, k, seed))
            if progress is not None:
                progress(len(rows), count * len(modalities), f"{modality} {k}")
    with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return sum(int(row["cells"]) for row in rows)


def _write_one(out: Path, modality: str, k: int, seed: int) -> dict[str, str | int]:
    from PIL import Image as Picture

    low, high = np.log(DIAMETERS)
    diameter = float(np.exp(np.random.default_rng((seed, k)).uniform(low, high)))
    side = int(np.clip(diameter * ACROSS, *SIDES))
    made = simulate(modality, (side, side), diameter=diameter, seed=seed + k)
    group = f"simulated_{KINDS.get(modality, 'fluorescence')}"
    image, labels = (f"{group}/{part}/{modality}_{k:03}.png" for part in ("images", "labels"))
    for path, pixels in ((image, _picture(made.image)), (labels, made.labels.astype(np.uint16))):
        make_folder((out / path).parent)
        Picture.fromarray(pixels).save(out / path)
    return {
        "use": "train",
        "group": group,
        "image": image,
        "labels": labels,
        "modality": modality,
        "labeled": "",
        "cells": int(made.labels.max(initial=0)),
    }


def _picture(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey as it is, two channels in red and green, three in red, green and blue."""
    if len(planes) == 1:
        grey: NDArray[np.uint8] = planes[0]
        return grey
    missing = np.zeros((3 - len(planes), *planes.shape[1:]), dtype=np.uint8)
    return np.moveaxis(np.concatenate([planes, missing]), 0, -1)
