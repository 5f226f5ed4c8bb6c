"""The contract of the NeurIPS 2022 challenge: each file of a folder becomes a label file.

Inside a container nobody can be asked, and an image without labels counts as missed.
So what the command line would ask is settled here, by the rules of the challenge's own
baseline (rows x columns x channels; the first three channels), and said in a note:

    three axes that the file does not explain   ->  the shortest are the channels
    more than three channels                    ->  the first three
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anycell.errors import AnycellError, AxesError, InputError, OutputError
from anycell.files import label_path, open_image, write_labels
from anycell.files.opening import open_source
from anycell.image import Image
from anycell.segment import segment

if TYPE_CHECKING:
    from anycell.predictor import Predictor

__all__ = ["Predicted", "find_inputs", "open_settled", "predict", "ranked_seconds"]

CHANNELS = 3
MEGAPIXEL = 1_000_000
TOLERANCE = 10.0
"""Seconds that are not counted, for each megapixel and for the first begun one."""


@dataclass(frozen=True)
class Predicted:
    """What became of one file.

    Attributes
    ----------
    image, labels : the file and where its labels were to go.
    cells : how many were found; None when it failed.
    notes : what was settled without asking, in words.
    error : why there are no labels; None when there are.
    """

    image: Path
    labels: Path
    cells: int | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    error: AnycellError | None = None


def find_inputs(folder: Path) -> list[Path]:
    """List the files of a folder, whatever they are called, but not hidden ones.

    Raises
    ------
    InputError : no such folder, nothing in it, or two files whose labels would have
        the same name.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder} is not a folder",
            expected="the folder of images, mounted into the container",
            hint=f"docker container run -v $PWD/images/:{folder}/ ...",
        )
    files = sorted(v for v in folder.iterdir() if v.is_file() and not v.name.startswith("."))
    if not files:
        raise InputError(f"{folder} is empty", expected="one image or more")
    owners: dict[Path, Path] = {}
    for file in files:
        other = owners.setdefault(label_path(Path(), file), file)
        if other != file:
            raise InputError(
                f"{other.name} and {file.name} would both give {label_path(Path(), file)}",
                expected="names that differ before their first dot",
            )
    return files


def predict(file: Path, outputs: Path, model: Predictor) -> Predicted:
    """Write ``outputs/<name>_label.tiff`` for one image; what is wrong with it is noted.

    Raises
    ------
    OutputError : nothing can be written into ``outputs``.
    """
    began = time.perf_counter()
    place = label_path(outputs, file)
    try:
        image, notes = open_settled(file)
        labels = segment(image, model).labels
        write_labels(labels, place)
    except OutputError:
        raise
    except AnycellError as error:
        return Predicted(file, place, seconds=time.perf_counter() - began, error=error)
    cells = int(labels.max(initial=0))
    return Predicted(file, place, cells, time.perf_counter() - began, notes)


def open_settled(path: Path) -> tuple[Image, tuple[str, ...]]:
    """Open an image, with axes and channels settled where a person would be asked.

    Returns
    -------
    an image of one to three channels, and a note on each thing that was settled.

    Raises
    ------
    InputError, FormatError, AxesError : as :func:`anycell.files.open_image`, for what
        no rule settles: damaged files, animations, more than three axes.
    """
    notes: list[str] = []
    axes: str | None = None
    try:
        image = open_image(path)
    except AxesError as error:
        axes = _settled_axes(path, error)
        image = open_image(path, axes=axes)
        notes.append(f"its axes are taken as {axes}")
    count = len(image.channels)
    if count > CHANNELS:
        first = ",".join(str(k) for k in range(CHANNELS))
        image = open_image(path, axes=axes, channels=first)
        notes.append(f"the first {CHANNELS} of its {count} channels are used")
    return image, tuple(notes)


def ranked_seconds(seconds: float, pixels: int) -> float:
    """Seconds that the challenge ranks: those beyond its tolerance.

    The tolerance is 10 s up to a megapixel, and 10 s per megapixel beyond that
    (``cellseg_time_eval.py`` of the organisers).
    """
    return max(0.0, seconds - TOLERANCE * max(1.0, pixels / MEGAPIXEL))


def _settled_axes(path: Path, error: AxesError) -> str:
    """Letters for three axes of which the shortest, of equal ones the last, are channels."""
    shape = open_source(path).shapes[0]
    long = [size for size in shape if size > 1]
    if len(long) != CHANNELS:
        raise error
    channel = min(range(len(long)), key=lambda k: (long[k], -k))
    return {0: "CYX", 1: "YCX", 2: "YXC"}[channel]
