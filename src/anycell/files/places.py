"""Where images are found and where their labels go."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from anycell.errors import InputError, SettingError
from anycell.files.cell_masks import MASKS
from anycell.files.source import file_stem

__all__ = [
    "LABEL_ENDINGS",
    "find_images",
    "is_label_file",
    "label_name",
    "label_path",
    "label_paths",
]

LABEL_ENDINGS: tuple[str, ...] = (
    ".tiff", ".tif", ".png", ".npy", ".geojson", "_coco.json", ".zip",
)  # fmt: skip
"""Endings of files of labels, in capitals too."""

_LABEL_MARKS = ("_label", "_seg", "_rois", "_coco")
"""What tools put between the image's name and the ending."""

_ENDINGS = (
    ".png", ".jpg", ".jpeg", ".bmp", ".webp",
    ".tif", ".tiff", ".btf", ".tf8", ".svs", ".ndpi", ".scn", ".bif", ".qptiff",
)  # fmt: skip
_OWN = ("_label.tiff", "_label.tif", "_label.zarr", "_overlay.png")
"""Endings of what anycell writes: not images to start from."""


def find_images(folder: str | os.PathLike[str], *, recursive: bool = False) -> list[Path]:
    """List the images in a folder, sorted: files by their ending, and OME-Zarr folders.

    Hidden files, labels (``*_label.tiff``), overlays (``*_overlay.png``) and everything
    else are passed over.  A file, or an OME-Zarr folder, stands for itself.

    Raises
    ------
    InputError : no such folder.
    """
    top = Path(folder)
    if not top.exists():
        raise InputError(f"there is no folder {top}", expected="a folder of images, or an image")
    if top.is_file() or _is_zarr(top):
        return [top]
    found: list[Path] = []
    waiting = [top]
    while waiting:
        for path in waiting.pop().iterdir():
            if path.name.startswith(".") or path.name.lower().endswith(_OWN):
                continue
            if path.is_dir() and not _is_zarr(path):
                waiting += [path] if recursive else []
            elif path.is_dir() or _is_image_name(path.name.lower()):
                found.append(path)
    return sorted(found)


def is_label_file(path: Path) -> bool:
    """Whether a file may hold labels, by its ending; our overlays do not."""
    name = path.name.lower()
    return name.endswith(LABEL_ENDINGS) and not name.endswith("_overlay.png") and path.is_file()


def label_name(path: str | Path) -> str:
    """The name of the image that labels belong to: up to the first dot, without ``_label``.

    A folder of masks is called like the folder that it lies in.
    """
    place = Path(path)
    name = place.parent.name if place.name == MASKS else file_stem(place)
    for mark in _LABEL_MARKS:
        if name.endswith(mark):
            return name.removesuffix(mark)
    return name


def label_path(out: Path, image_path: Path) -> Path:
    """Give ``out/<name>_label.tiff``, the name being the image's up to its first dot."""
    return out / f"{file_stem(image_path)}_label.tiff"


def label_paths(paths: Iterable[Path], out: Path) -> dict[Path, Path]:
    """Give the label path of each image.

    Raises
    ------
    SettingError : two images whose labels would overwrite each other.
    """
    places: dict[Path, Path] = {}
    owners: dict[Path, Path] = {}
    for path in paths:
        place = label_path(out, path)
        other = owners.setdefault(place, path)
        if other != path:
            raise SettingError(
                f"{other} and {path} would both be written to {place}",
                expected="image names that differ before their first dot",
                hint="rename one, or segment them into different folders",
            )
        places[path] = place
    return places


def _is_image_name(name: str) -> bool:
    return name.endswith(_ENDINGS)


def _is_zarr(path: Path) -> bool:
    return path.is_dir() and (
        path.name.endswith(".zarr")
        or any((path / part).is_file() for part in ("zarr.json", ".zgroup", ".zarray"))
    )
