"""ImageJ regions of interest: a ZIP file for the ROI Manager, one entry per cell.

A cell in one piece without holes is a traced selection, as ImageJ's wand makes them; any
other is a composite selection.  Both run along the edges of pixels, so that ImageJ's own
mask of each holds the same pixels.  The name is the cell's number; what is known of the
cell stands in the properties of the ROI.

Reading and writing is done by roifile (the extra ``exports``).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anycell.errors import FormatError, InputError, SettingError
from anycell.files.damage import reading, replacing
from anycell.files.ordering import in_order
from anycell.files.painting import Overlaps, Painting, canvas_shape, cell_numbers
from anycell.labels import Labels
from anycell.measure import Cells
from anycell.outlines import Polygon, inside_runs, to_xy, trace

if TYPE_CHECKING:
    from roifile import ImagejRoi

__all__ = ["read_rois", "write_rois"]

MOVE, LINE, CLOSE = 0, 1, 4
"""Steps of a path, as java.awt.geom.PathIterator numbers them."""

FARTHEST = 32_767
"""The last place that ImageJ keeps in 16 bits with a sign; beyond, places are floats."""


def write_rois(cells: Cells, path: Path) -> None:
    """Write the cells for the ROI Manager.

    Raises
    ------
    SettingError : roifile is not installed.
    OutputError : the folder is missing or closed, or the disk is full.
    """
    roifile = _roifile()
    digits = len(str(int(cells.number.max(initial=0))))
    with replacing(path) as draft, zipfile.ZipFile(draft, "w") as file:
        rois = in_order(_rois(roifile, cells), len(cells.number), path.parent)
        for number, roi in zip(cells.number.tolist(), rois, strict=True):
            entry = zipfile.ZipInfo(f"{number:0{digits}}.roi")  # dated 1980: the same each time
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, roi, compresslevel=1)


def _rois(roifile: Any, cells: Cells) -> Iterator[tuple[int, bytes]]:
    """The index of each cell and its ROI."""
    facts = {name: column.tolist() for name, column in cells.facts().items()}
    for number, polygons in trace(cells.labels, cells.number, cells.box):
        index = cells.index(number)
        roi = _roi(roifile, polygons)
        roi.name = str(number)
        roi.props = "".join(
            f"{name}: {column[index]:.6g}\n"
            for name, column in facts.items()
            if column[index] == column[index]  # not-a-number: not known
        )
        yield index, roi.tobytes()


def _roi(roifile: Any, polygons: list[Polygon]) -> ImagejRoi:
    corners = np.concatenate([ring for polygon in polygons for ring in polygon])
    top, left = corners.min(axis=0).tolist()
    bottom, right = corners.max(axis=0).tolist()
    roi: ImagejRoi = roifile.ImagejRoi()
    roi.top, roi.left, roi.bottom, roi.right = top, left, bottom, right
    if len(polygons) == 1 and len(polygons[0]) == 1:
        ring = polygons[0][0]
        roi.roitype = roifile.ROI_TYPE.TRACED
        roi.n_coordinates = len(ring)
        roi.integer_coordinates = np.ascontiguousarray((ring - (top, left))[:, ::-1], np.int32)
        if max(bottom, right) > FARTHEST:
            roi.options = roifile.ROI_OPTIONS.SUB_PIXEL_RESOLUTION
            roi.subpixel_coordinates = np.array(to_xy(ring), dtype=np.float32)
        return roi
    steps: list[float] = []
    for ring in (ring for polygon in polygons for ring in polygon):
        for k, place in enumerate(to_xy(ring)):
            steps += [LINE if k else MOVE, *place]
        steps.append(CLOSE)
    roi.roitype = roifile.ROI_TYPE.RECT
    roi.shape_roi_size = len(steps)
    roi.multi_coordinates = np.array(steps, dtype=np.float32)
    return roi


def read_rois(
    path: Path, shape: tuple[int, int] | None = None, overlaps: Overlaps = "refuse"
) -> Labels:
    """Read the selections of a ZIP file as labels.

    A pixel belongs to a cell when its centre lies inside.  Names that are whole numbers,
    each there once, are the cells' numbers; else they are numbered in their order.

    Parameters
    ----------
    shape : rows and columns of the image; a ZIP file of ROIs does not say.
    overlaps : what to do where cells share pixels, see ``anycell.files.painting``.

    Raises
    ------
    SettingError : roifile is not installed.
    FormatError : damaged, or not ROIs.
    InputError : no size; lines, points or ovals; cells outside the image or on top of
        each other.
    """
    roifile = _roifile()
    painting = Painting(path, canvas_shape(path, None, shape), overlaps)
    cells: list[list[NDArray[np.float64]]] = []
    names = []
    with reading(path), _opened(path) as file:
        for entry in file.namelist():
            if not entry.lower().endswith(".roi"):
                raise FormatError(
                    f"{path} holds {entry}", expected="the .roi files of ImageJ's ROI Manager"
                )
            roi = roifile.ImagejRoi.frombytes(file.read(entry))
            cells.append(_rings(roifile, roi, f"{path}: {entry}"))
            names.append(roi.name or entry[:-4])
    owner = np.repeat(np.arange(len(cells)), [len(rings) for rings in cells])
    runs = inside_runs([ring for rings in cells for ring in rings], owner)
    painting.add(runs, cell_numbers(names))
    return painting.labels


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    except zipfile.BadZipFile as error:
        raise FormatError(
            f"{path} cannot be read: {error}",
            expected="a whole ZIP file of ImageJ's ROI Manager",
            hint="save it anew in the ROI Manager: More > Save",
        ) from error


def _rings(roifile: Any, roi: ImagejRoi, name: str) -> list[NDArray[np.float64]]:
    """All rings of a selection, (y, x)."""
    kinds = roifile.ROI_TYPE
    outlined = roi.roitype in (kinds.POLYGON, kinds.FREEHAND, kinds.TRACED)
    plain = roi.roitype == kinds.RECT and not roi.rounded_rect_arc_size
    if not (outlined or plain) or roi.subtype != roifile.ROI_SUBTYPE.UNDEFINED:
        raise InputError(
            f"{name} is a selection of type {roi.roitype.name.lower()}",
            expected="polygon, freehand, traced, rectangle or composite",
            hint="in ImageJ: Edit > Selection > Create Mask, then Create Selection",
        )
    found = roi.coordinates(multi=True)
    rings = [np.asarray(ring, dtype=np.float64)[:, ::-1] for ring in found]
    if not rings or min(map(len, rings)) < 3:
        raise InputError(f"{name} has fewer than 3 corners", expected="an outline with an area")
    return rings


def _roifile() -> Any:
    try:
        import roifile
    except ModuleNotFoundError as error:
        raise SettingError(
            "ROIs need roifile, which is not installed",
            expected="the packages of the extra 'exports'",
            hint="pip install 'anycell[exports]'",
        ) from error
    return roifile
