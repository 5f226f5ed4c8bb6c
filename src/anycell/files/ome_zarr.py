"""OME-Zarr: 0.4 on zarr 2, 0.5 on zarr 3, and their elders; also bare zarr arrays.

The metadata follow the specification at https://ngff.openmicroscopy.org.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anycell.errors import FormatError, InputError
from anycell.files.damage import reading
from anycell.files.source import Block, Pick, Source
from anycell.files.tiff_metadata import to_micrometres
from anycell.image import Pixels

if TYPE_CHECKING:
    import zarr

__all__ = ["labels_inside", "zarr_source"]

_LETTERS = "TCZYX"


def zarr_source(path: Path) -> Source:
    """Open a folder with an OME-Zarr image, or with a bare zarr array.

    Raises
    ------
    InputError : a plate, a folder of labels or of several images; the hint names one.
    FormatError : damaged metadata, or arrays that cannot be read.
    """
    import zarr

    with reading(path):
        newer = (path / "zarr.json").is_file()
        node = zarr.open(str(path), mode="r", zarr_format=3 if newer else 2)
        attributes: Mapping[str, Any] = dict(node.attrs)
    if isinstance(node, zarr.Array):
        return _bare_array(node, path)
    about = attributes.get("ome", attributes)
    if "multiscales" not in about:
        return _inner(path, about)
    with reading(path):
        scales = about["multiscales"][0]
        arrays = [_array(node, str(one["path"])) for one in scales["datasets"]]
        units, letters = _axes(scales, arrays[0].ndim)
        size = _pixel_size(scales, letters, units)
        names = tuple(str(v.get("label", "")) for v in about.get("omero", {}).get("channels", []))
    return Source(
        letters,
        tuple(tuple(array.shape) for array in arrays),
        tuple(_block(array, path) for array in arrays),
        np.dtype(arrays[0].dtype).newbyteorder("="),
        names,
        size,
    )


def labels_inside(path: Path) -> Path:
    """Give the labels that an OME-Zarr image holds; the folder itself when it holds none.

    Raises
    ------
    InputError : it holds several; the hint names one.
    FormatError : damaged metadata.
    """
    import zarr

    folder = path / "labels"
    if not folder.is_dir():
        return path
    with reading(folder):
        newer = (folder / "zarr.json").is_file()
        node = zarr.open(str(folder), mode="r", zarr_format=3 if newer else 2)
        attributes: Mapping[str, Any] = dict(node.attrs)
        names = [str(name) for name in attributes.get("ome", attributes).get("labels", [])]
    if len(names) > 1:
        raise InputError(
            f"{path} holds {len(names)} label images: {', '.join(names)}",
            expected="the folder of one of them",
            hint=str(folder / names[0]),
        )
    return folder / names[0] if names else path


def _array(group: zarr.Group, path: str) -> zarr.Array[Any]:
    import zarr

    array = group[path]
    if isinstance(array, zarr.Array):
        return array
    raise ValueError(f"level {path} is a folder, not an array")


def _block(array: zarr.Array[Any], path: Path) -> Block:
    folder = path / array.path

    def block(index: tuple[Pick, ...]) -> Pixels:
        picks = tuple(np.asarray(pick) if isinstance(pick, list) else pick for pick in index)
        found = array.oindex[picks]
        # Chunks that are missing are read as empty, so a folder that is gone must be told.
        if not any((folder / part).is_file() for part in ("zarr.json", ".zarray")):
            raise FileNotFoundError(f"its array {folder.name} is gone")
        return np.asarray(found, np.dtype(array.dtype).newbyteorder("="))

    return block


def _bare_array(array: zarr.Array[Any], path: Path) -> Source:
    names = getattr(array.metadata, "dimension_names", None) or [None] * array.ndim
    letters = "".join(_letter(name) for name in names)
    dtype = np.dtype(array.dtype).newbyteorder("=")
    return Source(letters, (tuple(array.shape),), (_block(array, path),), dtype)


def _letter(name: object) -> str:
    word = str(name or "").lower()
    word = {"channel": "c", "channels": "c", "time": "t"}.get(word, word)
    return word.upper() if word.upper() in tuple(_LETTERS) else "?"


def _axes(scales: Mapping[str, Any], ndim: int) -> tuple[list[str], str]:
    """Give the units and the letters of the axes; before 0.3 they were always these five."""
    told: Sequence[Any] = scales.get("axes") or list(_LETTERS.lower())
    if len(told) != ndim:
        raise ValueError(f"{len(told)} axes are named for an array of {ndim}")
    named = [one if isinstance(one, Mapping) else {"name": one} for one in told]
    letters = ["C" if one.get("type") == "channel" else _letter(one.get("name")) for one in named]
    return [str(one.get("unit") or "") for one in named], "".join(letters)


def _pixel_size(scales: Mapping[str, Any], letters: str, units: list[str]) -> float | None:
    factors = np.ones(len(letters))
    for holder in (scales["datasets"][0], scales):
        for change in holder.get("coordinateTransformations") or ():
            if change.get("type") == "scale" and "scale" in change:
                factors = factors * np.asarray(change["scale"], float)
    sides = [i for i, letter in enumerate(letters) if letter in "YX"]
    if not sides or len({units[i] for i in sides}) > 1:
        return None
    return to_micrometres([float(factors[i]) for i in sides], units[sides[0]])


def _inner(path: Path, about: Mapping[str, Any]) -> Source:
    """Look one folder further in, where Bio-Formats puts a single image."""
    images = sorted(v.name for v in path.iterdir() if v.is_dir() and v.name.isdecimal())
    if "bioformats2raw.layout" in about and images == ["0"]:
        return zarr_source(path / "0")
    if "plate" in about or "well" in about or "labels" in about or images:
        inner = _first_inside(about, images)
        raise InputError(
            f"{path} holds several images, not one",
            expected="the folder of one image",
            hint=str(path / inner) if inner else "",
        )
    raise FormatError(
        f"{path} is zarr without the metadata of an OME-Zarr image",
        expected="multiscales, in .zattrs (0.4) or zarr.json (0.5)",
        hint="the path of an array inside it",
    )


def _first_inside(about: Mapping[str, Any], images: list[str]) -> str:
    wells = about.get("plate", {}).get("wells", [])
    if wells:
        return f"{wells[0].get('path', '')}/0"
    fields = about.get("well", {}).get("images", [])
    if fields:
        return str(fields[0].get("path", "0"))
    labels = about.get("labels", [])
    return str(labels[0]) if labels else (images[0] if images else "")
