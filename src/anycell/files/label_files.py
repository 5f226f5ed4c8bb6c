"""Labels in files: read from what tools write, written so that every tool reads them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.errors import FormatError, InputError
from anycell.files.cell_masks import is_mask_folder, read_masks
from anycell.files.coco import coco_labels
from anycell.files.damage import reading, replacing
from anycell.files.geojson import geojson_labels
from anycell.files.ome_zarr import labels_inside
from anycell.files.opening import file_kind, open_source
from anycell.files.painting import Overlaps
from anycell.files.raster import palette_numbers
from anycell.files.roi_zip import read_rois
from anycell.files.seg_npy import is_pickled, read_seg
from anycell.files.source import Source, as_image, whole_plane
from anycell.files.stored_labels import StoredLabels, checked
from anycell.image import Pixels
from anycell.labels import Labels, Plane, as_labels, bands

__all__ = ["open_labels", "read_json", "read_labels", "sampled_labels", "write_labels"]

WHOLE = 25_000_000
"""Labels of more pixels than this stay in their file, if parts of it can be read."""
_BLOCK = 1024
_KINDS = "PNG, TIFF, .npy or OME-Zarr with one whole number per pixel"
_SEVERAL = (".geojson", ".json")


def read_labels(
    path: str | os.PathLike[str],
    *,
    shape: tuple[int, int] | None = None,
    overlaps: Overlaps = "refuse",
) -> Labels:
    """Read labels of any kind.

    One number per pixel: PNG, TIFF, .npy, OME-Zarr (the labels of an image, or labels by
    themselves) and Cellpose's
    ``_seg.npy``; the numbers are those stored, a palette is for display only.  Outlines or
    masks of single cells: GeoJSON (QuPath), COCO of one image, a ZIP file of ImageJ's
    ROIs, and a folder of masks.

    Parameters
    ----------
    shape : rows and columns of the image; needed for outlines whose file does not say,
        and the file may not say otherwise.
    overlaps : of cells in outlines or masks, see ``anycell.files.painting``.

    Raises
    ------
    InputError : no such file; colors or several channels; not whole numbers from 0 up;
        another size, or cells that overlap.
    FormatError : damaged, or a kind that does not keep numbers, such as JPEG; a pickle
        that names more than arrays and plain values.
    AxesError : a stack.
    SettingError : ROIs, and roifile is not installed.
    """
    place = Path(path)
    labels = _read_cells(place, shape, overlaps)
    if labels is None:
        labels = _read_numbers(place)
    _check_shape(labels, place, shape)
    return labels


def open_labels(
    path: str | os.PathLike[str],
    *,
    shape: tuple[int, int] | None = None,
    overlaps: Overlaps = "refuse",
) -> Plane:
    """Open labels of any kind and size: as :func:`read_labels`, but large ones stay on disk.

    Those are TIFF and OME-Zarr of more than 25 megapixels; their pixels are checked when
    they are read.  Of every other kind all labels are in memory.

    Raises
    ------
    AnycellError : as :func:`read_labels`.
    """
    place = Path(path)
    labels: Plane | None = _read_cells(place, shape, overlaps)
    if labels is None:
        labels = _stored(place)
    if labels is None:
        labels = _read_numbers(place)
    _check_shape(labels, place, shape)
    return labels


def _stored(place: Path) -> StoredLabels | None:
    """Labels that stay in their file; None for those that are read whole."""
    kind = file_kind(place)
    if kind not in ("tiff", "zarr"):
        return None
    image = as_image(_source(place, kind), place, None, None, 0)
    channels, height, width = image.shape
    return StoredLabels(place, image) if channels == 1 and height * width > WHOLE else None


def _check_shape(labels: Plane, place: Path, shape: tuple[int, int] | None) -> None:
    if shape is not None and labels.shape != tuple(shape):
        raise InputError(
            f"{place} has {labels.shape[0]} x {labels.shape[1]} pixels (rows x columns), its"
            f" image {shape[0]} x {shape[1]}",
            expected="the same rows and columns",
        )


def _read_cells(place: Path, shape: tuple[int, int] | None, overlaps: Overlaps) -> Labels | None:
    """Read a kind of file that holds cells one by one; None for any other kind."""
    name = place.name.lower()
    if place.is_file() and name.endswith(_SEVERAL):
        content = read_json(place)
        if isinstance(content, dict) and "annotations" in content:
            return coco_labels(content, place, shape, overlaps)
        return geojson_labels(content, place, shape, overlaps)
    if place.is_file() and name.endswith(".zip"):
        return read_rois(place, shape, overlaps)
    if is_mask_folder(place):
        return read_masks(place, shape, overlaps)
    return None


def read_json(path: Path) -> Any:
    """Give what a JSON file holds.

    Raises
    ------
    FormatError : not JSON, or cut off.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise FormatError(
            f"{path} cannot be read: {error}",
            expected="JSON: GeoJSON of QuPath, or COCO",
            hint="export it anew from the program that wrote it",
        ) from error


