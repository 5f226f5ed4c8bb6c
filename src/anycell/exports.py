"""Exports: what has been found, written for other programs.

A format is a row of ``FORMATS``: its name, the ending of its files, and a function that
writes it.  Everything is written beside the labels, under the name of the image:

    NAME.geojson   NAME_rois.zip   NAME_cells.csv   NAME_coco.json   NAME.ome.zarr   ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from anycell.errors import SettingError, unknown_name
from anycell.files import display, sampled_labels, write_labels, write_overlay
from anycell.files.cell_table import write_table
from anycell.files.coco import write_coco
from anycell.files.geojson import write_geojson
from anycell.files.label_store import tiles_of, write_tiled
from anycell.files.ome_zarr_labels import write_ome_zarr
from anycell.files.roi_zip import write_rois
from anycell.image import Image
from anycell.labels import Plane
from anycell.measure import Cells

__all__ = [
    "FORMATS",
    "Format",
    "draw_overlay",
    "export_paths",
    "parse_formats",
    "write_exports",
]

OVERLAY_SIDE = 4096
"""Overlays of larger images are shrunk to this many pixels on the longer side."""


@dataclass(frozen=True)
class Format:
    """A kind of file that cells can be written to.

    Attributes
    ----------
    ending : of its files, after the name of the image.
    write : takes the cells, their image or None, and the path.
    needs_image : it cannot be written without the image.
    """

    ending: str
    write: Callable[[Cells, Image | None, Path], None]
    needs_image: bool = False


def draw_overlay(labels: Plane, image: Image, path: Path) -> None:
    """Write the outlines of cells drawn over their image, as PNG.

    Raises
    ------
    OutputError : the file cannot be written.
    """
    picture = display(image, OVERLAY_SIDE if max(labels.shape) > OVERLAY_SIDE else None)
    write_overlay(picture, sampled_labels(labels, picture.shape[:2]), path)


def _overlay(cells: Cells, image: Image | None, path: Path) -> None:
    assert image is not None
    draw_overlay(cells.labels, image, path)


def _labels(cells: Cells, image: Image | None, path: Path) -> None:
    if isinstance(cells.labels, np.ndarray):
        write_labels(cells.labels, path)
        return
    largest = int(cells.number.max(initial=0))
    write_tiled(tiles_of(cells.labels), cells.labels.shape, path, largest)


FORMATS: dict[str, Format] = {
    "labels": Format("_label.tiff", _labels),
    "geojson": Format(".geojson", lambda cells, _, path: write_geojson(cells, path)),
    "roi": Format("_rois.zip", lambda cells, _, path: write_rois(cells, path)),
    "csv": Format("_cells.csv", lambda cells, _, path: write_table(cells, path)),
    "coco": Format("_coco.json", lambda cells, _, path: write_coco(cells, path)),
    "omezarr": Format(".ome.zarr", partial(write_ome_zarr, version="0.5")),
    "omezarr04": Format("_v04.ome.zarr", partial(write_ome_zarr, version="0.4")),
    "overlay": Format("_overlay.png", _overlay, needs_image=True),
}


def parse_formats(text: str, *, has_image: bool = True) -> tuple[str, ...]:
    """Read a list of formats such as ``geojson,csv``; ``all`` stands for every one.

    Parameters
    ----------
    has_image : whether the image is there too; ``all`` leaves out what needs it if not.

    Raises
    ------
    SettingError : an unknown name, none at all, or a format that needs the image.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return tuple(k for k, v in FORMATS.items() if has_image or not v.needs_image)
    if not names:
        raise SettingError(f"formats {text!r}", expected=f"some of {', '.join(FORMATS)}")
    for name in names:
        if name not in FORMATS:
            raise unknown_name("format", name, [*FORMATS, "all"])
        if FORMATS[name].needs_image and not has_image:
            raise SettingError(f"{name} without an image", expected="the image of the labels")
    return tuple(dict.fromkeys(names))


def export_paths(folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    """Where each format of an image called ``name`` goes."""
    return [folder / f"{name}{FORMATS[one].ending}" for one in formats]


def write_exports(
    cells: Cells, image: Image | None, folder: Path, name: str, formats: Sequence[str]
) -> list[Path]:
    """Write cells in each of the formats and give the files.

    Raises
    ------
    OutputError : a file cannot be written.
    SettingError : a format needs a package that is not installed.
    """
    paths = export_paths(folder, name, formats)
    for one, path in zip(formats, paths, strict=True):
        FORMATS[one].write(cells, image, path)
    return paths
