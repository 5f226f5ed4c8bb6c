"""COCO: one JSON file with images, annotations and categories.

Cells are written as compressed RLE, which keeps every pixel, and read from RLE, plain or
compressed, and from polygons.

RLE counts pixels down the columns: so many outside, so many inside, and so on.

    . a .        outside 2, inside 3, outside 1: counts [2, 3, 1]
    . a .   ->
    a a .        (columns: . . a   a a a   . . .  ->  [2, 4, 3])

Compressed, each count from the fourth on is the difference to the one two before, written
as digits of five bits, the lowest first; a sixth bit says that more follow, 48 is added to
make it a letter (``maskApi.c`` of https://github.com/cocodataset/cocoapi).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.errors import InputError
from anycell.files.damage import replacing
from anycell.files.ordering import in_order
from anycell.files.painting import Overlaps, Painting, canvas_shape, cell_numbers
from anycell.labels import Labels, neighbours
from anycell.measure import Cells
from anycell.outlines import Runs, inside_runs

__all__ = ["coco_images", "coco_labels", "counts_from_text", "counts_to_text", "write_coco"]

BAND = 2**22
"""Pixels that are turned at once."""

TOGETHER = 4096
"""Cells that are written or painted at once."""

Rle = NDArray[np.int64]


def write_coco(cells: Cells, path: Path) -> None:
    """Write the cells of one image: category 1 "cell", the annotation's id is the number.

    Raises
    ------
    OutputError : the folder is missing or closed, or the disk is full.
    """
    height, width = cells.labels.shape
    head = {
        "info": {"description": "cells, by anycell"},
        "licenses": [],
        "categories": [{"id": 1, "name": "cell", "supercategory": ""}],
        "images": [{"id": 1, "file_name": cells.name, "height": height, "width": width}],
    }
    with replacing(path) as draft, draft.open("wb") as file:
        file.write(json.dumps(head)[:-1].encode() + b', "annotations": [')
        annotations = in_order(_annotations(cells), len(cells.number), path.parent)
        for index, text in enumerate(annotations):
            file.write((b",\n" if index else b"\n") + text)
        file.write(b"\n]}\n")


def _annotations(cells: Cells) -> Iterator[tuple[int, bytes]]:
    """The index of each cell and the text of its annotation."""
    height, width = cells.labels.shape
    facts = {name: column.tolist() for name, column in cells.facts().items()}
    known = facts.pop("confidence")
    areas, boxes = cells.area.tolist(), cells.box.tolist()
    numbers = cells.number.tolist()
    for index, counts in _rle(cells):
        y0, x0, y1, x1 = boxes[index]
        score = known[index]
        content = {
            "id": numbers[index],
            "image_id": 1,
            "category_id": 1,
            "segmentation": {"size": [height, width], "counts": counts},
            "area": areas[index],
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "iscrowd": 0,
            **({"score": round(score, 6)} if score == score else {}),
            "attributes": {name: bool(column[index]) for name, column in facts.items()},
        }
        yield index, json.dumps(content, separators=(",", ":")).encode()


def _rle(cells: Cells) -> Iterator[tuple[int, str]]:
    """The index of each cell and its compressed RLE."""
    height, width = cells.labels.shape
    for index, near, corner in neighbours(cells.labels, cells.box):
        numbers = cells.number[index]
        number, first, length = _down(near, corner, height)
        owner = np.minimum(np.searchsorted(numbers, number), len(numbers) - 1)
        own = numbers[owner] == number  # cells that only reach in belong to another group
        number, first, length = number[own], first[own], length[own]
        bounds = np.searchsorted(number, np.append(numbers, np.iinfo(np.int64).max))
        for begin in range(0, len(index), TOGETHER):
            cut = bounds[begin : begin + TOGETHER + 1]
            part = slice(cut[0], cut[-1])
            ends = first[part] + length[part]
            before = np.concatenate([[0], ends[:-1]])
            before[cut[:-1] - cut[0]] = 0
            counts = np.stack([first[part] - before, length[part]], axis=1).ravel()
            last = 2 * (cut[1:] - cut[0])
            tail = height * width - ends[cut[1:] - cut[0] - 1]
            counts = np.insert(counts, last[tail > 0], tail[tail > 0])
            size = np.diff(2 * cut) + (tail > 0)
            some = index[begin : begin + TOGETHER].tolist()
            yield from zip(some, counts_to_text(counts, size), strict=True)


def _down(
    labels: Labels, corner: tuple[int, int], height: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Runs of equal numbers down the columns, by number, then place.

    Parameters
    ----------
    labels : a part of the plane, whose first pixel is (y, x) ``corner``.
    height : of the plane.

    Returns
    -------
    The number, the place of the first pixel down the columns of the plane, and the length.
    """
    rows, width = labels.shape
    step = max(1, BAND // max(1, rows))
    parts = [np.zeros((3, 0), dtype=np.int64)]
    for x in range(0, width, step):
        flat = labels[:, x : x + step].T.ravel()
        starts = np.diff(flat, prepend=flat[0] - 1) != 0
        starts[::rows] = True
        begin = np.flatnonzero(starts)
        length = np.diff(begin, append=len(flat))
        cell = flat[begin]
        some = cell > 0
        column, row = np.divmod(begin[some], rows)
        first = (column + x + corner[1]) * height + row + corner[0]
        parts.append(np.stack([cell[some], first, length[some]]))
    number, first, length = np.concatenate(parts, axis=1)
    order = np.lexsort((first, number))
    number, first, length = number[order], first[order], length[order]
    # A run may go on at the top of the next column.
    goes_on = (np.diff(number) == 0) & (first[1:] == (first + length)[:-1])
    heads = np.flatnonzero(np.concatenate([np.ones(min(1, len(number)), bool), ~goes_on]))
    length = np.add.reduceat(length, heads) if len(heads) else length
    return number[heads], first[heads], length


def counts_to_text(counts: Rle, size: NDArray[np.int64]) -> Iterator[str]:
    """Compress the counts of many masks, one after the other; ``size`` of each."""
    start = np.cumsum(size) - size
    place = np.arange(len(counts)) - np.repeat(start, size)
    left = counts.copy()
    from_third = np.flatnonzero(place > 2)
    left[from_third] -= counts[from_third - 2]
    digits, more = [], np.ones(len(counts), dtype=np.bool_)
    while more.any():
        digit = left & 31
        left >>= 5
        used = more
        more = used & np.where(digit & 16, left != -1, left != 0)
        digits.append(np.where(used, digit + 32 * more + 48, 0).astype(np.uint8))
    if not digits:
        return
    table = np.stack(digits, axis=1)
    width = np.cumsum(np.count_nonzero(table, axis=1))
    text = table[table > 0].tobytes().decode("ascii")
    begin = 0
    for end in width[np.cumsum(size) - 1].tolist():
        yield text[begin:end]
        begin = end


def counts_from_text(text: str) -> Rle:
    """Undo :func:`counts_to_text` for one mask.

    Raises
    ------
    ValueError : letters that are not of the code, or an end in the middle of a count.
    """
    digits = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    if not len(digits) or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise ValueError("no compressed RLE")
    ends = np.flatnonzero((digits & 32) == 0)
    owner = np.searchsorted(ends, np.arange(len(digits)))
    place = np.arange(len(digits)) - np.concatenate([[0], ends[:-1] + 1])[owner]
    if place.max() > 11:
        raise ValueError("a count that is too large")
    counts = np.zeros(len(ends), dtype=np.int64)
    np.add.at(counts, owner, (digits & 31) << (5 * place))
    negative = digits[ends] & 16 > 0
    counts[negative] -= np.int64(1) << (5 * (place[ends][negative] + 1))
    # Sums along the odd and along the even places undo the differences from the fourth on.
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return counts


def coco_images(content: Any, path: Path) -> list[str]:
    """The file names of the images of a COCO file.

    Raises
    ------
    InputError : not COCO.
    """
    images = content.get("images") if isinstance(content, Mapping) else None
    if not isinstance(images, list) or not isinstance(content.get("annotations"), list):
        raise InputError(
            f"{path} is JSON without images and annotations", expected="a COCO data set"
        )
    return [str(one.get("file_name", one.get("id"))) for one in images]


def coco_labels(
    content: Any,
    path: Path,
    shape: tuple[int, int] | None = None,
    overlaps: Overlaps = "refuse",
    image: str | None = None,
) -> Labels:
    """Read the cells of one image of a COCO file; every category counts as cells.

    Parameters
    ----------
    content : of the file, as JSON gives it.
    path : of the file, for messages.
    shape : rows and columns that are expected; None for those that the file tells.
    overlaps : what to do where cells share pixels, see ``anycell.files.painting``.
    image : its ``file_name``; needed when the file holds several.

    Raises
    ------
    InputError : several images and none named, an unknown category, RLE of another size,
        crowds, cells outside the image or on top of each other.
    """
    names = coco_images(content, path)
    if image is None and len(names) != 1:
        raise InputError(
            f"{path} holds {len(names)} images",
            expected="the annotations of one image",
            hint=f"anycell convert {path} --to labels -o FOLDER writes a file for each",
        )
    about = content["images"][0 if image is None else names.index(image)]
    size = canvas_shape(path, (about.get("height"), about.get("width")), shape)
    painting = Painting(path, size, overlaps)
    known = {one.get("id") for one in content.get("categories", [])}
    mine = [one for one in content["annotations"] if one.get("image_id") == about.get("id")]
    ids = {one.get("id") for one in content["images"]}
    for one in content["annotations"]:
        _check(one, path, ids, known)
    numbers = cell_numbers([one.get("id") for one in mine])
    for begin in range(0, len(mine), TOGETHER):
        part = slice(begin, begin + TOGETHER)
        painting.add(_runs(mine[part], size, path), numbers[part])
    return painting.labels


def _check(one: Any, path: Path, images: set[Any], categories: set[Any]) -> None:
    name = f"{path}: annotation {one.get('id')}"
    if one.get("image_id") not in images:
        raise InputError(f"{name} is of an image {one.get('image_id')!r} that is not listed")
    if one.get("category_id") not in categories:
        raise InputError(
            f"{name} has the unknown category {one.get('category_id')!r}",
            expected=f"one of {', '.join(map(str, categories)) or 'none that are listed'}",
        )
    if one.get("iscrowd"):
        raise InputError(
            f"{name} is a crowd (iscrowd 1)",
            expected="one cell for each annotation",
            hint="remove it",
        )


def _runs(some: Sequence[Any], size: tuple[int, int], path: Path) -> Runs:
    """The pixels of some annotations, by annotation."""
    parts = []
    for index, one in enumerate(some):
        try:
            parts.append(_runs_of(one["segmentation"], size, index))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: the cell of annotation {one.get('id')} cannot be read: {error}",
                expected="RLE of the image's size, or polygons [x, y, x, y, ...]",
            ) from error
    cell, row, first, last = (
        np.concatenate([np.zeros(0, np.int64), *(getattr(p, k) for p in parts)])
        for k in ("cell", "row", "first", "last")
    )
    return Runs(cell, row, first, last)


def _runs_of(segmentation: Any, size: tuple[int, int], index: int) -> Runs:
    if isinstance(segmentation, list):
        rings = [np.array(v, dtype=np.float64).reshape(-1, 2)[:, ::-1] for v in segmentation]
        if not rings or min(map(len, rings)) < 3:
            raise ValueError("no polygon of 3 places or more")
        return inside_runs(rings, np.full(len(rings), index))
    told = tuple(segmentation["size"])
    if told != size:
        raise ValueError(
            f"RLE of {told[0]} x {told[1]} pixels, the image has {size[0]} x {size[1]}"
        )
    coded = segmentation["counts"]
    counts = counts_from_text(coded) if isinstance(coded, str) else np.array(coded, dtype=np.int64)
    if counts.ndim != 1 or (counts < 0).any() or counts.sum() != size[0] * size[1]:
        raise ValueError(f"RLE of {counts.sum()} pixels for {size[0]} x {size[1]}")
    length = counts[1::2]
    first = np.cumsum(counts)[::2][: len(length)]
    place = np.arange(length.sum()) + np.repeat(first - (np.cumsum(length) - length), length)
    column, row = np.divmod(place, size[0])
    return Runs(np.full(len(row), index), row, column, column + 1)
