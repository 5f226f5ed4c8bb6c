"""Labels that stay in their file: a plane whose regions are read when they are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anycell.errors import InputError
from anycell.image import Image, Pixels, Region
from anycell.labels import Labels, as_labels

__all__ = ["StoredLabels", "checked"]


class StoredLabels:
    """A :class:`anycell.labels.Plane` in a file.

    Parameters
    ----------
    path : of the file, for messages.
    image : what the file holds, one channel.

    Raises
    ------
    InputError : not whole numbers; when a region is read, numbers below 0 or too large.
    FormatError : when a region is read, damage.
    """

    def __init__(self, path: Path, image: Image) -> None:
        checked(np.zeros((1, 1), image.dtype), path)
        self._path, self._image = path, image

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return self._image.shape[1:]

    def __getitem__(self, index: tuple[slice, slice]) -> Labels:
        """Read a region; steps other than 1 are not known here."""
        rows, columns = (s.indices(size)[:2] for s, size in zip(index, self.shape, strict=True))
        region = Region(rows[0], columns[0], rows[1], columns[1])
        if min(region.shape) <= 0:
            return np.zeros((max(0, region.shape[0]), max(0, region.shape[1])), np.int32)
        return checked(self._image.read(region)[0], self._path)


def checked(pixels: Pixels, path: Path) -> Labels:
    """Check that pixels of a file can be labels and give them as int32.

    Raises
    ------
    InputError : they cannot, see :func:`anycell.labels.as_labels`.
    """
    try:
        return as_labels(pixels)
    except InputError as error:
        raise InputError(
            f"{path}: {error.found}", expected=error.expected, hint=error.hint
        ) from error
