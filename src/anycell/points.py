"""Weak labels: from one point in each cell to labels, and to where they can be trusted.

    background color = median of what lies far from all points
    contrast         = distance of each pixel's color from it, cut in two by Otsu's threshold
    cells            = watershed of the distance to the background, one basin for each point

After Voronoi and cluster labels (Qu et al. 2019, MIDL), with a watershed for the borders.
What no point claims, cells of odd sizes and points in the background are not known; a
training leaves them out.  So every method can learn from points.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anycell.errors import InputError
from anycell.labels import Labels, areas, relabel

__all__ = ["labels_from_points", "read_points"]

FAR = 0.7
"""Pixels beyond this share of all distances to the nearest point show the background."""
ODD = 3.0
"""A cell this many times larger or smaller than the median is not trusted."""
SMOOTH = 1.0
DOT = 2
UNSURE = 3


def read_points(path: Path) -> dict[str, NDArray[np.float64]]:
    """Read a table with the columns image, x and y: image name to n x 2 places (y, x).

    Raises
    ------
    InputError : it cannot be read, lacks a column, or holds what is no number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", expected="a CSV of points") from error
    if rows and not {"image", "x", "y"} <= set(rows[0]):
        raise InputError(
            f"{path} has the columns {', '.join(rows[0])}", expected="at least image, x, y"
        )
    found: dict[str, list[tuple[float, float]]] = {}
    for line, row in enumerate(rows, 2):
        try:
            found.setdefault(row["image"], []).append((float(row["y"]), float(row["x"])))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{path}, line {line}: x {row['x']!r}, y {row['y']!r}", expected="pixels"
            ) from error
    return {name: np.array(places) for name, places in found.items()}


def labels_from_points(
    pixels: NDArray[np.float32], points: NDArray[np.float64]
) -> tuple[Labels, NDArray[np.bool_]]:
    """Grow one cell around each point.

    Parameters
    ----------
    pixels : channels x H x W, normalized.
    points : n x 2 places (y, x) inside the image; those outside are left out.

    Returns
    -------
    labels, H x W, and where they are known, H x W.
    """
    from scipy.ndimage import distance_transform_edt
    from skimage.segmentation import watershed

    shape = pixels.shape[1:]
    whole = np.rint(points.reshape(-1, 2)).astype(np.int64)
    whole = whole[((whole >= 0) & (whole < np.array(shape))).all(axis=1)]
    if not len(whole):
        return np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=bool)
    foreground = _foreground(pixels, whole)
    markers = np.zeros(shape, dtype=np.int32)
    for dy in range(-DOT, DOT + 1):
        for dx in range(-DOT, DOT + 1):
            y, x = np.clip(whole + np.array([dy, dx]), 0, np.array(shape) - 1).T
            markers[y, x] = np.arange(1, len(whole) + 1)
    depth = distance_transform_edt(foreground)
    cells = watershed(-depth, markers, mask=foreground).astype(np.int32)
    inside = foreground[whole[:, 0], whole[:, 1]]
    size = areas(np.where(foreground, cells, 0))
    size = np.pad(size, (0, len(whole) + 1 - len(size)))[1:]
    middle = float(np.median(size[inside])) if inside.any() else 1.0
    trusted = np.concatenate([[True], inside & (size > middle / ODD) & (size < middle * ODD)])
    wrong = (foreground & (cells == 0)) | ~trusted[cells]
    wrong[whole[~inside, 0], whole[~inside, 1]] = True
    known: NDArray[np.bool_] = distance_transform_edt(~wrong) > UNSURE
    return relabel(np.where(known, cells, 0)), known


def _foreground(pixels: NDArray[np.float32], points: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Pixels of another color than the background, pale middles of cells included."""
    from scipy.ndimage import binary_fill_holes, distance_transform_edt, gaussian_filter
    from skimage.filters import threshold_otsu

    away = np.ones(pixels.shape[1:], dtype=bool)
    away[points[:, 0], points[:, 1]] = False
    distance = distance_transform_edt(away)
    far = distance >= np.quantile(distance, FAR)
    smooth = np.stack([gaussian_filter(plane, SMOOTH) for plane in pixels.astype(np.float32)])
    background = np.median(smooth[:, far], axis=1)
    contrast = np.sqrt(np.square(smooth - background[:, None, None]).sum(axis=0))
    found: NDArray[np.bool_] = binary_fill_holes(contrast > threshold_otsu(contrast))
    return found
