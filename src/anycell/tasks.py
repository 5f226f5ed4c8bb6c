"""Tasks: which images there are among files and folders, and where their labels go.

The folders of the output follow those of the input, without the level ``images``:

    data/liver/images/a.png   ->  out/liver/a_label.tiff
    data/liver/labels/a.png       (a folder called labels holds truth, not images)
    data/blood/b.tif          ->  out/blood/b_label.tiff
    a single file c.png       ->  out/c_label.tiff
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from anycell.errors import InputError
from anycell.files import find_images, label_path
from anycell.files.cell_masks import MASKS, masked_image
from anycell.slides import PARTS

__all__ = ["Task", "find_tasks"]

NOT_IMAGES = "labels"
"""Folders of this name hold truth and are passed over."""

LEFT_OUT = "images"
"""This level of the input's folders is left out of the output's."""


@dataclass(frozen=True)
class Task:
    """One image and where its results go."""

    image: Path
    labels: Path

    @property
    def name(self) -> str:
        """What the results are called: the image's name up to its first dot."""
        return self.labels.name.removesuffix("_label.tiff")

    @property
    def overlay(self) -> Path:
        """Where the drawing goes: beside the labels."""
        return self.labels.with_name(f"{self.name}_overlay.png")


def find_tasks(inputs: Sequence[Path], out: Path, *, recursive: bool = True) -> list[Task]:
    """List the images among files and folders, and where each one's labels go.

    Parameters
    ----------
    inputs : image files, and folders to look for images in.
    out : the folder of the results; passed over when it lies inside an input.
    recursive : look into the folders below each folder too.

    Raises
    ------
    InputError : an input is not there, no image is found, or two images would write
        the same file.
    """
    tasks: dict[Path, Task] = {}
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path} is not there", expected="an image file or a folder of images")
        for image in _images(path, out, recursive):
            folder = image.parent.relative_to(path) if image != path else Path()
            below = folder.parent if folder.name == LEFT_OUT else folder
            if folder.name == LEFT_OUT and masked_image(image.parent):
                below = below.parent  # a folder of its own for one image
            task = Task(image, label_path(out / below, image))
            earlier = tasks.setdefault(task.labels, task)
            if earlier.image.resolve() != image.resolve():
                raise InputError(
                    f"{earlier.image} and {image} would both write {task.labels}",
                    expected="file names that differ before their first dot",
                    hint="rename one of them, or segment them into different folders",
                )
    if not tasks:
        raise InputError(
            f"no image in {', '.join(map(str, inputs))}",
            expected="PNG, JPEG, BMP, WebP, TIFF, SVS, NDPI or OME-Zarr images; folders called"
            " labels, and files called like our results (NAME_label.tiff, NAME_overlay.png), are"
            " left out",
            hint="" if recursive else "without --no-recursive, folders below are looked into too",
        )
    return list(tasks.values())


def _images(path: Path, out: Path, recursive: bool) -> Iterator[Path]:
    if path.is_file() or path.suffix == ".zarr":
        yield path
        return
    images = find_images(path)
    yield from images
    if not recursive:
        return
    for folder in sorted(child for child in path.iterdir() if child.is_dir()):
        masks = folder.name == MASKS and (path / LEFT_OUT).is_dir()
        hidden = folder.name.startswith(".") or folder.name == NOT_IMAGES
        hidden = hidden or folder.suffix == PARTS or masks
        if not (hidden or folder in images or folder.resolve() == out.resolve()):
            yield from _images(folder, out, recursive)
