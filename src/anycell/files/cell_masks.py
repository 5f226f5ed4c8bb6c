"""A folder with one picture per cell, as in the Data Science Bowl of 2018.

ID/images/ID.png
ID/masks/*.png      each as large as the image; what is not 0 is the cell
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anycell.errors import InputError
from anycell.files.opening import open_source
from anycell.files.painting import Overlaps, Painting
from anycell.files.source import whole_plane
from anycell.labels import Labels
from anycell.outlines import Runs

__all__ = ["MASKS", "is_mask_folder", "masked_image", "read_masks"]

MASKS = "masks"
"""The name of such a folder."""


def masked_image(images: Path) -> bool:
    """Whether a folder of images is that of one image, with a folder of masks beside it."""
    return (images.parent / MASKS).is_dir()


def is_mask_folder(path: Path) -> bool:
    """Whether a folder holds masks: its name says so."""
    return path.is_dir() and path.name == MASKS


def read_masks(
    path: Path, shape: tuple[int, int] | None = None, overlaps: Overlaps = "refuse"
) -> Labels:
    """Read a folder of masks as labels, numbered in the order of their names.

    Parameters
    ----------
    shape : rows and columns that are expected; None for those of the first mask.
    overlaps : what to do where cells share pixels, see ``anycell.files.painting``.

    Raises
    ------
    InputError : no masks, masks of several sizes, empty ones, cells on top of each other.
    FormatError : a damaged file.
    """
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in (".png", ".tif"))
    if not files:
        raise InputError(f"{path} holds no masks", expected="one PNG for each cell")
    painting: Painting | None = None
    for number, file in enumerate(files, 1):
        mask = (whole_plane(open_source(file), file) != 0).any(axis=0)
        if painting is None:
            painting = Painting(path, mask.shape if shape is None else shape, overlaps)
        if mask.shape != painting.labels.shape:
            height, width = painting.labels.shape
            raise InputError(
                f"{file} has {mask.shape[0]} x {mask.shape[1]} pixels, not {height} x {width}",
                expected="masks as large as their image",
            )
        row, column = np.nonzero(mask)
        runs = Runs(np.zeros(len(row), dtype=np.int64), row, column, column + 1)
        painting.add(runs, np.array([number]))
    assert painting is not None
    return painting.labels
