"""Convert label files of any kind into any other, one after the other.

    a_seg.npy              ->  out/a_label.tiff, out/a.geojson, ...
    ID/masks/              ->  out/ID_label.tiff, ...
    coco.json of many      ->  out/NAME_label.tiff, ... for each of its images

The image of the labels gives what they lack: how large it is, how large its pixels are, and
how bright each cell is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anycell.errors import AnycellError, InputError, OutputError
from anycell.exports import export_paths, write_exports
from anycell.files import find_images, label_name, open_image, open_labels
from anycell.files.cell_masks import MASKS
from anycell.files.coco import coco_images, coco_labels
from anycell.files.label_files import read_json
from anycell.files.painting import Overlaps
from anycell.files.places import LABEL_ENDINGS, is_label_file
from anycell.image import Image
from anycell.labels import Plane
from anycell.measure import measure
from anycell.runs import make_folder

__all__ = ["ConvertSettings", "Converted", "Source", "convert_files", "find_sources"]


@dataclass(frozen=True)
class ConvertSettings:
    """How labels are read and what they become.

    Attributes
    ----------
    formats : as ``anycell.exports.parse_formats`` gives them.
    image : of the labels, or a folder with an image of the name of each; or None.
    overlaps : what to do where cells share pixels, see ``anycell.files.painting``.
    axes : of the images, as ``open_image`` takes them.
    """

    formats: tuple[str, ...] = ("labels",)
    image: Path | None = None
    overlaps: Overlaps = "refuse"
    axes: str | None = None


@dataclass(frozen=True)
class Source:
    """Labels of one image: a file, or one of the images of a COCO file.

    ``inside`` is the image's name in the COCO file.
    """

    path: Path
    name: str
    inside: str | None = None


@dataclass(frozen=True)
class Converted:
    """What became of the labels of one image."""

    source: Path
    files: tuple[Path, ...] = ()
    cells: int | None = None
    status: Literal["done", "failed"] = "done"
    error: AnycellError | None = None

    def entry(self) -> dict[str, Any]:
        """The result as plain values for JSON."""
        return {
            "source": str(self.source),
            "files": [str(file) for file in self.files],
            "cells": self.cells,
            "status": self.status,
            "error": str(self.error) if self.error else None,
        }


def find_sources(paths: Sequence[Path], out: Path, formats: Sequence[str]) -> list[Source]:
    """List the labels among files and folders.

    A folder is looked through for label files and for folders of masks.

    Raises
    ------
    InputError : a path that is not there, no labels, or two that would write one file, or
        one that would be written over.
    """
    found: list[Source] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} is not there", expected="labels, or a folder of them")
        here = [path] if path.is_file() or _stands_for_itself(path) else list(_inside(path))
        if not here:
            raise InputError(
                f"{path} holds no labels",
                expected=f"files ending in {' '.join(LABEL_ENDINGS)}, or folders called {MASKS}",
            )
        for file in here:
            found += _sources(file)
    owners: dict[Path, Path] = {one.path.resolve(): one.path for one in found}
    for one in found:
        for target in export_paths(out, one.name, formats):
            other = owners.setdefault(target.resolve(), one.path)
            if other != one.path or target.resolve() == one.path.resolve():
                raise InputError(
                    f"{target} would be written from {one.path}, and is or comes from {other}",
                    expected="names that differ, and another folder for what is written",
                    hint="-o ANOTHER_FOLDER",
                )
    return found


def _stands_for_itself(path: Path) -> bool:
    return path.name == MASKS or path.suffix == ".zarr"


def _inside(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and _stands_for_itself(path):
            yield path
        elif path.is_dir() and path.name != "images":
            yield from _inside(path)
        elif is_label_file(path):
            yield path


def _sources(path: Path) -> list[Source]:
    if path.is_file() and path.name.lower().endswith(".json"):
        content = read_json(path)
        if isinstance(content, dict) and len(content.get("images") or ()) > 1:
            names = coco_images(content, path)
            return [Source(path, Path(name).name.split(".")[0], name) for name in names]
    return [Source(path, label_name(path))]


def convert_files(
    sources: Sequence[Source],
    out: Path,
    settings: ConvertSettings,
    watch: Callable[[int, int, str], None] | None = None,
) -> list[Converted]:
    """Convert the labels of every source; one that cannot be read does not stop the others.

    Parameters
    ----------
    watch : called after each with how many are done, how many there are, and its name.

    Raises
    ------
    OutputError : results cannot be written; the other files would not do better.
    """
    make_folder(out)
    results: list[Converted] = []
    for source in sources:
        try:
            results.append(_convert(source, out, settings))
        except OutputError:
            raise
        except AnycellError as error:
            results.append(Converted(source.path, status="failed", error=error))
        if watch is not None:
            watch(len(results), len(sources), source.name)
    return results


def _convert(source: Source, out: Path, settings: ConvertSettings) -> Converted:
    found = _image_of(source, settings)
    image = None if found is None else open_image(found, axes=settings.axes)
    labels = _labels(source, image, settings)
    name = source.name if found is None else found.name
    cells = measure(labels, image, name=name)
    files = write_exports(cells, image, out, source.name, settings.formats)
    return Converted(source.path, tuple(files), len(cells.number))


def _labels(source: Source, image: Image | None, settings: ConvertSettings) -> Plane:
    shape = None if image is None else (image.shape[1], image.shape[2])
    if source.inside is None:
        return open_labels(source.path, shape=shape, overlaps=settings.overlaps)
    content = read_json(source.path)
    return coco_labels(content, source.path, shape, settings.overlaps, source.inside)


def _image_of(source: Source, settings: ConvertSettings) -> Path | None:
    """The image of some labels: the one that was named, or that of their name in a folder."""
    place = settings.image
    if place is None or not place.is_dir() or place.suffix == ".zarr":
        return place
    same = [path for path in find_images(place) if label_name(path) == source.name]
    if len(same) != 1:
        raise InputError(
            f"{place} holds {len(same)} images called {source.name}, for {source.path}",
            expected="one image for each label file, of the same name up to the first dot",
        )
    return same[0]