def _read_numbers(place: Path) -> Labels:
    kind = file_kind(place)
    if kind in ("jpeg", "webp", "bmp"):
        raise FormatError(
            f"{place} is {kind}, which does not keep label numbers",
            expected=_KINDS,
            hint="the label file that your program saves as PNG or TIFF",
        )
    planes = _read_npy(place) if kind == "npy" else _read_planes(place, kind)
    if len(planes) != 1:
        raise InputError(
            f"{place} holds {len(planes)} values per pixel: a picture of labels or an image",
            expected=_KINDS,
            hint="the label file itself; the colors of a picture do not tell touching cells apart",
        )
    return checked(planes[0], place)


def sampled_labels(labels: Plane, shape: tuple[int, int]) -> Labels:
    """Read evenly spaced rows and columns of labels of any size, band by band.

    Parameters
    ----------
    shape : rows and columns wanted, no more than there are.
    """
    rows, columns = (
        ((np.arange(size) + 0.5) * full / size).astype(int)
        for size, full in zip(shape, labels.shape, strict=True)
    )
    out = np.empty(shape, dtype=np.int32)
    for band, pixels in bands(labels, _BLOCK):
        down = slice(*np.searchsorted(rows, (band.start, band.stop)))
        out[down] = pixels[np.ix_(rows[down] - band.start, columns)]
    return out


def write_labels(labels: NDArray[Any], path: str | os.PathLike[str]) -> None:
    """Write labels as TIFF: uint16, or uint32 above 65,535 cells; zlib, nothing lost.

    The file appears whole or not at all.

    Raises
    ------
    InputError : not labels, see :func:`anycell.labels.as_labels`.
    OutputError : the folder is missing or closed, or the disk is full.
    """
    checked = as_labels(labels)
    from tifffile import imwrite

    wide = int(checked.max(initial=0)) > np.iinfo(np.uint16).max
    stored = checked.astype(np.uint32 if wide else np.uint16)
    with replacing(Path(path)) as draft:
        imwrite(
            draft,
            stored,
            photometric="minisblack",
            compression="zlib",
            predictor=True,
            metadata=None,
            software="anycell",
        )


def _source(path: Path, kind: str) -> Source:
    return open_source(labels_inside(path) if kind == "zarr" else path, as_numbers=True)


def _read_planes(path: Path, kind: str) -> Pixels:
    if kind == "png":
        with reading(path):
            numbers = palette_numbers(path.read_bytes())
        if numbers is not None:
            return numbers[None]
    return whole_plane(_source(path, kind), path)


def _read_npy(path: Path) -> Pixels:
    try:
        pickled = is_pickled(path)
        array: Pixels = read_seg(path) if pickled else np.load(path, allow_pickle=False)
    except FormatError:
        raise
    except (ValueError, EOFError, OSError) as error:
        raise FormatError(
            f"{path} cannot be read: {error}",
            expected="one array of numbers, or the _seg.npy of Cellpose",
            hint="numpy.save(path, labels) with the label array alone",
        ) from error
    squeezed = array.reshape([n for n in array.shape[:-2] if n > 1] + list(array.shape[-2:]))
    if squeezed.ndim != 2:
        raise InputError(
            f"{path} holds an array of shape {array.shape}",
            expected="rows x columns",
            hint="save one plane as a file of its own",
        )
    return squeezed[None]
