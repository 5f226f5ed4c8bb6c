"""The manifest of a folder of data sets: every image looked at once, and its cells counted.

An image that cannot be used as it is (damaged, axes that nobody explains, labels of
another size) is not listed but left out, with the reason in ``left_out.csv``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anycell.datasets.fetch import Progress
from anycell.errors import AnycellError, FormatError, InputError
from anycell.files import find_images, open_image, read_labels
from anycell.files.damage import replacing
from anycell.files.source import file_stem

__all__ = ["COLUMNS", "Listing", "write_manifest"]

COLUMNS = ("use", "group", "image", "labels", "modality", "labeled", "cells")
MANIFEST = "manifest.csv"
LEFT_OUT = "left_out.csv"
CHANNELS = 3

Row = dict[str, str]


@dataclass(frozen=True)
class Listing:
    """What the manifest says, and what was left out of it: pairs of path and reason."""

    rows: tuple[Row, ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def cells(self) -> int:
        """Labeled cells of all images."""
        return sum(int(row["cells"] or 0) for row in self.rows)


def write_manifest(out: Path, uses: Mapping[str, str], progress: Progress | None = None) -> Listing:
    """Write ``out/manifest.csv`` and ``out/left_out.csv`` from the folders that are there.

    Rows of an earlier manifest are kept where image and labels have not changed since.

    Parameters
    ----------
    uses : folder below ``out`` -> use of its images; images without labels in a folder
        whose use needs them get the use ``hidden``, which nothing trains on.

    Raises
    ------
    InputError : no image is there at all.
    OutputError : the tables cannot be written.
    """
    known = _known(out / MANIFEST)
    found = [(use, *pair) for top, use in uses.items() for pair in _pairs(out / top)]
    if not found:
        raise InputError(f"{out} has no images", expected=f"images in {', '.join(uses)}")
    rows: list[Row] = []
    left_out: list[tuple[str, str]] = []
    for done, (use, image, labels) in enumerate(found, start=1):
        row = _row(out, use, image, labels)
        try:
            rows.append(known.get((row["image"], row["labels"])) or _looked_at(row, image, labels))
        except AnycellError as error:
            left_out.append((row["image"], error.found))
        if progress is not None:
            progress("looking at images", done, len(found))
    _write(out / MANIFEST, COLUMNS, [list(row.values()) for row in rows])
    _write(out / LEFT_OUT, ("image", "reason"), left_out)
    return Listing(tuple(rows), tuple(left_out))


def _pairs(top: Path) -> Iterator[tuple[Path, Path | None]]:
    """Images below a folder with their labels, if they have any."""
    if not top.is_dir():
        return
    for folder in sorted(v for v in top.rglob("images") if v.is_dir()):
        beside = folder.parent / "labels"
        labels = {file_stem(v): v for v in sorted(beside.iterdir())} if beside.is_dir() else {}
        for image in find_images(folder):
            stem = file_stem(image)
            yield image, labels.get(f"{stem}_label", labels.get(stem))


def _row(out: Path, use: str, image: Path, labels: Path | None) -> Row:
    wants_labels = use != "unlabeled"
    return {
        "use": use if labels is not None or not wants_labels else "hidden",
        "group": image.parent.parent.relative_to(out).as_posix(),
        "image": image.relative_to(out).as_posix(),
        "labels": labels.relative_to(out).as_posix() if labels is not None else "",
        "modality": "",
        "labeled": "cells" if labels is not None else "",
        "cells": "",
    }


def _looked_at(row: Row, image: Path, labels: Path | None) -> Row:
    """The row with its cells counted, if image and labels can be used."""
    opened = open_image(image)
    count, height, width = opened.shape
    if count > CHANNELS:
        raise InputError(f"{image} has {count} channels, {CHANNELS} at most can be used")
    if labels is None:
        return row
    truth = read_labels(labels)
    if truth.shape != (height, width):
        raise InputError(
            f"{labels} has {truth.shape[0]} x {truth.shape[1]} pixels, its image {height} x {width}"
        )
    return {**row, "cells": str(int(np.count_nonzero(np.unique(truth))))}


def _known(manifest: Path) -> dict[tuple[str, str], Row]:
    """Rows of an earlier manifest whose files are older than it."""
    if not manifest.is_file():
        return {}
    written = manifest.stat().st_mtime_ns
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and tuple(rows[0]) != COLUMNS:
        raise FormatError(
            f"{manifest} has the columns {', '.join(rows[0])}",
            expected=", ".join(COLUMNS),
            hint=f"rm {manifest}, to have it written anew",
        )
    files = {row["image"]: [row["image"], row["labels"]] for row in rows}
    fresh = {
        image
        for image, names in files.items()
        if all(_is_older(manifest.parent / name, written) for name in names if name)
    }
    return {(row["image"], row["labels"]): row for row in rows if row["image"] in fresh}


def _is_older(path: Path, than: int) -> bool:
    return path.is_file() and path.stat().st_mtime_ns < than


def _write(path: Path, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)
    with replacing(path) as draft:
        draft.write_text(text.getvalue(), encoding="utf-8")
